from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.model.origin import Origin
from relay.rewrite.ewmm import ewmm
from relay.rewrite.straight_ewmm import straight_ewmm
from tests.any_messages import LOCAL, NETWORK, frames
from tests.rewrite.test_straight import PARSER, UNUSUAL, USUAL, legacy_with_host
from tests.rewrite.test_token import ZONE
from tests.wire.test_usual_headers import NEARLY_USUAL

EWMM = ewmm(b"vm", ZONE)
WAYS = {pure: straight_ewmm(b"vm", ZONE, pure=pure) for pure in (False, True)}
STAMPS = [
    *(b"2003-10-11T22:14:15Z", b"2003-10-11T22:14:15.1-00:00", b"2003-10-11T22:14:15.12+02:00"),
    *(b"2003-10-11T22:14:15.123Z", b"2003-10-11T22:14:15.1230Z", b"2003-10-11T22:14:15.1234567Z"),
    *(b"2003-10-11T22:14:15.0001+02:00", b"2003-02-30T22:14:15.0001Z"),
]


def both_ways(lines: list[bytes], origin: Origin = NETWORK) -> list[int]:
    """Check what goes straight; return the indexes of what does not."""
    expected = EWMM(PARSER(lines, origin), origin)
    for way in WAYS.values():
        payloads, left = way(lines, origin)
        assert payloads == [b"" if i in left else expected[i] for i in range(len(lines))]
    assert left == WAYS[False](lines, origin)[1]
    return left


@pytest.mark.parametrize("origin", [NETWORK, LOCAL])
@pytest.mark.parametrize("line", USUAL)
def test_usual_frames_become_what_the_long_way_makes_of_them(line: bytes, origin: Origin) -> None:
    assert both_ways([line, line], origin) == legacy_with_host([line, line], origin)


def test_stamps_of_one_batch_may_all_be_different() -> None:
    lines = [b'<13>1 %s h a p m [a b="\n"] x' % stamp for stamp in STAMPS]
    assert both_ways(lines) == [len(STAMPS) - 1]
    assert both_ways(lines[::-1]) == [0]


def test_a_source_may_be_named_like_a_stamp() -> None:
    name = STAMPS[5].decode()
    both_ways([b"<13>1 %s h a p m - x" % stamp for stamp in STAMPS], NETWORK._replace(source=name))
    both_ways([b"<13>1 %s %s %s p m - x" % (stamp, stamp, stamp) for stamp in reversed(STAMPS)])


def test_usual_and_unusual_ones_in_one_batch_stay_in_order() -> None:
    lines = [line for pair in zip(UNUSUAL, USUAL, strict=False) for line in pair]
    assert both_ways(lines) == [0, 2, 4, 6]
    assert both_ways(lines[::-1]) == [1, 3, 5, 7]


@given(st.lists(st.one_of(NEARLY_USUAL, frames, st.sampled_from(USUAL)), min_size=1, max_size=6))
@example([b"<13>1 2003-10-11T22:14:15.0001Z - - - - - "])
def test_nothing_becomes_what_the_long_way_would_not_make_of_it(lines: list[bytes]) -> None:
    both_ways(lines)
