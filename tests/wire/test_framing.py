from __future__ import annotations

import sys
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.wire.framing import (
    AutoDecoder,
    FrameDecoder,
    NewlineDecoder,
    OctetCountingDecoder,
    encode_newline,
    encode_octet_counted,
)
from relay.wire.long_frame import split_frame

MESSAGES = [b"<13>one", b"<13>two\nlines", b"x" * 16, b"<13>\xff\0 end"]
LINES = [b"<13>one", b"12 monkeys", b"x" * 16, b"<13>\xff end"]

Decoders = type[AutoDecoder] | type[NewlineDecoder] | type[OctetCountingDecoder]

COUNTED = b"7 <13>one\n0 0013 <13>two\nlines\r\n\x0016 xxxxxxxxxxxxxxxx010 <13>\xff\0 end"
SEPARATED = b"\n<13>one\n12 monkeys\r\n\r\n\0xxxxxxxxxxxxxxxx\0<13>\xff end\n"
STREAMS = [
    pytest.param(OctetCountingDecoder, COUNTED, MESSAGES, id="counted"),
    pytest.param(AutoDecoder, COUNTED, MESSAGES, id="auto-counted"),
    pytest.param(NewlineDecoder, SEPARATED, LINES, id="newline"),
    pytest.param(AutoDecoder, SEPARATED, LINES, id="auto-newline"),
]
each_stream = pytest.mark.parametrize(("new", "stream", "messages"), STREAMS)
each_decoder = pytest.mark.parametrize("new", [OctetCountingDecoder, NewlineDecoder, AutoDecoder])


def decode(decoder: FrameDecoder, *chunks: bytes) -> list[bytes]:
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return frames + decoder.finish()


def cut(stream: bytes, *cuts: int) -> list[bytes]:
    return [stream[start:stop] for start, stop in pairwise([0, *cuts, len(stream)])]


def singly(stream: bytes) -> list[bytes]:
    return [stream[index : index + 1] for index in range(len(stream))]


def kept_bytes(decoder: FrameDecoder) -> int:
    """Memory behind a decoder, in octets, its lists included."""
    seen: set[int] = set()

    def size(thing: object) -> int:
        if id(thing) in seen:
            return 0
        seen.add(id(thing))
        inner = list(vars(thing).values()) if hasattr(thing, "__dict__") else []
        inner += thing if isinstance(thing, list) else []
        return sys.getsizeof(thing) + sum(map(size, inner))

    return size(decoder)


# Boundaries of chunks.


@each_stream
def test_every_two_cuts_give_the_same_frames(
    new: Decoders, stream: bytes, messages: list[bytes]
) -> None:
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            decoder = new(frame_bytes_max=16)
            assert decode(decoder, *cut(stream, first, second)) == messages
            assert (decoder.error, decoder.truncated) == (None, 0)


@each_stream
def test_octet_by_octet(new: Decoders, stream: bytes, messages: list[bytes]) -> None:
    decoder = new(frame_bytes_max=16)
    assert decode(decoder, *singly(stream)) == messages
    assert (decoder.error, decoder.truncated) == (None, 0)


def test_frames_come_as_soon_as_they_are_complete() -> None:
    counted = OctetCountingDecoder(frame_bytes_max=16)
    assert [counted.feed(chunk) for chunk in (b"3 on", b"e3 two1", b" x")] == [
        [],
        [b"one", b"two"],
        [b"x"],
    ]
    lines = NewlineDecoder(frame_bytes_max=16)
    assert [lines.feed(chunk) for chunk in (b"on", b"e\ntwo\nth", b"ree\n")] == [
        [],
        [b"one", b"two"],
        [b"three"],
    ]


stream_pieces = [
    b"3 one",
    b"7 <13>two",
    b"0 ",
    b"40 ",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"abc",
    b"9" * 11,
]
streams = st.one_of(st.binary(), st.lists(st.sampled_from(stream_pieces)).map(b"".join))


@each_decoder
@given(stream=streams, cuts=st.lists(st.integers(0, 60)), limit=st.integers(1, 20))
@example(stream=b"12345678901", cuts=[10], limit=4)
@example(stream=b"aaaa\r\r\n", cuts=[5, 6], limit=4)
def test_no_stream_raises_and_chunks_do_not_matter(
    new: Decoders, stream: bytes, cuts: list[int], limit: int
) -> None:
    whole, chunked = new(frame_bytes_max=limit), new(frame_bytes_max=limit)
    frames = decode(whole, stream)
    assert decode(chunked, *cut(stream, *sorted(min(at, len(stream)) for at in cuts))) == frames
    assert chunked.truncated == whole.truncated
    assert (chunked.error is None) == (whole.error is None)
    assert all(0 < len(frame) <= limit for frame in frames)


# Encoding.


@given(st.lists(st.binary(min_size=1), max_size=8))
def test_counted_frames_survive_a_round_trip(messages: list[bytes]) -> None:
    decoder = OctetCountingDecoder(frame_bytes_max=1000)
    assert decode(decoder, encode_octet_counted(messages)) == messages
    assert decoder.error is None


@given(st.lists(st.binary(min_size=1), max_size=8))
def test_a_line_stays_one_line_whatever_is_in_it(messages: list[bytes]) -> None:
    encoded = encode_newline(messages)
    assert encoded.count(b"\n") == len(messages)
    assert b"\0" not in encoded
    assert len(decode(NewlineDecoder(frame_bytes_max=1000), encoded)) == len(messages)


@given(st.lists(st.binary(min_size=1).filter(lambda m: not set(m) & set(b"\n\r\0")), max_size=8))
def test_lines_survive_a_round_trip(messages: list[bytes]) -> None:
    assert decode(NewlineDecoder(frame_bytes_max=1000), encode_newline(messages)) == messages


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b"plain", b"plain\n"),
        (b"two\nlines", b"two#012lines\n"),
        (b"a\0b", b"a#000b\n"),
        (b"ends\r\n", b"ends\n"),
        (b"ends\r", b"ends\n"),
        (b"\r\r\n", b"#015#015#012\n"),
        (b"ends\n\0\n", b"ends\n"),
        (b"\nstarts", b"#012starts\n"),
        (b"#012 as text", b"#012 as text\n"),
    ],
)
def test_delimiters_inside_are_escaped_and_dropped_at_the_end(message: bytes, line: bytes) -> None:
    assert encode_newline([message, b"next"]) == line + b"next\n"


# What frames may look like.


def test_leading_zeros_empty_frames_and_separators_are_taken() -> None:
    decoder = OctetCountingDecoder(frame_bytes_max=16)
    assert decode(decoder, b"\n\r\x000 0000000003 one\r\n\x00\x003 two\n") == [b"one", b"two"]
    assert decoder.error is None


@pytest.mark.parametrize(
    "first_line", [b"2026", b"12monkeys", b"4:20 x", b"99999999999 x", b" 3 x"]
)
def test_lines_that_start_with_digits_are_lines(first_line: bytes) -> None:
    for chunks in ([first_line + b"\n3 two\n"], singly(first_line + b"\n3 two\n")):
        decoder = AutoDecoder(frame_bytes_max=16)
        assert decode(decoder, *chunks) == [first_line, b"3 two"]
        assert decoder.error is None


def test_the_first_frame_decides_for_the_connection() -> None:
    counted = AutoDecoder(frame_bytes_max=16)
    assert counted.error is None
    assert decode(counted, b"3 one<13>line\n") == [b"one"]
    assert counted.error is not None


def test_digits_alone_are_a_line_at_the_end_of_the_stream() -> None:
    decoder = AutoDecoder(frame_bytes_max=4)
    assert decode(decoder, b"\n12", b"345") == [b"1234"]
    assert (decoder.error, decoder.truncated) == (None, 1)
    assert decode(AutoDecoder(frame_bytes_max=4), b"\r\n\0") == []


@pytest.mark.parametrize("before", [b"", b"\r\n"])
def test_tls_is_not_cut_into_messages(before: bytes) -> None:
    hello = before + b"\x16\x03\x01\x02\x00\x01\x00\n<13>text\n"
    for chunks in ([hello], singly(hello)):
        decoder = AutoDecoder(frame_bytes_max=16)
        assert decode(decoder, *chunks) == []
        assert str(decoder.error) == "the peer speaks TLS on a plain-text port"


def test_what_only_begins_like_tls_is_a_line() -> None:
    for chunks in ([b"\x16\x02x\n"], singly(b"\x16\x02x\n"), [b"\x16\x02x"]):
        assert decode(AutoDecoder(frame_bytes_max=16), *chunks) == [b"\x16\x02x"]
    assert decode(AutoDecoder(frame_bytes_max=16), b"\x16") == [b"\x16"]


# What ends decoding.


@pytest.mark.parametrize(
    "rest", [b"GET / HTTP/1.1\r\n", b"+5 hello", b"-1 x", b"5\thello", b"1_0 x", b"12345678901 x"]
)
def test_a_violation_is_reported_after_the_frames_before_it(rest: bytes) -> None:
    for chunks in ([b"3 one" + rest], [b"3 one", rest], singly(b"3 one" + rest)):
        decoder = OctetCountingDecoder(frame_bytes_max=16)
        assert decode(decoder, *chunks) == [b"one"]
        assert decoder.error is not None
        assert decoder.feed(b"3 two") == []


def test_the_error_shows_what_was_found_not_what_separates() -> None:
    decoder = OctetCountingDecoder(frame_bytes_max=16)
    decoder.feed(b"3 one" + b"\n" * 30 + b"GET / HTTP/1.1")
    assert "GET /" in str(decoder.error)


@pytest.mark.parametrize("partial", [b"3", b"3 ", b"3 on", b"\n12 x"])
def test_a_partial_counted_frame_at_the_end_is_an_error(partial: bytes) -> None:
    decoder = OctetCountingDecoder(frame_bytes_max=16)
    assert decode(decoder, b"3 one", partial) == [b"one"]
    assert decoder.error is not None


def test_separators_at_the_end_are_none() -> None:
    decoder = OctetCountingDecoder(frame_bytes_max=16)
    assert decode(decoder, b"3 one", b"\r", b"\n") == [b"one"]
    assert decoder.error is None


def test_the_last_line_needs_no_end() -> None:
    assert decode(NewlineDecoder(frame_bytes_max=16), b"one\ntw", b"o\r") == [b"one", b"two"]


# Too long.


@pytest.mark.parametrize("new", [OctetCountingDecoder, AutoDecoder])
def test_a_long_counted_frame_is_cut_once_and_the_stream_stays_in_step(new: Decoders) -> None:
    stream = b"3 one21 0123456789 3 bogus xx3 two"
    for chunks in ([stream], singly(stream), cut(stream, 13), cut(stream, 17), cut(stream, 28)):
        decoder = new(frame_bytes_max=8)
        assert decode(decoder, *chunks) == [b"one", b"01234567", b"two"]
        assert (decoder.error, decoder.truncated) == (None, 1)


def test_a_long_counted_frame_that_never_ends_is_an_error_at_the_end() -> None:
    decoder = OctetCountingDecoder(frame_bytes_max=4)
    assert decode(decoder, b"3 one20 01234567") == [b"one", b"0123"]
    assert decoder.error is not None


@pytest.mark.parametrize("new", [NewlineDecoder, AutoDecoder])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_a_long_line_is_cut_once_and_its_rest_is_no_line(new: Decoders, end: bytes) -> None:
    stream = b"one" + end + b"<0123456789 <13>bogus" + end + b"two" + end
    for chunks in ([stream], singly(stream), cut(stream, 12), cut(stream, 13), cut(stream, 14)):
        decoder = new(frame_bytes_max=8)
        assert decode(decoder, *chunks) == [b"one", b"<0123456", b"two"]
        assert decoder.truncated == 1


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_a_line_of_exactly_the_limit_is_not_long(end: bytes) -> None:
    for chunks in ([b"01234567" + end], singly(b"01234567" + end)):
        decoder = NewlineDecoder(frame_bytes_max=8)
        assert decode(decoder, *chunks) == [b"01234567"]
        assert decoder.truncated == 0


Report = list[tuple[bytes, int, int]]


def reports(decoder: FrameDecoder, *chunks: bytes) -> Report:
    """Each frame with the octets of the whole if it was cut, and its number if a piece."""
    found: Report = []
    for call in (*[lambda chunk=chunk: decoder.feed(chunk) for chunk in chunks], decoder.finish):
        frames = call()
        assert {*decoder.cut, *decoder.pieces} <= {*range(len(frames))}
        found += [
            (frame, decoder.cut.get(index, 0), decoder.pieces.get(index, 0))
            for index, frame in enumerate(frames)
        ]
    return found


LONG = [b"one", b"<10>456789ab\r3 bogus", b"two", b"x" * 9, b"y" * 8, b"z" * 18, b"end"]
CUT = [
    (b"one", 0, 0),
    (b"<10>4567", 20, 0),
    (b"two", 0, 0),
    (b"x" * 8, 9, 0),
    (b"y" * 8, 0, 0),
    (b"z" * 8, 18, 0),
    (b"end", 0, 0),
]
PIECES = [
    (b"one", 0, 0),
    *((b"<10>4567", 0, 1), (b"<10>89ab", 0, 2), (b"<10>\r3 b", 0, 3), (b"<10>ogus", 0, 4)),
    (b"two", 0, 0),
    *((b"x" * 8, 0, 1), (b"x", 0, 2)),
    (b"y" * 8, 0, 0),
    *((b"z" * 8, 0, 1), (b"z" * 8, 0, 2), (b"zz", 0, 3)),
    (b"end", 0, 0),
]
LONG_STREAMS = [
    pytest.param(OctetCountingDecoder, encode_octet_counted(LONG), id="counted"),
    pytest.param(AutoDecoder, encode_octet_counted(LONG), id="auto-counted"),
    pytest.param(NewlineDecoder, b"\n".join(LONG), id="lf"),
    pytest.param(NewlineDecoder, b"\r\n".join(LONG), id="crlf"),
    pytest.param(AutoDecoder, b"\0".join([*LONG, b""]), id="auto-nul"),
]


@pytest.mark.parametrize(("split", "expected"), [(False, CUT), (True, PIECES)])
@pytest.mark.parametrize(("new", "stream"), LONG_STREAMS)
def test_long_frames_are_reported_however_the_stream_is_cut(
    new: Decoders, stream: bytes, split: bool, expected: Report
) -> None:
    assert reports(new(frame_bytes_max=8, split=split), *singly(stream)) == expected
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            decoder = new(frame_bytes_max=8, split=split)
            assert reports(decoder, *cut(stream, first, second)) == expected
            assert (decoder.error, decoder.truncated) == (None, 0 if split else 3)


@given(
    sizes=st.lists(st.sampled_from([1, 2, 15, 16, 17, 18, 40, 300]), max_size=8),
    counted=st.booleans(),
    cuts=st.lists(st.integers(0, 1000)),
    split=st.booleans(),
)
def test_neighbours_of_long_frames_are_whole(
    sizes: list[int], counted: bool, cuts: list[int], split: bool
) -> None:
    sent = [(b"<%d>: " % number + b"abcdefg" * 50)[:size] for number, size in enumerate(sizes, 1)]
    stream = encode_octet_counted(sent) if counted else encode_newline(sent)
    decoder = (OctetCountingDecoder if counted else NewlineDecoder)(frame_bytes_max=16, split=split)
    found = reports(decoder, *cut(stream, *sorted(min(at, len(stream)) for at in cuts)))
    expected: Report = []
    for one in sent:
        if len(one) <= 16:
            expected.append((one, 0, 0))
        elif split:
            pieces = split_frame(one, frame_bytes_max=16)
            expected += [(piece, 0, number) for number, piece in enumerate(pieces, 1)]
        else:
            expected.append((one[:16], len(one), 0))
    assert found == expected


@pytest.mark.parametrize("end", [b"\r\n", b"\r\0", b"\r"])
@pytest.mark.parametrize("size", range(7, 20))
def test_only_the_last_cr_of_a_long_line_belongs_to_its_end(size: int, end: bytes) -> None:
    line = b"x" * size + b"\r"
    stream = line + end
    for chunks in (singly(stream), *([stream[:at], stream[at:]] for at in range(len(stream)))):
        pieces = decode(NewlineDecoder(frame_bytes_max=8, split=True), *chunks)
        assert (b"".join(pieces), max(map(len, pieces))) == (line, 8)
        cut_to = (line[:8], len(line) if len(line) > 8 else 0, 0)
        assert reports(NewlineDecoder(frame_bytes_max=8), *chunks) == [cut_to]


def test_of_a_frame_that_is_split_the_end_of_the_stream_is_the_last_piece() -> None:
    counted = OctetCountingDecoder(frame_bytes_max=4, split=True)
    assert reports(counted, b"9 01234", b"56") == [(b"0123", 0, 1), (b"456", 0, 2)]
    assert counted.error is not None
    # As with a frame that is cut, nothing comes before the limit is reached.
    assert reports(OctetCountingDecoder(frame_bytes_max=4, split=True), b"9 012") == []


# Memory.


@each_decoder
@pytest.mark.parametrize("chunk", [b"\n", b"\0\r\n" * 100], ids=["one", "many"])
def test_separators_for_ever_are_not_kept(new: Decoders, chunk: bytes) -> None:
    decoder = new(frame_bytes_max=64)
    for _ in range(5000):
        assert decoder.feed(chunk) == []
    assert kept_bytes(decoder) < 5000


@pytest.mark.parametrize("chunk", [b"x", b"x" * 100], ids=["one", "many"])
@pytest.mark.parametrize(
    ("new", "start"),
    [
        (NewlineDecoder, b"<"),
        (AutoDecoder, b"<"),
        (OctetCountingDecoder, b"9999999999 "),
        (AutoDecoder, b"9999999999 "),
    ],
)
def test_a_frame_without_end_is_not_kept(new: Decoders, start: bytes, chunk: bytes) -> None:
    decoder = new(frame_bytes_max=64)
    decoder.feed(start)
    frames = [frame for _ in range(5000) for frame in decoder.feed(chunk)]
    assert kept_bytes(decoder) < 5000
    assert len(frames + decoder.finish()) == 1


@pytest.mark.parametrize("chunk", [b"x", b"x" * 100], ids=["one", "many"])
@pytest.mark.parametrize("start", [b"<", b"9999999999 "])
def test_of_a_frame_that_is_split_only_the_last_piece_is_kept(start: bytes, chunk: bytes) -> None:
    decoder = AutoDecoder(frame_bytes_max=64, split=True)
    decoder.feed(start)
    for _ in range(5000):
        decoder.feed(chunk)
        assert kept_bytes(decoder) < 6000


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_empty_lines_can_be_kept(size: int) -> None:
    stream = b"one\n\n\r\ntwo\n\nthree"
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    expected = [b"one", b"\n", b"\n", b"two", b"\n", b"three"]
    assert decode(NewlineDecoder(frame_bytes_max=16, keep_empty=True), *chunks) == expected
    assert decode(AutoDecoder(frame_bytes_max=16, keep_empty=True), *chunks) == expected
    assert decode(NewlineDecoder(frame_bytes_max=16), *chunks) == [b"one", b"two", b"three"]


def test_the_end_of_the_last_line_is_no_empty_line() -> None:
    assert decode(NewlineDecoder(frame_bytes_max=16, keep_empty=True), b"one\n") == [b"one"]
    assert decode(NewlineDecoder(frame_bytes_max=16, keep_empty=True), b"") == []
