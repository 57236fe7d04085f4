"""The last lines of the log, in memory: for `syslogrelay bundle`, wherever the log goes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

LINES_MAX = 1000
CHARACTERS_MAX = 256 * 1024
_LINE_CHARACTERS_MAX = 2000


@implementer(ILogObserver)
class LogRing:
    """Keeps lines as they are written; the oldest go first.

    Args:
        line_of: The text of an event; None = it is not written.
    """

    def __init__(self, line_of: Callable[[LogEvent], str | None]) -> None:
        self._line_of = line_of
        self._lines: deque[str] = deque()
        self._characters = 0
        # A signal may be logged while its thread is in here.
        self._lock = threading.RLock()

    def __call__(self, event: LogEvent) -> None:
        """Observe an event, in any thread."""
        line = self._line_of(event)
        if line is None:
            return
        line = line.rstrip("\n")[:_LINE_CHARACTERS_MAX]
        length = len(line)
        with self._lock:
            self._lines.append(line)
            self._characters += length
            while len(self._lines) > LINES_MAX or self._characters > CHARACTERS_MAX:
                length = len(self._lines.popleft())
                self._characters -= length

    def lines(self) -> Sequence[str]:
        """The oldest first."""
        return list(self._lines)
