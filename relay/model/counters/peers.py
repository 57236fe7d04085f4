"""What the relay counts of each peer of a source."""

from __future__ import annotations

from collections.abc import Iterator

from relay.model.origin import Origin
from relay.model.text import Document, printable

PEERS_MAX = 1000
"""How many peers of a source are counted apart; the rest is counted together."""
SEVERITIES = (
    *("emergency", "alert", "critical", "error"),
    *("warning", "notice", "informational", "debug"),
)
"""Names of the severities 0 to 7 (RFC 5424, table 2)."""
LOCAL_PEER = "local"
"""The peer of messages that come without a network: programs of this host, files, the journal."""
_HOUR_SECONDS = 3600.0
_ERROR_LENGTH_MAX = 300  # characters


class PeerCounters:
    """What came from one peer.

    Attributes:
        records: Frames, as `SourceCounters.received_records` counts them.
        bytes: Of these frames.
        severities: Frames by severity, 0 to 7.
        last_seen: When the last one came, on a clock that is never set.
        last_error: The last warning about the peer; empty = there was none.
        last_error_at: When that was, on the same clock.
    """

    __slots__ = ("bytes", "last_error", "last_error_at", "last_seen", "records", "severities")

    def __init__(self) -> None:
        self.records = 0
        self.bytes = 0
        self.severities = [0] * 8
        self.last_seen = 0.0
        self.last_error = ""
        self.last_error_at = 0.0

    def add(self, other: PeerCounters) -> None:
        """Count what `other` has counted."""
        self.records += other.records
        self.bytes += other.bytes
        self.severities = [a + b for a, b in zip(self.severities, other.severities, strict=True)]
        self.last_seen = max(self.last_seen, other.last_seen)

    def note_error(self, text: str, now: float) -> None:
        """Remember a warning about the peer, which may quote it."""
        self.last_error = printable(text, length_max=_ERROR_LENGTH_MAX)
        self.last_error_at = now

    def report(self, elapsed: float) -> Document:
        """For JSON.

        Args:
            elapsed: The present time on the clock of `last_seen`.
        """
        return {
            "records": self.records,
            "bytes": self.bytes,
            "severities": dict(zip(SEVERITIES, self.severities, strict=True)),
            "idle_seconds": max(0.0, elapsed - self.last_seen),
            "last_error": self.last_error,
            "last_error_seconds": max(0.0, elapsed - self.last_error_at)
            if self.last_error
            else None,
        }


class PeerTable:
    """The counters of a source's peers, by address.

    A peer is an address without port, since ports change with each connection.  The table holds
    up to twice `peers_max` peers; then the less active half joins `others`.  Activity is the
    number of messages, which counts less the longer a peer is silent: one that has sent much long
    ago gives way to one that sends now.

    Args:
        peers_max: How many peers keep their counters.

    Attributes:
        others: Counters of the peers that are not in the table any more, together.
        uses: How often `of` was called.  Sums over all peers stay right until it is called again.
    """

    def __init__(self, peers_max: int = PEERS_MAX) -> None:
        self.others = PeerCounters()
        self.uses = 0
        self._severities = (0, [0] * 8)  # as of so many uses
        self._peers: dict[str, PeerCounters] = {}
        self._peers_max = peers_max

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[tuple[str, PeerCounters]]:
        return iter(self._peers.items())

    def of(self, origin: Origin) -> PeerCounters:
        """The counters of the peer that `origin` names."""
        self.uses += 1
        name = origin.peer_host or LOCAL_PEER
        found = self._peers.get(name)
        return self._new(name) if found is None else found

    def severities(self) -> list[int]:
        """Frames of all peers by severity, 0 to 7."""
        if self._severities[0] != self.uses:
            rows = [peer.severities for peer in self._peers.values()]
            found = [sum(column) for column in zip(self.others.severities, *rows, strict=True)]
            self._severities = (self.uses, found)
        return list(self._severities[1])

    def _new(self, name: str) -> PeerCounters:
        if len(self._peers) >= 2 * self._peers_max:
            self._shrink()
        peer = self._peers[name] = PeerCounters()
        return peer

    def _shrink(self) -> None:
        now = max(peer.last_seen for peer in self._peers.values())

        def activity(item: tuple[str, PeerCounters]) -> float:
            peer = item[1]
            return peer.records / (1.0 + (now - peer.last_seen) / _HOUR_SECONDS)

        ranked = sorted(self._peers.items(), key=activity, reverse=True)
        for _, peer in ranked[self._peers_max :]:
            self.others.add(peer)
        self._peers = dict(ranked[: self._peers_max])
