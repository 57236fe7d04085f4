from __future__ import annotations

import socket
from ipaddress import ip_address

from tests.bench.long_line import Drained, exchanged, row


def test_a_row_has_medians_and_how_many_times_less() -> None:
    plain = [Drained(seconds, 4000, 900) for seconds in (9.0, 3.0, 1.0)]
    packed = [Drained(1.5, there, 9) for there in (1000, 5, 2000)]
    assert row("10 | mixed", plain, packed) == (
        "| 10 | mixed | 4,000 | 1,000 | 4.0 x | 900 | 9 | 100.0 x | 3.00 | 1.50 | 2.0 x |"
    )


def test_a_packet_comes_back_with_its_addresses_exchanged() -> None:
    addresses = [ip_address(text).packed for text in ("10.77.0.1", "10.77.0.2")]
    packet = bytes(range(12)) + b"".join(addresses) + b"ports and the rest"
    back = exchanged(packet)
    assert [socket.inet_ntoa(back[at : at + 4]) for at in (12, 16)] == ["10.77.0.2", "10.77.0.1"]
    assert (back[:12], back[20:]) == (packet[:12], packet[20:])
