"""Warnings that cannot flood the log."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from relay.model.clock import Clock

__all__ = ["Notices"]

_KEYS_MAX = 1000


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
        self._held: dict[tuple[str, str], tuple[int, str]] = {}

    def warn(self, subject: str, kind: str, text: str) -> None:
        """Warn about `subject` (a source or destination with a peer's address).

        Args:
            kind: One word for the sort of trouble; each has its own interval.
            text: One line that says what was found.
        """
        key = (subject, kind)
        if key in self._held:
            count, _ = self._held[key]
            self._held[key] = (count + 1, text)
            return
        if len(self._held) >= _KEYS_MAX:  # a peer can choose its address: stay bounded
            key = ("", kind)
            if key in self._held:
                count, _ = self._held[key]
                self._held[key] = (count + 1, text)
                return
        self._held[key] = (0, "")
        self._clock.callLater(self._interval_seconds, self._end_interval, key)
        self._emit(subject, text)

    def _end_interval(self, key: tuple[str, str]) -> None:
        count, text = self._held.pop(key)
        if count:
            more = f" (and {count - 1:,} more of this kind)" if count > 1 else ""
            self._emit(key[0], text + more)

    def _emit(self, subject: str, text: str) -> None:
        values: dict[str, Any] = {"subject": subject, "text": text}
        self._log.warn("{subject}: {text}" if subject else "{text}", **values)
