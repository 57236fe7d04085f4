from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.transport.local import program
from relay.transport.local.program import Program
from tests.connections import fired


class FakeReactor(Clock):
    """Runs nothing; stands for the transport too."""

    pid = 4711

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[tuple[Any, ...]] = []
        self.signals: list[int] = []

    def spawnProcess(self, protocol: Any, *arguments: Any, childFDs: Any) -> None:
        self.spawned.append((*arguments, childFDs))
        protocol.transport = self

    def signalProcess(self, number: int) -> None:
        self.signals.append(number)


class Setup:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reactor: Any = FakeReactor()
        self.groups: list[tuple[int, int]] = []
        self.has_group = self.may_signal = True
        monkeypatch.setattr("os.killpg", self._killpg)
        self.texts: list[str] = []
        self.ends: list[str] = []
        self.program = Program(on_text=self.texts.append, on_end=self.ends.append)

    def _killpg(self, group: int, number: int) -> None:
        if not self.has_group:
            raise ProcessLookupError
        if not self.may_signal:
            raise PermissionError
        if number:
            self.groups.append((group, number))

    def start(self) -> None:
        self.program.start(self.reactor, ["/bin/cat", "-u"], {0: 5, 1: 6, 2: "r"})


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Setup:
    return Setup(monkeypatch)


def test_it_is_started_without_a_shell_and_without_secrets(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSLOGRELAY_TOKEN", "secret")
    setup.start()
    ((executable, command, environment, files),) = setup.reactor.spawned
    assert executable.endswith("/setsid")
    assert command == (executable, "/bin/cat", "-u")
    assert files == {0: 5, 1: 6, 2: "r"}
    assert "PATH" in environment
    assert "SYSLOGRELAY_TOKEN" not in environment


def test_a_program_that_is_none_is_an_error(setup: Setup, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        setup.program.start(setup.reactor, [str(tmp_path / "none")], {})
    with pytest.raises(PermissionError, match="not a program"):
        setup.program.start(setup.reactor, [str(tmp_path)], {})
    assert setup.reactor.spawned == []


def test_what_starts_programs_may_be_missing(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "_SETSID", str(tmp_path / "setsid"))
    with pytest.raises(FileNotFoundError, match="setsid is missing, which starts programs; util"):
        setup.start()
    assert setup.reactor.spawned == []


def test_its_errors_are_printable_and_short(setup: Setup) -> None:
    setup.program.errReceived(b"bad \x1b[2J thing\n" + b"x" * 5000)
    setup.program.errReceived(b"\n")
    (text,) = setup.texts
    assert text.startswith("standard error: bad \\x1b[2J thing")
    assert len(text) < 600


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (ProcessDone(0), "the program ended"),
        (ProcessTerminated(3), "the program ended with status 3"),
        (ProcessTerminated(signal=9), "the program was ended by signal 9"),
    ],
)
def test_how_it_ended(setup: Setup, reason: Any, text: str) -> None:
    setup.program.processEnded(Failure(reason))
    assert setup.ends == [text]


def test_one_that_does_not_end_with_its_input_is_ended(setup: Setup) -> None:
    setup.start()
    ended = fired(setup.program.end(patience_seconds=0.7))
    setup.reactor.advance(0.69)
    assert setup.groups == []
    setup.reactor.advance(0.02)
    assert setup.groups == [(4711, signal.SIGTERM)]
    assert ended == []
    setup.reactor.advance(0.6)
    assert setup.groups == [(4711, signal.SIGTERM), (4711, signal.SIGKILL)]
    assert ended == [None]
    setup.has_group = False
    setup.program.processEnded(Failure(ProcessTerminated(signal=9)))
    assert not setup.reactor.getDelayedCalls()


def test_one_that_ends_by_itself_gets_no_signal(setup: Setup) -> None:
    setup.start()
    ended = fired(setup.program.end(patience_seconds=0.7))
    assert ended == []
    setup.has_group = False
    setup.program.processEnded(Failure(ProcessDone(0)))
    assert ended == [None]
    assert fired(setup.program.end(patience_seconds=0)) == [None]
    setup.reactor.advance(5)
    assert setup.groups == []


def test_what_a_program_has_started_is_ended_although_the_program_has_ended(setup: Setup) -> None:
    setup.start()
    ended = fired(setup.program.end(patience_seconds=0.7))
    setup.program.processEnded(Failure(ProcessDone(0)))
    assert (setup.ends, ended) == (["the program ended"], [])
    setup.reactor.advance(0.7)
    setup.reactor.advance(0.6)
    assert setup.groups == [(4711, signal.SIGTERM), (4711, signal.SIGKILL)]
    assert ended == [None]


def test_one_that_is_another_users_by_now_holds_up_nobody(setup: Setup) -> None:
    setup.may_signal = False
    setup.start()
    ended = fired(setup.program.end(patience_seconds=0))
    setup.reactor.advance(0)
    setup.reactor.advance(0.6)
    assert ended == [None]
    assert setup.texts == ["cannot be ended by the relay: it runs as another user"] * 2
    setup.program.processEnded(Failure(ProcessDone(0)))
    assert not setup.reactor.getDelayedCalls()


def test_one_that_hangs_can_be_killed_at_once(setup: Setup) -> None:
    setup.start()
    setup.program.signal(signal.SIGKILL)
    assert setup.groups == [(4711, signal.SIGKILL)]


def test_one_that_has_only_just_been_started_has_no_group_yet(setup: Setup) -> None:
    setup.has_group = False
    setup.start()
    setup.program.signal(signal.SIGTERM)
    assert setup.reactor.signals == [signal.SIGTERM]
