"""Messages to a bulk server over HTTP: each answer that such servers give, outages and kills."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.certificate_files import CertificateFiles
from tests.crash.kill import Traffic, seed_from
from tests.end_to_end.bulk_program import Server
from tests.end_to_end.central import numbered
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines

FAST = {
    "index": "logs",
    "retry_seconds_min": 0.05,
    "retry_seconds_max": 0.2,
    "batch_seconds": 0.2,
    "answer_seconds_max": 2,
}
COUNT, ROUNDS = 10, 8


class Edge(RelayProcess):
    """A relay from plain TCP to such a server."""

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        url: str | list[str],
        *,
        listen: str = "tcp",
        **keys: Any,
    ) -> None:
        self.port = free_port()
        keys = {**FAST, **keys}
        super().__init__(
            folder / "edge",
            sources={"feed": {"listen": f"{listen}://127.0.0.1:{self.port}"}},
            destinations={
                "es": {"connect": url, **{name: keys[name] for name in keys if keys[name] != ""}}
            },
        )
        programs.add(self)

    def report(self) -> Any:
        (report,) = ask(str(self.state_dir), "status")["destinations"]
        return report

    def wait_delivered(self, count: int, seconds_max: float = 30.0) -> None:
        wait_until(
            lambda: self.report()["delivered_records"] == count, "all is delivered", seconds_max
        )


def pair(
    programs: Programs, folder: Path, *steps: str, **keys: Any
) -> tuple[Server, Edge, list[bytes]]:
    """Both, running, and the texts of ten messages that were sent."""
    server = Server(programs, folder, *steps)
    server.start()
    relay = Edge(programs, folder, f"http://127.0.0.1:{server.port}", **keys)
    relay.start()
    feed_lines(relay.port, numbered("web", COUNT))
    return server, relay, [b"number %d" % number for number in range(COUNT)]


@pytest.mark.parametrize(
    ("steps", "cause"),
    [
        (["ok"], ""),
        (["items=429,201,503"], "item 429 1, item 503 1"),
        (["429"], "status 429 10"),
        (["503", "502"], "status 503 10, status 502 10"),
        (["413=3"], "status 413 "),
        (["lost"], "connection 10"),
        (["garbage"], "broken answer 10"),
        (["broken-json"], "JSON 10"),
        (["few-items"], "number of items 10"),
        (["silent"], "timeout 10"),
        (["slow"], "timeout 10"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, list) else "",
)
def test_whatever_a_server_answers_nothing_is_lost(
    programs: Programs, tmp_path: Path, steps: list[str], cause: str
) -> None:
    server, relay, texts = pair(programs, tmp_path, *steps)
    relay.wait_delivered(COUNT)
    assert sorted(server.messages) == sorted(texts)
    details = relay.report()["details"]
    assert (cause in details[0]) if cause else not details
    assert relay.report()["queued_records"] == relay.report()["quarantined_records"] == 0
    repeats = len(server.taken) - COUNT
    assert repeats == (COUNT if steps[0] in ("lost", "broken-json", "few-items") else 0)
    relay.stop()


def test_a_document_that_is_refused_is_quarantined_with_the_reason(
    programs: Programs, tmp_path: Path
) -> None:
    server, relay, texts = pair(programs, tmp_path, "poison=number 4")
    wait_until(lambda: relay.report()["quarantined_records"] == 1, "one is quarantined")
    relay.wait_delivered(COUNT - 1)
    assert server.messages == [*texts[:4], *texts[5:]]
    assert "400 mapper_parsing_exception: failed to parse" in relay.log()
    relay.stop()


def test_a_document_at_which_the_server_falls_over_stops_no_other(
    programs: Programs, tmp_path: Path
) -> None:
    server, relay, texts = pair(programs, tmp_path, "fatal=number 4", failing_seconds=1)
    wait_until(lambda: len(server.messages) == COUNT - 1, "the others are taken")
    relay.wait_delivered(4)  # those before it; the others wait for it
    assert relay.report()["quarantined_records"] == 0
    count = COUNT
    while not relay.report()["quarantined_records"]:
        feed_lines(relay.port, numbered("web", 1, start=count))
        count += 1
        wait_until(lambda count=count: len(server.messages) == count - 1, "another one is taken")
    assert count >= COUNT + 10
    relay.wait_delivered(count - 1)
    assert sorted(server.messages) == sorted(
        [*texts[:4], *texts[5:], *(b"number %d" % number for number in range(COUNT, count))]
    )
    assert re.search(r"502 not now \([0-9]+ times in [0-9]+ s, others were taken\)", relay.log())
    relay.stop()


def test_a_server_that_is_down_for_long_loses_no_document(
    programs: Programs, tmp_path: Path
) -> None:
    server, relay, texts = pair(programs, tmp_path, *["503"] * 40, failing_seconds=0)
    relay.wait_delivered(COUNT)
    assert sorted(server.messages) == sorted(texts)
    assert relay.report()["quarantined_records"] == 0
    relay.stop()


def test_a_document_that_is_too_large_by_itself_is_quarantined(
    programs: Programs, tmp_path: Path
) -> None:
    server, relay, texts = pair(programs, tmp_path, "413=5")
    relay.wait_delivered(COUNT)
    assert sorted(server.messages) == sorted(texts)
    assert [each["documents"] for each in server.requests] == [10, 5, 5]
    relay.stop()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("unknown-token", "Application not found for token 01234567-89ab-cdef-0123-456789abcdef"),
        ("limit", "daily limit reached"),
        ("403", "403 not now"),
    ],
)
def test_a_hold_keeps_everything_and_ends_when_the_server_takes_something(
    programs: Programs, tmp_path: Path, step: str, words: str
) -> None:
    server, relay, texts = pair(programs, tmp_path, step, step)
    for _ in range(2):
        wait_until(lambda: f"held: {words}" in relay.report()["state"], "a hold")
        wait_until(lambda: "next try in" in relay.report()["state"], "its pause")
        assert relay.report()["queued_records"] == COUNT and not relay.report()["ready"]
        asked = len(server.requests)
        ask(str(relay.state_dir), "connect")
        wait_until(lambda asked=asked: len(server.requests) > asked, "a probe")
    relay.wait_delivered(COUNT)
    assert [each["documents"] for each in server.requests] == [10, 1, 1, 9]
    assert server.messages == texts
    relay.stop()


def test_an_outage_delays_and_loses_nothing(programs: Programs, tmp_path: Path) -> None:
    server = Server(programs, tmp_path)
    relay = Edge(programs, tmp_path, f"http://127.0.0.1:{server.port}")
    relay.start()
    feed_lines(relay.port, numbered("web", 5))
    wait_until(lambda: "refused by 127.0.0.1" in relay.report()["state"], "no server")
    server.start()
    relay.wait_delivered(5)
    server.kill()
    feed_lines(relay.port, numbered("web", 5, start=5))
    wait_until(lambda: not relay.report()["ready"], "no server again")
    server.start()
    relay.wait_delivered(10)
    assert server.messages == [b"number %d" % number for number in range(10)]
    relay.stop()


def test_kills_lose_nothing_and_repeats_have_the_same_ids(
    programs: Programs, tmp_path: Path
) -> None:
    moments = random.Random(seed_from("KILL_SEED"))
    server = Server(programs, tmp_path)
    server.start()
    keys = {"batch_records": 30, "batch_seconds": 0.01, "compress": "zstd"}
    url = f"http://127.0.0.1:{server.port}"
    relay = Edge(programs, tmp_path, url, listen="relp", **keys)
    relay.start()
    sender = Traffic(relay.port, "one", pause_seconds=0.05)
    sender.start()
    for number in range(ROUNDS):
        before = len(server.taken)
        wait_until(lambda before=before: len(server.taken) > before + 50, "documents arrive")
        sender.join(moments.random() * 0.1)  # it goes on meanwhile
        victim = server if number % 4 == 3 else relay
        victim.kill()
        victim.start()
    sender.finish()
    expected = {message.rpartition(b" - ")[2] for message in sender.answered}
    wait_until(lambda: expected <= set(server.messages), "all that was answered arrives")
    # RELP without a lineage may bring a batch twice; each time it gets numbers of its own.
    assert set(server.messages) == expected
    relay.stop()


def test_compression_and_credentials_arrive(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw==")
    (tmp_path / "key").chmod(0o600)
    server, relay, texts = pair(
        programs, tmp_path, compress="gzip", api_key_file=str(tmp_path / "key")
    )
    relay.wait_delivered(COUNT)
    (request,) = server.requests
    assert request["content-encoding"] == "gzip"
    assert request["authorization"] == f"ApiKey {(tmp_path / 'key').read_text()}"
    assert request["path"] == "/_bulk"
    assert {each["_index"] for each in server.taken} == {"logs"}
    assert server.messages == texts
    relay.stop()


@pytest.mark.parametrize("body", ["bulk", "ndjson", "array", "splunk-hec"])
def test_another_relay_takes_every_body_that_it_knows(
    programs: Programs, tmp_path: Path, body: str
) -> None:
    port, arrived = free_port(), tmp_path / "arrived"
    RelayProcess.started(
        programs,
        tmp_path / "central",
        sources={"http": {"listen": f"http://127.0.0.1:{port}"}},
        destinations={
            "file": {"connect": f"file://{arrived}", "template": "$HOST $PROGRAM $MSG"},
        },
    )
    keys = {} if body == "bulk" else {"index": ""}
    relay = Edge(programs, tmp_path, f"http://127.0.0.1:{port}", body=body, **keys)
    relay.start()
    feed_lines(relay.port, numbered("app", COUNT))
    relay.wait_delivered(COUNT)
    found = wait_for_lines(arrived, COUNT)
    assert sorted(found) == sorted(b"web-1 app number %d" % number for number in range(COUNT))
    relay.stop()


def test_a_server_that_refuses_everything_is_held_and_the_queue_is_kept(
    programs: Programs, tmp_path: Path
) -> None:
    server = Server(programs, tmp_path, "poison=number")
    server.start()
    relay = Edge(programs, tmp_path, f"http://127.0.0.1:{server.port}")
    relay.start()
    feed_lines(relay.port, numbered("web", 100))
    wait_until(lambda: "refuses everything" in relay.report()["state"], "it is held")
    wait_until(lambda: len(server.requests) > 5, "probes")
    report = relay.report()
    assert (report["quarantined_records"], report["queued_records"]) == (0, 100)
    server.stop()
    server.follow()
    server.start()
    relay.wait_delivered(100)
    assert len(server.messages) == 100
    relay.stop()


@pytest.mark.parametrize("is_trusted", [True, False])
def test_the_server_s_certificate_is_verified(
    programs: Programs,
    tmp_path: Path,
    certificates: CertificateFiles,
    is_trusted: bool,
) -> None:
    tls = ("--tls", certificates.server_certificate, certificates.server_key)
    server = Server(programs, tmp_path, *tls)
    server.start()
    name = "127.0.0.1" if is_trusted else "localhost"
    relay = Edge(programs, tmp_path, f"https://{name}:{server.port}", trusted_ca=certificates.ca)
    relay.start()
    feed_lines(relay.port, numbered("web", 1))
    if is_trusted:
        relay.wait_delivered(1)
        assert server.messages == [b"number 0"]
    else:
        words = "the certificate is for central.example.com, 127.0.0.1, expected localhost"
        wait_until(lambda: words in relay.report()["state"], "a refused certificate", 5)
        assert relay.report()["queued_records"] == 1 and server.requests == []
    relay.stop()


def test_an_outage_of_one_server_moves_its_requests_to_the_other(
    programs: Programs, tmp_path: Path
) -> None:
    a = Server(programs, tmp_path / "a", *["silent"] * 50)
    b = Server(programs, tmp_path / "b", *["silent"] * 4)
    for each in (a, b):
        each.start()
    urls = [f"http://127.0.0.1:{each.port}" for each in (a, b)]
    keys = {"policy": "balance", "probe_seconds": 0.1, "failback_probes": 1}
    keys |= {"batch_records": 10, "batch_seconds": 0.05, "answer_seconds_max": 30}
    relay = Edge(programs, tmp_path, urls, **keys)
    relay.start()
    feed_lines(relay.port, numbered("web", 300))
    wait_until(lambda: len(a.requests) == len(b.requests) == 2, "four without an answer")
    wait_until(lambda: relay.report()["queued_records"] == 300, "all is stored")
    a.kill()
    wait_until(lambda: len(b.requests) == 4, "those of a go to b")
    details = relay.report()["details"]
    assert details[0].startswith(f"target 127.0.0.1:{a.port}/_bulk: not used: "), details
    assert details[1].startswith(f"target 127.0.0.1:{b.port}/_bulk: tried now, 4 requests"), details
    relay.kill()
    relay.start()
    relay.wait_delivered(300)
    assert sorted(b.messages) == sorted(b"number %d" % number for number in range(300))
    a.follow()
    a.start()
    wait_until(lambda: " is used again" in relay.log(), "the way back")
    feed_lines(relay.port, numbered("web", 300, start=300))
    relay.wait_delivered(600)
    assert a.messages and not {*a.messages} & {*b.messages}
    assert sorted(a.messages + b.messages) == sorted(b"number %d" % each for each in range(600))
    assert relay.report()["quarantined_records"] == 0
    relay.stop()


def test_a_document_at_which_all_servers_fall_over_stops_no_other(
    programs: Programs, tmp_path: Path
) -> None:
    servers = [Server(programs, tmp_path / name, "fatal=number 4") for name in "ab"]
    for each in servers:
        each.start()
    urls = [f"http://127.0.0.1:{each.port}" for each in servers]
    keys = {"failing_seconds": 1, "probe_seconds": 0.1, "failback_probes": 1}
    relay = Edge(programs, tmp_path, urls, **keys)
    relay.start()
    feed_lines(relay.port, numbered("web", COUNT))
    count = COUNT

    def messages() -> list[bytes]:
        return [each for server in servers for each in server.messages]

    while not relay.report()["quarantined_records"]:
        wait_until(lambda count=count: len(messages()) == count - 1, "the others are taken")
        feed_lines(relay.port, numbered("web", 1, start=count))
        count += 1
    relay.wait_delivered(count - 1)
    expected = [b"number %d" % number for number in range(count) if number != 4]
    assert sorted(messages()) == sorted(expected)
    relay.stop()
