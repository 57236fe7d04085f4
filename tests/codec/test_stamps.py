"""Compiled time stamps: `relay.wire.headers.timestamp` is the reference, byte by byte."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.rewrite.batch import in_zone, moment_of
from relay.rewrite.macros import bsd_date
from relay.wire.headers.timestamp import (
    BSD_STAMP,
    ISO_STAMP,
    POSSIBLE_ISO_STAMP,
    ZONE_NAME,
    to_datetime,
    to_exact,
    to_milliseconds,
    to_rfc3339,
    to_rfc5424,
)
from tests.wire.headers import test_timestamp

stamps = pytest.importorskip(
    "relay.codec.stamps", reason="the package was installed without a C compiler"
)

PATTERNS = [re.compile(text) for text in (BSD_STAMP, ISO_STAMP, POSSIBLE_ISO_STAMP, ZONE_NAME)]


T = TypeVar("T")


def seldom(usual: st.SearchStrategy[T], other: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    return st.integers(0, 9).flatmap(lambda number: other if number == 9 else usual)


def one_of(choices: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(choices.split())


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
    """A stamp of which up to three bytes are others, more or fewer."""
    stamp = bytearray(draw(spelled))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(stamp)))
        byte = draw(st.sampled_from([*b" 0159:.,-+TZtzJanA\t\n\0\xff/;@`"]))
        stamp[at : at + draw(st.integers(0, 1))] = [byte] * draw(st.integers(0, 1))
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
        for byte in (b" ", b"0", b"9", b":", b"J", b"z", b"\xb0", b""):
            check_ends(b"", stamp[:at] + byte + stamp[at + 1 :], b"")


def test_names_of_zones_end_where_the_longest_does() -> None:
    for line in (b"UTC", b"UT", b"UTCC", b"CESTA", b"U", b"Zulu", b"ZZ", b"EEST-", b"CST", b"utc"):
        check_ends(b"", line, b"")


def test_no_byte_outside_the_line_is_asked_for() -> None:
    with pytest.raises(ValueError, match="5 in 4 bytes"):
        stamps.ends_of(b"line", 5)


write_bsd = bsd_date(None)


def to_bsd(stamp: bytes | None, received_at: float, zone: tzinfo) -> bytes:
    moment = in_zone(moment_of(stamp, received_at, zone), zone)
    return write_bsd(moment, stamp).encode("ascii")


REFERENCES = (to_rfc3339, to_rfc5424, to_milliseconds, to_exact, to_bsd)
RFC3339, RFC5424, MILLISECONDS, EXACT, BSD = FORMS = range(5)
BERLIN = ZoneInfo("Europe/Berlin")
ZONES: list[tzinfo] = [
    UTC,
    BERLIN,
    ZoneInfo("UTC"),
    ZoneInfo("America/New_York"),
    ZoneInfo("America/St_Johns"),
    ZoneInfo("Australia/Lord_Howe"),  # changes by 30 minutes
    ZoneInfo("Asia/Kolkata"),
    ZoneInfo("Africa/Monrovia"),  # 44 min 30 s until 1972
    ZoneInfo("Europe/Amsterdam"),  # 19 min 32 s until 1937
    ZoneInfo("Pacific/Apia"),  # without 2011-12-30
    timezone(timedelta(hours=-9, minutes=-30)),
    timezone(timedelta(hours=23, minutes=59)),
    timezone(timedelta(hours=1, seconds=1)),
]
NOW = datetime(2026, 11, 21, 0, 32, tzinfo=UTC).timestamp()


def instant(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


INSTANTS = [
    *map(instant, ("2026-12-31T23:59:59", "2027-01-01T00:00:00", "2027-01-31T12:00:00")),
    *map(instant, ("2028-02-29T12:00:00", "2028-01-29T12:00:00", "2027-01-29T00:00:00")),
    *map(instant, ("2026-03-29T01:00:00", "2026-10-25T01:00:00", "2026-03-08T07:00:00")),
    *map(instant, ("2011-12-30T10:00:00", "1972-01-07T00:44:30", "2026-04-04T15:00:00")),
    *(0.0, 86400.0, 2.0**31, 7_999_999_999.0, 8_000_000_000.0, 8_000_000_001.0, 2.5e11),
]
received_times = st.one_of(
    st.builds(
        lambda at, hours, rest: max(0.0, at + hours * 3600 + rest),
        st.sampled_from(INSTANTS),
        st.integers(-50, 50),
        st.sampled_from([0.0, 0.5, 1e-6, -1e-6, 0.9999996, -1.0]),
    ),
    st.floats(0, 4e9),
)


def check(converter: Any, stamp: bytes | None, received_at: float, zone: tzinfo) -> None:
    for form in FORMS:
        expected = REFERENCES[form](stamp, received_at, zone)
        assert converter.convert(stamp, received_at, form) == expected, (form, stamp)


def check_anew(stamp: bytes | None, received_at: float, zone: tzinfo) -> None:
    check(stamps.Stamps(zone, REFERENCES), stamp, received_at, zone)


@pytest.mark.slow
@given(
    texts=st.lists(st.one_of(edited(), edited(), st.binary(max_size=40)), min_size=1, max_size=4),
    batches=st.lists(received_times, min_size=1, max_size=2),
    zone=st.sampled_from(ZONES),
)
def test_stamps_become_what_the_reference_makes_of_them(
    texts: list[bytes], batches: list[float], zone: tzinfo
) -> None:
    converter = stamps.Stamps(zone, REFERENCES)
    for received_at in batches * 2:
        for text in texts:
            check(converter, text, received_at, zone)
        check(converter, None, received_at, zone)


@pytest.mark.slow
@given(
    stamp=edited(),
    zone=st.sampled_from(ZONES),
    near=st.sampled_from(INSTANTS),
    before=st.sampled_from([0.0, 1e-7, 1e-6, 1.5e-6, 0.5, 0.999999, 1.0, 2.0, 3600.0]),
    is_later=st.booleans(),
)
@example(b"Jan 31 12:00:00", UTC, INSTANTS[0], 0.0, False)
@example(b"Jan 31 12:00:00.000001", UTC, INSTANTS[0], 1e-6, False)
def test_the_year_is_the_same_around_31_days_before_the_moment(
    stamp: bytes, zone: tzinfo, near: float, before: float, is_later: bool
) -> None:
    moment = to_datetime(stamp, near, zone).timestamp()
    received_at = moment - 31 * 86400 + (before if is_later else -before)
    if 0 <= received_at < 2.5e11:
        check_anew(stamp, received_at, zone)


def cases_of(test: Callable[..., None]) -> Iterator[bytes | None]:
    """The stamps of the parameters of a test of the reference."""
    (mark,) = (mark for mark in test.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    names, rows = mark.args
    for row in rows:
        yield row if isinstance(names, str) else row[names.index("stamp")]


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize(
    "test",
    [
        test_timestamp.test_a_valid_rfc3339_stamp_stays_as_received,
        test_timestamp.test_other_stamps_are_converted,
        test_timestamp.test_without_a_usable_stamp_the_receive_time_applies,
        test_timestamp.test_milliseconds_are_cut_off_and_utc_is_not_z,
        test_timestamp.test_a_missing_year_is_the_latest_that_is_not_far_ahead,
        test_timestamp.test_exact_stamps_are_those_that_milliseconds_cut,
        test_timestamp.test_an_offset_of_more_than_a_day_is_no_stamp,
    ],
)
def test_the_cases_of_the_reference_are_its_own_too(
    test: Callable[..., None], zone: tzinfo
) -> None:
    cases = list(cases_of(test))
    assert cases
    for stamp in cases:
        for received_at in (NOW, *INSTANTS):
            check_anew(stamp, received_at, zone)


@pytest.mark.slow
@pytest.mark.parametrize("stamp", EACH_SPELLING)
def test_a_stamp_that_is_cut_or_changed_anywhere_means_the_same(stamp: bytes) -> None:
    converter = stamps.Stamps(BERLIN, REFERENCES)
    for at in range(len(stamp)):
        check(converter, stamp[:at], NOW, BERLIN)
        for byte in (b" ", b"0", b"9", b":", b"z", b""):
            check(converter, stamp[:at] + byte + stamp[at + 1 :], NOW, BERLIN)


ZONE_WORDS = [word for word, _ in test_timestamp.ZONES_BY_NAME + test_timestamp.WRITTEN_OFFSETS]


@pytest.mark.parametrize("word", [*ZONE_WORDS, *NAMES.split(), *NUMBERS.split()])
def test_offsets_and_names_of_zones_are_those_of_the_reference(word: bytes) -> None:
    converter = stamps.Stamps(BERLIN, REFERENCES)
    for text in (b"Oct 11 22:14:15", b"2026-10-11T22:14:15.1234", b"Oct 11 22:14:15 2016"):
        for blank in (b"", b" ", b"  "):
            check(converter, text + blank + word, NOW, BERLIN)


@pytest.mark.parametrize("year", [0, 1, 999, 1000, 1900, 2000, 2026, 2028, 8999, 9000, 9001, 9999])
def test_the_calendar_is_that_of_the_reference(year: int) -> None:
    converter = stamps.Stamps(UTC, REFERENCES)
    for month in range(14):
        for day in (0, 1, 27, 28, 29, 30, 31, 32, 60, 99):
            for rest in (b"T05:00:00Z", b"T24:60:60.1234567+14:00"):
                stamp = b"%04d-%02d-%02d%b" % (year, month, day, rest)
                for form in FORMS:
                    expected = REFERENCES[form](stamp, NOW, UTC)
                    assert converter.convert(stamp, NOW, form) == expected, (form, stamp)


CHANGES = ["2026-03-08", "2026-03-29", "2026-04-04", "2026-10-03", "2026-10-25", "2026-11-01"]
CHANGES += ["2011-12-29", "2011-12-31", "1972-01-06", "1937-06-30", "1969-12-31", "1940-05-15"]


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_clocks_that_change_are_those_of_the_reference(zone: tzinfo) -> None:
    converter = stamps.Stamps(zone, REFERENCES)
    for change in CHANGES:
        received_at = max(instant(change), 0)
        for minutes in range(0, 2 * 1440, 20):
            local = datetime.fromisoformat(change) + timedelta(minutes=minutes)
            for text, form in (
                ("%Y-%m-%d %H:%M:59", RFC3339),
                ("%b %d %H:%M:00", RFC3339),
                ("%Y-%m-%dT%H:%M:59Z", BSD),
            ):
                stamp = local.strftime(text).encode("ascii")
                expected = REFERENCES[form](stamp, received_at, zone)
                assert converter.convert(stamp, received_at, form) == expected, stamp


@pytest.mark.parametrize(
    ("stamp", "received_at"),
    [
        (b"Jan  1 00:00:00", "2026-12-10T00:00:00"),
        (b"Mar 29 02:60:30", "2026-02-26T01:00:30"),  # 01:00:30 UTC, 31 days later
        (b"Mar 29 02:60:30", "2026-02-26T01:00:29"),
        (b"Oct 25 02:60:30", "2026-09-24T02:00:30"),
        (b"2003-10-11 22:14:15.1230004", "2026-02-26T01:00:30"),
        (b"2003-10-11 22:14:15.1230040", "2026-02-26T01:00:30"),
        (b"2016 Oct 11 2017 22:14:15 2018", "2026-02-26T01:00:30"),
        (b"2016 Oct 11 22:14:15 2018", "2026-02-26T01:00:30"),
        (b"2016 Oct 11 2017 22:14:15", "2026-02-26T01:00:30"),
        (b"Oct 11 2017 22:14:15.5 2018 +02", "2026-02-26T01:00:30"),
        (b"Oct 11 22:14:15 20166", "2026-02-26T01:00:30"),
    ],
)
def test_what_is_seldom_is_the_same_as_well(stamp: bytes, received_at: str) -> None:
    check_anew(stamp, instant(received_at), BERLIN)


class Calls:
    """References that count how often each is called."""

    def __init__(self) -> None:
        self.by_form: Counter[int] = Counter()

    def reference(self, form: int) -> Callable[[bytes | None, float, tzinfo], bytes]:
        def convert(stamp: bytes | None, received_at: float, zone: tzinfo) -> bytes:
            self.by_form[form] += 1
            return REFERENCES[form](stamp, received_at, zone)

        return convert

    def converter(self, zone: tzinfo) -> Any:
        return stamps.Stamps(zone, [self.reference(form) for form in FORMS])


ORDINARY = [
    *(b"2026-11-21T00:31:59.123456789Z", b"2026-11-21T00:31:59+02:00", b"2026-11-21 00:31:59,5"),
    *(b"Nov 21 01:31:58", b"Nov  2 01:31:58.1234", b"Nov 2 01:31:58 +0200", b"Dec 31 23:59:60"),
    *(b"Nov 21 2026 01:31:58", b"Nov 21 01:31:58 2026", b"2026 Nov 21 01:31:58 CET"),
    *(b"Feb 29 10:00:00", b"2016-12-31T23:59:60Z", b"2003-02-30T05:14:15-03:30"),
]


@pytest.mark.parametrize("zone", ZONES[:-1], ids=str)
def test_ordinary_stamps_need_no_reference(zone: tzinfo) -> None:
    calls = Calls()
    converter = calls.converter(zone)
    for stamp in ORDINARY:
        check(converter, stamp, NOW, zone)
    assert not calls.by_form


def test_the_receive_time_is_written_once_in_a_batch() -> None:
    calls = Calls()
    converter = calls.converter(BERLIN)
    for received_at in (NOW, NOW, NOW + 0.25, NOW):
        for _ in range(3):
            check(converter, None, received_at, BERLIN)
    assert calls.by_form == dict.fromkeys(FORMS, 3)


def test_hours_in_which_the_offset_changes_are_left_to_the_reference() -> None:
    calls = Calls()
    converter = calls.converter(ZONES[5])
    check(converter, b"2026-10-04 02:10:00", NOW, ZONES[5])
    assert calls.by_form == {form: 1 for form in FORMS if form != EXACT}


@pytest.mark.parametrize(("received_at", "referred"), [(8e9, 0), (8e9 + 1, 1)])
def test_years_past_those_that_doubles_tell_apart_are_left_to_the_reference(
    received_at: float, referred: int
) -> None:
    calls = Calls()
    converter = calls.converter(UTC)
    converter.convert(b"Jan 15 12:00:00", received_at, RFC3339)
    converter.convert(b"2016-10-11 22:14:15", received_at, RFC3339)
    assert calls.by_form[RFC3339] == referred


def test_a_stamp_without_year_moves_with_the_receive_time() -> None:
    converter = stamps.Stamps(UTC, REFERENCES)
    for year in (2026, 2027, 2028, 2026):
        stamp = converter.convert(b"Jan 15 12:00:00", instant(f"{year}-06-01T00:00:00"), RFC3339)
        assert stamp == b"%d-01-15T12:00:00+00:00" % year


@pytest.mark.parametrize("form", [-1, 2, 5])
def test_a_form_without_reference_is_an_error(form: int) -> None:
    with pytest.raises(ValueError, match="no reference"):
        stamps.Stamps(UTC, REFERENCES[:2]).convert(b"Jan 15 12:00:00", NOW, form)


@pytest.mark.parametrize("references", [[], [to_rfc3339] * 6])
def test_there_are_as_many_references_as_forms_or_fewer(references: list[Any]) -> None:
    with pytest.raises(ValueError, match="references"):
        stamps.Stamps(UTC, references)


@pytest.mark.parametrize("written", [b"x" * 45, None, "text"])
def test_a_reference_that_writes_no_stamp_is_an_error(written: Any) -> None:
    converter = stamps.Stamps(UTC, [lambda stamp, received_at, zone: written])
    with pytest.raises((ValueError, TypeError)):
        converter.convert(b"now", NOW, RFC3339)
    with pytest.raises((ValueError, TypeError)):
        converter.convert(None, NOW, RFC3339)


def test_an_error_of_a_reference_is_passed_on() -> None:
    def fail(stamp: bytes | None, received_at: float, zone: tzinfo) -> bytes:
        raise LookupError

    converter = stamps.Stamps(UTC, [fail])
    for stamp in (b"now", None, b"now", None):
        with pytest.raises(LookupError):
            converter.convert(stamp, NOW, RFC3339)
