from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.transport.journal.journalctl import Journalctl, Selection, find_journalctl
from tests.transport.journal.test_reader import Child

CURSOR = b"s=1;i=2"


@pytest.mark.parametrize(
    ("run", "cursor", "expected"),
    [
        ("last", b"", ["--lines=1"]),
        ("backlog", b"", []),
        ("backlog", CURSOR, ["--cursor=s=1;i=2"]),
        ("follow", b"", ["--follow", "--no-tail"]),
        ("follow", CURSOR, ["--follow", "--no-tail", "--cursor=s=1;i=2"]),
    ],
)
def test_arguments(run: Any, cursor: bytes, expected: list[str]) -> None:
    always = ["--output=export", "--no-pager", "--all"]
    assert Selection().arguments(run, cursor) == always + expected
    some = Selection(directory="/j", matches=("_PID=1", "+", "A=-x y"), fields=("A", "_B"))
    assert some.arguments(run, cursor) == [
        *(*always, "--output-fields=A,_B", "--directory=/j", "--merge"),
        *(*expected, "--", "_PID=1", "+", "A=-x y"),
    ]


def test_the_program_is_found_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "journalctl"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_journalctl() == str(program)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ".")  # whose directory that is, nobody knows
    assert find_journalctl() != "./journalctl"


class Owner:
    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.ends: list[tuple[bool, str]] = []

    def take(self, chunk: bytes) -> None:
        self.taken.append(chunk)

    def ended(self, succeeded: bool, why: str) -> None:
        self.ends.append((succeeded, why))


class Run:
    """A child with everything that it talks to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.owner = Owner()
        self.child = Child()
        self.protocol = Journalctl(self.owner.take, self.owner.ended, clock=self.clock)
        self.protocol.makeConnection(self.child)  # type: ignore[arg-type]

    def end(self, reason: Exception) -> tuple[bool, str]:
        self.protocol.processEnded(Failure(reason))
        return self.owner.ends[-1]


def test_output_goes_to_the_owner() -> None:
    run = Run()
    run.protocol.childDataReceived(1, b"one")
    run.protocol.childDataReceived(2, b"two")
    assert run.owner.taken == [b"one"]


@pytest.mark.parametrize(
    ("reason", "stderr", "text"),
    [
        (ProcessDone(0), b"", (True, "journalctl ended with status 0")),
        (ProcessTerminated(1), b"", (False, "journalctl ended with status 1")),
        (ProcessTerminated(signal=15), b"", (False, "journalctl was ended by SIGTERM")),
        (
            ProcessTerminated(1),
            b"one\ntwo\x1b[0m\xff\n\n",
            (
                False,
                r"journalctl ended with status 1: two\x1b[0m\xff",
            ),
        ),
        (
            ProcessTerminated(1),
            b"x" * 9999,
            (False, f"journalctl ended with status 1: {'x' * 199}…"),
        ),
    ],
)
def test_its_end_in_words(reason: Exception, stderr: bytes, text: tuple[bool, str]) -> None:
    run = Run()
    for start in range(0, len(stderr), 1000):
        run.protocol.childDataReceived(2, stderr[start : start + 1000])
    assert run.end(reason) == text


def test_its_last_words_are_bounded() -> None:
    run = Run()
    for _ in range(100):
        run.protocol.childDataReceived(2, b"x" * 1000)
    assert len(run.protocol._stderr) == 2048


def test_it_is_terminated_and_then_killed() -> None:
    run = Run()
    run.protocol.end()
    assert (run.child.signals, run.child.closed) == (["TERM"], True)
    run.clock.advance(0.4)
    run.protocol.end()
    assert run.child.signals == ["TERM", "TERM"]
    run.clock.advance(0.2)
    assert run.child.signals == ["TERM", "TERM", "KILL"]
    run.end(ProcessTerminated(signal=9))
    assert run.clock.getDelayedCalls() == []


def test_what_ends_in_time_is_not_killed() -> None:
    run = Run()
    run.protocol.end()
    run.end(ProcessTerminated(signal=15))
    run.clock.advance(1)
    assert run.child.signals == ["TERM"]


def test_what_is_gone_already_cannot_be_signalled() -> None:
    run = Run()
    run.child.error = ProcessExitedAlready()
    run.protocol.end()
    assert run.child.closed
