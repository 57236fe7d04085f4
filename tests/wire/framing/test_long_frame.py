from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.wire.framing.long_frame import CutFrame, SplitFrame, split_frame
from relay.wire.parse import parse

BSD = b"<13>Oct 11 22:14:15 host app[1]: "
IETF = b'<13>1 2026-11-21T05:00:00Z host app 1 ID [a b="c"] '
TEXT = b"0123456789" * 30


def header_of(pieces: list[bytes], whole: bytes) -> bytes:
    """What all pieces but the first begin with, found by what is left of `whole`."""
    rest = whole.removeprefix(pieces[0])
    for size in range(len(pieces[1]) + 1):
        texts = [piece[size:] for piece in pieces[1:]]
        if b"".join(texts) == rest and all(texts):
            return pieces[1][:size]
    raise AssertionError((pieces, whole))


# Cutting.


def test_a_cut_frame_keeps_the_first_bytes_and_counts_all() -> None:
    cut = CutFrame(frame_bytes_max=4)
    assert [cut.feed(b"012345"), cut.feed(b""), cut.feed(b"67")] == [[], [], []]
    assert (cut.end(), cut.frame_bytes) == ([b"0123"], 8)


# Splitting.


@pytest.mark.parametrize(
    "header",
    [
        BSD,
        b"<13>Oct 11 22:14:15 host app: ",
        b"<13>app: ",
        b"<13>2026-11-21T05:00:00.5+01:00 host app[1]: ",
        b"Oct 11 22:14:15 host app: ",
        b"<13>1 2026-11-21T05:00:00Z host app 1 ID - ",
        IETF,
        IETF + b"\xef\xbb\xbf",
    ],
)
def test_each_piece_has_the_header_of_the_first(header: bytes) -> None:
    whole = header + TEXT
    pieces = split_frame(whole, frame_bytes_max=128)
    room = 128 - len(header)
    assert pieces[0] == whole[:128]
    assert pieces[1:-1] == [
        header + whole[start : start + room]
        for start in range(128, len(whole) - len(pieces[-1]) + len(header), room)
    ]
    messages = [parse(piece) for piece in pieces]
    assert b"".join(message.msg for message in messages) == TEXT
    assert (
        len({message._replace(msg=b"", raw=b"") for message in messages if not message.pairs}) < 2
    )
    fields = ("pri", "timestamp", "hostname", "app_name", "procid", "structured_data")
    for field in fields:
        assert len({getattr(message, field) for message in messages}) == 1


@pytest.mark.parametrize(
    ("start", "header"),
    [
        (b"<13>Oct 11 22:14:15 " + b"h" * 50 + b" app: ", b"<13>"),  # more than half
        (b'<14>1 - h a - - [a b="' + b"c" * 400 + b'"] ', b"<14>1 - h a - - "),  # not over in time
        (b"<15>1 but not of RFC 5424 ", b"<15>"),
        (b"<191>", b"<191>"),
        (b"<192>", b""),
        (b"<999>x: ", b""),
        (b"", b""),
    ],
)
def test_without_a_fit_header_there_is_the_pri_or_nothing(start: bytes, header: bytes) -> None:
    whole = start + b"-" + TEXT
    pieces = split_frame(whole, frame_bytes_max=128)
    assert pieces[0] == whole[:128]
    assert all(piece.startswith(header) for piece in pieces)
    assert b"".join(piece[len(header) :] for piece in pieces[1:]) == whole[128:]
    assert all(len(piece) == 128 for piece in pieces[:-1])


def test_a_tag_without_an_end_is_not_taken_for_a_header() -> None:
    """With other bytes behind it, it would be another tag."""
    header = b"<13>Oct 11 22:14:15 host "
    pieces = split_frame(header + b"app[" + TEXT, frame_bytes_max=128)
    assert pieces[1].startswith(header + (header + b"app[" + TEXT)[128:140])


@pytest.mark.parametrize("letter", ["é", "€", "𝄞"])
def test_no_letter_is_torn(letter: str) -> None:
    for before in range(8):
        whole = b"<13>app: " + b"x" * before + letter.encode() * 200
        pieces = split_frame(whole, frame_bytes_max=64)
        texts = [piece.removeprefix(b"<13>app: ").decode("utf-8") for piece in pieces]
        assert "".join(texts) == whole[9:].decode("utf-8")
        assert all(61 <= len(piece) <= 64 for piece in pieces[:-1])


def test_bytes_that_are_no_letters_do_not_shorten_a_piece() -> None:
    for byte in (b"\x80", b"\xbf"):
        pieces = split_frame(b"<13>app: " + byte * 200, frame_bytes_max=64)
        assert [len(piece) for piece in pieces[:-1]] == [64] * (len(pieces) - 1)


def test_a_piece_comes_when_the_byte_after_it_has() -> None:
    split = SplitFrame(frame_bytes_max=16)
    assert split.feed(b"<13>app: 0123456") == []
    assert split.pieces == 0
    assert split.feed(b"7") == [b"<13>app: 0123456"]
    assert split.feed(b"89") == []
    assert (split.end(), split.pieces) == ([b"<13>789"], 2)


frames = st.one_of(
    st.binary(min_size=1),
    st.tuples(st.sampled_from([b"<13>", b"<13>a: ", BSD, IETF]), st.binary(), st.text()).map(
        lambda parts: parts[0] + parts[1] + parts[2].encode()
    ),
)


@given(frame=frames, limit=st.integers(1, 120), chunk_bytes=st.integers(1, 130))
@example(frame=b"<13>x", limit=4, chunk_bytes=1)
@example(frame=b"\xf0\x9d\x84\x9e" * 3, limit=2, chunk_bytes=1)
def test_all_pieces_together_are_the_frame(frame: bytes, limit: int, chunk_bytes: int) -> None:
    pieces = split_frame(frame, frame_bytes_max=limit)
    assert all(0 < len(piece) <= limit for piece in pieces)
    if len(pieces) == 1:
        assert pieces == [frame]
    else:
        header = header_of(pieces, frame)
        assert 2 * len(header) <= limit or not header
    split = SplitFrame(frame_bytes_max=limit)
    singly: list[bytes] = []
    for start in range(0, len(frame), chunk_bytes):
        singly += split.feed(frame[start : start + chunk_bytes])
        assert len(split._waiting) <= limit
    assert singly + split.end() == pieces
    assert split.pieces == len(pieces)
