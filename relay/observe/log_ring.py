"""The last lines of the log, in memory: for `syslogrelay bundle`, wherever the log goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

LINES_MAX = 1000
BYTES_MAX = 256 * 1024
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

    def __call__(self, event: LogEvent) -> None:
        """Observe an event, in any thread: each step is one operation of a deque."""
        line = self._line_of(event)
        if line is None:
            return
        line = line.rstrip("\n")[:_LINE_CHARACTERS_MAX]
        self._lines.append(line)
        self._characters += len(line)
        while len(self._lines) > LINES_MAX or self._characters > BYTES_MAX:
            self._characters -= len(self._lines.popleft())

    def lines(self) -> Sequence[str]:
        """The oldest first."""
        return list(self._lines)
