from __future__ import annotations

import pytest

from relay.transport.inbound_limits import InboundLimits


@pytest.mark.parametrize(("drop_long", "read_bytes_max"), [(False, 64), (True, 65)])
def test_what_is_to_be_dropped_whole_is_read_a_little_further(
    drop_long: bool, read_bytes_max: int
) -> None:
    limits = InboundLimits(
        frame_bytes_max=64,
        connections_max=1,
        idle_seconds_max=1.0,
        handshake_seconds_max=1.0,
        drop_long=drop_long,
    )
    assert limits.read_bytes_max == read_bytes_max
