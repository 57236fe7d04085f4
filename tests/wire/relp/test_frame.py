from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import TXNR_MAX, encode_syslog
from relay.wire.relp.frame import (
    SERVERCLOSE,
    RelpFrame,
    RelpFrameDecoder,
    encode_answers,
    encode_frame,
    next_txnr,
)

FRAMES = [
    RelpFrame(1, b"open", b"relp_version=0\ncommands=syslog"),
    RelpFrame(2, b"syslog", b"7 syslog 1 x\n\0\xff"),
    RelpFrame(3, b"syslog", b"\n"),
    RelpFrame(TXNR_MAX, b"close", b""),
    RelpFrame(0, b"serverclose", b""),
]
FRAME = b"1 syslog 4 good\n"
STREAM = b"".join(encode_frame(*frame) for frame in FRAMES)


def singly(stream: bytes) -> list[bytes]:
    return [stream[index : index + 1] for index in range(len(stream))]


def decode(decoder: RelpFrameDecoder, *chunks: bytes) -> list[RelpFrame]:
    return [frame for chunk in chunks for frame in decoder.feed(chunk)]


def new_decoder(*, truncate: bool = True, data_bytes_max: int = 64) -> RelpFrameDecoder:
    return RelpFrameDecoder(data_bytes_max=data_bytes_max, truncate=truncate)


# Boundaries of chunks.


@pytest.mark.parametrize("first", range(len(STREAM) + 1))
def test_every_two_cuts_give_the_same_frames(first: int) -> None:
    for second in range(first, len(STREAM) + 1):
        decoder = new_decoder()
        chunks = STREAM[:first], STREAM[first:second], STREAM[second:]
        assert decode(decoder, *chunks) == FRAMES
        assert (decoder.error, decoder.truncated, decoder.inside_frame) == (None, 0, False)


def test_byte_by_byte() -> None:
    decoder = new_decoder()
    assert decode(decoder, *singly(STREAM)) == FRAMES
    assert decoder.error is None


def test_whether_the_stream_stands_inside_a_frame() -> None:
    decoder = new_decoder(data_bytes_max=2)
    seen = []
    for chunk in (b"", b"2", b" syslog 1 x", b"\n", b"3 syslog 3 xy", b"z", b"\n"):
        decoder.feed(chunk)
        seen.append(decoder.inside_frame)
    assert seen == [False, True, True, False, True, True, False]


pieces = [b"2 syslog 5 hello\n", b"3 syslog 40 ", b"4 close 0 \n", b"0", b" ", b"\n", b"x" * 30]
streams = st.one_of(st.binary(), st.lists(st.sampled_from(pieces)).map(b"".join))


@given(streams, st.lists(st.integers(0, 90)), st.integers(1, 50), st.booleans())
def test_no_stream_raises_and_chunks_do_not_matter(
    stream: bytes, cuts: list[int], limit: int, truncate: bool
) -> None:
    whole = new_decoder(truncate=truncate, data_bytes_max=limit)
    chunked = new_decoder(truncate=truncate, data_bytes_max=limit)
    frames = whole.feed(stream)
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert decode(chunked, *map(lambda a, b: stream[a:b], at, at[1:])) == frames
    assert chunked.truncated == whole.truncated
    assert chunked.inside_frame == whole.inside_frame
    assert (chunked.error is None) == (whole.error is None)
    assert all(len(frame.data) <= limit for frame in frames)


# The grammar.


@pytest.mark.parametrize(
    ("stream", "frame"),
    [
        (b"000000002 syslog 000000001 x\n", RelpFrame(2, b"syslog", b"x")),
        (b"2 syslog 0\n", RelpFrame(2, b"syslog", b"")),
        (b"2 syslog \n", RelpFrame(2, b"syslog", b"")),
        (b"2 syslog 0 \n", RelpFrame(2, b"syslog", b"")),
        (b"2 syslog 000 \n", RelpFrame(2, b"syslog", b"")),
        (b"2 " + b"a" * 32 + b" 1 x\n", RelpFrame(2, b"a" * 32, b"x")),
    ],
)
def test_taken(stream: bytes, frame: RelpFrame) -> None:
    for chunks in ([stream], singly(stream)):
        decoder = new_decoder()
        assert decode(decoder, *chunks) == [frame]
        assert (decoder.error, decoder.inside_frame) == (None, False)


@pytest.mark.parametrize(
    "stream",
    [
        *(b"\n", b" 2 syslog 1 x\n", b"-2 syslog 1 x\n", b"+2 syslog 1 x\n", b"a syslog 1 x\n"),
        *(b"0000000002 syslog 1 x\n", b"2  syslog 1 x\n", b"2\tsyslog 1 x\n", b"2 sys1og 1 x\n"),
        *(b"2 syslog\n", b"2 " + b"a" * 33 + b" 1 x\n", b"2 syslog  1 x\n", b"2 syslog 1_0 x\n"),
        *(b"2 syslog abc x\n", b"2 syslog -1 x\n", b"2 syslog 0000000001 x\n", b"2 syslog 1\n"),
        *(b"2 syslog 5 helloX", b"2 syslog 5 hello\r\n", b"2 syslog 0 x\n", b"2 syslog 0  \n"),
        *(b"2 syslog 5 hi\n3 syslog 1 x\n", b"GET / HTTP/1.1\r\n", b"2 syslog 0\r\n"),
    ],
)
def test_a_violation_is_reported_after_the_frames_before_it(stream: bytes) -> None:
    for chunks in ([FRAME + stream], [FRAME, stream], singly(FRAME + stream)):
        decoder = new_decoder()
        assert decode(decoder, *chunks) == [RelpFrame(1, b"syslog", b"good")]
        assert decoder.error is not None
        assert decoder.feed(FRAME) == []


# Too long.


def test_long_data_is_cut_once_and_the_stream_stays_in_step() -> None:
    stream = b"2 syslog 20 01234567\n3 syslog 1\n\n3 syslog 8 01234567\n"
    frames = [RelpFrame(2, b"syslog", b"01234567"), RelpFrame(3, b"syslog", b"01234567")]
    for at in range(len(stream)):
        decoder = new_decoder(data_bytes_max=8)
        assert decode(decoder, stream[:at], stream[at:]) == frames
        assert (decoder.error, decoder.truncated) == (None, 1)
    assert decode(new_decoder(data_bytes_max=8), *singly(stream)) == frames


Report = list[tuple[int, bytes, int, int]]


def reports(decoder: RelpFrameDecoder, *chunks: bytes) -> Report:
    """Number and data of each frame, the bytes of the whole, and its number if a piece."""
    found: Report = []
    for chunk in chunks:
        for index, (txnr, _, data) in enumerate(decoder.feed(chunk)):
            found.append((txnr, data, decoder.cut.get(index, 0), decoder.pieces.get(index, 0)))
    return found


LONG = (
    b"1 open 9 012345678\n2 syslog 8 01234567\n3 syslog 20 <10>456789\n4 syslog \n"
    b"5 syslog 9 01234567\n\n6 close 0\n"
)
NEIGHBOURS = ((1, b"01234567", 9, 0), (2, b"01234567", 0, 0)), (6, b"", 0, 0)


@pytest.mark.parametrize(
    ("split", "long"),
    [
        (False, [(3, b"<10>4567", 20, 0), (5, b"01234567", 9, 0)]),
        (
            True,
            [
                (3, b"<10>4567", 0, 1),
                (3, b"<10>89\n4", 0, 2),
                (3, b"<10> sys", 0, 3),
                (3, b"<10>log ", 0, 4),
                (5, b"01234567", 0, 1),
                (5, b"\n", 0, 2),
            ],
        ),
    ],
)
def test_long_data_is_reported_however_the_stream_is_cut(split: bool, long: Report) -> None:
    expected = [*NEIGHBOURS[0], *long, NEIGHBOURS[1]]
    for first in range(len(LONG) + 1):
        for second in range(first, len(LONG) + 1):
            decoder = RelpFrameDecoder(data_bytes_max=8, split=split)
            chunks = LONG[:first], LONG[first:second], LONG[second:]
            assert reports(decoder, *chunks) == expected
            assert (decoder.error, decoder.truncated) == (None, 1 if split else 3)
            assert not decoder.inside_frame and not decoder.inside_split
    assert reports(RelpFrameDecoder(data_bytes_max=8, split=split), *singly(LONG)) == expected


def test_pieces_come_as_they_are_complete_and_the_last_with_the_trailer() -> None:
    decoder = RelpFrameDecoder(data_bytes_max=4, split=True)
    seen = []
    for chunk in (b"2 syslog 9 0123", b"4", b"5678", b"\n"):
        seen.append(([frame.data for frame in decoder.feed(chunk)], decoder.inside_split))
    assert seen == [([], False), ([b"0123"], True), ([b"4567"], True), ([b"8"], False)]


def test_without_its_trailer_a_split_frame_does_not_end() -> None:
    decoder = RelpFrameDecoder(data_bytes_max=4, split=True)
    assert [frame.data for frame in decoder.feed(b"2 syslog 5 01234X")] == [b"0123"]
    assert decoder.inside_split
    assert decoder.error is not None


def test_a_cut_frame_comes_with_its_trailer_and_not_before() -> None:
    decoder = new_decoder(data_bytes_max=2)
    assert decode(decoder, b"2 syslog 3 xy", b"z") == []
    assert decoder.feed(b"\n") == [RelpFrame(2, b"syslog", b"xy")]


def test_a_cut_frame_without_its_trailer_is_an_error() -> None:
    for chunks in ([b"2 syslog 3 xyzX"], singly(b"2 syslog 3 xyzX")):
        decoder = new_decoder(data_bytes_max=2)
        assert decode(decoder, *chunks) == []
        assert decoder.error is not None


def test_long_data_is_cut_unless_told_otherwise() -> None:
    decoder = RelpFrameDecoder(data_bytes_max=2)
    assert decoder.feed(b"2 syslog 3 xyz\n") == [RelpFrame(2, b"syslog", b"xy")]


def test_without_truncation_the_length_alone_is_an_error() -> None:
    decoder = new_decoder(data_bytes_max=8, truncate=False)
    assert decode(decoder, b"2 syslog 8 01234567\n3 syslog 9") != []
    assert decoder.error is None
    assert decoder.feed(b" ") == []
    assert decoder.error is not None


@pytest.mark.parametrize("chunk", [b"x", b"x" * 1000], ids=["one", "many"])
def test_a_frame_without_end_is_not_kept(chunk: bytes) -> None:
    decoder = new_decoder(data_bytes_max=64)
    assert decode(decoder, b"2 syslog 999999999 ", *[chunk] * 5000) == []
    kept = [value for value in vars(decoder).values() if isinstance(value, list)]
    assert sum(len(b"".join(chunks)) + len(chunks) for chunks in kept) < 100


# Encoding.


def test_frames_without_data_have_no_second_space() -> None:
    assert encode_frame(9, b"close", b"") == b"9 close 0\n"
    assert encode_frame(2, b"rsp", b"200 OK") == b"2 rsp 6 200 OK\n"
    assert encode_frame(0, b"serverclose", b"") == SERVERCLOSE


@given(st.integers(0, TXNR_MAX - 9), st.lists(st.binary(min_size=1), max_size=9))
def test_messages_survive_a_round_trip(first_txnr: int, payloads: list[bytes]) -> None:
    frames = decode(new_decoder(data_bytes_max=1000), encode_syslog(first_txnr, payloads))
    assert frames == [
        RelpFrame(first_txnr + index, b"syslog", payload) for index, payload in enumerate(payloads)
    ]


def test_numbers_wrap_to_one() -> None:
    assert next_txnr(1) == 2
    assert next_txnr(TXNR_MAX - 1) == TXNR_MAX == 999_999_999
    assert next_txnr(TXNR_MAX) == 1


@pytest.mark.parametrize(
    ("first", "count", "numbers"),
    [
        (2, 0, []),
        (2, 3, [2, 3, 4]),
        (TXNR_MAX, 1, [TXNR_MAX]),
        (TXNR_MAX - 1, 4, [TXNR_MAX - 1, TXNR_MAX, 1, 2]),
    ],
)
def test_answers_are_numbered_like_what_they_answer(
    first: int, count: int, numbers: list[int]
) -> None:
    assert encode_answers(first, count) == b"".join(b"%d rsp 6 200 OK\n" % n for n in numbers)


# Memory, in bytes for each byte received; and what is no RELP.


@pytest.mark.slow
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("length", [40_000, 90_000])
def test_a_byte_that_waits_costs_less_than_two(length: int, size: int, split: bool) -> None:
    decoder = RelpFrameDecoder(data_bytes_max=60_000, split=split)
    decoder.feed(b"1 syslog %d " % length)
    chunk = b"x" * size
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(39_000 // size):
        assert decoder.feed(bytes([*chunk])) == []
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 39_000 <= decoder.unfinished_bytes <= 39_100
    assert held < 2 * 39_000


@pytest.mark.parametrize("split", [False, True])
def test_of_a_long_frame_no_more_is_kept_than_the_limit(split: bool) -> None:
    decoder = RelpFrameDecoder(data_bytes_max=1000, split=split)
    decoder.feed(b"1 syslog 100000 ")
    for _ in range(49_000):
        decoder.feed(b"xx")
        assert decoder.unfinished_bytes <= 1020
    assert decoder.feed(b"x" * 2000 + b"\n")
    assert decoder.unfinished_bytes == 0


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"\x16\x03\x01\x02\x00", "the peer speaks TLS"),
        (b"<13>Oct 11 22:14:15 h app: x\n", "this is plain syslog"),
        (b"31 <13>Oct 11 22:14:15 h app: okay", "this is plain syslog"),
    ],
)
def test_another_protocol_is_recognised(stream: bytes, reason: str) -> None:
    decoder = RelpFrameDecoder(data_bytes_max=1000)
    assert decoder.feed(stream) == []
    assert reason in str(decoder.error)
