from __future__ import annotations

import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ProcessDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.service.configuration.model import Url
from relay.service.refusal import StartRefused
from relay.service.sources import local
from tests.configurations import build_source, new_source
from tests.connections import RecordingIntake, RecordingNotices, fired
from tests.threads import Reactor


def test_a_named_pipe_is_made_and_read(tmp_path: Path) -> None:
    path, reactor, intake = tmp_path / "new" / "pipe", Reactor(), RecordingIntake()
    url = Url("pipe", path=str(path))
    source = build_source(new_source("in", url, pipe_mode=0o620), reactor=reactor, intake=intake)
    source.privilegedStartService()
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o620
    source.startService()
    (connection,) = reactor.readers
    for line in (b"one\n", b"two\n"):  # of two writers
        with open(path, "wb", buffering=0) as writer:
            writer.write(line)
        connection.doRead()
    reactor.advance(0.1)
    assert intake.batches == [[b"one"], [b"two"]] or intake.batches == [[b"one", b"two"]]
    with open(path, "wb", buffering=0) as writer:
        writer.write(b"three\n")
    done = source.stopService()
    reactor.advance(0)
    assert fired(done) == [None]
    assert intake.batches[-1] == [b"three"]  # what was written before the stop
    assert path.exists()  # for those who write while the relay is away


def test_what_is_no_named_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    source = build_source(new_source("in", Url("pipe", path=str(tmp_path / "file"))))
    with pytest.raises(StartRefused, match=r"source in: cannot read pipe:.*it is no named pipe"):
        source.privilegedStartService()


class Starting:
    """A source of a program, of which the test says when it ends."""

    pid = 4711

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: str = "/bin/cat") -> None:
        self.reactor: Any = Reactor()
        self.notices = RecordingNotices()
        self.intake = RecordingIntake()
        self.spawned: list[Any] = []
        self.signals: list[int] = []
        monkeypatch.setattr(Reactor, "spawnProcess", self._spawn, raising=False)
        self.group_is_there = True
        monkeypatch.setattr("os.killpg", self._killpg)
        self.source = build_source(
            new_source("in", Url("program", path=path), arguments=("-u",)),
            reactor=self.reactor,
            notices=self.notices,
            intake=self.intake,
        )
        self.source.startService()

    def _killpg(self, group: int, number: int) -> None:
        if not self.group_is_there:
            raise ProcessLookupError
        self.signals.append(number)

    def _spawn(self, protocol: Any, *arguments: Any, childFDs: Any) -> None:
        self.spawned.append((protocol, arguments, os.dup(childFDs[1])))
        protocol.transport = self

    @property
    def state(self) -> str:
        return str(self.source.report()["state"])


def test_a_program_is_read_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = Starting(monkeypatch)
    ((program, arguments, output),) = starting.spawned
    assert arguments[1][1:] == ("/bin/cat", "-u")
    assert starting.state == "running /bin/cat"
    os.write(output, b"one\n")
    os.close(output)
    (connection,) = starting.reactor.readers
    connection.doRead()
    connection.connectionLost(Failure(connection.doRead()))
    program.processEnded(Failure(ProcessDone(0)))
    starting.reactor.advance(0)
    assert starting.intake.batches == [[b"one"]]
    assert starting.state.startswith("the program ended, next start in ")
    assert starting.source.report()["ready"] is False
    (said,) = starting.notices.said
    assert said[:2] == ("source in", "ended")
    starting.reactor.advance(10)
    assert len(starting.spawned) == 2
    os.close(starting.spawned[1][2])


def test_a_program_that_is_not_there_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starting = Starting(monkeypatch, str(tmp_path / "none"))
    assert starting.state.startswith("No such file or directory, next start in ")
    (tmp_path / "none").symlink_to("/bin/cat")
    starting.reactor.advance(10)
    assert starting.state == f"running {tmp_path}/none"
    os.close(starting.spawned[0][2])


def test_a_stop_ends_the_program_and_starts_it_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = Starting(monkeypatch)
    ((program, _, output),) = starting.spawned
    os.close(output)
    done = starting.source.stopService()
    starting.reactor.advance(0)
    assert starting.signals == [signal.SIGTERM]
    starting.group_is_there = False
    program.processEnded(Failure(ProcessDone(0)))
    starting.reactor.advance(100)
    assert fired(done) == [None]
    assert starting.signals == [signal.SIGTERM]
    assert len(starting.spawned) == 1


def test_the_relays_own_log_is_a_source() -> None:
    intake = RecordingIntake()
    intake.accept = lambda frames, origin: intake.batches.append(frames) or _never()  # type: ignore[attr-defined]
    reactor = Reactor()
    source = build_source(
        new_source("own", Url("internal", is_bare=True), severity_max=4),
        intake=intake,
        reactor=reactor,
    )
    source.startService()
    log = Logger(namespace="relay")
    log.warn("a test warns")
    log.info("a test informs")
    reactor.run_handed_over()
    source.stopService()
    log.warn("after the stop")
    reactor.run_handed_over()
    ((frame,),) = intake.batches
    assert frame.endswith(b" - - a test warns")
    assert local.INTERNAL.address.form == "://"


def _never() -> Any:
    from twisted.internet.defer import Deferred

    return Deferred()
