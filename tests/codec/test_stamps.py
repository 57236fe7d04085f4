"""Compiled time stamps: `relay.wire.timestamp` is the reference, octet by octet."""

from __future__ import annotations

import re
from typing import TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.wire.timestamp import BSD_STAMP, ISO_STAMP, POSSIBLE_ISO_STAMP, ZONE_NAME

stamps = pytest.importorskip(
    "relay.codec.stamps", reason="the package was installed without a C compiler"
)

PATTERNS = [re.compile(text) for text in (BSD_STAMP, ISO_STAMP, POSSIBLE_ISO_STAMP, ZONE_NAME)]


T = TypeVar("T")


def seldom(usual: st.SearchStrategy[T], other: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    return st.integers(0, 9).flatmap(lambda number: other if number == 9 else usual)


def one_of(words: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(words.split())


def joined(separator: bytes, *parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(lambda texts: separator.join(texts))


def numbers(digits: int, usual: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    any_number = st.integers(0, 10**digits - 1)
    return seldom(usual, any_number).map(lambda number: b"%0*d" % (digits, number))


clocks = joined(b":", numbers(2, st.integers(0, 23)), *[numbers(2, st.integers(0, 60))] * 2)
fractions = st.just(b"") | one_of(b". , .5 ,123 .000000 .1234567 ,99 .059 .0030000 ,0000001")
NUMBERS = (
    b"+02:00 -0530 +02 -00:00 +0000 +14:00 -24:00 +99:99 +23:59 +2360 -05:3 +1 +02:60 +00:01 -0001"
)
NAMES = (
    b"Z UTC UT GMT WET WEST CET MEZ CEST MESZ EET SAST EEST MSK HKT SGT AWST JST KST AEST AEDT"
    b" NZST NZDT EDT EST CDT MDT MST PDT PST z utc CST BST UTCC U AES"
)
names = one_of(NAMES)
offsets = st.just(b"") | joined(
    b"", st.sampled_from([b"", b" ", b"  "]), one_of(NUMBERS) | one_of(NAMES)
)
months = seldom(
    one_of(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"),
    st.sampled_from([b"JAN", b"fEB", b"MaY", b"dec", b"Foo", b"Jum", b"J\x15n", b"Aug\xe9"]),
)
days = seldom(
    st.integers(0, 31).flatmap(lambda day: st.sampled_from([b"%d" % day, b"%2d" % day])),
    st.sampled_from([b"", b"  ", b"100", b"  1", b"00", b"01", b"99"]),
)
years = numbers(4, st.integers(1969, 2040))
dates = joined(b"-", years, numbers(2, st.integers(1, 12)), numbers(2, st.integers(1, 31)))

separators = seldom(st.just(b"T"), st.sampled_from([b" ", b"t", b"x"]))
spelled = st.one_of(
    joined(b"", joined(b" ", months, days, clocks), fractions, offsets),
    joined(b"", joined(b" ", months, days, years, clocks), fractions, offsets),
    joined(b"", joined(b" ", years, months, days, clocks), fractions, offsets),
    joined(b"", joined(b" ", months, days, joined(b"", clocks, fractions), years), offsets),
    joined(
        b"", dates, st.sampled_from([*[b"T"] * 6, b" ", b"t", b"x"]), clocks, fractions, offsets
    ),
)


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """A stamp of which up to three octets are others, more or fewer."""
    stamp = bytearray(draw(spelled))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(stamp)))
        octet = draw(st.sampled_from([*b" 0159:.,-+TZtzJanA\t\n\0\xff/;@`"]))
        stamp[at : at + draw(st.integers(0, 1))] = [octet] * draw(st.integers(0, 1))
    return bytes(stamp)


behind = st.sampled_from([b"", b" ", b":", b"\t", b"x", b"\n", b": host", b" host", b"Z", b"00"])


def expected_ends(line: bytes, at: int) -> tuple[int, ...]:
    found = [pattern.match(line, at) for pattern in PATTERNS]
    return tuple(0 if match is None else match.end() for match in found)


def check_ends(before: bytes, stamp: bytes, rest: bytes) -> None:
    line = before + stamp + rest
    assert stamps.ends_of(line, len(before)) == expected_ends(line, len(before))


starts = st.sampled_from([b"", b"<13>", b"9"])


@pytest.mark.slow
@given(before=starts, stamp=st.one_of(edited(), names), rest=behind)
@example(b"", b"Oct 11 22:14:15 2016 +02:00", b"x")
@example(b"", b"Oct 11 22:14:15 2016 +02:00", b" x")
@example(b"", b"2016-10-11T22:14:15 +02:00", b"x")
def test_stamps_end_where_those_of_the_patterns_do(
    before: bytes, stamp: bytes, rest: bytes
) -> None:
    check_ends(before, stamp, rest)


ZONES_BEHIND = [b"", b"Z", b" Z", b"+02:00", b" +02:00", b"+0200", b" -02", b"+99:99", b" UTC"]
EACH_SPELLING = [
    spelling % zone
    for spelling in (
        *(
            b"Oct 11 22:14:15%s",
            b"Oct  1 22:14:15.003%s",
            b"nOV 1 22:14:15,%s",
            b"Feb 2 99:99:99%s",
        ),
        *(b"Oct 11 2016 22:14:15%s", b"Oct 11 22:14:15 2016%s", b"2016 Oct 11 22:14:15.5%s"),
        *(b"NOV 01 3016 22:14:15%s", b"2016-10-11T22:14:15%s", b"2016-10-11 22:14:15,5%s"),
        *(b"0000-10-11t22:14:15.%s", b"Jul 31 22:14:15.1 2016%s", b"Jun 7 22:14:15 20166%s"),
    )
    for zone in ZONES_BEHIND
]


@pytest.mark.parametrize("stamp", EACH_SPELLING)
def test_a_stamp_may_be_cut_or_changed_anywhere(stamp: bytes) -> None:
    for rest in (b"", b" ", b":", b"x", b"\t1"):
        check_ends(b"<13>", stamp, rest)
    for at in range(len(stamp)):
        check_ends(b"", stamp[:at], b"")
        for octet in (b" ", b"0", b"9", b":", b"J", b"z", b"\xb0", b""):
            check_ends(b"", stamp[:at] + octet + stamp[at + 1 :], b"")


def test_names_of_zones_end_where_the_longest_does() -> None:
    for line in (b"UTC", b"UT", b"UTCC", b"CESTA", b"U", b"Zulu", b"ZZ", b"EEST-", b"CST", b"utc"):
        check_ends(b"", line, b"")


def test_no_octet_outside_the_line_is_asked_for() -> None:
    with pytest.raises(ValueError, match="5 in 4 octets"):
        stamps.ends_of(b"line", 5)
