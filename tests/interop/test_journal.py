"""Debian's journalctl on a journal that systemd-journal-remote has written."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import AskFailed, ask
from tests.interop.packages import PackagesRoot
from tests.processes import Programs, running_programs, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines

START_MICROSECONDS = 1_761_000_000_000_000


class Journal:
    """A directory with journal files, and relays that read it."""

    def __init__(self, packages: PackagesRoot, programs: Programs, folder: Path) -> None:
        self.arrived = folder / "received.log"
        self.files = folder / "journal"
        self.files.mkdir()
        self._packages = packages
        self._programs = programs
        self._folder = folder
        self._count = 0
        wrapper = folder / "bin" / "journalctl"
        wrapper.parent.mkdir()
        libraries = packages.environment["LD_LIBRARY_PATH"]
        wrapper.write_text(
            f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {packages.journalctl} "$@"\n'
        )
        wrapper.chmod(0o755)
        self._environment = {**os.environ, "PATH": f"{wrapper.parent}:{os.environ['PATH']}"}

    def write(self, *messages: bytes, boot: str = "4", file: str = "a", **fields: str) -> None:
        """Add entries of one boot."""
        octets = b""
        for message in messages:
            self._count += 1
            header = {
                "__REALTIME_TIMESTAMP": str(START_MICROSECONDS + self._count),
                "__MONOTONIC_TIMESTAMP": str(self._count),
                "_BOOT_ID": boot * 32,
                "_HOSTNAME": "web-1",
                "SYSLOG_IDENTIFIER": "app",
                "PRIORITY": "5",
                **fields,
            }
            octets += "".join(f"{name}={value}\n" for name, value in header.items()).encode()
            octets += b"MESSAGE\n" + struct.pack("<Q", len(message)) + message + b"\n\n"
        subprocess.run(
            [self._packages.journal_remote, "-o", self.files / f"{file}.journal", "-"],
            input=octets,
            env=self._packages.environment,
            check=True,
            capture_output=True,
            timeout=20,
        )

    def relay(self, **keys: Any) -> RelayProcess:
        relay = RelayProcess(
            self._folder,
            sources={"journal": {"listen": f"journald://{self.files}", **keys}},
            destinations={"file": {"connect": f"file://{self.arrived}"}},
            environment=self._environment,
        )
        self._programs.add(relay)
        relay.start()
        return relay

    def messages(self, count: int) -> list[bytes]:
        return [line.rpartition(b"] ")[2] for line in wait_for_lines(self.arrived, count)]


@pytest.fixture
def journal(packages: PackagesRoot, tmp_path: Path) -> Iterator[Journal]:
    with running_programs() as running:
        yield Journal(packages, running, tmp_path)


def source(relay: RelayProcess) -> dict[str, Any]:
    report: dict[str, Any] = ask(str(relay.state_dir), "status")["sources"][0]
    return report


def queued(relay: RelayProcess) -> int:
    report: dict[str, Any] = ask(str(relay.state_dir), "status")["destinations"][0]
    return int(report["queued_records"])


def follows(relay: RelayProcess) -> bool:
    try:
        return bool(source(relay)["state"] == "follows the journal")
    except AskFailed:  # it starts
        return False


def test_boots_and_restarts(journal: Journal) -> None:
    journal.write(b"one", boot="1", _TRANSPORT="kernel", _UID="0")
    journal.write(b"two\nlines \xff", b"x" * 100_000, boot="2", _TRANSPORT="journal")
    relay = journal.relay(read_from="beginning", frame_bytes_max="256 KiB")
    assert journal.messages(3) == [b"one", rb"two#012lines " + b"\xff", b"x" * 100_000]
    assert received(journal.arrived)[0] == (
        b"<5>1 2025-10-20T22:40:00.000001Z web-1 app - - "
        b'[journald@32473 _TRANSPORT="kernel" _UID="0"] one'
    )
    wait_until(lambda: follows(relay), "it follows")
    journal.write(b"four", boot="3", _UID="0")  # the machine has booted while we followed
    assert journal.messages(4)[3:] == [b"four"]
    wait_until(lambda: queued(relay) == 0, "the queue knows that, or it is delivered again")
    relay.kill()
    journal.write(b"five", boot="3", _UID="0")
    journal.write(b"six", boot="4", _UID="0")
    relay.start()
    assert journal.messages(6)[4:] == [b"five", b"six"]
    wait_until(lambda: follows(relay), "it follows")
    assert source(relay)["gaps"] == 0
    relay.stop()


def test_the_end_matches_and_a_gap(journal: Journal) -> None:
    journal.write(b"old", _TRANSPORT="kernel", _UID="0")
    relay = journal.relay(matches=["_TRANSPORT=kernel", "+", "_UID=7"])
    wait_until(lambda: follows(relay), "it follows")
    journal.write(b"not wanted", _TRANSPORT="journal", _UID="0")
    journal.write(b"kernel", _TRANSPORT="kernel", _UID="0")
    journal.write(b"seven", _TRANSPORT="journal", _UID="7")
    assert journal.messages(2) == [b"kernel", b"seven"]
    relay.stop()
    (journal.files / "a.journal").unlink()
    journal.write(b"later", _UID="7", file="b")
    relay.start()
    assert journal.messages(3)[2:] == [b"later"]
    assert source(relay)["gaps"] == 1
    relay.stop()
    assert "the entry where reading stopped is not in the journal" in relay.log()
