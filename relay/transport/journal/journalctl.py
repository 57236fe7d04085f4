"""journalctl as a child process: its arguments, output and exit.

Three runs make a source.  `--follow` alone would not do: since systemd 251 it shows
nothing of earlier boots, so what was logged right before a reboot would be lost.

    last      the last entry that there is: where a source begins that starts at the end
    backlog   everything from a cursor on (or from the beginning), to the end
    follow    from a cursor on, and whatever comes

`--cursor` and not `--after-cursor`: the first entry then tells whether the one where
reading stopped is still there, and nothing is skipped unseen if it is not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from relay.model.clock import Clock
from relay.model.text import printable
from relay.transport.connections import Timers

Run = Literal["last", "backlog", "follow"]

ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
"""Of the process: its errors are in English."""
_PLACES = ("/usr/bin", "/bin")
_KILL_SECONDS = 0.5  # after SIGTERM
_STDERR_BYTES_MAX = 2048


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries and fields to read."""

    directory: str = ""
    """Of another journal than the system's."""
    matches: tuple[str, ...] = ()
    """As journalctl takes them; none = everything."""
    fields: tuple[str, ...] = ()
    """What to show of each entry, beside cursor, times and boot; none = all."""

    def arguments(self, run: Run, cursor: bytes) -> list[str]:
        """The arguments of journalctl; an empty cursor is the beginning."""
        arguments = ["--output=export", "--no-pager", "--all"]
        if self.fields:
            arguments.append(f"--output-fields={','.join(self.fields)}")
        if self.directory:
            # Here --merge only says that all boots are meant, in `follow` too: a directory
            # may be of another machine, which boots while it is read.
            arguments += [f"--directory={self.directory}", "--merge"]
        if run == "last":
            arguments.append("--lines=1")
        if run == "follow":
            arguments += ["--follow", "--no-tail"]
        if cursor and run != "last":
            arguments.append(f"--cursor={cursor.decode('ascii', 'replace')}")
        return [*arguments, "--", *self.matches] if self.matches else arguments


def find_journalctl() -> str | None:
    """The path of journalctl in PATH or where it usually is, or None."""
    for path in (None, os.pathsep.join(_PLACES)):
        found = shutil.which("journalctl", path=path)
        if found is not None and os.path.isabs(found):
            return found
    return None


class Journalctl(ProcessProtocol):
    """One run of journalctl.

    Args:
        take: Called with what it writes.
        ended: Called when it has ended and its output is complete: whether it succeeded, and why.
    """

    transport: Any  # exists from makeConnection on

    def __init__(
        self, take: Callable[[bytes], None], ended: Callable[[bool, str], None], *, clock: Clock
    ) -> None:
        self._take = take
        self._ended = ended
        self._timers = Timers(clock)
        self._stderr = b""

    def outReceived(self, data: bytes) -> None:
        self._take(data)

    def errReceived(self, data: bytes) -> None:
        self._stderr = (self._stderr + data)[-_STDERR_BYTES_MAX:]

    def processEnded(self, reason: Failure) -> None:
        self._timers.cancel_all()
        status: Any = reason.value
        self._ended(status.exitCode == 0, self._ending(status))

    def pause(self) -> None:
        self.transport.pauseProducing()

    def resume(self) -> None:
        self.transport.resumeProducing()

    def end(self) -> None:
        """Terminate the process and ignore further output; kill it if it does not end."""
        self._signal("TERM")
        self.transport.loseConnection()
        if "kill" not in self._timers:
            self._timers.set("kill", _KILL_SECONDS, self._signal, "KILL")

    def _signal(self, name: str) -> None:
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)

    def _ending(self, status: Any) -> str:
        """How it ended (ProcessDone or ProcessTerminated)."""
        if status.signal is not None:
            how = f"journalctl was ended by {signal.Signals(status.signal).name}"
        else:
            how = f"journalctl ended with status {status.exitCode}"
        said = [line.strip() for line in self._stderr.split(b"\n") if line.strip()]
        return f"{how}: {printable(said[-1])}" if said else how
