"""Limits of inbound connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relay.flow.marks import Marks
from relay.flow.shedding import indexes_let_in
from relay.model.counters import SourceCounters
from relay.model.text import counted
from relay.queue.admission.backpressure import SourceAdmission

__all__ = ["InboundLimits", "without_refused"]


@dataclass(frozen=True, slots=True)
class InboundLimits:
    frame_bytes_max: int
    connections_max: int
    idle_seconds_max: float
    """Silence after which a connection is closed; 0 = never."""
    handshake_seconds_max: float
    connections_per_peer_max: int = 0
    """For each peer address; 0 = no limit."""
    unfinished_bytes_max: int = 0
    """Memory for incomplete frames of all connections, in bytes; 0 = no limit."""
    oversize: str = "truncate"
    """What to do with messages above `frame_bytes_max`: an `OversizePolicy`'s name."""
    block_seconds_max: float = 0.0
    """Longest pause by admission; then messages are read and dropped.  0 = no limit."""
    rate_per_peer_max: int = 0
    """Messages a second of each peer address; 0 = no limit."""
    keep_empty_lines: bool = False
    """An empty line is a message, where lines are messages."""


def without_refused(
    frames: Sequence[bytes],
    marks: Marks,
    admission: SourceAdmission,
    counters: SourceCounters,
    why: str,
) -> tuple[Sequence[bytes], Marks, str]:
    """Drop and count the messages that admission refuses, for a sender that cannot wait.

    Args:
        why: Why the sender cannot wait, for the log.

    Returns:
        The other messages, and a warning if any were dropped.
    """
    taken = indexes_let_in(admission, frames)
    refused = len(frames) - len(taken)
    if not refused:
        return frames, marks, ""
    rest = [frames[index] for index in taken]
    counters.received_records += refused  # the intake counts the rest
    counters.received_bytes += sum(map(len, frames)) - sum(map(len, rest))
    counters.dropped["admission-closed"] += refused
    said = f"{counted(refused, 'message')} dropped, {why}: {admission.reason}"
    return rest, marks.picked(taken), said
