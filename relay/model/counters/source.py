"""What the relay counts.  A counter is an attribute of the thing that counts.

Counters of a source live in memory and are kept in the queue (`kept.py`); those of
a destination are kept in the transaction of the change they count
(`relay/queue/ledger.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from relay.model.counters.histogram import Histogram
from relay.model.counters.peers import SEVERITIES, PeerTable
from relay.model.counters.samples import Samples
from relay.model.counters.watched import Watched
from relay.model.origin import Received

BELIEVED_RECORDS_MAX = 100_000_000
"""The most records that one statement of a peer may declare missing or duplicate.

Three hours of 10,000 messages a second.  Numbers are the peer's own; what is more says
nothing, and counting it would spoil the count for everybody."""


@dataclass(slots=True)
class SourceCounters:
    """What happened at one source since it was first in the configuration.

    ``received_records = stored_records + quarantined_records + unanswered_records + pending +
    sum(dropped.values())``, where pending records wait for their commit, or did when the
    process was killed.
    """

    since: float = 0.0
    """When counting began, in seconds since 1970-01-01 UTC."""

    received_records: int = 0
    """Frames that came in whole or cut to the size limit."""
    received_bytes: int = 0
    peers: PeerTable = field(default_factory=PeerTable)
    """Frames by peer and severity, without those that were dropped before they were looked at."""
    watched: Watched = field(default_factory=Watched)
    """What rules of `[[watch]]` change in what counts as a warning or an error."""
    earlier_severities: list[int] = field(default_factory=lambda: [0] * len(SEVERITIES))
    """Frames of earlier processes by severity, 0 to 7."""
    samples: Samples = field(default_factory=Samples)
    """The last messages that were dropped or could not be parsed, by reason or tag."""
    on_received: Callable[[Sequence[Received]], None] | None = None
    """Called with what came in, before anything is done with it; None = nobody looks."""
    stored_seconds: Histogram = field(default_factory=Histogram)
    """How long frames waited until they were on disk, or acknowledged by the log that answers, from
    the end of their chunk."""
    stored_records: int = 0
    """Frames that are on disk for every destination of the source, or acknowledged by the log that
    answers."""
    unanswered_records: int = 0
    """Frames that a log has not acknowledged when their connection ended: their senders have them,
    and send them again."""
    quarantined_records: int = 0
    """Frames that the source set aside instead of queueing them; the account of its
    quarantine says which of these found no room there."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Lost frames by reason; docs/troubleshooting.md lists the reasons."""
    apps: Counter[str] = field(default_factory=Counter)
    """Frames by the app that they were authorised for."""
    parse_failures: int = 0
    """Frames that are whole in MSG because they could not be parsed; a tag says why.
    Counted where a destination needs frames parsed."""
    truncated_records: int = 0
    """Frames cut to the size limit; the rest of each was discarded."""
    split_records: int = 0
    """Messages above the size limit that became several frames."""
    protocol_errors: int = 0
    """Connections closed because the peer broke RELP or TLS."""
    framing_errors: int = 0
    """Wrong octet counts; the bytes there were kept unchanged."""
    connections_open: int = 0
    connections_accepted: int = 0
    connections_refused: int = 0
    """Connections closed at once: too many, or the peer is not allowed."""
    connections_idle_closed: int = 0
    """Connections closed because the peer was silent for too long."""
    connections_closed: Counter[str] = field(default_factory=Counter)
    """Connections closed by reason: the peer speaks another protocol (``relp-protocol``,
    ``tls-protocol``), or its frames that are not complete take too much memory
    (``unfinished-frames``).  Of DTLS see docs/sources/dtls.md."""
    datagrams_rejected: Counter[str] = field(default_factory=Counter)
    """Datagrams of DTLS that hold no message that can be read, by reason: their sender is not
    allowed (``not-allowed``), there is no session with it (``no-session``), they are no DTLS
    (``malformed``), or they are damaged, forged or duplicates (``not-authentic``)."""
    requests_refused: Counter[str] = field(default_factory=Counter)
    """HTTP requests answered with an error, by reason; docs/sources/http.md lists the reasons.  Of
    ``items`` the single items of bulk requests."""
    duplicate_records: int = 0
    """Records that relays would have sent again, and did not because they were here."""
    missing_records: int = 0
    """Records that relays have given up or lost track of, and that never came here."""
    refused_lineages: int = 0
    """Offers to send exactly once that were malformed or another sender's."""
    waiting_lines: int = 0
    """Lines in memory that wait for the rest of their message (`multi_line`); a crash loses those
    of senders that wait for no answer."""
    pauses: int = 0
    """Times that reading stopped because the queue could not take more."""

    def severities(self) -> list[int]:
        """Frames by severity, 0 to 7."""
        now = self.peers.severities()
        return [sum(both) for both in zip(self.earlier_severities, now, strict=True)]
