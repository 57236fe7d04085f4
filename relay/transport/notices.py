"""Rate-limited warnings."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from dataclasses import dataclass

from twisted.logger import Logger

from relay.model.clock import Clock
from relay.model.text import Document, printable

_TEXT_MAX = 2000  # characters of one warning
_SUBJECTS_MAX = 1000  # at a time, with an interval of their own
_REASONS_MAX = 8  # of one kind and subject, each with an interval of its own
_KEPT_MAX = 32  # of one source or destination: the last warning of each reason
_REASON = re.compile(r"[A-Za-z: ]{0,40}")
_KEPT_TEXT_MAX = 500  # characters of one of those
_OWNERS = ("source ", "destination ")


_Key = tuple[str, str, str]
"""Subject, kind, and the beginning of the text."""


@dataclass(slots=True)
class _Last:
    """The last warning of one reason about a source or destination."""

    peer: str
    text: str
    at: float
    """Seconds on the clock."""
    count: int


class Notices:
    """Logs a warning at once, then at most once per interval for the same subject and reason.

    Suppressed warnings are counted; when the interval ends, the last one of that subject and
    reason is logged with their number.  A reason is a kind and how the text
    begins, behind an address or path, up to what differs from case to case: numbers, names,
    what was found.  Beyond a thousand of them at a time all further ones share an interval.

    The last warning of each reason is kept for every source and destination.

    Args:
        interval_seconds: Shortest time between two warnings of one subject.
    """

    def __init__(self, *, clock: Clock, log: Logger, interval_seconds: float = 60.0) -> None:
        self._clock = clock
        self._log = log
        self._interval_seconds = interval_seconds
        self._held: dict[_Key, tuple[int, str, str]] = {}
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._last: dict[str, OrderedDict[tuple[str, str], _Last]] = {}

    def seconds(self) -> float:
        """The time on the clock of the intervals."""
        return self._clock.seconds()

    def warn(self, subject: str, kind: str, text: str, *, group: str | None = None) -> None:
        """Warn about `subject` (a source or destination, perhaps with a peer's address).

        Args:
            kind: One word for the sort of trouble.
            text: One line that says what was found.
            group: What shares an interval, if it is more than `subject`: a peer that
                comes again from another port, for example.
        """
        reason = _reason(text)
        self._keep(subject, kind, reason, text)
        who = subject if group is None else group
        key: _Key = (who, kind, reason)
        if key not in self._held and self._reasons[who, kind] >= _REASONS_MAX:
            key = (who, kind, "")  # a peer may have written part of it
        if key not in self._held and len(self._held) >= _SUBJECTS_MAX:
            key = ("", kind, "")  # peers can be many: all further ones share one
        if key in self._held:
            count, _, _ = self._held[key]
            self._held[key] = (count + 1, subject, text)
            return
        self._held[key] = (0, "", "")
        self._reasons[key[:2]] += 1
        self._clock.callLater(self._interval_seconds, self._end_interval, key)
        self._emit(subject, text)

    def last_of(self, owner: str) -> list[Document]:
        """The last warning of each reason about `owner`, such as ``source udp``; newest first."""
        now = self._clock.seconds()
        return [
            {
                "kind": kind,
                "peer": last.peer,
                "text": last.text,
                "seconds_ago": now - last.at,
                "count": last.count,
            }
            for (kind, _), last in reversed(self._last.get(owner, {}).items())
        ]

    def _keep(self, subject: str, kind: str, reason: str, text: str) -> None:
        owner, _, peer = subject.partition(", ")
        if not owner.startswith(_OWNERS):
            return
        of_owner = self._last.setdefault(owner, OrderedDict())
        before = of_owner.pop((kind, reason), None)
        count = 1 if before is None else before.count + 1
        escaped = printable(text, length_max=_KEPT_TEXT_MAX)
        of_owner[kind, reason] = _Last(printable(peer), escaped, self._clock.seconds(), count)
        if len(of_owner) > _KEPT_MAX:
            of_owner.popitem(last=False)

    def _end_interval(self, key: _Key) -> None:
        count, subject, text = self._held.pop(key)
        self._reasons[key[:2]] -= 1
        if not self._reasons[key[:2]]:
            del self._reasons[key[:2]]
        if count:
            others = "" if key[0] else ", also from others"
            more = f" (and {count - 1:,} more of this kind{others})" if count > 1 else ""
            self._emit(subject, text + more)

    def _emit(self, subject: str, text: str) -> None:
        # Peers have written part of many of these.
        shown = printable(text, length_max=_TEXT_MAX)
        values: Document = {"subject": printable(subject), "text": shown}
        self._log.warn("{subject}: {text}", **values)


def _reason(text: str) -> str:
    place, _, rest = text.partition(": ")
    if " " not in place and (":" in place or "/" in place):
        text = rest  # `place` is an address or a path
    found = _REASON.match(text)
    return found[0].strip() if found else ""
