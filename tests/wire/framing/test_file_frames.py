from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.errors import FramingError
from relay.wire.framing.decoders import encode_newline, encode_octet_counted
from relay.wire.framing.file_frames import counted_frames_in, lines_in


def lines(content: bytes, limit: int = 16) -> list[bytes]:
    return list(lines_in(BytesIO(content), limit))


def counted(content: bytes, limit: int = 16) -> list[bytes]:
    return list(counted_frames_in(BytesIO(content), limit))


def counted_until_error(content: bytes, limit: int = 16) -> tuple[list[bytes], str]:
    """The frames before the error, and the error."""
    frames: list[bytes] = []
    with pytest.raises(FramingError) as caught:
        for frame in counted_frames_in(BytesIO(content), limit):
            frames.append(frame)
    return frames, str(caught.value)


@given(st.lists(st.binary(min_size=1), max_size=8))
def test_counted_frames_survive_a_round_trip(messages: list[bytes]) -> None:
    assert counted(encode_octet_counted(messages), 1000) == messages


@given(st.lists(st.binary(min_size=1), max_size=8))
def test_a_line_stays_one_line_whatever_is_in_it(messages: list[bytes]) -> None:
    encoded = encode_newline(messages)
    assert encoded.count(b"\n") == len(messages)
    assert b"\0" not in encoded
    assert len(lines(encoded, 1000)) == len(messages)


@given(st.lists(st.binary(min_size=1).filter(lambda m: not set(m) & set(b"\n\r\0")), max_size=8))
def test_lines_survive_a_round_trip(messages: list[bytes]) -> None:
    assert lines(encode_newline(messages), 1000) == messages


def test_leading_zeros_empty_frames_and_separators_are_taken() -> None:
    assert counted(b"\n\r\x000 0000000003 one\r\n\x00\x003 two\n") == [b"one", b"two"]


def test_separators_at_the_end_are_none() -> None:
    assert counted(b"3 one\r\n") == [b"one"]
    assert counted(b"\r\n\0") == counted(b"") == []


@pytest.mark.parametrize(
    "rest", [b"GET / HTTP/1.1\r\n", b"+5 hello", b"-1 x", b"5\thello", b"1_0 x", b"12345678901 x"]
)
def test_a_violation_is_reported_after_the_frames_before_it(rest: bytes) -> None:
    assert counted_until_error(b"3 one" + rest)[0] == [b"one"]


def test_the_error_shows_what_was_found_not_what_separates() -> None:
    assert "found b'GET / HTTP/1.1'" in counted_until_error(b"3 one\n\n\nGET / HTTP/1.1")[1]


@pytest.mark.parametrize("partial", [b"3", b"3 ", b"3 on", b"\n12 x"])
def test_a_partial_counted_frame_at_the_end_is_an_error(partial: bytes) -> None:
    assert counted_until_error(b"3 one" + partial)[0] == [b"one"]


def test_a_long_counted_frame_is_cut_and_its_rest_is_no_frame() -> None:
    stream = b"7 <1>one 21 <1>3456789 7 <1>us xx7 <1>two "
    assert counted(stream, 8) == [b"<1>one ", b"<1>34567", b"<1>two "]
    long = encode_octet_counted([b"x" * 200_000, b"end"])
    assert counted(long, 8) == [b"x" * 8, b"end"]


def test_a_long_counted_frame_that_never_ends_is_an_error_at_the_end() -> None:
    frames, error = counted_until_error(b"3 one20 01234567", 4)
    assert frames == [b"one", b"0123"]
    assert error == "the file ends 12 bytes before the end of a frame"


def test_empty_lines_are_none_and_the_last_line_needs_no_end() -> None:
    assert lines(b"\none\r\n\r\n\n12 monkeys\ntwo\r") == [b"one", b"12 monkeys", b"two"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [7, 8, 9, 10, 11, 200_000])
def test_a_long_line_is_cut_and_its_rest_is_no_line(size: int, end: bytes) -> None:
    assert lines(b"x" * size + end + b"two" + end, 8) == [b"x" * min(size, 8), b"two"]


def test_a_nul_is_text_in_a_file_of_lines() -> None:
    assert lines(b"y\0\n\0\n") == [b"y\0", b"\0"]
