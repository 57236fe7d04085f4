from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from relay.queue.files.ownership import user_name
from relay.service.probes import files
from relay.service.probes.files import (
    probe_appended,
    probe_connectable,
    probe_directory,
    probe_ownership,
    probe_pipe,
    probe_read,
    probe_runnable,
    probe_terminals,
    room_at,
)
from relay.service.probes.probe import Probe


def faults(probe: Probe) -> list[str]:
    return [each.fault or each.step for each in probe.findings]


def test_a_file_to_append_to_is_not_made(tmp_path: Path) -> None:
    for path in (tmp_path / "new.log", tmp_path / "more" / "new.log"):
        probe = Probe("destination file", 1)
        probe_appended(probe, str(path.parent), path.name)
        assert faults(probe) == ["path", "disk"]
    assert list(tmp_path.iterdir()) == []


def test_many_files_below_a_directory(tmp_path: Path) -> None:
    probe = Probe("destination file", 1)
    probe_appended(probe, f"{tmp_path}/logs", "")
    assert probe.findings[0].text.startswith(f"{tmp_path}/logs can be written to")


def test_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "below.log"):
        probe = Probe("destination file", 1)
        probe_appended(probe, str(path.parent), path.name)
        assert faults(probe) == ["path-taken"]
    probe = Probe("destination file", 1)
    probe_appended(probe, str(tmp_path), "file")
    assert faults(probe) == ["path", "disk"]


def test_no_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    probe = Probe("destination file", 1)
    probe_appended(probe, str(tmp_path), "file")
    assert not probe_directory(probe, str(tmp_path))
    probe_read(probe, str(tmp_path / "f*"), follow_symlinks=False)
    assert faults(probe) == ["file-not-writable", "directory-not-writable", "file-not-readable"]
    assert (
        f"{tmp_path}/file, which belongs to user {user_name(os.geteuid())}"
        in probe.findings[0].text
    )


def test_files_for_another_owner_or_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_001)
    monkeypatch.setattr(os, "getegid", lambda: 4_000_000_002)
    monkeypatch.setattr(os, "getgroups", lambda: [4_000_000_003])
    probe = Probe("destination file", 1)
    for owner, group in ((-1, -1), (4_000_000_001, 4_000_000_002), (-1, 4_000_000_003)):
        probe_ownership(probe, owner, group)
    assert faults(probe) == []
    probe_ownership(probe, 0, 0)
    assert faults(probe) == ["owner-not-possible", "group-not-possible"]
    assert "is not a member of group root, so" in probe.findings[1].text
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    again = Probe("destination file", 1)
    probe_ownership(again, 4_000_000_001, 4_000_000_004)
    assert faults(again) == []


@pytest.mark.parametrize(
    ("free", "fault"), [(0, "disk-full"), (4, "disk-nearly-full"), (5, "disk")]
)
def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, fault: str) -> None:
    monkeypatch.setattr(files, "room_at", lambda path: (free, 100))
    probe = Probe("destination file", 1)
    probe_appended(probe, str(tmp_path), "new.log")
    assert faults(probe) == ["path", fault]


def test_room_of_what_is_to_be_made(tmp_path: Path) -> None:
    free, whole = room_at(str(tmp_path / "a" / "b"))
    assert 0 <= free <= whole


def test_files_to_read(tmp_path: Path) -> None:
    probe = Probe("source files", 1)
    probe_read(probe, f"{tmp_path}/*.log", follow_symlinks=False)
    (tmp_path / "one.log").write_text("")
    probe_read(probe, f"{tmp_path}/*.log", follow_symlinks=False)
    (tmp_path / "two.log").mkdir()
    probe_read(probe, f"{tmp_path}/*.log", follow_symlinks=False)
    assert faults(probe) == ["file-missing", "path", "file-left-out", "path"]


def test_a_socket_of_another_program(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    probe = Probe("destination unix", 1)
    probe_connectable(probe, path, socket.SOCK_STREAM)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        probe_connectable(probe, path, socket.SOCK_STREAM)
        probe_connectable(probe, path, socket.SOCK_DGRAM)
    probe_connectable(probe, path, socket.SOCK_STREAM)
    assert faults(probe) == ["socket-unusable", "connect", "socket-unusable", "socket-unusable"]


def test_a_named_pipe_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    probe = Probe("destination pipe", 1)
    probe_pipe(probe, str(path))
    path.write_text("")
    probe_pipe(probe, str(path))
    path.unlink()
    os.mkfifo(path)
    probe_pipe(probe, str(path))
    assert faults(probe) == ["pipe-missing", "path-taken", "path"]


def test_a_program_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "program"
    probe = Probe("destination program", 1)
    for mode in (None, 0o644, 0o755):
        if mode is not None:
            path.write_text("#!/bin/false")
            path.chmod(mode)
        probe_runnable(probe, str(path))
    assert faults(probe) == ["program-not-runnable", "program-not-runnable", "path"]


def test_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*lines: str) -> list[str]:
        monkeypatch.setattr(files, "terminal_lines", lambda: lines)
        probe = Probe("destination users", 1)
        probe_terminals(probe)
        return faults(probe)

    assert found() == ["terminals"]
    assert found("null") == ["terminals"]
    assert found("null", "pts/987654") == ["terminal-missing"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert found("null") == ["terminal-not-writable"]
