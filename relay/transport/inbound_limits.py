"""What connections from peers may take."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["InboundLimits"]


@dataclass(frozen=True, slots=True)
class InboundLimits:
    frame_bytes_max: int
    connections_max: int
    idle_seconds_max: float
    """Silence after which a connection is closed; 0 = never."""
    handshake_seconds_max: float
    connections_per_peer_max: int = 0
    """For each peer address; 0 = no limit."""
    drop_long: bool = False
    """Drop messages above `frame_bytes_max` instead of cutting them."""
    block_seconds_max: float = 0.0
    """Longest pause by admission; then what comes is read and dropped.  0 = no limit."""

    @property
    def read_bytes_max(self) -> int:
        """How much of a message to read: one octet more tells that it is to be dropped."""
        return self.frame_bytes_max + self.drop_long
