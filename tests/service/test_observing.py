from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, Logger, formatEvent

from relay.service import observing
from relay.service.observing import (
    ControlService,
    HangupService,
    StatisticsService,
)
from relay.service.refusal import StartRefused


class Reactor(MemoryReactorClock):
    """Runs what comes from signals and threads when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], None]] = []
        self.adopted: list[Any] = []

    def callFromThread(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> None:
        self.adopted.append(factory)


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


# The control socket.


def control(path: Path, reactor: Reactor) -> tuple[ControlService, Any]:
    factory: Any = Factory()
    return ControlService(path=str(path), factory=factory, clock=reactor), factory


def test_only_we_may_use_the_control_socket(tmp_path: Path, reactor: Reactor) -> None:
    path = tmp_path / "control.sock"
    service, factory = control(path, reactor)
    service.startService()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        (listener,) = reactor.getReaders()
        listener.doRead()
    assert reactor.adopted == [factory]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    service.stopService()
    assert (path.exists(), reactor.getReaders()) == (False, [])


def test_a_control_socket_that_cannot_be_made(tmp_path: Path, reactor: Reactor) -> None:
    obstacle = tmp_path / "control.sock"
    obstacle.mkdir()
    with pytest.raises(StartRefused, match="this path is a directory, not a socket: remove it"):
        control(obstacle, reactor)[0].startService()
    with pytest.raises(StartRefused, match="too long"):
        control(tmp_path / ("x" * 120), reactor)[0].startService()


def test_a_control_socket_that_is_removed_is_made_again(tmp_path: Path, reactor: Reactor) -> None:
    path = tmp_path / "state" / "control.sock"
    service, _ = control(path, reactor)
    service.startService()
    path.unlink()
    path.parent.rmdir()
    reactor.advance(2.0)
    assert not path.parent.exists(), "the queue makes its directory, with its mode"
    path.parent.mkdir()
    reactor.advance(2.0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        (listener,) = reactor.getReaders()
        listener.doRead()
    assert len(reactor.adopted) == 1
    path.unlink()
    path.write_text("somebody's")
    reactor.advance(2.0)
    service.stopService()
    assert path.read_text() == "somebody's"
    assert reactor.getDelayedCalls() == []


def test_it_is_made_again_at_the_next_look_and_tried_until_it_can_be(
    tmp_path: Path, reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    service, _ = control(Path("control.sock"), reactor)
    service.startService()
    made: list[int] = []
    bind = observing.bind_unix

    def bind_the_second_time(*arguments: Any, **keywords: int) -> socket.socket:
        made.append(keywords["receive_buffer_bytes"])
        if len(made) == 1:
            raise OSError("not now")
        return bind(*arguments, **keywords)

    monkeypatch.setattr(observing, "bind_unix", bind_the_second_time)
    Path("control.sock").unlink()
    reactor.advance(2.0)
    assert not Path("control.sock").exists()
    reactor.advance(2.0)
    assert Path("control.sock").exists()
    assert made == [0, 0]  # the system's size is enough for requests
    service.stopService()


# Statistics.


class Documents:
    """A status whose source receives one message between two documents."""

    def __init__(self) -> None:
        self.count = 0

    def document(self) -> dict[str, Any]:
        self.count += 1
        return {
            "sources": [{"id": "in", "received_records": self.count, "dropped_records": {}}],
            "destinations": [],
            "admission": {"open": True},
        }


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))


def statistics(reactor: Reactor, seconds: float) -> tuple[StatisticsService, list[str]]:
    status: Any = Documents()
    service = StatisticsService(status=status, interval_seconds=seconds, clock=reactor)
    observer = Lines()
    service._log = Logger(namespace="test", observer=observer)
    service.startService()
    return service, observer.lines


def test_one_line_an_interval_and_one_at_the_end(reactor: Reactor) -> None:
    service, lines = statistics(reactor, 60)
    reactor.advance(59)
    assert lines == []
    reactor.advance(1)
    reactor.advance(60)
    assert lines == ["statistics: in: received 1"] * 2
    assert service.running
    service.stopService()
    assert not service.running
    assert len(lines) == 3
    assert reactor.getDelayedCalls() == []


def test_no_interval_means_never(reactor: Reactor) -> None:
    service, lines = statistics(reactor, 0)
    reactor.advance(1000)
    service.stopService()
    assert lines == []


def test_the_line_is_told_as_well(reactor: Reactor) -> None:
    status: Any = Documents()
    told: list[str] = []
    service = StatisticsService(status=status, interval_seconds=60, clock=reactor, tell=told.append)
    service.startService()
    reactor.advance(60)
    assert told == ["statistics: in: received 1"]


# SIGHUP.


@pytest.fixture
def hangup() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_hangup_calls_back_in_the_reactors_own_time(
    reactor: Reactor, hangup: None, logged: list[str]
) -> None:
    before = signal.getsignal(signal.SIGHUP)
    called: list[str] = []
    service = HangupService(
        callbacks=[lambda: called.append("a"), lambda: called.append("b")], reactor=reactor
    )
    service.startService()
    os.kill(os.getpid(), signal.SIGHUP)
    assert (called, len(reactor.calls)) == ([], 1)
    reactor.calls[0]()
    assert (called, service.running) == (["a", "b"], True)
    assert logged == ["SIGHUP: opening files again"]
    service.stopService()
    assert not service.running
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_disposition_that_python_does_not_know(reactor: Reactor, hangup: None) -> None:
    service = HangupService(callbacks=[], reactor=reactor)
    service.startService()
    service._before = None
    service.stopService()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
