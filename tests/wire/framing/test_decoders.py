from __future__ import annotations

import sys
import tracemalloc
from enum import IntEnum
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.wire.framing import decoders
from relay.wire.framing.boundaries import next_counted
from relay.wire.framing.decoders import (
    AutoDecoder,
    encode_newline,
    encode_newline_syslog,
    encode_octet_counted,
    encode_octet_counted_syslog,
)
from relay.wire.framing.long_frame import split_frame

MESSAGES = [b"<13>one", b"<13>two\nlines", b"x" * 16, b"<13>\xff\0 end"]
LINES = [b"<13>one", b"12 monkeys", b"x" * 16, b"<13>\xff end"]

COUNTED = b"7 <13>one\n0 13 <13>two\nlines\r\n\x0016 xxxxxxxxxxxxxxxx10 <13>\xff\0 end"
SEPARATED = b"\n<13>one\n12 monkeys\r\n\r\n\nxxxxxxxxxxxxxxxx\n<13>\xff end\n"
WITH_NULS = b"\0\0<13>one\n12 monkeys\0\r\n\0\nxxxxxxxxxxxxxxxx\0<13>\xff end\0\n"
STREAMS = [
    pytest.param(COUNTED, MESSAGES, id="counted"),
    pytest.param(SEPARATED, LINES, id="newline"),
    pytest.param(WITH_NULS, LINES, id="nul"),
]
each_stream = pytest.mark.parametrize(("stream", "messages"), STREAMS)


def decode(decoder: AutoDecoder, *chunks: bytes) -> list[bytes]:
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return frames + decoder.finish()


def cut(stream: bytes, *cuts: int) -> list[bytes]:
    return [stream[start:stop] for start, stop in pairwise([0, *cuts, len(stream)])]


def singly(stream: bytes) -> list[bytes]:
    return [stream[index : index + 1] for index in range(len(stream))]


def kept_bytes(decoder: AutoDecoder) -> int:
    """Memory behind a decoder, in bytes, without what every decoder has."""
    return _size(decoder) - _size(type(decoder)(frame_bytes_max=64))


def _size(decoder: AutoDecoder) -> int:
    seen: set[int] = set()

    def size(thing: object) -> int:
        if id(thing) in seen or isinstance(thing, type | IntEnum):
            return 0
        seen.add(id(thing))
        inner = list(vars(thing).values()) if hasattr(thing, "__dict__") else []
        inner += thing if isinstance(thing, list) else []
        return sys.getsizeof(thing) + sum(map(size, inner))

    return size(decoder)


# Boundaries of chunks.


@each_stream
def test_every_two_cuts_give_the_same_frames(stream: bytes, messages: list[bytes]) -> None:
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            decoder = AutoDecoder(frame_bytes_max=16)
            assert decode(decoder, *cut(stream, first, second)) == messages
            assert (decoder.error, decoder.long.truncated) == (None, 0)


@each_stream
def test_byte_by_byte(stream: bytes, messages: list[bytes]) -> None:
    decoder = AutoDecoder(frame_bytes_max=16)
    assert decode(decoder, *singly(stream)) == messages
    assert (decoder.error, decoder.long.truncated) == (None, 0)


def test_frames_come_as_soon_as_they_are_complete() -> None:
    counted = AutoDecoder(frame_bytes_max=16)
    assert [counted.feed(chunk) for chunk in (b"6 <1>on", b"e6 <1>two4", b" <2>x")] == [
        [],
        [b"<1>one", b"<1>two"],
        [b"<2>x"],
    ]
    lines = AutoDecoder(frame_bytes_max=16)
    assert [lines.feed(chunk) for chunk in (b"on", b"e\ntwo\nth", b"ree\n")] == [
        [],
        [b"one", b"two"],
        [b"three"],
    ]


stream_pieces = [
    b"3 one",
    b"7 <13>two",
    b"9 <13>two",
    b"5 <13>two",
    b"3 <a>",
    b"<13>",
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


@given(stream=streams, cuts=st.lists(st.integers(0, 60)), limit=st.integers(1, 20))
@example(stream=b"12345678901", cuts=[10], limit=4)
@example(stream=b"aaaa\r\r\n", cuts=[5, 6], limit=4)
def test_no_stream_raises_and_chunks_do_not_matter(
    stream: bytes, cuts: list[int], limit: int
) -> None:
    whole, chunked = AutoDecoder(frame_bytes_max=limit), AutoDecoder(frame_bytes_max=limit)
    frames = decode(whole, stream)
    assert decode(chunked, *cut(stream, *sorted(min(at, len(stream)) for at in cuts))) == frames
    assert chunked.long.truncated == whole.long.truncated
    assert (chunked.error is None) == (whole.error is None)
    assert all(0 < len(frame) <= limit for frame in frames)


# Encoding.


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


DOUBTFUL = [
    *(b"1650972789 box", b"25 Oct", b"5 <13>x", b"0 x", b"12", b"\r5 <13>x", b"5\nx"),
    *(b"\xef\xbb\xbfx", b"\xef\xbb\xbf5 <13>x", b"\x16\x03\x01", b"1 open 5 x=1", b"\r\r\n"),
]
CLEAR = [b"<13>x", b" 5 <13>x", b"x 5", b"<html>", b"\n5 x", b"\0005 x"]


@pytest.mark.parametrize("message", DOUBTFUL)
def test_a_line_that_begins_like_a_count_gets_the_pri_that_everybody_assumes(
    message: bytes,
) -> None:
    assert encode_newline_syslog([b"a", message]) == b"a\n" + encode_newline([b"<13>" + message])


@pytest.mark.parametrize("message", CLEAR)
def test_other_lines_stay_as_they_are(message: bytes) -> None:
    assert encode_newline_syslog([message]) == encode_newline([message])


@pytest.mark.parametrize("message", [*DOUBTFUL, *CLEAR])
def test_a_counted_frame_begins_as_a_frame_does(message: bytes) -> None:
    framed = message if message.startswith(b"<") else b"<13>" + message
    assert encode_octet_counted_syslog([message]) == encode_octet_counted([framed])


any_messages = st.lists(
    st.one_of(st.sampled_from(DOUBTFUL + CLEAR), st.binary(min_size=1, max_size=20)).map(
        lambda message: message.strip(b"\r\n\0") or b"x"
    ),
    max_size=8,
)


@given(any_messages, st.integers(1, 50))
def test_what_we_send_is_what_we_receive(messages: list[bytes], size: int) -> None:
    for encode, is_doubtful in (
        (encode_newline_syslog, lambda message: message.startswith(tuple(_STARTS))),
        (encode_octet_counted_syslog, lambda message: not message.startswith(b"<")),
    ):
        stream = encode(messages)
        expected = [(b"<13>" if is_doubtful(message) else b"") + message for message in messages]
        if encode is encode_newline_syslog:
            expected = encode_newline(expected).split(b"\n")[:-1]
        decoder = AutoDecoder(frame_bytes_max=1000)
        chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert decode(decoder, *chunks) == expected
        assert (decoder.framing_errors, decoder.error) == (0, None)


_STARTS = [b"\xef\xbb\xbf", b"\r", b"\x16", *(b"%d" % digit for digit in range(10))]


# What frames may look like.


@pytest.mark.parametrize(
    "first_line", [b"2026", b"12monkeys", b"4:20 x", b"99999999999 x", b" 3 x"]
)
def test_lines_that_start_with_digits_are_lines(first_line: bytes) -> None:
    for chunks in ([first_line + b"\n3 two\n"], singly(first_line + b"\n3 two\n")):
        decoder = AutoDecoder(frame_bytes_max=16)
        assert decode(decoder, *chunks) == [first_line, b"3 two"]
        assert decoder.error is None


def test_digits_alone_are_a_line_at_the_end_of_the_stream() -> None:
    decoder = AutoDecoder(frame_bytes_max=4)
    assert decode(decoder, b"\n12", b"345") == [b"1234"]
    assert (decoder.error, decoder.long.truncated) == (None, 1)
    assert decode(AutoDecoder(frame_bytes_max=4), b"\r\n\0") == []


@pytest.mark.parametrize("before", [b"", b"\r\n"])
def test_tls_is_not_cut_into_messages(before: bytes) -> None:
    hello = before + b"\x16\x03\x01\x02\x00\x01\x00\n<13>text\n"
    for chunks in ([hello], singly(hello)):
        decoder = AutoDecoder(frame_bytes_max=16)
        assert decode(decoder, *chunks) == []
        assert str(decoder.error) == "the peer speaks TLS; use a tls:// source for it"


def test_what_only_begins_like_tls_is_a_line() -> None:
    for chunks in ([b"\x16\x02x\n"], singly(b"\x16\x02x\n"), [b"\x16\x02x"]):
        assert decode(AutoDecoder(frame_bytes_max=16), *chunks) == [b"\x16\x02x"]
    assert decode(AutoDecoder(frame_bytes_max=16), b"\x16") == [b"\x16"]


# What ends decoding.


def test_the_last_line_needs_no_end() -> None:
    assert decode(AutoDecoder(frame_bytes_max=16), b"one\ntw", b"o\r") == [b"one", b"two"]


# Too long.


def test_a_long_counted_frame_is_cut_once_and_the_stream_stays_in_step() -> None:
    stream = b"7 <1>one 21 <1>3456789 7 <1>us xx7 <1>two "
    for chunks in ([stream], singly(stream), cut(stream, 13), cut(stream, 17), cut(stream, 28)):
        decoder = AutoDecoder(frame_bytes_max=8)
        assert decode(decoder, *chunks) == [b"<1>one ", b"<1>34567", b"<1>two "]
        assert (decoder.error, decoder.long.truncated) == (None, 1)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0\n", b"\0\r\n"])
def test_a_long_line_is_cut_once_and_its_rest_is_no_line(end: bytes) -> None:
    stream = b"one" + end + b"<0123456789 <13>bogus" + end + b"two" + end
    for chunks in ([stream], singly(stream), cut(stream, 12), cut(stream, 13), cut(stream, 14)):
        decoder = AutoDecoder(frame_bytes_max=8)
        assert decode(decoder, *chunks) == [b"one", b"<0123456", b"two"]
        assert decoder.long.truncated == 1


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_of_exactly_the_limit_is_not_long(end: bytes) -> None:
    for chunks in ([b"01234567" + end], singly(b"01234567" + end)):
        decoder = AutoDecoder(frame_bytes_max=8)
        assert decode(decoder, *chunks) == [b"01234567"]
        assert decoder.long.truncated == 0


Report = list[tuple[bytes, int, int]]


def reports(decoder: AutoDecoder, *chunks: bytes) -> Report:
    """Each frame with the bytes of the whole if it was cut, and its number if a piece."""
    found: Report = []
    for call in (*[lambda chunk=chunk: decoder.feed(chunk) for chunk in chunks], decoder.finish):
        frames = call()
        assert {*decoder.long.cut, *decoder.long.pieces} <= {*range(len(frames))}
        found += [
            (frame, decoder.long.cut.get(index, 0), decoder.long.pieces.get(index, 0))
            for index, frame in enumerate(frames)
        ]
    return found


LONG = [b"one", b"<10>456789ab\r3 bogus", b"two", b"x" * 9, b"y" * 8, b"z" * 18, b"end"]
WITH_PRI = [b"<1>", b"<10>456789ab\r3 bogus", b"<2>", b"<3>x" * 3, b"<4>yyyyy", b"<5>" * 6, b"<6>"]
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
    pytest.param(b"\n".join(LONG), id="lf"),
    pytest.param(b"\r\n".join(LONG), id="crlf"),
    pytest.param(b"\0\n".join([*LONG, b""]), id="nul"),
]


def expected_reports(sent: list[bytes], limit: int, *, split: bool) -> Report:
    expected: Report = []
    for one in sent:
        if len(one) <= limit:
            expected.append((one, 0, 0))
        elif split:
            pieces = split_frame(one, frame_bytes_max=limit)
            expected += [(piece, 0, number) for number, piece in enumerate(pieces, 1)]
        else:
            expected.append((one[:limit], len(one), 0))
    return expected


@pytest.mark.parametrize("split", [False, True])
def test_long_counted_frames_are_reported_too(split: bool) -> None:
    stream = encode_octet_counted(WITH_PRI)
    expected = expected_reports(WITH_PRI, 8, split=split)
    assert len(expected) > len(WITH_PRI) if split else len(expected) == len(WITH_PRI)
    for chunks in (singly(stream), *(cut(stream, at) for at in range(len(stream) + 1))):
        decoder = AutoDecoder(frame_bytes_max=8, split=split)
        assert reports(decoder, *chunks) == expected
        assert (decoder.framing_errors, decoder.long.truncated) == (0, 0 if split else 3)


@pytest.mark.parametrize(("split", "expected"), [(False, CUT), (True, PIECES)])
@pytest.mark.parametrize("stream", LONG_STREAMS)
def test_long_frames_are_reported_however_the_stream_is_cut(
    stream: bytes, split: bool, expected: Report
) -> None:
    assert reports(AutoDecoder(frame_bytes_max=8, split=split), *singly(stream)) == expected
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            decoder = AutoDecoder(frame_bytes_max=8, split=split)
            assert reports(decoder, *cut(stream, first, second)) == expected
            assert (decoder.error, decoder.long.truncated) == (None, 0 if split else 3)


@given(
    sizes=st.lists(st.sampled_from([4, 5, 15, 16, 17, 18, 40, 300]), max_size=8),
    counted=st.booleans(),
    cuts=st.lists(st.integers(0, 1000)),
    split=st.booleans(),
)
def test_neighbours_of_long_frames_are_whole(
    sizes: list[int], counted: bool, cuts: list[int], split: bool
) -> None:
    sent = [(b"<%d>: " % number + b"abcdefg" * 50)[:size] for number, size in enumerate(sizes, 1)]
    stream = encode_octet_counted(sent) if counted else encode_newline(sent)
    decoder = AutoDecoder(frame_bytes_max=16, split=split)
    found = reports(decoder, *cut(stream, *sorted(min(at, len(stream)) for at in cuts)))
    assert found == expected_reports(sent, 16, split=split)


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
@pytest.mark.parametrize("size", range(7, 20))
def test_only_the_last_cr_of_a_long_line_belongs_to_its_end(size: int, end: bytes) -> None:
    line = b"x" * size + b"\r"
    stream = line + end
    for chunks in (singly(stream), *([stream[:at], stream[at:]] for at in range(len(stream)))):
        pieces = decode(AutoDecoder(frame_bytes_max=8, split=True), *chunks)
        assert (b"".join(pieces), max(map(len, pieces))) == (line, 8)
        cut_to = (line[:8], len(line) if len(line) > 8 else 0, 0)
        assert reports(AutoDecoder(frame_bytes_max=8), *chunks) == [cut_to]


def test_of_a_frame_that_is_split_the_end_of_the_stream_is_the_last_piece() -> None:
    counted = AutoDecoder(frame_bytes_max=4, split=True)
    assert reports(counted, b"9 <1>12", b"34") == [(b"<1>1", 0, 1), (b"234", 0, 2)]
    assert counted.framing_errors == 1


# Memory.


@pytest.mark.parametrize("chunk", [b"\n", b"\n\r\n" * 100], ids=["one", "many"])
def test_separators_for_ever_are_not_kept(chunk: bytes) -> None:
    decoder = AutoDecoder(frame_bytes_max=64)
    for _ in range(5000):
        assert decoder.feed(chunk) == []
    assert kept_bytes(decoder) < 1000


@pytest.mark.parametrize("chunk", [b"x", b"x" * 100], ids=["one", "many"])
@pytest.mark.parametrize(
    "start",
    [
        b"<",
        b"9999999999 ",
        b"9999999999 <13>",
        b"5 <13>a60 x",
        b"5 <13>a60 <1",
        b"5 <13>a<13>60 <13>",
    ],
)
def test_a_frame_without_end_is_not_kept(start: bytes, chunk: bytes) -> None:
    decoder = AutoDecoder(frame_bytes_max=64)
    decoder.feed(start)
    frames = [frame for _ in range(5000) for frame in decoder.feed(chunk)]
    assert kept_bytes(decoder) < 1000
    assert len(frames + decoder.finish()) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [b"x", b"x" * 100], ids=["one", "many"])
@pytest.mark.parametrize("start", [b"<", b"9999999999 ", b"9999999999 <13>"])
def test_of_a_frame_that_is_split_only_the_last_piece_is_kept(start: bytes, chunk: bytes) -> None:
    decoder = AutoDecoder(frame_bytes_max=64, split=True)
    decoder.feed(start)
    for _ in range(5000):
        decoder.feed(chunk)
        assert kept_bytes(decoder) < 1000


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_empty_lines_can_be_kept(size: int) -> None:
    stream = b"one\n\n\r\ntwo\n\nthree"
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    expected = [b"one", b"\n", b"\n", b"two", b"\n", b"three"]
    assert decode(AutoDecoder(frame_bytes_max=16, keep_empty=True), *chunks) == expected
    assert decode(AutoDecoder(frame_bytes_max=16), *chunks) == [b"one", b"two", b"three"]


def test_the_end_of_the_last_line_is_no_empty_line() -> None:
    assert decode(AutoDecoder(frame_bytes_max=16, keep_empty=True), b"one\n") == [b"one"]
    assert decode(AutoDecoder(frame_bytes_max=16, keep_empty=True), b"") == []


# Which framing: found out at each boundary.

OK = b"<13>Oct 11 22:14:15 h app: okay"  # 31 bytes
COUNTED_OK = b"31 " + OK
CAFE = "<13>Oct 11 22:14:15 h app: café 表".encode()

WELL_FORMED = {
    "a line that begins with an epoch": (
        b"1650972789 box wrote this line\n" + OK + b"\n",
        [b"1650972789 box wrote this line", OK],
    ),
    "a line that begins with a day": (
        b"25 Oct 2026 10:11:12 backup started fine\n" + OK + b"\n" + COUNTED_OK,
        [b"25 Oct 2026 10:11:12 backup started fine", OK, OK],
    ),
    "a number above the limit": (b"9999999999 x\n5 <13>y\n", [b"9999999999 x", b"<13>y"]),
    "leading zeros": (b"031 " + OK + b"\n" + COUNTED_OK, [b"031 " + OK, OK]),
    "eleven digits": (b"12345678901 <13>x\n", [b"12345678901 <13>x"]),
    "numbers alone": (b"2026\n12\n0\n0 \n", [b"2026", b"12", b"0", b"0 "]),
    "a number and something in angle brackets": (
        b"12 <unknown> devices found\n" + OK + b"\n",
        [b"12 <unknown> devices found", OK],
    ),
    "counted, then a line, then counted": (
        COUNTED_OK + OK + b" a line\n" + COUNTED_OK,
        [OK, OK + b" a line", OK],
    ),
    "lines, then counted, then lines": (
        OK + b"\n" + COUNTED_OK + b"\n" + OK + b"\n",
        [OK, OK, OK],
    ),
    "separators and an empty frame between counted ones": (
        b"\n\n" + COUNTED_OK + b"\r\n" + COUNTED_OK + b"\n0 " + COUNTED_OK + b"\0",
        [OK, OK, OK],
    ),
    "an empty frame first": (b"0 " + COUNTED_OK, [OK]),
    "several empty frames first": (b"0 0 0 " + COUNTED_OK + b"0 0 " + COUNTED_OK, [OK, OK]),
    "a counted frame with line feeds and NUL in it": (
        b"20 <13>one\n\ntwo\0 12 <a>" + COUNTED_OK,
        [b"<13>one\n\ntwo\0 12 <a>", OK],
    ),
    "a counted frame that quotes counted ones and messages": (
        b"28 <13>a 5 <13>x 5 <13>y\n<14>zz7 <13>abc",
        [b"<13>a 5 <13>x 5 <13>y\n<14>zz", b"<13>abc"],
    ),
    "a message in a line that quotes a counted one": (
        COUNTED_OK + b"\n<13>got 31 <13>x\n<14>y\n",
        [OK, b"<13>got 31 <13>x", b"<14>y"],
    ),
    "counted frames without a PRI, after one that has it": (
        COUNTED_OK + b"5 hello" + COUNTED_OK + b"\n9 two\nlines\n<13>x\n",
        [OK, b"hello", OK, b"two\nlines", b"<13>x"],
    ),
    "the last one is a counted frame without a PRI": (COUNTED_OK + b"5 hello", [OK, b"hello"]),
    "counted frames of something in angle brackets": (
        b"5 <abcd5 <efgh",
        [b"<abcd", b"<efgh"],
    ),
    "a byte order mark before counted frames": (b"\xef\xbb\xbf" + COUNTED_OK * 2, [OK, OK]),
    "a byte order mark before a line": (b"\xef\xbb\xbf" + OK + b"\n" + OK, [OK, OK]),
    "a byte order mark between separators": (b"\r\n\xef\xbb\xbf\n" + COUNTED_OK, [OK]),
    "a second byte order mark": (b"\xef\xbb\xbf" * 2 + b"x\n", [b"\xef\xbb\xbfx"]),
    "a byte order mark in the middle": (
        b"x\n\xef\xbb\xbfy\n<13>\xef\xbb\xbf",
        [b"x", b"\xef\xbb\xbfy", b"<13>\xef\xbb\xbf"],
    ),
    "a part of a byte order mark": (b"\xef\xbb", [b"\xef\xbb"]),
    "a line about something open": (b"1 open file\n2 open 3 x\n", [b"1 open file", b"2 open 3 x"]),
}

WRONG_COUNTS = {
    "characters counted": (
        b"%d %s\n%s\n%s" % (len(CAFE.decode()) + 1, CAFE, COUNTED_OK, COUNTED_OK),
        [CAFE[:-2], CAFE[-2:], OK, OK],
    ),
    "characters counted, without line feeds": (
        b"%d %s%s%s" % (len(CAFE.decode()), CAFE, COUNTED_OK, COUNTED_OK),
        [CAFE[:-3], CAFE[-3:], OK, OK],
    ),
    "the tail is a line feed": (b"30 " + OK + b"\n" + COUNTED_OK, [OK[:-1], OK[-1:], OK]),
    "a cut text": (
        b"60 <13>Oct 11 22:14:15 h app: cut" + COUNTED_OK * 3,
        [b"<13>Oct 11 22:14:15 h app: cut", OK, OK, OK],
    ),
    "a cut text and a line feed": (
        b"64 <13>Oct 11 22:14:15 h app: cut\n" + (COUNTED_OK + b"\n") * 3,
        [b"<13>Oct 11 22:14:15 h app: cut", OK, OK, OK],
    ),
    "a cut text that reaches over two others": (
        b"90 <13>cut" + COUNTED_OK * 4,
        [b"<13>cut", OK, OK, OK, OK],
    ),
    "a cut text whose count ends in the header of another": (
        b"11 <13>cut" + COUNTED_OK * 2,
        [b"<13>cut", OK, OK],
    ),
    "each count one too large": (
        (b"32 " + OK) * 3 + COUNTED_OK,
        [OK + b"3", OK, OK + b"3", OK],
    ),
    "each count two too large": (
        (b"33 " + OK) * 3 + COUNTED_OK,
        [OK + b"33", OK, OK + b"31", OK],
    ),
    "each count three too large": (
        (b"34 " + OK) * 3 + COUNTED_OK,
        [OK + b"34 ", OK, OK + b"31 ", OK],
    ),
    "a cut text before lines": (
        b"35 <13>cut\n" + OK + b"\n" + OK + b"\n",
        [b"<13>cut", OK, OK],
    ),
    "a cut text at the end": (b"60 <13>cut", [b"<13>cut"]),
    "lines with an epoch before the PRI": (
        b"".join(b"165097278%d %s\n" % (digit, OK) for digit in range(9)),
        [OK] * 9,
    ),
    "a number above the limit before a PRI, then lines": (
        b"9999999999 " + (OK + b"\n") * 5,
        [OK] * 5,
    ),
    "a cut text whose count is above the limit": (
        b"999 <13>cut" + COUNTED_OK * 5,
        [b"<13>cut", *[OK] * 5],
    ),
    "a cut text before the last one": (b"60 <13>cut\n" + COUNTED_OK, [b"<13>cut", OK]),
    "a text with line feeds, counted up to the first": (
        b"7 <13>one\ntwo\nthree\n" + COUNTED_OK + b"\n",
        [b"<13>one", b"two", b"three", OK],
    ),
    "a text with line feeds, and no line feed behind it": (
        b"7 <13>one\ntwo\nthree" + COUNTED_OK * 2,
        [b"<13>one", b"two", b"three", OK, OK],
    ),
    "a line that begins with a number": (
        COUNTED_OK + b"\n25 files copied\n" + OK + b"\n",
        [OK, b"25 files copied", OK],
    ),
    "no count": (COUNTED_OK + OK + COUNTED_OK * 2, [OK, OK, OK, OK]),
    "no count, and the next one is wrong too": (
        COUNTED_OK + b"<13>a4 <13>xyz" + COUNTED_OK,
        [OK, b"<13>a", b"<13>", b"xyz", OK],
    ),
    "a count for nothing": (COUNTED_OK + b"2 <13>x\n" + COUNTED_OK, [OK, b"2 <13>x", OK]),
}


def outcome(
    stream: bytes, chunks: list[bytes], limit: int = 100, *, split: bool = False
) -> tuple[Report, int, str]:
    decoder = AutoDecoder(frame_bytes_max=limit, split=split)
    return reports(decoder, *chunks), decoder.framing_errors, str(decoder.error)


def ways_to_cut(stream: bytes) -> list[list[bytes]]:
    return [singly(stream), *(cut(stream, at) for at in range(len(stream) + 1))]


each_way = pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "plain"])


@pytest.fixture
def way(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr(decoders, "IS_COMPILED", False)


@each_way
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", WELL_FORMED)
def test_each_frame_says_for_itself_what_it_is(name: str) -> None:
    stream, expected = WELL_FORMED[name]
    for chunks in ways_to_cut(stream):
        assert outcome(stream, chunks) == ([(frame, 0, 0) for frame in expected], 0, "None")


@each_way
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", WRONG_COUNTS)
def test_after_a_wrong_count_nothing_is_lost(name: str) -> None:
    stream, expected = WRONG_COUNTS[name]
    wanted = [(frame.rstrip(b"\n"), 0, 0) for frame in expected]
    for chunks in ways_to_cut(stream):
        found, errors, error = outcome(stream, chunks)
        assert [(frame.rstrip(b"\n"), *marks) for frame, *marks in found] == wanted
        assert (errors > 0, error) == (True, "None")


parts = st.sampled_from(
    [
        *(COUNTED_OK, COUNTED_OK, OK + b"\n", b"5 <13>a", b"6 <13>ab", b"5 ab", b"3 one", b"0 "),
        *(b"40 <13>abc", b"\n", b"\r", b"\0", b" ", b"<13>abc\n", b"<1", b"3>", b"7 <13>abcd\n"),
        *(b"25 files\n", b"9" * 11, b"x", b"\x16", b"1 open ", b"5 a=", b"12", b"<", b"07 <13>abc"),
        *(
            b"7 <13>a12",
            b"8 <13>a",
            b"8 <13>a\n<5 <13>b",
            b"30 <1>\n<2>",
            b"8 <13>a\n<14>b\n",
            b"300 <13>abc",
            b"<5>q 5 <13>a5 <13>b",
            b"load 4 ",
        ),
    ]
)


@given(
    pieces=st.lists(parts, max_size=10),
    cuts=st.lists(st.integers(0, 200), max_size=5),
    limit=st.sampled_from([4, 8, 16, 40, 400]),
    split=st.booleans(),
)
def test_mixtures_do_not_depend_on_chunks(
    pieces: list[bytes], cuts: list[int], limit: int, split: bool
) -> None:
    stream = b"".join(pieces)
    whole = outcome(stream, [stream], limit, split=split)
    chunks = cut(stream, *sorted(min(at, len(stream)) for at in cuts))
    for each in (chunks, singly(stream)):
        assert outcome(stream, each, limit, split=split) == whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoders, "IS_COMPILED", False)
        for each in ([stream], chunks):
            assert outcome(stream, each, limit, split=split) == whole


@given(
    pieces=st.lists(parts | st.binary(max_size=9), max_size=12), settles=st.sets(st.integers(0, 12))
)
@example(pieces=[b"\xef\xbb\xbf", b"\xef\xbb\xbf"], settles=set())
def test_all_bytes_but_counts_and_separators_arrive(pieces: list[bytes], settles: set[int]) -> None:
    decoder = AutoDecoder(frame_bytes_max=1000)
    frames: list[bytes] = []
    for number, piece in enumerate(pieces):
        frames += decoder.feed(piece)
        if number in settles:
            frames += decoder.settle()
    frames += decoder.finish()
    stream = b"".join(pieces)
    beginning = stream.lstrip(b"\r\n\0")
    if decoder.error is None:
        stream = beginning.removeprefix(b"\xef\xbb\xbf")
        assert _without(b"".join(frames)) == _without(stream)
    else:
        assert frames == []


def _without(data: bytes) -> bytes:
    return data.translate(None, b"0123456789 \r\n\0")


# NUL: a part of a line, unless a sender ends its messages with it.


NUL_LINES = [
    (b"with \0 nul\n", [b"with \0 nul"]),
    (b"\x00a\0\0b\0\r\n<13>c\n", [b"a\0\0b", b"<13>c"]),
    (b"<13>a\0<13>b\0", [b"<13>a", b"<13>b"]),
    (b"<13>a\0\0<13>b\0\0", [b"<13>a\0", b"<13>b\0"]),
    (b"<13>a\0\rb\n", [b"<13>a\0\rb"]),
    (b"<13>a\r\0<13>b\r\0\r\n", [b"<13>a", b"<13>b"]),
    (b"<13>a\0<", [b"<13>a", b"<"]),
    (b"<13>a\0\r", [b"<13>a"]),
    (COUNTED_OK + b"<13>a \0 b\n" + COUNTED_OK + b"\0" + COUNTED_OK, [OK, b"<13>a \0 b", OK, OK]),
]


@pytest.mark.parametrize(("stream", "lines"), NUL_LINES)
@pytest.mark.parametrize("limit", [100, 3])
def test_a_nul_is_a_part_of_a_line_unless_it_ends_a_message(
    stream: bytes, lines: list[bytes], limit: int
) -> None:
    for split in (False, True):
        whole = decode(AutoDecoder(frame_bytes_max=limit, split=split), stream)
        assert limit < 100 or whole == lines
        for chunks in ways_to_cut(stream):
            assert decode(AutoDecoder(frame_bytes_max=limit, split=split), *chunks) == whole


def test_a_message_that_ends_with_nul_waits_no_longer_than_others() -> None:
    decoder = AutoDecoder(frame_bytes_max=100)
    assert decoder.feed(b"<13>a\0") == []
    assert decoder.undecided
    assert decoder.settle() == [b"<13>a"]
    assert decoder.feed(b"<13>b\0<13>c") == [b"<13>b"]
    assert decoder.feed(b" \0 d") == []
    assert not decoder.undecided
    assert decoder.settle() == []
    assert decoder.feed(b"\n") == [b"<13>c \0 d"]


def test_nuls_for_ever_take_time_in_proportion_to_their_number() -> None:
    decoder = AutoDecoder(frame_bytes_max=65536)
    frames = [frame for _ in range(30_000) for frame in decoder.feed(b"\0x")]
    assert frames + decoder.finish() == [(b"\0x" * 30_000).lstrip(b"\0")]


# What has to wait, and for how long.


def test_what_is_complete_and_clear_does_not_wait() -> None:
    decoder = AutoDecoder(frame_bytes_max=100)
    for frame in (COUNTED_OK, b"\n", OK + b"\n", COUNTED_OK, b"\n25 x\n"):
        complete = decoder.feed(frame)
        assert complete == [frame.removeprefix(b"31 ").rstrip(b"\n")][: len(frame) > 6]
    assert decoder.undecided  # the last one may be a count


@pytest.mark.parametrize(
    ("waiting", "decided"),
    [
        (b"25 files copied\n", [b"25 files copied"]),
        (b"25 files\n26 files\n27", [b"25 files", b"26 files"]),
        (b"5 hello", [b"hello"]),
        (b"5 hello3", [b"hello"]),
        (b"<13>load 31 <13>x\n", [b"<13>load 31 <13>x"]),
        (b"15 <13>one\n<14>two", [b"<13>one\n<14>two"]),
        (b"60 <13>cut\n" + COUNTED_OK, [b"<13>cut", OK]),
        (b"21 <unknown> device\n", [b"21 <unknown> device"]),
        (b"60 <13>cut\n", [b"<13>cut\n"]),
        (b"9999999999 <13>cut\n" + OK, [b"<13>cut"]),
        (b"9999999999 <13>cut\n", [b"<13>cut\n"]),
    ],
)
def test_what_is_undecided_is_settled_when_nothing_comes(
    waiting: bytes, decided: list[bytes]
) -> None:
    decoder = AutoDecoder(frame_bytes_max=100)
    assert decoder.feed(COUNTED_OK) == [OK]
    assert not decoder.undecided
    frames = decoder.feed(waiting)
    assert decoder.undecided
    assert frames + decoder.settle() == decided
    tail = decoder.feed(b"\n" + COUNTED_OK) + decoder.finish()
    assert tail[-1] == OK


@pytest.mark.parametrize(
    "waiting", [b"", b"31 <13>Oct", b"31", b"31 ", b"31 <1", b"<13>a lin", b"x"]
)
def test_what_is_not_complete_is_not_settled(waiting: bytes) -> None:
    decoder = AutoDecoder(frame_bytes_max=100)
    decoder.feed(COUNTED_OK + waiting)
    assert decoder.settle() == []
    rest = (COUNTED_OK + b"\n").removeprefix(waiting) if waiting[:1] == b"3" else b"e\n"
    expected = {b"": b"e", b"<13>a lin": b"<13>a line", b"x": b"xe"}.get(waiting, OK)
    assert decoder.feed(rest) == [expected]


def test_lines_alone_are_never_undecided() -> None:
    decoder = AutoDecoder(frame_bytes_max=100)
    for line in (b"25 files copied\n", b"<13>x\n", b"12 monke"):
        decoder.feed(line)
        assert not decoder.undecided


def test_another_boundary_is_another_number() -> None:
    decoder = AutoDecoder(frame_bytes_max=100)
    decoder.feed(COUNTED_OK + b"25 a\n")
    first = decoder.undecided
    decoder.feed(b"b")
    assert decoder.undecided == first
    decoder.feed(b"c" * 22)
    decoder.feed(b"\n26 a\n")
    assert decoder.undecided not in (0, first)


# What is no syslog.


@pytest.mark.parametrize("before", [b"", b"\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    "opening",
    [
        b"1 open 85 relp_version=0\nrelp_software=librelp\ncommands=syslog\n",
        b"1 open 0\n",
        b"123456789 open \n",
        b"1 open 30 commands=syslog\nrelp_version=1\n",
    ],
)
def test_relp_is_not_cut_into_messages(before: bytes, opening: bytes) -> None:
    for chunks in ways_to_cut(before + opening):
        decoder = AutoDecoder(frame_bytes_max=16)
        assert decode(decoder, *chunks, b"2 syslog 7 <13>one\n") == []
        assert str(decoder.error) == "this is RELP; use a relp:// source for it"
        assert decoder.error is not None and decoder.error.protocol == "relp"


# Memory, in bytes for each byte received.


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"65536 <13>",
        b"5 <13>a",
        b"5 <13>a65536 ",
        b"5 <13>a<13>65536 <13>",
    ],
)
def test_a_byte_that_waits_costs_less_than_two(start: bytes, size: int) -> None:
    decoder = AutoDecoder(frame_bytes_max=65536)
    decoder.feed(start)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(30_000 // size):
        assert decoder.feed(bytes(size).replace(b"\0", b"x")) == []
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 30_000 <= decoder.unfinished_bytes <= 30_100
    assert held < 2 * 30_000


@pytest.mark.parametrize("start", [b"", b"<13>", b"5 <13>a<13>"])
def test_a_flood_of_what_might_be_counts_costs_no_time(start: bytes) -> None:
    """Each chunk ends what may be one; looking at all of them each time would take minutes."""
    decoder = AutoDecoder(frame_bytes_max=100_000)
    looked_at = 0

    def counting(data: bytes, *arguments: object) -> object:
        nonlocal looked_at
        looked_at += len(data) - int(str(arguments[1]))
        return next_counted(data, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoders, "next_counted", counting)
        decoder.feed(start)
        for _ in range(5000):
            decoder.feed(b"999999 <13>")
    assert looked_at < 10 * 5000 * 11
