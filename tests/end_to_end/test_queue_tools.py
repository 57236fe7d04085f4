"""Looking into the queue and the quarantine of a relay, and changing them, while it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from relay.cli.control_client import ask
from relay.cli.main import main
from tests import queue_files
from tests.end_to_end.central import Central, numbered
from tests.end_to_end.picky import PickyUpstream
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines
from tests.relp_sender import RelpSender

RETRY = {"retry_seconds_min": 0.1, "retry_seconds_max": 0.3, "refusals_max": 2}
PLACE = b"<13>Oct 11 22:14:15 web-1 prog: "


class Site:
    """A relay with the destinations `central` and `other`, both away."""

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        central: Central | None = None,
        relay: Mapping[str, Any] | None = None,
        retry: Mapping[str, Any] = RETRY,
    ) -> None:
        self.relay_keys = relay
        self.relp, self.tcp, self.open = (free_port() for _ in range(3))
        self.central, self.other = free_port(), free_port()
        self.programs = programs
        url = f"relp://127.0.0.1:{self.central}" if central is None else central.url
        self.destinations: dict[str, Any] = {
            "central": {"connect": url, **retry},
            "other": {"connect": f"relp://127.0.0.1:{self.other}", **retry},
        }
        self.sources: dict[str, Any] = {
            "relp": {"listen": f"relp://127.0.0.1:{self.relp}"},
            "tcp": {"listen": f"tcp://127.0.0.1:{self.tcp}"},
            "asks": {
                "listen": f"tcp://127.0.0.1:{self.open}",
                "authorise": ["network"],
                "unauthorised": "quarantine",
            },
        }
        self.relay = self.started(folder)

    def started(self, folder: Path) -> RelayProcess:
        return RelayProcess.started(
            self.programs,
            folder,
            sources=self.sources,
            destinations=self.destinations,
            apps={"far": {"networks": ["192.0.2.0/24"]}},
            relay=self.relay_keys,
        )

    def send(self, *texts: bytes) -> None:
        """Returns when all of them are on disk."""
        self.send_frames([PLACE + text for text in texts])

    def send_frames(self, frames: Sequence[bytes]) -> None:
        with RelpSender(self.relp) as sender:
            sender.send(frames)
            sender.close()

    def command(self, *arguments: str) -> list[str]:
        program = str(Path(sys.executable).with_name("syslogrelay"))
        return [program, *arguments, "--state-dir", str(self.relay.state_dir)]

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[bytes]:
        """What a command says and does, in this process: to start one takes a while."""
        words = [*arguments, "--state-dir", str(self.relay.state_dir)]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == status, (arguments, done.output, done.exception)
        return subprocess.CompletedProcess(
            words, done.exit_code, done.stdout_bytes, done.stderr_bytes
        )

    def said(self, *arguments: str, status: int = 0) -> str:
        done = self.run(*arguments, status=status)
        return done.stdout.decode() + done.stderr.decode()

    def numbers(self, *arguments: str) -> list[int]:
        lines = self.run(*arguments).stdout.decode().splitlines()
        return [int(line.split()[0]) for line in lines]

    def report(self) -> dict[str, Any]:
        """Of central."""
        report: dict[str, Any] = ask(str(self.relay.state_dir), "status")["destinations"][0]
        return report

    def audited(self) -> dict[str, Any]:
        return {row["id"]: row for row in json.loads(self.run("audit", "--json").stdout)}


@pytest.fixture
def site(programs: Programs, tmp_path: Path) -> Site:
    return Site(programs, tmp_path / "edge")


def test_what_waits_for_an_upstream_that_is_away(site: Site, tmp_path: Path) -> None:
    site.send(*(b"message %d" % number for number in range(1, 2501)))
    rows = {row["id"]: row for row in json.loads(site.run("queue", "ls", "--json").stdout)}
    assert rows["central"]["records"] == 2500
    assert f"127.0.0.1:{site.central}" in rows["central"]["state"]
    assert site.numbers("queue", "peek", "central", "-n", "3") == [1, 2, 3]
    assert site.numbers("queue", "tail", "central", "-n", "2") == [2499, 2500]
    assert site.numbers("queue", "grep", "central", "message 249[89]$") == [2498, 2499]
    assert site.said("queue", "verify").count(": whole: ") == 2
    exported = site.run("queue", "export", "central").stdout
    assert exported.count(PLACE) == 2500
    (tmp_path / "file").write_bytes(exported)

    assert site.said("queue", "purge", "central", "--yes") == "2,500 records dropped (operator)\n"
    site.send(b"after")
    assert "2,500 messages" in site.said(
        "queue", "replay", str(tmp_path / "file"), "--to", "central"
    )
    site.run("pause", "central")
    site.relay.stop()
    site.relay.start()  # which does not end it
    assert "destination central: paused by hand since " in site.relay.log()
    with PickyUpstream(site.central, b"none") as upstream:
        wait_until(lambda: "UTC; connected to" in site.said("status"), "a connection", 30)
        assert "paused by hand since " in site.said("status")
        assert upstream.taken == []
        site.run("resume", "central")
        wait_until(lambda: len(upstream.taken) == 2501, "all of it", 30)
        assert [text.split()[-1] for text in upstream.taken] == [
            b"after",
            *(b"%d" % number for number in range(1, 2501)),
        ]
        wait_until(lambda: not site.audited()["central"]["queued"], "the last answers are stored")
    row = site.audited()["central"]
    assert (row["received"], row["delivered"], row["dropped"]) == (5001, 2501, {"operator": 2500})
    assert " before, " in site.said("queue", "compact")
    assert site.audited()["central"] == row
    assert site.numbers("queue", "peek", "other", "-n", "1") == [1]
    site.relay.stop()
    assert site.audited()["central"] == row
    assert site.numbers("queue", "peek", "other", "-n", "1") == [1]
    site.run("queue", "compact")
    site.relay.start()
    assert site.audited()["central"] == row


def test_a_message_that_an_upstream_refuses(site: Site) -> None:
    with PickyUpstream(site.central, b"poison") as upstream:
        site.send(b"one", b"poison 1", b"two", b"poison 2")
        wait_until(
            lambda: site.audited()["central"]["quarantined"] == 2, "both are in quarantine", 30
        )
        assert "refused 2 times: 500 poison" in site.said("quarantine", "ls")
        assert site.said("quarantine", "ls", "central").count("web-1 prog: poison") == 2
        assert "poison 1" in site.said("quarantine", "show", "central", "2")
        site.run("quarantine", "replay", "central", "2")  # and it is refused again
        wait_until(lambda: "\n5  " in site.said("quarantine", "ls", "central"), "it is back", 30)
        upstream.poison = b"nothing"
        site.run("queue", "requeue", "central", "5")
        wait_until(lambda: PLACE + b"poison 1" in upstream.taken, "it is delivered", 30)
        site.run("quarantine", "purge", "central", "4", "--yes")
        assert site.said("quarantine", "ls") == "nothing is in quarantine\n"
        wait_until(lambda: not site.audited()["central"]["queued"], "its answer is stored")
        row = site.audited()["central"]
        assert (row["received"], row["delivered"], row["quarantined"]) == (4, 3, 0)
        assert row["dropped"] == {"operator": 1}


def test_what_a_source_set_aside_is_sent_after_all(site: Site) -> None:
    feed_stream(site.open, [PLACE + b"who am I"])
    wait_until(lambda: site.audited()["source/asks"]["quarantined"] == 1, "it is set aside")
    assert "unauthorised" in site.said("quarantine", "ls")
    site.run("quarantine", "replay", "source/asks", "--all", "--to", "central")
    assert "who am I" in site.said("queue", "peek", "central")
    assert site.audited()["source/asks"]["received"] == 0


def test_an_orphan_is_adopted(site: Site) -> None:
    site.send(*(b"message %d" % number for number in range(1, 501)))
    site.relay.stop()
    del site.destinations["other"]
    site.relay = site.started(site.relay.folder)
    assert "orphan: no destination" in site.said("queue", "ls")
    assert site.run("queue", "export", "other", "--orphan").stdout.count(PLACE) == 500
    with PickyUpstream(site.central, b"none") as upstream:
        assert "500 records moved" in site.said("queue", "adopt", "other", "central")
        wait_until(lambda: len(upstream.taken) == 1000, "both queues", 30)
        assert upstream.taken[:500] == upstream.taken[500:]
    assert site.audited()["other"]["received"] == 0
    assert "other" not in site.said("queue", "ls")


def test_adopting_survives_kills_and_moves_each_record_once(site: Site) -> None:
    texts = [b"message %d %s" % (number, b"x" * 60_000) for number in range(1000)]
    feed_stream(site.tcp, [PLACE + text for text in texts])
    wait_until(lambda: site.audited()["other"]["queued"] == len(texts), "all are stored", 60)
    site.run("queue", "purge", "central", "--yes")
    site.relay.stop()
    del site.destinations["other"]
    site.relay = site.started(site.relay.folder)
    left = [len(texts)]
    for _ in range(3):
        _kill_while_adopting(site)
        site.relay.start()
        rows = site.audited()
        left.append(rows["other"]["queued"])
        assert rows["central"]["queued"] == len(texts) - left[-1]
    assert left[0] > left[1] > 0
    site.run("queue", "adopt", "other", "central")
    exported = site.run("queue", "export", "central", "--lines").stdout.splitlines()
    assert exported == [PLACE + text for text in texts]


def _kill_while_adopting(site: Site) -> None:
    """Kill the relay when the first steps are on disk."""
    before = _written(site)
    command = site.command("queue", "adopt", "other", "central")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as asking:
        wait_until(
            lambda: _written(site) > before + 6_000_000 or asking.poll() is not None,
            "some steps are written",
        )
        site.relay.kill()


def _written(site: Site) -> int:
    """Octets that the relay has written so far."""
    path = Path("/proc") / str(site.relay.pid) / "io"
    return int(path.read_text().split("wchar: ")[1].split()[0])


def test_what_comes_is_followed(site: Site, tmp_path: Path) -> None:
    site.send(b"before")
    with (tmp_path / "out").open("wb") as output:
        following = subprocess.Popen(
            site.command("queue", "tail", "central", "-n", "1", "-f"), stdout=output
        )
    try:
        wait_for_lines(tmp_path / "out", 1)
        site.send(b"after")
        lines = wait_for_lines(tmp_path / "out", 2)
        assert [line.split()[-1] for line in lines] == [b"before", b"after"]
    finally:
        following.terminate()
        following.wait(20)


def _has_taken(upstream: PickyUpstream, count: int) -> bool:
    return len(upstream.taken) == count


def test_following_keeps_nothing_waiting_and_makes_no_file_grow(site: Site, tmp_path: Path) -> None:
    command = site.command("queue", "tail", "central", "-f")
    with (
        PickyUpstream(site.central, b"none") as upstream,
        (tmp_path / "out").open("wb") as output,
        subprocess.Popen(command, stdout=output) as following,
    ):
        for start in range(0, 10_000, 500):
            site.send(*(b"%d %s" % (number, b"x" * 1000) for number in range(start, start + 500)))
            wait_until(partial(_has_taken, upstream, start + 500), "they are delivered")
            ask(str(site.relay.state_dir), "queue-purge", {"queue": "other"})
        following.terminate()
    data = site.relay.state_dir / "queue" / "data.mdb"
    assert data.stat().st_blocks * 512 < 6 * 2**20  # of 10 MB for each of two destinations


def test_after_a_purge_exactly_once_goes_on(programs: Programs, tmp_path: Path) -> None:
    central = Central(programs, tmp_path / "central", free_port())
    site = Site(programs, tmp_path / "edge", central=central)
    central.start()
    first, purged, replayed, last = (numbered(tag, 200) for tag in ("one", "two", "three", "four"))
    site.send_frames(first)
    central.wait_for(first)
    wait_until(lambda: ", exactly once" in site.said("status"), "both agree")
    site.run("pause", "central")
    site.send_frames(purged)
    assert "200 records" in site.said("queue", "purge", "central", "--yes")
    (tmp_path / "file").write_bytes(b"".join(frame + b"\n" for frame in replayed))
    site.run("queue", "replay", str(tmp_path / "file"), "--lines", "--to", "central")
    site.run("resume", "central")
    site.send_frames(last)
    central.wait_for(first + replayed + last)
    assert received(central.arrived) == first + replayed + last
    site.run("audit")


def test_nobody_has_to_wait_for_the_next_try(programs: Programs, tmp_path: Path) -> None:
    hours = {"retry_seconds_min": 3600, "retry_seconds_max": 7200}
    site = Site(programs, tmp_path, retry=hours)
    commands = ["connect", "central"], ["connect"], ["queue", "requeue", "central"]
    for command in (*commands, ["resume", "central"]):
        site.send(b"message")
        wait_until(lambda: "next try in" in site.report()["state"], "the next try to be far")
        with PickyUpstream(site.central, b"none") as upstream:
            said = site.said(*command)
            if command[0] == "connect":
                assert f"central: connecting to 127.0.0.1:{site.central}" in said
            wait_until(lambda: upstream.taken, f"{command} to connect")
    assert "no destination 'gone'" in site.said("connect", "gone", status=2)


def test_a_purge_while_the_upstream_takes_records_loses_no_count(site: Site) -> None:
    with PickyUpstream(site.central, b"none") as upstream:
        for start in range(0, 5000, 1000):
            site.send(*(b"message %d" % number for number in range(start, start + 1000)))
            site.run("queue", "purge", "central", "--yes")
        wait_until(lambda: not site.audited()["central"]["queued"], "nothing waits", 30)
        row = site.audited()["central"]
        assert row["delivered"] + row["dropped"].get("operator", 0) == row["received"] == 5000
        assert len(upstream.taken) == row["delivered"]  # nothing was in flight for long


def test_a_gap_is_found(site: Site) -> None:
    site.send(b"one", b"two")
    assert "yes" in site.said("audit")
    site.relay.stop()
    path = site.relay.state_dir / "queue"
    with queue_files.opened(path, "central") as store:
        ledger = store.ledgers["central"]
    forged = msgspec.structs.replace(ledger, delivered=1)
    queue_files.put(path, "meta", b"ledger/central", msgspec.json.encode(forged))
    said = site.said("audit", status=1)
    assert "central: its ledger has 1 record more than were received" in said
    forged = msgspec.structs.replace(ledger, delivered=1, acknowledged_seq=2)
    queue_files.put(path, "meta", b"ledger/central", msgspec.json.encode(forged))
    site.run("audit")
    for first in (1, 2):  # one block or two, as they came
        queue_files.put(path, "blocks/central", first, None)
    assert "central: record 2 in no block" in site.said("audit", status=1)
    site.relay.start()  # puts that file aside, and accounts for what is missing
    assert "central" in site.said("audit")
    assert len(list(path.glob("data.mdb.damaged-*"))) == 1
