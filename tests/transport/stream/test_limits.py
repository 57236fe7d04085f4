from __future__ import annotations

from relay.transport.stream.limits import InboundLimits


def test_nothing_is_limited_or_dropped_without_being_asked_for() -> None:
    limits = InboundLimits(
        frame_bytes_max=64, connections_max=1, idle_seconds_max=1.0, handshake_seconds_max=1.0
    )
    assert (limits.connections_per_peer_max, limits.block_seconds_max) == (0, 0.0)
    assert limits.oversize == "truncate"
