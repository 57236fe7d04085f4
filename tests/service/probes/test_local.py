from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from relay.service.probes import local
from relay.service.probes.local import probe_inherited, probe_journal, probe_pipe_to_read
from relay.service.probes.probe import Probe


def faults(probe: Probe) -> list[str]:
    return [each.fault or each.step for each in probe.findings]


@pytest.mark.parametrize(
    ("pid", "name", "fault"),
    [
        (7, "syslog.socket", "socket"),
        (7, "other.socket", "socket-not-passed"),
        (8, "syslog.socket", "socket-not-passed"),
    ],
)
def test_a_socket_of_the_relay_that_runs(
    monkeypatch: pytest.MonkeyPatch, pid: int, name: str, fault: str
) -> None:
    environment = {"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "syslog.socket"}
    monkeypatch.setattr(local, "initial_environment", lambda pid=None: environment if pid else {})
    probe = Probe("source", 1, pid)
    probe_inherited(probe, name)
    assert faults(probe) == [fault]


def test_a_socket_that_a_unit_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "UNIT_FOLDERS", (str(tmp_path / "etc"), str(tmp_path / "usr")))
    monkeypatch.setattr(local, "initial_environment", lambda pid=None: {})
    drop_in = tmp_path / "etc" / "relay.socket.d"
    drop_in.mkdir(parents=True)
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr" / "relay.socket").write_text("[Socket]\nListenDatagram=514\n")
    (tmp_path / "usr" / "gone.socket").symlink_to("/nowhere")
    (drop_in / "name.conf").write_text("[Socket]\nFileDescriptorName = network\n")
    for name, fault in (
        ("relay.socket", "socket"),
        ("network", "socket"),
        ("nothing", "socket-unit-missing"),
    ):
        probe = Probe("source", 1)
        probe_inherited(probe, name)
        assert faults(probe) == [fault]


@pytest.mark.parametrize(
    ("status", "output", "errors", "fault"),
    [
        (0, b"__CURSOR=s=1", b"", "journal"),
        (0, b"", b"", "journal-empty"),
        (0, b"", b"No journal files were found.", "journal-unreadable"),
        (1, b"", b"Failed to open directory: No such file", "journal-unreadable"),
        (
            0,
            b"__CURSOR=s=1",
            b"Hint: You are currently not seeing messages from other users and the system.",
            "journal-partly-readable",
        ),
    ],
)
def test_a_journal(
    monkeypatch: pytest.MonkeyPatch, status: int, output: bytes, errors: bytes, fault: str
) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        assert command[0] == "/bin/journalctl" and "--lines=1" in command
        return subprocess.CompletedProcess(command, status, output, errors)

    monkeypatch.setattr(local, "find_journalctl", lambda: "/bin/journalctl")
    monkeypatch.setattr(subprocess, "run", run)
    probe = Probe("source", 1)
    probe_journal(probe, "/var/log/journal")
    assert faults(probe) == [fault]


def test_a_journalctl_that_hangs_or_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    probe = Probe("source", 1)
    for found in ("/bin/journalctl", None):
        monkeypatch.setattr(local, "find_journalctl", lambda found=found: found)
        probe_journal(probe, "")
    assert faults(probe) == ["journal-unreadable", "journalctl-missing"]


def test_a_named_pipe_to_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    probe = Probe("source", 1)
    probe_pipe_to_read(probe, str(path))  # the relay makes it
    path.write_text("")
    probe_pipe_to_read(probe, str(path))
    path.unlink()
    os.mkfifo(path)
    probe_pipe_to_read(probe, str(path))
    assert faults(probe) == ["path", "path-taken", "path"]
    assert probe.findings[-1].text.endswith("whether somebody writes to it is not tried")


def test_a_named_pipe_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    probe = Probe("source", 1)
    for denied in (os.W_OK, os.R_OK):
        monkeypatch.setattr(os, "access", lambda path, mode, denied=denied: not mode & denied)
        probe_pipe_to_read(probe, str(path))
    assert faults(probe) == ["file-not-writable", "file-not-readable"]
