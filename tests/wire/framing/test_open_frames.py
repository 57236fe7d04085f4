"""A stream may be taken over by another decoder between any two of its bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.framing.decoders import AutoDecoder
from relay.wire.framing.open_frames import DecoderState
from tests.wire.framing.test_decoders import (
    LONG_STREAMS,
    STREAMS,
    WELL_FORMED,
    WRONG_COUNTS,
    Report,
    outcome,
    parts,
    singly,
)


def relayed(stream: bytes, step: int, limit: int, *, split: bool) -> tuple[Report, int, str]:
    """What decoders report that take turns, each for `step` bytes, with a state sent as JSON."""
    found: Report = []
    errors = 0
    decoder = AutoDecoder(frame_bytes_max=limit, split=split)
    chunks = [stream[at : at + step] for at in range(0, len(stream), step)]
    for chunk in [*chunks, None]:
        state = msgspec.json.decode(msgspec.json.encode(decoder.state()), type=DecoderState)
        errors += decoder.framing_errors
        if decoder.error is None:
            decoder = AutoDecoder(frame_bytes_max=limit, split=split)
            decoder.resume(state)
        frames = decoder.finish() if chunk is None else decoder.feed(chunk)
        long = decoder.long
        found += [
            (frame, long.cut.get(index, 0), long.pieces.get(index, 0))
            for index, frame in enumerate(frames)
        ]
    return found, errors + decoder.framing_errors, str(decoder.error)


EVERY = [
    *(each.values[0] for each in (*STREAMS, *LONG_STREAMS)),
    *(stream for stream, _ in (*WELL_FORMED.values(), *WRONG_COUNTS.values())),
    b"\xef\xbb\xbf<13>one\n<13>two\n",
    b"60 <13>" + b"x" * 56 + b"9 <13>hello",
]


@pytest.mark.parametrize("stream", EVERY)
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("limit", [8, 100])
def test_a_state_is_all_that_another_decoder_needs(stream: bytes, split: bool, limit: int) -> None:
    expected = outcome(stream, singly(stream), limit, split=split)
    for step in (1, 2, 7):
        assert relayed(stream, step, limit, split=split) == expected


@given(stream=st.lists(parts, max_size=12).map(b"".join), step=st.integers(1, 9))
def test_of_any_stream(stream: bytes, step: int) -> None:
    assert relayed(stream, step, 8, split=False) == outcome(stream, singly(stream), 8)


def test_a_state_says_how_much_waits() -> None:
    decoder = AutoDecoder(frame_bytes_max=8, split=True)
    decoder.feed(b"<13>abc")
    assert decoder.state().kept_bytes == decoder.unfinished_bytes == 7
    decoder.feed(b"defghijk")
    assert decoder.state().kept_bytes == len(b"ijk")


def test_a_long_frame_goes_on_under_another_policy() -> None:
    """The next process may have another configuration."""
    before = AutoDecoder(frame_bytes_max=8, split=True)
    before.feed(b"<13>abcdefghi")
    after = AutoDecoder(frame_bytes_max=100)
    after.resume(before.state())
    assert after.feed(b"jkl\n<13>next\n")[-1] == b"<13>next"
