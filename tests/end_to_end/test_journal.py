"""The journal as a source, with a stand-in for journalctl: nothing is lost or repeated.

The seed of the moments is printed; set KILL_SEED to repeat a run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relay.cli.control_client import AskFailed, ask
from tests.end_to_end import journalctl_stand_in
from tests.end_to_end.central import Central
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines

KILLS = 12
BATCH = 50


class Journal:
    """What the stand-in reads, and a relay that reads it through the stand-in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "journal"
        self.folder.mkdir()
        self.count = 0
        self._path = self.folder / "entries"
        self._path.touch()
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "journalctl"
        program.write_text(
            f'#!/bin/sh\nexec {sys.executable} {journalctl_stand_in.__file__} "$@"\n'
        )
        program.chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}

    def log(self, count: int = 1) -> None:
        """Add entries; every seventh has two lines."""
        with self._path.open("a") as file:
            for number in range(self.count + 1, self.count + 1 + count):
                lines = "\n\nsecond line" if number % 7 == 0 else ""
                file.write(json.dumps([number, f"number {number}{lines}"]) + "\n")
        self.count += count

    def forget(self, count: int) -> None:
        """Remove the oldest entries."""
        self._path.write_text("".join(self._path.read_text().splitlines(keepends=True)[count:]))

    def relay(
        self,
        folder: Path,
        connect: str,
        *,
        relay: Mapping[str, Any] | None = None,
        destination: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> RelayProcess:
        return RelayProcess(
            folder,
            sources={"journal": {"listen": f"journald://{self.folder}", **keys}},
            destinations={"out": {"connect": connect, **(destination or {})}},
            relay=relay,
            environment=self.environment,
        )


def numbers(path: Path) -> list[int]:
    """The numbers of the entries that have arrived, in their order."""
    return [
        int(words[1].split(b"#012")[0].split(b" ")[0])
        for line in received(path)
        if len(words := line.split(b"number ")) == 2
    ]


def report(relay: RelayProcess) -> dict[str, Any]:
    """What the source says about itself; nothing while the relay starts."""
    try:
        document = ask(str(relay.state_dir), "status")
    except AskFailed:
        return {"received_records": 0, "state": "", "gaps": 0}
    source: dict[str, Any] = document["sources"][0]
    return source


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_following(relay: RelayProcess) -> int:
    """The pid of journalctl."""
    wait_until(lambda: report(relay)["state"] == "follows the journal", "it follows")
    (pid,) = children(relay.pid)
    return pid


def test_it_begins_at_the_end_and_goes_on_where_it_stopped(
    programs: Programs, tmp_path: Path
) -> None:
    journal = Journal(tmp_path)
    journal.log(3)
    arrived = tmp_path / "received.log"
    relay = journal.relay(tmp_path / "relay", f"file://{arrived}")
    programs.add(relay)
    relay.start()
    child = wait_until_following(relay)
    journal.log()
    first = wait_for_lines(arrived, 1)[0]
    assert first == (
        b"<6>1 2025-10-20T22:40:00.000004Z - kernel - - "
        b'[journald@32473 _TRANSPORT="kernel"] number 4'
    )
    relay.stop()
    assert not is_running(child)
    journal.log(5)
    relay.start()
    wait_for_lines(arrived, 6)
    wait_until_following(relay)
    journal.log()
    wait_for_lines(arrived, 7)
    relay.stop()
    assert numbers(arrived) == list(range(4, 11))
    assert "warn" not in relay.log()


def test_kill_9_loses_and_repeats_nothing(programs: Programs, tmp_path: Path) -> None:
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(2**32)))
    print(f"KILL_SEED={seed}")
    moments = random.Random(seed)
    journal = Journal(tmp_path)
    central = Central(programs, tmp_path / "central", free_port())
    # The central relay is down meanwhile: what it gets is what the queue holds.
    relay = journal.relay(tmp_path / "edge", central.url, read_from="beginning")
    programs.add(relay)
    stopping = threading.Event()

    def write() -> None:
        while not stopping.wait(0.005):
            journal.log(BATCH)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    moment = threading.Event()
    orphans = []
    for _ in range(KILLS):
        relay.start(wait=False)
        if moments.random() < 0.8:  # otherwise it may be hit while it starts
            wait_until(lambda: report(relay)["received_records"], "entries flow")
        moment.wait(moments.uniform(0.0, 0.2))
        orphans += children(relay.pid)
        relay.kill()
    stopping.set()
    writer.join()
    relay.start()
    central.start()
    expected = list(range(1, journal.count + 1))
    wait_until(lambda: len(numbers(central.arrived)) >= len(expected), "all entries", 60)
    relay.stop()
    assert numbers(central.arrived) == expected
    for orphan in orphans:  # each ends when nobody reads what it writes
        wait_until(lambda pid=orphan: not is_running(pid), "journalctl has ended")  # type: ignore[misc]
    assert "Traceback" not in relay.log()


def test_the_journal_waits_while_the_queue_is_full(programs: Programs, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log(20_000)
    central = Central(programs, tmp_path / "central", free_port())
    relay = journal.relay(
        tmp_path / "edge",
        central.url,
        relay={"queue_bytes_max": "1 MiB"},
        destination={"retry_seconds_max": 1},
        read_from="beginning",
    )
    programs.add(relay)
    relay.start()
    wait_until(lambda: report(relay)["state"] == "catches up, paused", "it is paused")
    assert report(relay)["received_records"] < journal.count
    central.start()
    wait_until(lambda: len(numbers(central.arrived)) >= journal.count, "all entries", 60)
    wait_until_following(relay)
    relay.stop()
    assert numbers(central.arrived) == list(range(1, journal.count + 1))


def test_journalctl_is_started_again(programs: Programs, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log(3)
    arrived = tmp_path / "received.log"
    relay = journal.relay(tmp_path / "relay", f"file://{arrived}", read_from="beginning")
    programs.add(relay)
    relay.start()
    wait_for_lines(arrived, 3)
    os.kill(wait_until_following(relay), signal.SIGKILL)
    wait_until(lambda: "ended by SIGKILL; next try in" in report(relay)["state"], "it waits")
    journal.log(3)
    wait_for_lines(arrived, 6)
    wait_until_following(relay)
    relay.stop()
    assert numbers(arrived) == list(range(1, 7))
    assert "source journal: journalctl was ended by SIGKILL; next try in" in relay.log()


def test_entries_that_are_gone_are_said(programs: Programs, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log(3)
    arrived = tmp_path / "received.log"
    relay = journal.relay(tmp_path / "relay", f"file://{arrived}", read_from="beginning")
    programs.add(relay)
    relay.start()
    wait_for_lines(arrived, 3)
    relay.stop()
    journal.log(3)
    journal.forget(4)
    relay.start()
    wait_for_lines(arrived, 5)
    wait_until_following(relay)
    assert report(relay)["gaps"] == 1
    relay.stop()
    assert numbers(arrived) == [1, 2, 3, 5, 6]
    assert "the entry where reading stopped is not in the journal" in relay.log()


def test_other_sources_go_on_without_a_journal(programs: Programs, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    arrived = tmp_path / "received.log"
    relay = journal.relay(tmp_path / "relay", f"file://{arrived}")
    relay.configure(
        relay={"state_dir": str(relay.state_dir), "allow_volatile_state": True},
        sources={
            "journal": {"listen": f"journald://{tmp_path / 'nowhere'}"},
            "local": {"listen": f"unixgram://{tmp_path / 'log'}"},
        },
        destinations={"out": {"connect": f"file://{arrived}"}},
    )
    programs.add(relay)
    relay.start()
    wait_until(lambda: "Failed to open" in report(relay)["state"], "the failure is said")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"<13>app: hello", str(tmp_path / "log"))
    assert wait_for_lines(arrived, 1) == [b"<13>app: hello"]
    relay.stop()
    assert "nowhere: No such file or directory; next try in" in relay.log()
