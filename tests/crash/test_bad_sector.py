"""A sector that cannot be read: its block is set aside, and everything behind it goes on.

In the memory map of LMDB such a sector is SIGBUS, the end of the process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.crash.bad_sector import BadSectors, leaf_pages, value_pages
from tests.end_to_end.central import Central, numbered
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received
from tests.relp_sender import RelpSender

MESSAGES = 6000
PADDING = b"x" * 200
IO_ERROR = "Input/output error"
BLOCKS = b"blocks/central"


class Backlog:
    """A stopped relay with messages for an upstream that is away."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        feed, upstream = free_port(), free_port()
        self.central = Central(programs, folder / "central", upstream)
        self._programs, self._folder = programs, folder / "edge"
        self._tables: dict[str, Any] = {
            "sources": {"feed": {"listen": f"relp://127.0.0.1:{feed}"}},
            "destinations": {
                "central": {
                    "connect": self.central.url,
                    "retry_seconds_min": 0.05,
                    "retry_seconds_max": 0.2,
                }
            },
        }
        relay = RelayProcess.started(programs, self._folder, **self._tables)
        self.state_dir = relay.state_dir
        self.queue = relay.state_dir / "queue"
        self.messages = [head + PADDING for head in numbered("app", MESSAGES)]
        with RelpSender(feed, window=1000) as sender:
            sender.send(self.messages)
            sender.wait_answered()
        relay.stop()

    def start(self, environment: Mapping[str, str]) -> RelayProcess:
        self.central.start()
        relay = RelayProcess(self._folder, environment=environment, **self._tables)
        self._programs.add(relay)
        relay.start()
        return relay

    def command(self, environment: Mapping[str, str], *arguments: str, status: int = 0) -> str:
        program = Path(sys.executable).with_name("syslogrelay")
        done = subprocess.run(
            [program, *arguments, "--state-dir", str(self.state_dir)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == status, (done.returncode, done.stdout[-2000:], done.stderr)
        return done.stdout + done.stderr


@pytest.fixture
def backlog(programs: Programs, tmp_path: Path) -> Backlog:
    return Backlog(programs, tmp_path)


@pytest.fixture(scope="module")
def sectors(tmp_path_factory: pytest.TempPathFactory) -> BadSectors:
    return BadSectors(tmp_path_factory.mktemp("sectors"))


def report_of(relay: RelayProcess) -> dict[str, Any]:
    (report,) = ask(str(relay.state_dir), "status")["destinations"]
    found: dict[str, Any] = report
    return found


def test_a_sector_within_a_block_costs_that_block_and_nothing_else(
    backlog: Backlog, sectors: BadSectors
) -> None:
    runs = value_pages(backlog.queue, BLOCKS)
    bad = sectors.environment(backlog.queue / "data.mdb", runs[len(runs) // 2][1])
    text = backlog.command(bad, "queue", "verify", status=1)
    assert "cannot be read: Input/output error" in text
    exported = backlog.command(bad, "queue", "export", "central", status=1)
    assert 0 < MESSAGES - exported.count("number ") < MESSAGES // 2
    backlog.command(bad, "audit")
    backlog.command(bad, "queue", "compact", status=2)
    relay = backlog.start(bad)
    wait_until(lambda: not report_of(relay)["queued_records"], "the rest is delivered", 60)
    report = report_of(relay)
    arrived = received(backlog.central.arrived)
    lost = set(backlog.messages) - set(arrived)
    assert report["quarantined_records"] == len(lost) == MESSAGES - len(arrived) > 0
    assert f"set aside in the quarantine: {IO_ERROR}" in relay.log()
    entry = json.loads(backlog.command(bad, "quarantine", "ls", "central", "--json"))
    assert entry["records"] == len(lost) and IO_ERROR in entry["reason"]
    backlog.command(bad, "audit")
    assert "data.mdb.damaged" not in str(list(backlog.queue.iterdir()))
    relay.stop()


@pytest.mark.parametrize("what", ["the first page of a block", "a page of the tree"])
def test_a_sector_that_lmdb_itself_needs_is_saved_around_at_the_start(
    backlog: Backlog, sectors: BadSectors, what: str
) -> None:
    runs = value_pages(backlog.queue, BLOCKS)
    is_block = what == "the first page of a block"
    page = runs[len(runs) // 2][0] if is_block else leaf_pages(backlog.queue, BLOCKS)
    bad = sectors.environment(backlog.queue / "data.mdb", page)
    text = backlog.command(bad, "queue", "verify", status=2)
    assert f"it cannot be read: {IO_ERROR}" in text
    relay = backlog.start(bad)
    assert f"page {page}: it cannot be read: {IO_ERROR}" in relay.log()
    wait_until(lambda: not report_of(relay)["queued_records"], "the rest is delivered", 60)
    report = report_of(relay)
    arrived = received(backlog.central.arrived)
    assert report["quarantined_records"] == MESSAGES - len(set(arrived))
    if is_block:
        assert 0 < report["quarantined_records"] < MESSAGES // 2
    assert len(list(backlog.queue.glob("data.mdb.damaged-*"))) == 1
    backlog.command(bad, "audit")
    relay.stop()


def test_where_the_beginning_of_the_file_cannot_be_read_it_stays_as_it_is(
    backlog: Backlog, sectors: BadSectors
) -> None:
    """The disk may be well again tomorrow."""
    bad = sectors.environment(backlog.queue / "data.mdb", 0)
    backlog.command(bad, "audit", status=2)
    relay = RelayProcess(backlog._folder, environment=bad, **backlog._tables)
    relay.start(wait=False)
    assert relay.wait_exit() == 1
    assert IO_ERROR in relay.log()
    assert not list(backlog.queue.glob("data.mdb.damaged-*"))
    relay = backlog.start({**bad, "BAD_INODE": "0"})
    backlog.central.wait_for(backlog.messages)
    relay.signal(signal.SIGBUS)
    assert relay.wait_exit() == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in relay.log(), "where it was is in the log"
