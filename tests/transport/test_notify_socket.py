from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from twisted.logger import LogEvent, Logger, formatEvent

from relay.transport.notify_socket import NotifySocket


@contextmanager
def manager(path: str) -> Iterator[socket.socket]:
    """A service manager's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind("\0" + path[1:] if path.startswith("@") else path)
        bound.settimeout(5)
        yield bound


@pytest.mark.parametrize("abstract", [False, True])
def test_a_report_is_one_datagram(tmp_path: Path, abstract: bool) -> None:
    path = f"@syslogrelay-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with manager(path) as other:
        NotifySocket(path).send({"READY": "1", "STATUS": "all well"})
        assert other.recv(4096) == b"READY=1\nSTATUS=all well"


def test_a_value_is_one_short_line(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with manager(path) as other:
        NotifySocket(path).send({"STATUS": "a\nWATCHDOG=trigger " + "x" * 5000})
        report = other.recv(8192).decode()
    assert "\n" not in report
    assert report.startswith("STATUS=a WATCHDOG=trigger xx")
    assert len(report) == len("STATUS=") + 1000


def test_nobody_wants_to_know() -> None:
    NotifySocket("").send({"READY": "1"})


def warnings_of(notify: NotifySocket) -> list[str]:
    lines: list[str] = []

    class Lines:
        def __call__(self, event: LogEvent) -> None:
            lines.append(formatEvent(event))

    notify._log = Logger(namespace="test", observer=Lines())
    return lines


def test_a_manager_that_is_gone_is_said_once(tmp_path: Path) -> None:
    notify = NotifySocket(str(tmp_path / "notify"))
    said = warnings_of(notify)
    notify.send({"READY": "1"})
    notify.send({"READY": "1"})
    assert said == [
        f"cannot report to NOTIFY_SOCKET {tmp_path / 'notify'}: No such file or directory"
    ]


def test_a_busy_manager_is_not_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    notify = NotifySocket(path)
    said = warnings_of(notify)
    with manager(path):
        for _ in range(10_000):  # far more than the socket's buffer takes
            notify.send({"WATCHDOG": "1"})
    assert said == []
