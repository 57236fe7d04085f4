from __future__ import annotations

import pytest

from relay.wire.framing.boundaries import (
    Beginning,
    Rest,
    inner_start,
    is_followed,
    may_be_count,
    next_counted,
    rest_of_count,
)


@pytest.mark.parametrize("start", [b"1", b"1234567890", b"31 ", b"31 <", b"31 <191", b"0", b"0 "])
def test_what_may_become_a_count(start: bytes) -> None:
    assert may_be_count(start, 0)
    assert may_be_count(b"x" + start, 1)


@pytest.mark.parametrize("start", [b"", b"01", b"12345678901", b"31x", b"31 x", b"31 <1>", b"<13>"])
def test_what_cannot_become_a_count_any_more(start: bytes) -> None:
    assert not may_be_count(start, 0)


@pytest.mark.parametrize(
    ("rest", "of_more", "late", "missing"),
    [
        (b"", None, True, True),
        (b"\r\n\0", None, True, True),
        (b"<13>", True, True, True),
        (b"\n<13>x", True, True, True),
        (b"31 <", True, True, True),
        (b"0 31 <", True, True, True),
        (b"\n" * 17, True, True, True),
        (b"3", None, True, True),
        (b"<1", None, True, True),
        (b"0 3", None, True, True),
        (b"x", False, False, False),
        (b"31 x", False, False, False),
        (b"031 <", False, False, False),
        (b"<1234", False, False, False),
        (b"\nx", False, False, False),
    ],
)
def test_a_frame_is_followed_by_nothing_or_a_plausible_start(
    rest: bytes, of_more: bool | None, late: bool, missing: bool
) -> None:
    found = [is_followed(b"frame" + rest, 0, 5, each) for each in Rest]
    assert found == [of_more, late, missing]


def test_a_frame_that_is_not_complete_waits_unless_it_holds_up_a_line() -> None:
    assert [is_followed(b"fra", 0, 5, each) for each in Rest] == [None, None, False]
    assert [is_followed(b"f\na", 0, 5, each) for each in Rest] == [None, False, False]
    assert is_followed(b"\nfra", 1, 6, Rest.LATE) is None


@pytest.mark.parametrize(
    ("frame", "behind", "found"),
    [
        (b"<13>x", b"", 0),
        (b"<13>x\n<14>y", b"", 6),
        (b"<13>x31 <14>y", b"", 5),
        (b"<13>x y<14>", b"", 0),
        (b"<13>x 31 <a>", b"", 0),
        (b"<13>x31 <1", b"4>y", 5),
        (b"<13>x31 <1", b"", 10),
        (b"<13>x31 ", b"x", 8),
        (b"<13>x\n<", b"", 7),
        (b"<13>x 31", b" <14>y", 0),
        (b"<13>x", b"31 <14>", 0),
        (b"<13>x\n", b"<14>", 0),
        (b"<13>x\n<5", b" <14>", 8),
    ],
)
def test_where_another_frame_begins_in_one(frame: bytes, behind: bytes, found: int) -> None:
    assert inner_start(b"." + frame + behind, 1, 1 + len(frame)) == (found + 1 if found else 0)


@pytest.mark.parametrize(
    ("line", "behind", "found"),
    [
        (b"tail31 <14>x", b"", (4, 0)),
        (b"tail 9999 <14>x", b"", (15, 0)),  # above the limit
        (b"tail 0 <14>x", b"", (12, 0)),
        (b"<13>x 5 <14>y", b"", (6, 14)),
        (b"<13>x 5 <14>y", b"<13>", (6, 0)),
        (b"<13>x 9 <14>y", b"\n<14", (6, 18)),
        (b"<13>x 9 <14>y", b"\n<14>yyyy", (13, 0)),
        (b"<13>x 9 <14>y", b"\nabc<14>", (6, 0)),
    ],
)
def test_where_a_counted_frame_begins_in_a_line(
    line: bytes, behind: bytes, found: tuple[int, int]
) -> None:
    assert next_counted(line + behind, 0, 0, len(line), 1000, Rest.COMES) == found


def test_the_beginning_is_over_with_the_first_byte_that_says_so() -> None:
    for data, over in [(b"\n", False), (b"\xef\xbb", False), (b"1 ope", False), (b"1 opx", True)]:
        beginning = Beginning()
        beginning.end(data, 0, Rest.COMES)
        assert (beginning.over, beginning.foreign) == (over, None)
    beginning = Beginning()
    assert beginning.end(b"..\n\xef\xbb\xbf\nx", 2, Rest.COMES) == 7
    assert beginning.over


@pytest.mark.parametrize(
    ("data", "size"),
    [
        *((b"2 <13>x", 2), (b" <13>x", 1), (b"123456789 <13>", 10), (b"<13>x", 0), (b"2 x", 0)),
        *((b"", -1), (b"2", -1), (b" ", -1), (b"2 <1", -1), (b"x", 0), (b" <1x", 0)),
    ],
)
def test_a_count_whose_first_digits_are_gone(data: bytes, size: int) -> None:
    assert rest_of_count(data, 0, Rest.COMES) == size
    assert rest_of_count(data, 0, Rest.MISSING) == max(0, size)
