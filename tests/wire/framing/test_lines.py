from __future__ import annotations

import codecs
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.framing.charset import Charset
from relay.wire.framing.lines import LineDecoder, Lines

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
    data = before + line + b"\nnext\n"
    decoder = LineDecoder(start=0, frame_bytes_max=5)
    frames: list[bytes] = []
    sizes: list[int] = []
    for start in range(0, len(data), step):
        lines = decoder.feed(data[start : start + step])
        assert all(len(lines.frames[index]) == 5 for index in lines.long)
        frames += lines.frames
        sizes += lines.long.values()
    assert frames == [*before.split(), frame, b"next"]
    assert sizes == ([] if size is None else [size])
    assert decoder.position == len(data)


def test_of_a_line_without_end_little_is_kept() -> None:
    decoder = LineDecoder(start=0, frame_bytes_max=5)
    for _ in range(1000):
        decoder.feed(b"x" * 1000)
    assert sum(map(len, decoder._held)) == 9  # with room for a CR and a byte order mark
    assert decoder.finish() == Lines([b"xxxxx"], {0: 1_000_000})
    assert decoder.position == 1_000_000
    wide = LineDecoder(start=0, frame_bytes_max=5, charset=Charset("utf-16le"))
    for _ in range(1000):
        wide.feed(b"x\0" * 500)
    assert sum(map(len, wide._held)) < 30
    assert wide.finish() == Lines([b"xxxxx"], {0: 1_000_000 - 28 + 14})


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


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(places)]


BYTES = st.text(alphabet="ab \r\n", max_size=60).map(str.encode)
CUTS = st.lists(st.integers(0, 60), max_size=8)


@given(BYTES, CUTS, st.integers(1, 12), st.sampled_from([None, STACK]))
def test_frames_do_not_depend_on_chunks(
    data: bytes, cuts: list[int], limit: int, begins: object
) -> None:
    def decoded(chunks: list[bytes]) -> tuple[list[bytes], list[int], int]:
        decoder = LineDecoder(start=0, frame_bytes_max=limit, begins=begins)  # type: ignore[arg-type]
        results = [*(decoder.feed(chunk) for chunk in chunks), decoder.finish()]
        frames = [frame for result in results for frame in result.frames]
        return frames, [size for result in results for size in result.long.values()], decoder.read

    frames, sizes, read = decoded(pieces(data, cuts))
    assert (frames, sizes, read) == decoded([data])
    assert read == len(data)
    if begins is None:
        whole = data.split(b"\n")
        expected = [line.removesuffix(b"\r") for line in (whole[:-1] if not whole[-1] else whole)]
        assert frames == [line[:limit] for line in expected]
        assert sizes == [len(line) for line in expected if len(line) > limit]


@given(BYTES, CUTS, st.sampled_from([None, STACK]), st.integers(0, 60))
def test_going_on_from_a_position_repeats_nothing_and_leaves_nothing_out(
    data: bytes, cuts: list[int], begins: object, crash: int
) -> None:
    decoder = LineDecoder(start=0, frame_bytes_max=99, begins=begins)  # type: ignore[arg-type]
    frames: list[bytes] = []
    for chunk in pieces(data[:crash], cuts):
        frames += decoder.feed(chunk).frames
    again = LineDecoder(start=decoder.position, frame_bytes_max=99, begins=begins)  # type: ignore[arg-type]
    frames += again.feed(data[decoder.position :]).frames + again.finish().frames
    whole = LineDecoder(start=0, frame_bytes_max=99, begins=begins)  # type: ignore[arg-type]
    assert frames == whole.feed(data).frames + whole.finish().frames


def test_a_nul_is_a_byte_like_others() -> None:
    decoder = LineDecoder(start=0, frame_bytes_max=100)
    assert decoder.feed(b"with \0 nul\n\0\n") == Lines([b"with \0 nul", b"\0"], {})


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize("begins", [None, STACK])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 100])
def test_a_mark_at_the_beginning_of_a_file_is_no_text(begins: object, step: int) -> None:
    data = MARK + b"12345\r\n" + MARK + b"x\n"
    decoder = LineDecoder(start=0, frame_bytes_max=5, begins=begins)  # type: ignore[arg-type]
    frames: list[bytes] = []
    for start in range(0, len(data), step):
        lines = decoder.feed(data[start : start + step])
        assert not lines.long
        frames += lines.frames
    assert frames + decoder.finish().frames == [b"12345", MARK + b"x"]
    later = LineDecoder(start=7, frame_bytes_max=5)
    assert later.feed(MARK + b"x\n").frames == [MARK + b"x"]
    assert LineDecoder(start=0, frame_bytes_max=5).feed(MARK + b"\n").frames == [b""]


TEXT = "line one café\r\n\n at \U0001f600 \u0a0a\u0d0a\u0a00\nlast \u2028\ud7ff\nend"
CHARSETS = (
    *("utf-16le", "utf-16be", "utf-16", "utf-32le", "utf-32be", "utf-32", "utf-7", "gb18030"),
    *("cp037", "ISO-8859-1", "iso2022_jp_2", "utf-8"),
)
HEADS = {
    "utf-16": codecs.BOM_UTF16_LE,
    "utf-32": codecs.BOM_UTF32_LE,
    "utf-8": MARK,
}


def encoded(text: str, name: str) -> bytes:
    return text.encode({"utf-16": "utf-16le", "utf-32": "utf-32le"}.get(name, name), "ignore")


def expected_lines(text: str, name: str) -> list[bytes]:
    whole = Charset(name).line_to_utf8(encoded(text, name)).split(b"\n")
    return [line.removesuffix(b"\r") for line in (whole if whole[-1] else whole[:-1])]


@pytest.mark.parametrize("begins", [None, STACK])
@pytest.mark.parametrize("name", CHARSETS)
@pytest.mark.parametrize("marked", [False, True])
def test_lines_are_converted_wherever_the_file_is_cut(
    name: str, marked: bool, begins: object
) -> None:
    data = HEADS.get(name[:6], HEADS.get(name, b"")) * marked + encoded(TEXT, name)
    if name == "utf-16be" and marked:
        data = codecs.BOM_UTF16_BE + encoded(TEXT, name)
    if name == "utf-32be" and marked:
        data = codecs.BOM_UTF32_BE + encoded(TEXT, name)
    expected = expected_lines(TEXT, name)
    if begins is not None:
        expected = [b"\n".join(expected[:3]), *expected[3:]]
    options: dict[str, Any] = {"frame_bytes_max": 200, "charset": Charset(name), "begins": begins}
    for first in range(len(data) + 1):
        decoder = LineDecoder(start=0, **options)
        frames = decoder.feed(data[:first]).frames
        # A crash here loses and repeats nothing.
        again = LineDecoder(start=decoder.position, head=data[:4], **options)
        after = again.feed(data[decoder.position :]).frames + again.finish().frames
        rest = decoder.feed(data[first:]).frames + decoder.finish().frames
        assert frames + rest == expected
        assert frames + after == expected
        assert decoder.position == decoder.read == again.position == len(data)
    singly = LineDecoder(start=0, **options)
    frames = [frame for byte in data for frame in singly.feed(bytes([byte])).frames]
    assert frames + singly.finish().frames == expected


@pytest.mark.parametrize("limit", range(1, 12))
def test_the_limit_counts_bytes_of_utf8_and_keeps_characters_whole(limit: int) -> None:
    line = "aé\u20ac\U0001f600b"
    whole = line.encode()
    shown = whole[:limit].decode(errors="ignore").encode()
    for name in ("utf-16le", "utf-32be", "gb18030", "utf-7"):
        decoder = LineDecoder(start=0, frame_bytes_max=limit, charset=Charset(name))
        lines = decoder.feed((line + "\n").encode(name))
        assert lines.frames == [shown]
        assert list(lines.long) == [0] * (len(whole) > limit)
        if limit > 3:  # so that all of it was kept
            assert list(lines.long.values()) == [len(whole)] * (len(whole) > limit)
    latin = LineDecoder(start=0, frame_bytes_max=limit, charset=Charset("ISO-8859-1"))
    lines = latin.feed(b"\xe9" * 3 + b"\n")
    assert lines.frames == [b"\xc3\xa9" * min(3, limit // 2)]
    assert bool(lines.long) == (limit < 6)


def test_a_mark_says_which_byte_order_a_file_has() -> None:
    for name in ("utf-16", "utf-16le"):
        data = codecs.BOM_UTF16_BE + "a\nb\n".encode("utf-16be")
        decoder = LineDecoder(start=0, frame_bytes_max=9, charset=Charset(name))
        assert decoder.feed(data).frames == [b"a", b"b"]
        later = LineDecoder(start=6, frame_bytes_max=9, charset=Charset(name), head=data[:4])
        assert later.feed(data[6:]).frames == [b"b"]
    short = LineDecoder(start=0, frame_bytes_max=9, charset=Charset("utf-16"))
    assert short.feed(codecs.BOM_UTF16_BE) == Lines([], {})
    assert short.finish() == Lines([b""], {})
    assert short.position == 2


@given(
    st.binary(max_size=60),
    CUTS,
    st.integers(1, 12),
    st.sampled_from(CHARSETS),
    st.sampled_from([None, STACK]),
)
def test_converted_frames_do_not_depend_on_chunks(
    data: bytes, cuts: list[int], limit: int, name: str, begins: object
) -> None:
    options: dict[str, Any] = {"charset": Charset(name), "begins": begins}

    def decoded(chunks: list[bytes]) -> list[object]:
        decoder = LineDecoder(start=0, frame_bytes_max=limit, **options)
        results = [*(decoder.feed(chunk) for chunk in chunks), decoder.finish()]
        frames = [frame for result in results for frame in result.frames]
        assert all(len(frame) <= limit for frame in frames)
        sizes = [size for result in results for size in result.long.values()]
        return [frames, sizes, decoder.position]

    assert decoded(pieces(data, cuts)) == decoded([data])
