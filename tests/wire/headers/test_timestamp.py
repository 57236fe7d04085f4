from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.headers.timestamp import (
    StampTable,
    format_epoch,
    has_offset,
    is_same_millisecond,
    to_datetime,
    to_exact,
    to_milliseconds,
    to_rfc3339,
    to_rfc5424,
)

BUDAPEST = ZoneInfo("Europe/Budapest")
NOW = datetime(2026, 11, 21, 0, 32, tzinfo=UTC).timestamp()
ANY_ZONE = st.sampled_from([UTC, BUDAPEST, timezone(timedelta(hours=-9, minutes=-30))])


@pytest.mark.parametrize(
    "stamp",
    [
        b"2003-10-11T22:14:15Z",
        b"2003-10-11T22:14:15.003Z",
        b"2003-10-11T22:14:15.123456789-00:00",
        b"2024-02-29T00:00:00+05:45",
        b"9999-12-31T23:59:59Z",
    ],
)
def test_a_valid_rfc3339_stamp_stays_as_received(stamp: bytes) -> None:
    assert to_rfc3339(stamp, NOW, BUDAPEST) == stamp


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (b"Oct 11 22:14:15", b"2026-10-11T22:14:15+02:00"),
        (b"Nov  1 22:14:15", b"2026-11-01T22:14:15+01:00"),
        (b"Nov 1 22:14:15", b"2026-11-01T22:14:15+01:00"),
        (b"NOV 01 22:14:15", b"2026-11-01T22:14:15+01:00"),
        (b"Apr 29 14:00:16.059", b"2026-04-29T14:00:16.059+02:00"),
        (b"Apr 29 14:00:16,05912345", b"2026-04-29T14:00:16.059123+02:00"),
        (b"Apr 29 14:00:16.", b"2026-04-29T14:00:16+02:00"),
        (b"Apr 29 2016 13:58:40", b"2016-04-29T13:58:40+02:00"),
        (b"Apr 29 13:58:40 2016", b"2016-04-29T13:58:40+02:00"),
        (b"2017-12-03 09:10:12", b"2017-12-03T09:10:12+01:00"),
        (b"2017-12-03T09:10:12,5Z", b"2017-12-03T09:10:12.5+00:00"),
        (b"2016-12-31T23:59:60Z", b"2017-01-01T00:00:00+00:00"),
        (b"2003-02-30T05:14:15Z", b"2003-03-02T05:14:15+00:00"),
        (b"Oct 00 12:00:00", b"2026-09-30T12:00:00+02:00"),
        (b"Feb 29 12:00:00", b"2026-03-01T12:00:00+01:00"),
        (b"Oct 11 24:61:61", b"2026-10-12T01:02:01+02:00"),
        (b"2003-13-01T00:00:00Z", b"2004-01-01T00:00:00+00:00"),
        (b"2003-00-01T00:00:00Z", b"2002-12-01T00:00:00+00:00"),
    ],
)
def test_other_stamps_are_converted(stamp: bytes, expected: bytes) -> None:
    assert to_rfc3339(stamp, NOW, BUDAPEST) == expected


@pytest.mark.parametrize(
    "stamp", [None, b"", b"now", b"0000-01-01T00:00:00Z", b"2003-10-11T22:14:15+99:99"]
)
def test_without_a_usable_stamp_the_receive_time_applies(stamp: bytes | None) -> None:
    assert to_rfc3339(stamp, NOW, BUDAPEST) == b"2026-11-21T01:32:00.000000+01:00"


@pytest.mark.parametrize("year", [1, 1900, 2000, 2026, 2028, 9999])
def test_stamps_stay_on_the_days_of_the_calendar_and_no_others(year: int) -> None:
    for month in range(14):
        for day in range(33):
            stamp = b"%04d-%02d-%02dT05:00:00Z" % (year, month, day)
            try:
                datetime(year, month, day)
            except ValueError:
                assert to_rfc3339(stamp, NOW, UTC) != stamp
            else:
                assert to_rfc3339(stamp, NOW, UTC) == stamp


def test_rfc5424_stamps_have_six_digits_at_most() -> None:
    assert to_rfc5424(b"2003-10-11T22:14:15.123456789Z", NOW, UTC) == b"2003-10-11T22:14:15.123456Z"
    assert to_rfc5424(b"2003-10-11T22:14:15.123456Z", NOW, UTC) == b"2003-10-11T22:14:15.123456Z"


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (b"2003-10-11T22:14:15Z", b"2003-10-11T22:14:15.000+00:00"),
        (b"2003-10-11T22:14:15.9999-07:00", b"2003-10-11T22:14:15.999-07:00"),
        (b"2003-10-11T22:14:15.9-00:00", b"2003-10-11T22:14:15.900+00:00"),
        (b"Oct 11 22:14:15", b"2026-10-11T22:14:15.000+02:00"),
        (b"Dec  3 09:10:12,9876", b"2026-12-03T09:10:12.987+01:00"),
        (None, b"2026-11-21T01:32:00.000+01:00"),
    ],
)
def test_milliseconds_are_cut_off_and_utc_is_not_z(stamp: bytes | None, expected: bytes) -> None:
    assert to_milliseconds(stamp, NOW, BUDAPEST) == expected


@pytest.mark.parametrize(
    ("now", "stamp", "year"),
    [
        ("2026-12-31T12:00:00", b"Dec 31 23:59:59", 2026),
        ("2026-12-31T12:00:00", b"Jan  1 00:00:00", 2027),
        ("2026-12-31T12:00:00", b"Jan 31 12:00:00", 2027),
        ("2026-12-31T12:00:00", b"Jan 31 12:00:01", 2026),
        ("2027-01-01T00:00:05", b"Dec 31 23:59:59", 2026),
        ("2027-02-15T00:00:00", b"Dec 31 23:59:59", 2026),
        ("2026-11-21T00:32:00", b"Dec 19 10:48:57", 2026),
        ("2026-11-21T00:32:00", b"Feb 29 10:48:57", 2026),  # March 1
        ("2028-02-29T11:00:00", b"Feb 29 10:48:57", 2028),
        ("2028-01-15T00:00:00", b"Feb 29 10:48:57", 2027),
        ("2026-11-21T00:00:00", b"Dec 22 00:00:00", 2026),
        ("2026-11-21T00:00:00", b"Dec 22 00:00:01", 2025),
    ],
)
def test_a_missing_year_is_the_latest_that_is_not_far_ahead(
    now: str, stamp: bytes, year: int
) -> None:
    received_at = datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp()
    assert to_datetime(stamp, received_at, UTC).year == year


def test_a_zone_with_seconds_gives_a_valid_offset() -> None:
    converted = to_rfc3339(b"Apr 29 1880 12:00:00", NOW, BUDAPEST)
    assert datetime.fromisoformat(converted.decode()) == datetime(
        1880, 4, 29, 12, tzinfo=BUDAPEST
    ).astimezone(UTC)
    assert converted.endswith(b"+00:00")


@pytest.mark.parametrize(
    "stamp",
    [b"Oct 11 22:14:15", b"Oct 11 22:14:15.5", b"2003-10-11 22:14:15", b"2003-10-11T22:14:15,123"],
)
def test_an_offset_is_seen(stamp: bytes) -> None:
    assert not has_offset(stamp)
    if stamp[:1] == b"2":
        assert has_offset(stamp + b"Z")
        assert has_offset(stamp + b"-07:00")


def test_epochs_have_microseconds() -> None:
    assert format_epoch(0.25, UTC) == b"1970-01-01T00:00:00.250000+00:00"


def test_a_table_converts_each_stamp_once() -> None:
    calls: list[bytes | None] = []

    def convert(stamp: bytes | None, received_at: float, zone: object) -> bytes:
        calls.append(stamp)
        return b"%s@%d" % (stamp or b"", received_at)

    table = StampTable(convert, NOW, UTC)
    assert [table[b"a"], table[None], table[b"a"]] == [b"a@%d" % NOW, b"@%d" % NOW, b"a@%d" % NOW]
    assert calls == [b"a", None]


digits = st.integers(0, 99).map(lambda number: b"%02d" % number)
nearly_iso = st.builds(
    lambda year, a, b, c, d, e, rest: b"%04d-%s-%sT%s:%s:%s%s" % (year, a, b, c, d, e, rest),
    st.integers(0, 9999),
    *[digits] * 5,
    st.sampled_from([b"", b"Z", b".5", b",12345678Z", b"+14:00", b"-23:59", b"+24:00"]),
)
nearly_bsd = st.builds(
    lambda month, day, a, b, c, rest: b"%s %s %s:%s:%s%s" % (month, day, a, b, c, rest),
    st.sampled_from([b"Jan", b"FEB", b"Dec", b"xyz"]),
    *[digits] * 4,
    st.sampled_from([b"", b".5", b",123456789", b" 1850"]),
)


@given(
    stamp=st.one_of(st.binary(max_size=30), nearly_iso, nearly_bsd),
    received_at=st.floats(0, 253370764800),
    zone=ANY_ZONE,
)
def test_any_stamp_becomes_a_valid_one_that_stays(
    stamp: bytes, received_at: float, zone: timezone
) -> None:
    for convert in (to_rfc3339, to_rfc5424, to_milliseconds):
        once = convert(stamp, received_at, zone)
        assert datetime.fromisoformat(once.decode("ascii")).tzinfo is not None
        assert convert(once, 0.0, UTC) == once


@pytest.mark.parametrize(
    ("stamp", "exact"),
    [
        (None, b""),
        (b"", b""),
        (b"2003-10-11T22:14:15Z", b""),
        (b"2003-10-11T22:14:15.003000Z", b""),
        (b"2003-10-11T22:14:15.0030001Z", b"2003-10-11T22:14:15.0030001Z"),
        (b"2003-10-11 22:14:15,123456+02:00", b"2003-10-11T22:14:15.123456+02:00"),
        (b"Apr 29 14:00:16.0591", b"2026-04-29T14:00:16.0591+02:00"),
        (b"Apr 29 14:00:16.059", b""),
        (b"2003-10-11T22:14:15.1234+70:00", b""),
    ],
)
def test_exact_stamps_are_those_that_milliseconds_cut(stamp: bytes | None, exact: bytes) -> None:
    assert to_exact(stamp, NOW, BUDAPEST) == exact
    if exact:
        assert is_same_millisecond(exact, to_milliseconds(stamp, NOW, BUDAPEST))


@pytest.mark.parametrize(
    ("exact", "stamp", "is_same"),
    [
        (b"2003-10-11T22:14:15.1239Z", b"2003-10-11T22:14:15.123+00:00", True),
        (b"2003-10-11T22:14:15.1239Z", b"2003-10-11T22:14:15.1231-00:00", True),
        (b"2003-10-11T22:14:15.1239Z", b"2003-10-11T22:14:15.124Z", False),
        (b"2003-10-11T22:14:15.1239Z", b"2003-10-11T23:14:15.123+01:00", False),
        (b"2003-02-30T22:14:15.1239Z", b"2003-02-30T22:14:15.123Z", False),
        (b"Apr 29 14:00:16", b"Apr 29 14:00:16", False),
    ],
)
def test_the_same_millisecond(exact: bytes, stamp: bytes, is_same: bool) -> None:
    assert is_same_millisecond(exact, stamp) == is_same


ZONES_BY_NAME = [
    *((b"Z", 0), (b"UTC", 0), (b"GMT", 0), (b"UT", 0), (b"WET", 0), (b"WEST", 60), (b"CET", 60)),
    *((b"CEST", 120), (b"EET", 120), (b"EEST", 180), (b"MSK", 180), (b"SGT", 480), (b"JST", 540)),
    *((b"AEST", 600), (b"AEDT", 660), (b"NZDT", 780), (b"EST", -300), (b"EDT", -240)),
    *((b"CDT", -300), (b"MST", -420), (b"MDT", -360), (b"PST", -480), (b"PDT", -420)),
]
WRITTEN_OFFSETS = [
    *((b"+0200", 120), (b"+02", 120), (b"+02:00", 120), (b"-0530", -330), (b"-05", -300)),
    *((b"+0000", 0), (b"-00", 0), (b"+1400", 840)),
]


@pytest.mark.parametrize(("zone", "minutes"), ZONES_BY_NAME + WRITTEN_OFFSETS)
@pytest.mark.parametrize("fraction", [b"", b".5", b",123"])
@pytest.mark.parametrize(
    "form",
    [
        *(b"Oct 11 22:14:15%s", b"Oct 11 2026 22:14:15%s", b"2026 Oct 11 22:14:15%s"),
        *(b"2026-10-11T22:14:15%s", b"2026-10-11 22:14:15%s", b"2026-10-11t22:14:15%s"),
    ],
)
def test_offsets_and_names_of_zones_make_the_instant(
    form: bytes, fraction: bytes, zone: bytes, minutes: int
) -> None:
    local = timezone(timedelta(hours=9, minutes=30))
    expected = datetime(2026, 10, 11, 22, 14, 15, tzinfo=timezone(timedelta(minutes=minutes)))
    received_at = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
    separators = [b" "] if zone.isalpha() and zone != b"Z" else [b" ", b""]
    for separator in separators:
        stamp = form % fraction + separator + zone
        moment = to_datetime(stamp, received_at, local)
        assert moment.replace(microsecond=0) == expected
        assert moment.utcoffset() == expected.utcoffset()
        assert has_offset(stamp)
        digits = fraction[1:] and b"." + fraction[1:]
        written = to_rfc3339(stamp, received_at, local)
        assert written.startswith(b"2026-10-11T22:14:15%s" % digits)
        assert datetime.fromisoformat(written.decode()).utcoffset() == expected.utcoffset()


@pytest.mark.parametrize("stamp", [b"Oct 11 22:14:15 +9900", b"2026-10-11T22:14:15+9959"])
def test_an_offset_of_more_than_a_day_is_no_stamp(stamp: bytes) -> None:
    assert to_rfc3339(stamp, 0.0, UTC) == b"1970-01-01T00:00:00.000000+00:00"
