from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.service.configuration.model import Url
from relay.service.probes.probe import Probe
from relay.service.sources import system
from relay.service.sources.service import SourceService
from relay.service.sources.system import (
    HostLogs,
    SystemConfiguration,
    SystemSource,
    find_host_logs,
    probe_system,
)
from tests.configurations import build_source
from tests.connections import fired

SYSTEM = Url("system", is_bare=True)


class Reactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        if reader in self.readers:
            self.readers.remove(reader)


def logs(root: Path, *, journal: bool = False, kernel: bool = True) -> HostLogs:
    (root / "kmsg").touch()
    return HostLogs(journal, str(root / "log"), str(root / "kmsg") if kernel else "")


def source_on(
    monkeypatch: pytest.MonkeyPatch, found: HostLogs, reactor: Any = None, **keys: Any
) -> SystemSource:
    """The service as the relay makes it, on a host that has `found`."""
    monkeypatch.setattr(system, "find_host_logs", lambda: found)
    configuration = SystemConfiguration("own", SYSTEM, **keys)
    source = build_source(configuration, reactor=reactor or Reactor())
    assert isinstance(source, SystemSource)
    return source


def test_where_journald_runs_the_journal_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_on(monkeypatch, logs(tmp_path, journal=True), read_from="beginning")
    (journal,) = source._parts
    assert (journal.id, str(journal.url)) == ("own", "journald://")
    assert journal._reader._from_beginning  # type: ignore[attr-defined]
    report = source.report()
    assert report["listen"] == report["address"] == "system://"
    assert (report["ready"], report["journalctl_starts"]) == (False, 0)


def test_elsewhere_the_socket_and_the_kernels_log_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reactor = Reactor()
    source = source_on(monkeypatch, logs(tmp_path), reactor, socket_mode=0o620)
    source.privilegedStartService()
    assert os.stat(tmp_path / "log").st_mode & 0o777 == 0o620
    source.startService()
    report = source.report()
    assert report["state"].startswith(f"takes {tmp_path}/log and {tmp_path}/kmsg")
    assert report["ready"] and report["gaps"] == 0 and report["receive_buffer_bytes"] > 0
    assert len(reactor.readers) == 2
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as program:
        program.connect(str(tmp_path / "log"))
    results = fired(source.stopService())
    assert results == [None] and reactor.readers == []
    assert not (tmp_path / "log").exists()


def test_without_the_kernels_log_the_socket_is_taken_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_on(monkeypatch, logs(tmp_path, kernel=False))
    assert [str(part.url) for part in source._parts] == [f"unixgram://{tmp_path}/log"]


def test_a_part_with_trouble_is_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = logs(tmp_path)
    (tmp_path / "kmsg").unlink()
    source = source_on(monkeypatch, found)
    source.startService()
    report = source.report()
    assert report["state"] == f"cannot read {tmp_path}/kmsg: No such file or directory"
    assert not report["ready"]
    source.stopService()


def test_its_parts_share_keys_and_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_on(monkeypatch, logs(tmp_path), frame_bytes_max=600, oversize="drop")
    for part in source._parts:
        assert isinstance(part, SourceService)
        assert (part.id, part.counters) == ("own", source.counters)
    kernel: Any = source._parts[1]
    assert kernel._reader._oversize.frame_bytes_max == 600


def test_check_says_what_is_taken_and_what_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = SystemConfiguration("own", SYSTEM)
    monkeypatch.setattr(system, "find_host_logs", lambda: logs(tmp_path))
    assert configuration.takes() == f"{tmp_path}/log and {tmp_path}/kmsg: no journald runs here"
    assert configuration.obstacle() == ""
    (tmp_path / "log").mkdir()
    assert configuration.obstacle().startswith("this path is a directory, not a socket")
    monkeypatch.setattr(system, "find_host_logs", lambda: logs(tmp_path, journal=True))
    assert configuration.obstacle() == ""


def test_the_probe_tries_what_is_taken(tmp_path: Path) -> None:
    probe = Probe("source own", 1.0)
    probe_system(probe, logs(tmp_path))
    assert [finding.step for finding in probe.findings] == ["system", "path", "kernel"]
    probe = Probe("source own", 1.0)
    probe_system(probe, logs(tmp_path, journal=True))
    assert [finding.step for finding in probe.findings] == ["system", "journal"]


def test_a_host_with_journald_has_a_journal(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/journal").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "run/systemd/journal/socket"))
        found = find_host_logs(str(tmp_path))
    assert found.has_journal
    assert str(found) == "the journal: journald runs here"


def test_another_host_has_a_socket_and_the_kernels_log(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/journal").mkdir(parents=True)
    (tmp_path / "run/systemd/journal/socket").touch()  # a file that somebody has left there
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").touch()
    found = find_host_logs(str(tmp_path))
    assert not found.has_journal
    assert found.kernel_device == f"{tmp_path}/dev/kmsg"
    assert str(found) == f"{tmp_path}/dev/log and {tmp_path}/dev/kmsg: no journald runs here"


def test_a_container_has_a_socket_alone(tmp_path: Path) -> None:
    found = find_host_logs(str(tmp_path))
    assert (found.has_journal, found.kernel_device) == (False, "")
    assert str(found).startswith(f"{tmp_path}/dev/log alone: no journald runs here")
