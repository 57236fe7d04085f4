"""Programs that read what is delivered, or write what is received.

A program is started without a shell, with an environment of its own and no other open file.
What it writes to its standard error is logged, rate-limited.  It leads a session and a process
group of its own, so that a signal reaches what it has started too, and a terminal's does not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from relay.model.clock import DelayedCall, Reactor
from relay.model.text import printable

ENDED_WELL = "the program ended"
"""How a program has ended that says by its status that all is well."""
_STDERR_MAX = 500  # characters of one warning
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR")
_KILL_SECONDS = 0.6  # after SIGTERM
_SETSID = shutil.which("setsid") or "/usr/bin/setsid"


class Program(ProcessProtocol):
    """One run of a program.

    Args:
        on_text: Called with what it writes to its standard error.
        on_end: Called once with how it ended, when its files are closed as well.

    Attributes:
        has_exited: It has ended, though perhaps not what it has started.
    """

    def __init__(
        self,
        *,
        on_text: Callable[[str], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._on_text = on_text
        self._on_end = on_end
        self._ended = self.has_exited = False
        self._group = 0
        self._ending: Deferred[None] | None = None
        self._next: DelayedCall | None = None

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
        if not os.access(_SETSID, os.X_OK):
            raise FileNotFoundError(
                0, f"{_SETSID} is missing, which starts programs; util-linux has it"
            )
        self._reactor = reactor
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # spawnProcess cannot make a session; setsid does, and becomes the program.
        command = (_SETSID, *command)
        reactor.spawnProcess(self, _SETSID, command, environment, childFDs=dict(files))
        assert self.transport is not None
        self._group = self.transport.pid

    def say(self, data: bytes) -> None:
        """Write `data` to its standard input, whose file is ``"w"``, and end that."""
        self.transport.write(data)  # type: ignore[call-arg, misc, union-attr]
        self.transport.closeStdin()  # type: ignore[misc, union-attr]

    def end(self, *, patience_seconds: float) -> Deferred[None]:
        """End it and what it has started: SIGTERM, and SIGKILL 0.6 s later.

        Args:
            patience_seconds: It may end by itself before the first signal.

        Returns:
            Fires when all of them have ended, or were killed.
        """
        if self._ended:
            return succeed(None)
        if self._ending is None:
            self._ending = Deferred()
            self._next = self._reactor.callLater(patience_seconds, self._terminate)
        return self._ending

    def _terminate(self) -> None:
        self._next = self._reactor.callLater(_KILL_SECONDS, self._kill)
        self._signal_all(signal.SIGTERM)

    def _kill(self) -> None:
        self._next = None
        self._signal_all(signal.SIGKILL)
        self._has_ended()

    @property
    def _has_left_some(self) -> bool:
        """Whether something that it has started goes on after it, in its group."""
        try:
            os.killpg(self._group, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # they belong to another user
            return False
        return True

    def _has_ended(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        if self._ending is not None and not self._ending.called:
            self._ending.callback(None)

    def signal(self, number: int) -> None:
        """Send it and what it has started a signal, unless it has ended."""
        if not self._ended:
            self._signal_all(number)

    def _signal_all(self, number: int) -> None:
        if not self._group:
            return
        try:
            os.killpg(self._group, number)
        except PermissionError:  # it has become another user's, by sudo(8) for example
            self._on_text("cannot be ended by the relay: it runs as another user")
        except ProcessLookupError:  # it is not the leader of a group yet
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess(number)  # type: ignore[call-arg, misc, union-attr]

    def errReceived(self, data: bytes) -> None:
        if text := data.strip():
            self._on_text(f"standard error: {printable(text, length_max=_STDERR_MAX)}")

    def processExited(self, reason: Failure) -> None:
        self.has_exited = True

    def processEnded(self, reason: Failure) -> None:
        self._ended = True
        error, text = reason.value, ENDED_WELL
        if isinstance(error, ProcessTerminated):
            text = (
                f"the program was ended by signal {error.signal}"
                if error.signal
                else f"the program ended with status {error.exitCode}"
            )
        self._on_end(text)
        if self._next is None or not self._next.active() or not self._has_left_some:
            self._has_ended()
