"""The child here is a real one: what is tested is how the kernel treats it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.python.failure import Failure

from relay.transport.child_process import (
    CHANNEL_FD,
    ChildProcess,
    interpreter_environment,
)


class Transport:
    pid = 42

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.gone = False

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)


class Setup:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ends: list[str] = []
        channel: Any = object()
        self.child = ChildProcess(channel, on_line=self.lines.append, on_ended=self.ends.append)
        self.transport = Transport()
        transport: Any = self.transport
        self.child.makeConnection(transport)


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_what_it_writes(setup: Setup) -> None:
    assert setup.child.pid == 42
    for octets in (b"one\ntw", b"o\n\xff", b"rest"):
        setup.child.childDataReceived(2, octets)
    assert setup.lines == ["one", "two"]
    setup.child.processEnded(Failure(ProcessDone(0)))
    assert setup.lines == ["one", "two", "\ufffdrest"]


def test_a_line_without_an_end_is_cut(setup: Setup) -> None:
    for _ in range(100):
        setup.child.childDataReceived(2, bytes(1000))
    setup.child.childDataReceived(2, b"\n")
    assert len(setup.lines[0]) <= 9192


def test_it_has_ended_when_all_that_it_said_was_taken(setup: Setup) -> None:
    setup.child.processEnded(Failure(ProcessTerminated(None, signal.SIGKILL, None)))
    assert setup.ends == []
    setup.child.channel_lost()
    assert setup.ends == ["ended by SIGKILL"]


def test_it_ends_after_its_channel(setup: Setup) -> None:
    setup.child.channel_lost()
    assert setup.ends == []
    setup.child.processEnded(Failure(ProcessTerminated(3, None, 3 << 8)))
    assert setup.ends == ["ended with status 3"]


def test_it_is_killed_once(setup: Setup) -> None:
    setup.child.kill()
    setup.transport.gone = True
    setup.child.kill()
    assert setup.transport.signals == ["KILL"]


class Reactor:
    def __init__(self) -> None:
        self.spawned: list[tuple[Any, ...]] = []
        self.adopted: list[bool] = []

    def spawnProcess(
        self, child: Any, program: str, arguments: list[str], env: Any, childFDs: Any
    ) -> None:
        assert all(isinstance(fd, str) or os.fstat(fd) for fd in childFDs.values())
        self.spawned.append((program, arguments, env, sorted(childFDs)))

    def adoptStreamConnection(self, fd: int, family: int, factory: Any) -> None:
        self.adopted.append(os.get_blocking(fd))


def test_how_it_is_started(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    reactor = Reactor()
    setup.child.start(reactor, "relay.some.module", ["7"])
    ((program, arguments, env, descriptors),) = reactor.spawned
    assert program == sys.executable
    assert arguments == [sys.executable, "-P", "-m", "relay.some.module", "7"]
    assert env["TZ"] == "Europe/Berlin"
    assert descriptors == [0, 1, 2, CHANNEL_FD]
    assert reactor.adopted == [False]


def test_it_finds_the_modules_that_we_find() -> None:
    environment = interpreter_environment({"A": "b", "PYTHONPATH": "x"}, ["", "/one", "two"])
    assert environment == {"A": "b", "PYTHONPATH": f"/one:{os.path.abspath('two')}"}


ORPHAN = """
import os, subprocess, sys, time
from relay.transport.child_process import end_with_parent
if sys.argv[1] == "parent":
    child = subprocess.Popen([sys.executable, __file__, str(os.getpid())])
    time.sleep(60)
end_with_parent(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_it_ends_with_its_parent(tmp_path: Any) -> None:
    program = tmp_path / "orphan.py"
    program.write_text(ORPHAN)
    parent = subprocess.Popen(
        [sys.executable, str(program), "parent"],
        stdout=subprocess.PIPE,
        env=interpreter_environment(os.environ, sys.path),
    )
    assert parent.stdout is not None
    assert int(parent.stdout.readline())
    watch = threading.Timer(20, parent.stdout.close)
    watch.start()
    parent.kill()
    # The child holds the other end too: it ends when both are gone.
    assert parent.stdout.read() == b""
    watch.cancel()
    parent.wait()


def test_its_parent_has_ended_before() -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "from relay.transport.child_process import end_with_parent\n"
            "end_with_parent(1 << 22)\nprint('lives')",
        ],
        env=interpreter_environment(os.environ, sys.path),
        capture_output=True,
        timeout=20,
    )
    assert (ended.returncode, ended.stdout) == (1, b"")
