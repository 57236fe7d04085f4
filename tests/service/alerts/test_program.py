from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.model.errors import UpstreamError
from relay.service.alerts.program import AlertProgram
from tests.connections import fired


class Host(Clock):
    """Starts programs, which do what the test says; their transport, too."""

    pid = 4711

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.commands: list[tuple[str, ...]] = []
        self.files: list[dict[int, Any]] = []
        self.written: list[bytes] = []
        self.signals: list[int] = []
        self.texts: list[str] = []
        self.protocol: Any = None
        monkeypatch.setattr("os.killpg", self._killpg)
        reactor: Any = self
        self.program = AlertProgram(
            ("/bin/sh", "-c", "x"), seconds_max=30.0, warn=self.texts.append, reactor=reactor
        )

    def spawnProcess(
        self, protocol: Any, executable: str, command: Any, environment: Any, *, childFDs: Any
    ) -> None:
        self.protocol = protocol
        protocol.transport = self
        self.commands.append(tuple(command[1:]))
        self.files.append(childFDs)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def closeStdin(self) -> None:
        self.written.append(b"END")

    def _killpg(self, group: int, number: int) -> None:
        self.signals.append(number)

    def ended(self, reason: Exception) -> None:
        self.protocol.processEnded(Failure(reason))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_a_program_reads_the_alert_and_has_it_when_it_ends_well(host: Host) -> None:
    results = fired(host.program(b'{"rule":"down"}'))
    assert host.commands == [("/bin/sh", "-c", "x")]
    assert host.written == [b'{"rule":"down"}\n', b"END"]
    ((stdin, stdout, stderr),) = [files.values() for files in host.files]
    assert (stdin, stderr) == ("w", "r") and isinstance(stdout, int)
    assert results == []
    host.ended(ProcessDone(0))
    assert results == [None]
    assert [call for call in host.getDelayedCalls() if call.active()] == []


def test_a_program_that_fails_says_how(host: Host) -> None:
    results = fired(host.program(b"{}"))
    host.protocol.errReceived(b"no network\n")
    host.ended(ProcessTerminated(3))
    (error,) = results
    assert isinstance(error, UpstreamError)
    assert str(error) == "the program ended with status 3"
    assert host.texts == ["standard error: no network"]


def test_a_program_that_hangs_is_ended(host: Host) -> None:
    results = fired(host.program(b"{}"))
    host.advance(29.9)
    assert host.signals == []
    host.advance(0.2)
    host.advance(0.7)
    assert [each for each in host.signals if each] == [signal.SIGTERM, signal.SIGKILL]
    host.ended(ProcessTerminated(signal=signal.SIGKILL))
    assert [str(each) for each in results] == ["has not ended within 30 s"]


def test_a_stop_ends_it(host: Host) -> None:
    running = host.program(b"{}")
    results = fired(running)
    running.cancel()
    assert len(results) == 1
    host.advance(0)
    assert signal.SIGTERM in host.signals
    host.ended(ProcessTerminated(signal=signal.SIGTERM))
    assert len(results) == 1


def test_a_program_that_is_not_there(host: Host, tmp_path: Path) -> None:
    reactor: Any = host
    command = (str(tmp_path / "nothing"),)
    program = AlertProgram(command, seconds_max=1, warn=host.texts.append, reactor=reactor)
    (error,) = fired(program(b"{}"))
    assert str(error) == "cannot be started: No such file or directory"
    assert host.getDelayedCalls() == []


def test_one_that_has_ended_well_has_the_alert_though_what_it_left_behind_goes_on(
    host: Host,
) -> None:
    results = fired(host.program(b"{}"))
    host.protocol.processExited(Failure(ProcessDone(0)))
    host.advance(29.9)
    assert host.signals == [] and results == []
    host.advance(0.2)
    host.advance(0.7)
    assert [each for each in host.signals if each] == [signal.SIGTERM, signal.SIGKILL]
    host.ended(ProcessDone(0))
    assert results == [None]
