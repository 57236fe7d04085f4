"""Every view tells the truth: what each shows, against what was sent and what has arrived."""

from __future__ import annotations

import json
import signal
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from relay.cli.control_client import ask
from relay.model.counters.peers import SEVERITIES
from tests.end_to_end.central import Central, numbers
from tests.end_to_end.test_command_line import run
from tests.end_to_end.test_tap import Tap
from tests.end_to_end.test_udp_destination import Receiver
from tests.end_to_end.test_web import get, samples_of
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received
from tests.relp_sender import RelpSender

LONG = 1200
"""Bytes of messages that the source `tcp` drops."""
FLOOD = 4000
RATE_MAX = 50
STRANGER = "127.0.0.3"
RETRY = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2}
METRICS = {
    "received_records": "received_messages",
    "received_bytes": "received_bytes",
    "stored_records": "stored_messages",
    "quarantined_records": "quarantined_messages",
    "delivered_records": "delivered_messages",
    "queued_records": "queued_messages",
}

Numbers = dict[str, dict[str, Any]]
"""By source or destination: counters by name."""


class Site:
    """A relay with sources, destinations and receivers, and what was sent to it.

    Attributes:
        sent: By source, since `forget`: messages by severity.
        before, lost: By source, at that time: messages received, and those that a kill took.
        bytes: Of these, by source.
        numbers: How many messages there were by source, so that each is another one.
    """

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.central = Central(programs, folder / "central", free_port())
        self.udp_receiver = Receiver()
        self.udp_receiver.open()
        self.ports = {name: free_port() for name in ("tcp", "relp", "udp", "limited")}
        self.web = f"http://127.0.0.1:{free_port()}"
        self.unix = folder / "s"
        self.errors, self.quiet = folder / "errors.log", folder / "quiet.log"
        self.relay = RelayProcess(
            folder / "relay",
            sources=self._sources(),
            destinations=self._destinations(),
            web={"listen": self.web},
        )
        programs.add(self.relay)
        self.numbers = Counter[str]()
        self.forget()

    def _sources(self) -> dict[str, dict[str, Any]]:
        udp = {
            name: f"udp://127.0.0.1:{port}"
            for name, port in self.ports.items()
            if name not in ("tcp", "relp")
        }
        return {
            "tcp": {
                "listen": f"tcp://127.0.0.1:{self.ports['tcp']}",
                "frame_bytes_max": LONG - 100,
                "oversize": "drop",
            },
            "relp": {"listen": f"relp://127.0.0.1:{self.ports['relp']}"},
            "udp": {"listen": udp["udp"], "receive_buffer_bytes": "64 KiB"},
            "limited": {
                "listen": udp["limited"],
                "rate_per_peer_max": RATE_MAX,
                "deny": [STRANGER],
            },
            "unix": {"listen": f"unixgram://{self.unix}"},
        }

    def _destinations(self) -> dict[str, dict[str, Any]]:
        return {
            "central": {
                "connect": self.central.url,
                "sources": ["tcp", "relp", "udp", "limited"],
                **RETRY,
            },
            "errors": {
                "connect": f"file://{self.errors}",
                "sources": ["unix"],
                "match": {"severity": "..err"},
            },
            "quiet": {
                "connect": f"file://{self.quiet}",
                "sources": ["tcp"],
                "rewrite": [{"drop": "noise", "match": {"severity": "debug"}}],
            },
            "full": {
                "connect": f"relp://127.0.0.1:{free_port()}",
                "sources": ["tcp"],
                "queue_bytes_max": "1 MiB",
                "when_full": "drop-oldest",
                **RETRY,
            },
            "datagrams": {
                "connect": f"udp://127.0.0.1:{self.udp_receiver.port}",
                "sources": ["relp"],
            },
        }

    def forget(self, sources: Sequence[Mapping[str, Any]] = ()) -> None:
        """Begin to count anew, with what `sources` report before.

        What a kill takes away they have received and never stored.
        """
        self.sent: dict[str, Counter[str]] = {
            name: Counter() for name in ("tcp", "relp", "udp", "limited", "unix")
        }
        self.bytes = Counter[str]()
        self.before, self.lost = Counter[str](), Counter[str]()
        for source in sources:
            self.before[source["id"]] = source["received_records"]
            self.lost[source["id"]] = source["received_records"] - accounted(source)

    # Senders.

    def messages(self, source: str, count: int, *, size: int = 0) -> list[bytes]:
        """New messages of all severities in turn, which count as sent."""
        first = self.numbers[source]
        self.numbers[source] += count
        found = []
        for number in range(first, first + count):
            header = b"<%d>1 2026-10-11T22:14:15.003Z web-1 %s - - - " % (
                8 + number % 8,
                source.encode(),
            )
            text = b"number %d" % number
            padding = b"x" * (size - len(header + text) - 1) + b" " if size else b""
            found.append(header + padding + text)
            self.sent[source][SEVERITIES[number % 8]] += 1
            self.bytes[source] += len(found[-1])
        return found

    def feed_tcp(self, count: int, *, size: int = 0) -> None:
        feed_lines(self.ports["tcp"], self.messages("tcp", count, size=size))

    def feed_relp(self, count: int) -> None:
        with RelpSender(self.ports["relp"]) as sender:
            sender.send(self.messages("relp", count))
            sender.close()

    def feed_udp(self, source: str, count: int, address: str = "127.0.0.1") -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((address, 0))
            for message in self.messages(source, count):
                sender.sendto(message, ("127.0.0.1", self.ports[source]))

    def feed_unix(self, count: int) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(20)
            for message in self.messages("unix", count):
                sender.sendto(message, str(self.unix))

    # Views.

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = ask(str(self.relay.state_dir), "status")
        return found

    def event(self) -> dict[str, Any]:
        """The document of the page."""
        with urlopen(f"{self.web}/events", timeout=10) as stream:
            found: dict[str, Any] = json.loads(stream.readline().removeprefix(b"data: "))
            return found

    def history(self) -> Counter[str]:
        """The sums of the charts."""
        columns = json.loads(get(f"{self.web}/history")[1])
        return Counter(
            {name: round(sum(column)) for name, column in columns.items() if "queued" not in name}
        )

    def audit(self) -> dict[str, dict[str, Any]]:
        status, output, errors = run("audit", "--json", "-d", str(self.relay.state_dir))
        assert status == 0, output + errors
        return {row["id"]: row for row in json.loads(output)}

    def peers(self) -> dict[str, dict[str, int]]:
        """Messages by source and peer."""
        found = ask(str(self.relay.state_dir), "peers")
        return {
            source: {name: each["records"] for name, each in of["peers"].items()}
            for source, of in found.items()
        }

    def wait_quiet(self) -> None:
        """Wait until all that was sent has been looked at, and what can be delivered is."""

        def is_counted() -> bool:
            sources = {each["id"]: each for each in self.status()["sources"]}
            return all(
                sources[name]["received_records"] >= self.before[name] + sum(sent.values())
                and sources[name]["received_records"] == self.lost[name] + accounted(sources[name])
                for name, sent in self.sent.items()
            )

        wait_until(is_counted, "all that was sent is counted")
        self.wait_delivered()

    def wait_delivered(self) -> None:
        def is_delivered() -> bool:
            found = self.status()["destinations"]
            return not any(
                each["queued_records"]
                for each in found
                if each["ready"] or each["id"] not in ("central", "full")
            )

        wait_until(is_delivered, "all is delivered where somebody takes it")


def accounted(source: Mapping[str, Any]) -> int:
    dropped = sum(source["dropped_records"].values())
    return int(source["stored_records"] + source["quarantined_records"] + dropped)


def in_document(document: Mapping[str, Any]) -> Numbers:
    """The counters of sources and destinations in a document."""
    wanted = (*METRICS, "dropped_records", "severities")
    return {
        f"{kind} {report['id']}": {key: report[key] for key in wanted if key in report}
        for kind in ("source", "destination")
        for report in document[f"{kind}s"]
    }


def in_metrics(url: str, like: Numbers) -> Numbers:
    """The same numbers in `/metrics`."""
    samples = samples_of(url)
    found: Numbers = {}
    for owner, counters in like.items():
        kind, id = owner.split()
        found[owner] = numbers = {}
        for key in counters:
            if key in METRICS:
                name = f"syslogrelay_{kind}_{METRICS[key]}"
                numbers[key] = samples.get((f"{name}_total", id), samples.get((name, id)))
        dropped = f"syslogrelay_{kind}_dropped_messages_total"
        numbers["dropped_records"] = {
            key[1] if kind == "source" else key[2]: value
            for key, value in samples.items()
            if key[0] == dropped and key[2 if kind == "source" else 1] == id
        }
        if kind == "source":
            severity = "syslogrelay_source_severity_messages_total"
            numbers["severities"] = {name: samples[severity, name, id] for name in SEVERITIES}
    return found


def agreed(site: Site) -> Numbers:
    """What status, `/metrics` and the page say, once they say the same."""
    seen: dict[str, Any] = {}

    def agree() -> bool:
        document, event = site.status(), site.event()
        seen["status"], seen["page"] = in_document(document), in_document(event)
        seen["metrics"] = in_metrics(site.web, seen["status"])
        return bool(seen["status"] == seen["page"] == seen["metrics"])

    try:
        wait_until(agree, "all views say the same", 5.0)
    except AssertionError:
        for name, numbers in seen.items():  # which of them, and where
            assert numbers == seen["status"], name
        raise
    status: Numbers = seen["status"]
    return status


def check_commands(site: Site, seen: Numbers) -> None:
    """That `status --json` and `audit` say what the other views do."""
    printed = json.loads(run("status", "--json", "-d", str(site.relay.state_dir))[1])
    assert in_document(printed) == seen
    for id, row in site.audit().items():
        own = seen[f"destination {id}"]
        for key in ("received", "delivered", "queued", "quarantined"):
            assert row[key] == own[f"{key}_records"], (id, key)
        assert row["dropped"] == own["dropped_records"], id


def grown(before: Numbers, after: Numbers) -> Numbers:
    """How much the counters have grown."""
    return {
        owner: {
            key: dict(Counter(value) - Counter(before[owner][key]))
            if isinstance(value, dict)
            else value - before[owner][key]
            for key, value in counters.items()
        }
        for owner, counters in after.items()
    }


@pytest.fixture
def site(programs: Programs, tmp_path: Path) -> Iterator[Site]:
    site = Site(programs, tmp_path)
    site.central.start()
    site.relay.start()
    yield site
    site.udp_receiver.close()


def feed_all(site: Site) -> None:
    """Messages for everybody, an outage, a flood, and drops of each kind."""
    site.feed_tcp(80)
    site.feed_relp(80)
    site.feed_udp("udp", 40)
    site.feed_udp("udp", 40, "127.0.0.2")
    site.feed_unix(80)
    site.wait_quiet()
    site.central.kill()
    site.feed_tcp(3000, size=600)
    site.feed_relp(80)
    site.feed_tcp(16, size=LONG)
    site.feed_udp("limited", 30, STRANGER)
    site.feed_udp("limited", 400)
    site.relay.signal(signal.SIGSTOP)
    site.feed_udp("udp", FLOOD)
    site.relay.signal(signal.SIGCONT)
    site.wait_quiet()


def check_sources(site: Site, seen: Numbers) -> None:
    for name, sent in site.sent.items():
        found = seen[f"source {name}"]
        assert found["received_records"] == sum(sent.values()), name
        assert found["received_records"] == accounted(found), name
        if name in ("relp", "unix"):
            assert found["received_bytes"] == site.bytes[name], name
            assert found["severities"] == sent, name
    assert seen["source unix"]["dropped_records"] == {
        "no-destination": sum(site.sent["unix"][name] for name in SEVERITIES[4:])
    }
    tcp, limited = seen["source tcp"], seen["source limited"]["dropped_records"]
    assert tcp["dropped_records"] == {"too-long": 16}
    assert tcp["received_bytes"] == site.bytes["tcp"] - 16 * 100  # they were cut first
    assert tcp["severities"] == {name: count - 2 for name, count in site.sent["tcp"].items()}
    assert seen["source relp"]["dropped_records"] == {}
    assert limited == {"not-allowed": 30, "rate-limit": limited["rate-limit"]}
    assert 300 < limited["rate-limit"] <= 350
    lost = seen["source udp"]["dropped_records"]
    assert list(lost) == ["kernel-buffer"] and lost["kernel-buffer"] > 100
    for name in ("udp", "limited"):  # by severity only what was looked at
        found = seen[f"source {name}"]
        assert sum(found["severities"].values()) == accounted({**found, "dropped_records": {}})


def check_destinations(site: Site, seen: Numbers) -> None:
    tcp, relp, unix = (seen[f"source {name}"]["stored_records"] for name in ("tcp", "relp", "unix"))
    central, quiet = seen["destination central"], seen["destination quiet"]
    arrived = received(site.central.arrived)
    assert central["delivered_records"] == len(arrived) == len(set(arrived)) == 240
    of_udp = seen["source udp"]["stored_records"] + seen["source limited"]["stored_records"]
    assert central["received_records"] == tcp + relp + of_udp
    assert central["queued_records"] == central["received_records"] - 240
    assert seen["destination errors"]["delivered_records"] == len(received(site.errors)) == unix
    debug = seen["source tcp"]["severities"]["debug"]
    assert quiet["dropped_records"] == {"noise": debug}
    assert quiet["received_records"] == tcp
    assert quiet["delivered_records"] == len(received(site.quiet)) == tcp - debug
    full = seen["destination full"]
    assert list(full["dropped_records"]) == ["queue-full"]
    assert full["queued_records"] + full["dropped_records"]["queue-full"] == tcp
    assert site.udp_receiver.has(0)
    assert seen["destination datagrams"]["delivered_records"] == relp
    assert len(site.udp_receiver.lines) == relp


def check_peers(site: Site, seen: Numbers) -> None:
    peers, samples = site.peers(), samples_of(site.web)
    udp = seen["source udp"]
    looked_at = udp["received_records"] - udp["dropped_records"]["kernel-buffer"]
    assert peers["udp"] == {"127.0.0.1": looked_at - 40, "127.0.0.2": 40}
    assert peers["relp"] == {"127.0.0.1": 160}
    for source, of_peers in peers.items():
        for peer, count in of_peers.items():
            name = "syslogrelay_source_peer_messages_total"
            assert samples[name, peer, source] == count, (source, peer)

    def page() -> dict[tuple[str, str], int]:
        top = site.event()["senders"]["top"]
        return {(each["source"], each["peer"]): each["records"] for each in top}

    expected = {(source, peer): n for source, of in peers.items() for peer, n in of.items()}
    wait_until(lambda: page() == expected, "the page names the senders", 7.0)


def check_samples(site: Site, seen: Numbers) -> None:
    """The last of each reason, wherever the bytes are known."""
    samples = ask(str(site.relay.state_dir), "samples")
    for source in site.sent:
        dropped = seen[f"source {source}"]["dropped_records"].keys() - {"kernel-buffer"}
        assert samples[source].keys() == dropped, source
    assert samples["destination quiet"].keys() == {"noise"}
    assert samples["destination quiet"]["noise"][-1]["text"].startswith("<15>1 ")
    texts = {
        reason: [each["text"] for each in kept]
        for source in ("tcp", "unix", "limited")
        for reason, kept in samples[source].items()
    }
    assert len(texts["too-long"]) == 16
    assert all(" tcp - - - xxx" in text for text in texts["too-long"])
    assert texts["no-destination"][-1].endswith("unix - - - number 79")
    assert [text.rpartition(" ")[2] for text in texts["not-allowed"]] == [
        str(number) for number in range(10, 30)
    ]
    assert len(texts["rate-limit"]) == 20
    assert samples["limited"]["not-allowed"][-1]["at"] > 1e9
    assert samples["limited"]["not-allowed"][-1]["peer"].startswith(f"{STRANGER}:")


def check_tap(tap: Tap, seen: Numbers) -> None:
    """What is shown and what is left out are together all drops whose bytes are known."""
    reasons = Counter[str]()
    for counters in seen.values():
        reasons.update(counters["dropped_records"])
    del reasons["kernel-buffer"], reasons["queue-full"]  # evicted

    def is_told() -> bool:
        return bool(tap.items[-1]["left_out"] + len(tap.payloads) == reasons.total())

    wait_until(is_told, f"all of {reasons} are told of")
    shown = Counter(item["reason"] for item in tap.items if "payload" in item)
    assert shown <= reasons and set(shown) >= {"no-destination", "noise"}
    assert "left out" in tap.end()


def charted(seen: Numbers) -> Counter[str]:
    """What the charts have to show of numbers since the start."""
    sources = [each for owner, each in seen.items() if owner.startswith("source")]
    others = [each for owner, each in seen.items() if owner.startswith("destination")]
    severities = [sum(each["severities"][name] for each in sources) for name in SEVERITIES]
    counts = {f"severity{number}": count for number, count in enumerate(severities)}
    counts["messages"] = sum(each["received_records"] for each in sources)
    counts["errors"], counts["warnings"] = sum(severities[:4]), severities[4]
    counts["drops"] = sum(sum(each["dropped_records"].values()) for each in (*sources, *others))
    counts["delivered"] = sum(each["delivered_records"] for each in others)
    return Counter(counts)


def test_all_views_agree_with_what_was_sent_and_has_arrived(site: Site) -> None:
    tap = Tap(site.relay, "--dropped")
    try:
        tap.wait_open()
        feed_all(site)
        seen = agreed(site)
        check_tap(tap, seen)
    finally:
        tap.process.kill()
        tap.process.wait()
    check_commands(site, seen)
    check_sources(site, seen)
    check_destinations(site, seen)
    check_peers(site, seen)
    check_samples(site, seen)
    site.feed_tcp(800)
    site.wait_quiet()
    seen = in_document(site.status())
    site.relay.stop()  # at once: what has come last counts as well
    site.relay.start()
    history = site.history()
    del history["at"], history["seconds"]
    assert history == charted(seen)
    assert in_document(site.status()) == seen


def test_a_kill_changes_no_account(site: Site) -> None:
    site.central.kill()
    site.feed_relp(80)
    site.wait_quiet()
    before = agreed(site)
    with RelpSender(site.ports["relp"]) as sender:
        sender.send(site.messages("relp", 2000))
        sender.wait_for(1000)
        site.relay.kill()
        answered = set(numbers(sender.answered, "relp"))
    site.relay.start()
    site.wait_delivered()
    after = agreed(site)
    check_commands(site, after)
    stored = after["destination central"]["queued_records"]
    assert before["destination central"]["queued_records"] == 80
    assert 80 + len(answered) <= stored <= 2080
    assert after["source relp"]["stored_records"] == stored
    site.forget(site.status()["sources"])
    site.feed_relp(40)
    site.feed_unix(80)
    site.wait_quiet()
    more = grown(after, agreed(site))
    assert more["source relp"]["severities"] == site.sent["relp"]
    assert more["source relp"]["stored_records"] == more["source relp"]["received_records"] == 40
    assert more["source unix"]["dropped_records"] == {"no-destination": 40}
    site.central.start()
    wait_until(lambda: not queued(site), "all is delivered")
    lines = numbers(received(site.central.arrived), "relp")
    assert len(lines) == len(set(lines)) == stored + 40
    assert answered <= set(lines)
    assert agreed(site)["destination central"]["delivered_records"] == stored + 40


def queued(site: Site) -> int:
    reports = {each["id"]: each for each in site.status()["destinations"]}
    return int(reports["central"]["queued_records"])
