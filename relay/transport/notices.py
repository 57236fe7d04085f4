"""Warnings that cannot flood the log."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from relay.model.clock import Clock
from relay.model.printable import printable

__all__ = ["Notices"]

_TEXT_MAX = 2000  # characters of one warning
_SUBJECTS_MAX = 200  # at a time, with an interval of their own


class Notices:
    """Logs a warning at once, then at most once per interval for the same subject.

    What was held back is counted and said with the next one of that subject, or
    when its interval ends.

    Args:
        interval_seconds: Shortest time between two warnings of one subject.
    """

    def __init__(self, *, clock: Clock, log: Logger, interval_seconds: float = 60.0) -> None:
        self._clock = clock
        self._log = log
        self._interval_seconds = interval_seconds
        self._held: dict[tuple[str, str], tuple[int, str, str]] = {}

    def warn(self, subject: str, kind: str, text: str, *, group: str | None = None) -> None:
        """Warn about `subject` (a source or destination, perhaps with a peer's address).

        Args:
            kind: One word for the sort of trouble; each has its own interval.
            text: One line that says what was found.
            group: What shares an interval, if it is more than `subject`: a peer that
                comes again from another port, for example.
        """
        key = (subject if group is None else group, kind)
        if key not in self._held and len(self._held) >= _SUBJECTS_MAX:
            key = ("", kind)  # peers can be many: all further ones share one
        if key in self._held:
            count, _, _ = self._held[key]
            self._held[key] = (count + 1, subject, text)
            return
        self._held[key] = (0, "", "")
        self._clock.callLater(self._interval_seconds, self._end_interval, key)
        self._emit(subject, text)

    def _end_interval(self, key: tuple[str, str]) -> None:
        count, subject, text = self._held.pop(key)
        if count:
            more = f" (and {count - 1:,} more of this kind)" if count > 1 else ""
            self._emit(subject, text + more)

    def _emit(self, subject: str, text: str) -> None:
        # Peers have a say in many of these.
        shown = printable(text, length_max=_TEXT_MAX)
        values: dict[str, Any] = {"subject": printable(subject), "text": shown}
        self._log.warn("{subject}: {text}", **values)
