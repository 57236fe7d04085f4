from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.lines import LineDecoder, Lines

STACK = re.compile(rb"^\S").search


def test_lines_end_with_lf_or_cr_lf() -> None:
    decoder = LineDecoder(start=10, frame_bytes_max=100)
    assert decoder.feed(b"one\ntwo\r\n\nthr") == Lines([b"one", b"two", b""], {})
    assert (decoder.position, decoder.read) == (20, 23)
    assert decoder.feed(b"ee\r") == Lines([], {})
    assert decoder.feed(b"\nrest") == Lines([b"three"], {})
    assert decoder.position == 27


def test_what_is_left_at_the_end_is_a_line() -> None:
    decoder = LineDecoder(start=0, frame_bytes_max=100)
    assert decoder.finish() == Lines([], {})
    decoder.feed(b"one\ntw")
    decoder.feed(b"o\r")
    assert decoder.finish() == Lines([b"two"], {})
    assert decoder.position == decoder.read == 8
    assert decoder.finish() == Lines([], {})


@pytest.mark.parametrize(
    ("line", "frame", "size"),
    [
        (b"12345", b"12345", None),
        (b"12345\r", b"12345", None),
        (b"123456", b"12345", 6),
        (b"123456\r", b"12345", 6),
        (b"1234567\r", b"12345", 7),
        (b"12345\r\r", b"12345", 6),
        (b"1" * 300 + b"\r", b"11111", 300),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize("before", [b"", b"0\n"])
def test_long_lines_are_cut_and_their_length_is_known(
    line: bytes, frame: bytes, size: int | None, step: int, before: bytes
) -> None:
    octets = before + line + b"\nnext\n"
    decoder = LineDecoder(start=0, frame_bytes_max=5)
    frames: list[bytes] = []
    sizes: list[int] = []
    for start in range(0, len(octets), step):
        lines = decoder.feed(octets[start : start + step])
        assert all(len(lines.frames[index]) == 5 for index in lines.long)
        frames += lines.frames
        sizes += lines.long.values()
    assert frames == [*before.split(), frame, b"next"]
    assert sizes == ([] if size is None else [size])
    assert decoder.position == len(octets)


def test_of_a_line_without_end_little_is_kept() -> None:
    decoder = LineDecoder(start=0, frame_bytes_max=5)
    for _ in range(1000):
        decoder.feed(b"x" * 1000)
    assert sum(map(len, decoder._held)) == 6
    assert decoder.finish() == Lines([b"xxxxx"], {0: 1_000_000})
    assert decoder.position == 1_000_000


def test_a_message_ends_where_the_next_begins() -> None:
    decoder = LineDecoder(start=0, frame_bytes_max=100, begins=STACK)
    assert decoder.feed(b"one\n at a\r\n at b\n") == Lines([], {})
    assert (decoder.position, decoder.waiting) == (0, True)
    assert decoder.feed(b"two\nthree\n") == Lines([b"one\n at a\n at b", b"two"], {})
    assert decoder.position == 21
    assert decoder.feed(b" at") == Lines([], {})
    assert decoder.flush() == Lines([b"three"], {})
    assert (decoder.position, decoder.read, decoder.waiting) == (27, 30, False)
    assert decoder.flush() == Lines([], {})
    assert decoder.finish() == Lines([b" at"], {})
    assert decoder.position == 30


def test_the_end_of_a_file_ends_its_message() -> None:
    decoder = LineDecoder(start=0, frame_bytes_max=100, begins=STACK)
    decoder.feed(b"one\n at")
    assert decoder.finish() == Lines([b"one\n at"], {})
    assert decoder.position == 7


def test_a_long_message_is_cut() -> None:
    decoder = LineDecoder(start=0, frame_bytes_max=6, begins=STACK)
    lines = decoder.feed(b"one\n at a\n\n at b\ntwo\n at\nthree\n")
    assert lines == Lines([b"one\n a", b"two\n a"], {0: 16, 1: 7})
    for _ in range(2000):
        decoder.feed(b" more\n")
    assert sum(map(len, decoder._message)) < 20
    assert decoder.flush() == Lines([b"three\n"], {0: 5 + 2000 * 6})


def test_an_expression_that_never_matches_does_not_swallow_a_file() -> None:
    decoder = LineDecoder(start=0, frame_bytes_max=10**6, begins=lambda line: None)
    lines = decoder.feed(b"x\n" * 25_000)
    assert [frame.count(b"x") for frame in lines.frames] == [10_000, 10_000]
    assert decoder.position == 40_000
    assert LineDecoder(start=0, frame_bytes_max=9, begins=lambda line: None).finish().frames == []


def pieces(octets: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    return [octets[start:stop] for start, stop in pairwise(places)]


OCTETS = st.text(alphabet="ab \r\n", max_size=60).map(str.encode)
CUTS = st.lists(st.integers(0, 60), max_size=8)


@given(OCTETS, CUTS, st.integers(1, 12), st.sampled_from([None, STACK]))
def test_frames_do_not_depend_on_chunks(
    octets: bytes, cuts: list[int], limit: int, begins: object
) -> None:
    def decoded(chunks: list[bytes]) -> tuple[list[bytes], list[int], int]:
        decoder = LineDecoder(start=0, frame_bytes_max=limit, begins=begins)  # type: ignore[arg-type]
        results = [*(decoder.feed(chunk) for chunk in chunks), decoder.finish()]
        frames = [frame for result in results for frame in result.frames]
        return frames, [size for result in results for size in result.long.values()], decoder.read

    frames, sizes, read = decoded(pieces(octets, cuts))
    assert (frames, sizes, read) == decoded([octets])
    assert read == len(octets)
    if begins is None:
        whole = octets.split(b"\n")
        expected = [line.removesuffix(b"\r") for line in (whole[:-1] if not whole[-1] else whole)]
        assert frames == [line[:limit] for line in expected]
        assert sizes == [len(line) for line in expected if len(line) > limit]


@given(OCTETS, CUTS, st.sampled_from([None, STACK]), st.integers(0, 60))
def test_going_on_from_a_position_repeats_nothing_and_leaves_nothing_out(
    octets: bytes, cuts: list[int], begins: object, crash: int
) -> None:
    decoder = LineDecoder(start=0, frame_bytes_max=99, begins=begins)  # type: ignore[arg-type]
    frames: list[bytes] = []
    for chunk in pieces(octets[:crash], cuts):
        frames += decoder.feed(chunk).frames
    again = LineDecoder(start=decoder.position, frame_bytes_max=99, begins=begins)  # type: ignore[arg-type]
    frames += again.feed(octets[decoder.position :]).frames + again.finish().frames
    whole = LineDecoder(start=0, frame_bytes_max=99, begins=begins)  # type: ignore[arg-type]
    assert frames == whole.feed(octets).frames + whole.finish().frames
