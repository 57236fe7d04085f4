from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.framing.proxy_header import ProxyHeaderDecoder

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
REST = b"<13>app: PROXY hello\r\n"


def version_2(command: int, family: int, addresses: bytes, tlvs: bytes = b"") -> bytes:
    body = addresses + tlvs
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


IPV4 = bytes([192, 0, 2, 1, 10, 0, 0, 1]) + struct.pack("!HH", 40000, 514)
IPV6 = bytes.fromhex("20010db8" + "00" * 11 + "01") * 2 + struct.pack("!HH", 40001, 514)

GOOD: list[tuple[bytes, tuple[str, int] | None]] = [
    (b"PROXY TCP4 192.0.2.1 10.0.0.1 40000 514\r\n", ("192.0.2.1", 40000)),
    (b"PROXY TCP6 2001:DB8::1 ::1 1 65535\r\n", ("2001:db8::1", 1)),
    (
        b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(
            b"ffff:f...f:ffff", b":".join([b"ffff"] * 8)
        ),
        (":".join(["ffff"] * 8), 65535),
    ),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n", None),
    (version_2(0x21, 0x11, IPV4), ("192.0.2.1", 40000)),
    (version_2(0x21, 0x21, IPV6), ("2001:db8::1", 40001)),
    (version_2(0x21, 0x11, IPV4, b"\x03\0\x04abcd" + b"\x04\x10\0" + b"x" * 4096), None),
    (version_2(0x20, 0x00, b""), None),
    (version_2(0x20, 0x11, IPV4), None),
    (version_2(0x21, 0x00, b""), None),
    (version_2(0x21, 0x31, b"\0" * 216), None),
]
GOOD[7] = (GOOD[7][0], ("192.0.2.1", 40000))


@pytest.mark.parametrize(("header", "peer"), GOOD)
def test_whom_a_header_names(header: bytes, peer: tuple[str, int] | None) -> None:
    decoder = ProxyHeaderDecoder()
    assert decoder.feed(header + REST) == REST
    assert (decoder.complete, decoder.error, decoder.peer) == (True, None, peer)
    assert decoder.feed(REST) == REST


@pytest.mark.parametrize(("header", "peer"), GOOD)
def test_a_header_cut_at_every_byte(header: bytes, peer: tuple[str, int] | None) -> None:
    stream = header + REST
    cuts = range(1, len(stream)) if len(stream) < 500 else [1, 11, 12, 13, 15, 16, 17, 300]
    for cut in cuts:
        decoder = ProxyHeaderDecoder()
        rest = decoder.feed(stream[:cut]) + decoder.feed(stream[cut:])
        assert (rest, decoder.error, decoder.peer) == (REST, None, peer)


@pytest.mark.parametrize(("header", "peer"), GOOD)
def test_one_byte_at_a_time(header: bytes, peer: tuple[str, int] | None) -> None:
    decoder = ProxyHeaderDecoder()
    stream = header + REST
    rest = b"".join(decoder.feed(stream[at : at + 1]) for at in range(len(stream)))
    assert (rest, decoder.error, decoder.peer) == (REST, None, peer)


BAD = [
    b"<13>app: hello\n",
    b"GET / HTTP/1.1\r\n",
    b"proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.1 40000 514\n",
    b"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.1 1 99999\r\n",
    b"PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n",
    b"PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY UNKNOWN " + b"x" * 93 + b"\r\n",
    b"PROXY UNKNOWN " + b"x" * 200,
    b"\r\n\r\n\0\r\nQUIX\n" + b"\x21\x11\0\x0c" + IPV4,
    version_2(0x11, 0x11, IPV4),
    version_2(0x22, 0x11, IPV4),
    version_2(0x21, 0x11, IPV4[:-1]),
    version_2(0x21, 0x21, IPV4),
]


@pytest.mark.parametrize("stream", BAD)
def test_what_is_no_header(stream: bytes) -> None:
    for step in (len(stream), 1):
        decoder = ProxyHeaderDecoder()
        chunks = [stream[at : at + step] for at in range(0, len(stream), step)]
        assert b"".join(decoder.feed(chunk) for chunk in chunks) == b""
        assert decoder.error is not None
        assert "PROXY header" in str(decoder.error)
        assert (decoder.complete, decoder.peer) == (False, None)
        assert decoder.feed(b"PROXY UNKNOWN\r\n") == b""


def taken(chunks: list[bytes]) -> tuple[bytes, bool, tuple[str, int] | None, bool]:
    decoder = ProxyHeaderDecoder()
    rest = b"".join(decoder.feed(chunk) for chunk in chunks)
    return rest, decoder.complete, decoder.peer, decoder.error is not None


MUTATED = st.builds(
    lambda header, at, byte, rest: header[:at] + byte + header[at + 1 :] + rest,
    st.sampled_from([header for header, _ in GOOD if len(header) < 500]),
    st.integers(0, 60),
    st.binary(max_size=2),
    st.binary(max_size=30),
)


@given(stream=MUTATED | st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_no_input_raises_and_cuts_change_nothing(stream: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(stream)]
    chunks = [stream[start:stop] for start, stop in pairwise(places)]
    if sum(map(len, chunks)) == len(stream):
        assert taken(chunks) == taken([stream])


def test_an_incomplete_header_is_not_an_error_yet() -> None:
    for header, _ in GOOD:
        for cut in (0, 1, 5, 12, len(header) - 1):
            decoder = ProxyHeaderDecoder()
            assert decoder.feed(header[:cut]) == b""
            assert (decoder.complete, decoder.error) == (False, None)


def test_a_line_of_107_bytes_is_the_longest() -> None:
    decoder = ProxyHeaderDecoder()
    decoder.feed(b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n")
    assert decoder.complete
