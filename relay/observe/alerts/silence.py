"""Finds senders from which nothing comes any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from relay.model.counters.peers import LOCAL_PEER, PeerTable
from relay.model.text import duration, printable
from relay.observe.alerts.incidents import Finding

RECORDS_MIN = 10
"""Who has sent fewer messages is nobody whose silence says anything."""
FORGOTTEN_SECONDS = 7 * 86400.0
"""After so long an alert about a silent sender ends: it is gone for good."""
EARLIER_MAX = 4096
"""Senders that are remembered over a restart, of all sources together."""
_LOOK_SECONDS_MAX = 30.0
_NAME_LENGTH_MAX = 64  # characters; an IPv6 address with a zone has fewer


@dataclass(slots=True)
class Silence:
    """Looks at the peers of all sources: those that their tables know, 1,000 or more of each.

    What counts is the time for which the relay has listened: neither a restart nor the time for
    which it did not run makes a sender silent.
    """

    after_seconds: float
    tables: Mapping[str, PeerTable]
    """By the ids of sources."""
    _earlier: dict[tuple[str, str], float] = field(default_factory=dict)
    """When those were seen last whom an earlier process knew, on a clock that is never set."""
    _looked_at: float | None = None
    _found: list[Finding] = field(default_factory=list)

    def restore(self, idle: Iterable[tuple[str, str, float]], now: float) -> None:
        """Go on with the senders of an earlier process: source, peer and seconds of silence."""
        for source, peer, seconds in idle:
            is_known = source in self.tables and len(peer) <= _NAME_LENGTH_MAX
            if len(self._earlier) < EARLIER_MAX and is_known and seconds >= 0:
                self._earlier[source, printable(peer)] = now - seconds

    def idle(self, now: float) -> list[tuple[str, str, float]]:
        """What to keep for the next process: those that have sent most lately come first."""
        found = [(*key, now - last_seen) for key, last_seen in self._last_seen(now)]
        return sorted(found, key=lambda each: each[2])[:EARLIER_MAX]

    def look(self, now: float) -> Iterator[Finding]:
        """Find them; `now` is on a clock that is never set."""
        step = min(_LOOK_SECONDS_MAX, self.after_seconds / 4)
        if self._looked_at is None or now - self._looked_at >= step:
            self._looked_at = now
            self._found = [*self._silent(now)]
        return iter(self._found)

    def _silent(self, now: float) -> Iterator[Finding]:
        for (source, peer), last_seen in self._last_seen(now):
            seconds = now - last_seen
            if seconds >= self.after_seconds:
                subject = f"source {source}" if peer == LOCAL_PEER else f"source {source}, {peer}"
                yield Finding("silent", subject, f"nothing has come for {duration(seconds)}")

    def _last_seen(self, now: float) -> Iterator[tuple[tuple[str, str], float]]:
        """When each sender was seen last, without those that are forgotten."""
        oldest = now - self.after_seconds - FORGOTTEN_SECONDS
        for source, table in self.tables.items():
            for peer, counters in table:
                if (source, peer) in self._earlier:  # it was known before it has sent ten again
                    self._earlier[source, peer] = counters.last_seen
                elif counters.records >= RECORDS_MIN and counters.last_seen >= oldest:
                    yield (source, peer), counters.last_seen
        for key, last_seen in list(self._earlier.items()):
            if last_seen < oldest:
                del self._earlier[key]
            else:
                yield key, last_seen
