"""Programs that read what is delivered, or write what is received.

A program is started without a shell, with an environment of its own and no other open file.
What it writes to its standard error is logged, rate-limited.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from relay.model.clock import Reactor
from relay.model.text import printable

_STDERR_MAX = 500  # characters of one warning
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR")
_TERM_SECONDS = 1.0
_KILL_SECONDS = 2.0


class Program(ProcessProtocol):
    """One run of a program.

    Args:
        on_text: Called with what it writes to its standard error.
        on_end: Called once with how it ended.
    """

    def __init__(
        self,
        *,
        on_text: Callable[[str], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._on_text = on_text
        self._on_end = on_end
        self._ended = False

    def start(
        self, reactor: Reactor, command: Sequence[str], files: Mapping[int, int | str]
    ) -> None:
        """Run `command`, whose first word is a path.

        Args:
            files: Its file descriptors, as for spawnProcess.

        Raises:
            OSError: It cannot be started.
        """
        if not os.access(command[0], os.X_OK) or os.path.isdir(command[0]):
            os.stat(command[0])  # says so if it is not there at all
            raise PermissionError(0, f"{command[0]} is not a program that this user may run")
        self._reactor = reactor
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        reactor.spawnProcess(self, command[0], command, environment, childFDs=dict(files))

    def end(self) -> None:
        """End it, unless it ends by itself within a second: its input has ended."""
        if not self._ended:
            self._reactor.callLater(_TERM_SECONDS, self.signal, signal.SIGTERM)
            self._reactor.callLater(_KILL_SECONDS, self.signal, signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if not self._ended and self.transport is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess(number)  # type: ignore[call-arg, misc]  # zope

    def errReceived(self, data: bytes) -> None:
        if text := data.strip():
            self._on_text(f"standard error: {printable(text, length_max=_STDERR_MAX)}")

    def processEnded(self, reason: Failure) -> None:
        self._ended = True
        error, words = reason.value, "the program ended"
        if isinstance(error, ProcessTerminated):
            words = (
                f"the program was ended by signal {error.signal}"
                if error.signal
                else f"the program ended with status {error.exitCode}"
            )
        self._on_end(words)
