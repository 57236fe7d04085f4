"""The relays that report to this one.

What a relay says of itself is a claim.  So it is shown beside the peer: the identity that its
certificate was verified for, or its address.  Nobody can change what is shown of another peer, and
of one peer no more than `NAMES_MAX` names are kept.

The table is in memory: relays connect again after a restart, and report at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from relay.model.text import Document, duration

REPORT_SECONDS = 60.0
"""Between two reports of a relay."""
RELAYS_MAX = 1000
"""How many relays are kept; of more, those that were not seen for longest leave."""
NAMES_MAX = 64
"""How many names one peer may have."""
_SILENT_SECONDS = 3 * REPORT_SECONDS
_FORGOTTEN_SECONDS = 7 * 86400.0
_GROWING_REPORTS = 4


class FleetMember:
    """One relay as one peer says it is.

    Args:
        host: The name that it says.
        peer: The verified identity, or the address.
    """

    __slots__ = ("host", "last_seen", "oldest_seconds", "peer", "queued", "version")

    def __init__(self, host: str, peer: str) -> None:
        self.host, self.peer = host, peer
        self.version = ""
        self.last_seen = 0.0
        self.oldest_seconds: int | None = None
        self.queued: deque[int] = deque(maxlen=_GROWING_REPORTS)

    def state(self, now: float) -> str:
        """For people."""
        if now - self.last_seen > _SILENT_SECONDS:
            return f"not seen for {duration(now - self.last_seen)}"
        counts = list(self.queued)
        if len(counts) == _GROWING_REPORTS and all(more > less for less, more in pairwise(counts)):
            return "queue grows"
        return "ok"

    def report(self, now: float) -> Document:
        """For JSON."""
        silent_seconds = max(0.0, now - self.last_seen)
        waits = bool(self.queued and self.queued[-1]) and self.oldest_seconds is not None
        return {
            "host": self.host,
            "peer": self.peer,
            "version": self.version,
            "queued_records": self.queued[-1] if self.queued else None,
            "oldest_seconds": self.oldest_seconds if waits else None,
            "last_seen_seconds": silent_seconds,
            "state": self.state(now),
        }


class FleetTable:
    """All of them, by peer and name."""

    def __init__(self, relays_max: int = RELAYS_MAX) -> None:
        self._relays_max = relays_max
        self._members: dict[tuple[str, str], FleetMember] = {}  # the one seen last at the end

    def seen(self, host: str, peer: str, version: str, now: float) -> None:
        """A relay has connected.

        Args:
            host, version: As it says; short, and without anything that a terminal obeys.
            peer: Its verified identity, or its address.
            now: Seconds of a clock that is never set.
        """
        member = self._member(host, peer)
        member.version, member.last_seen = version, now

    def reported(
        self, host: str, peer: str, queued_records: int, oldest_seconds: int | None, now: float
    ) -> None:
        """A relay that was `seen` has said what waits in its queues."""
        member = self._member(host, peer)
        # Each connection of a relay reports: what comes at once is one report.
        if member.queued and now - member.last_seen < REPORT_SECONDS / 2:
            member.queued[-1] = queued_records
        else:
            member.queued.append(queued_records)
        member.oldest_seconds, member.last_seen = oldest_seconds, now

    def report(self, now: float) -> Sequence[Document]:
        """For JSON, by name; those that were not seen for a week are forgotten."""
        for key, member in list(self._members.items()):
            if now - member.last_seen > _FORGOTTEN_SECONDS:
                del self._members[key]
        members = sorted(self._members.values(), key=lambda each: (each.host, each.peer))
        return [member.report(now) for member in members]

    def _member(self, host: str, peer: str) -> FleetMember:
        member = self._members.pop((peer, host), None)
        if member is None:
            self._make_room(peer)
            member = FleetMember(host, peer)
        self._members[peer, host] = member  # at the end
        return member

    def _make_room(self, peer: str) -> None:
        of_peer = [key for key in self._members if key[0] == peer]
        if len(of_peer) >= NAMES_MAX:
            del self._members[of_peer[0]]
        elif len(self._members) >= self._relays_max:
            del self._members[next(iter(self._members))]
