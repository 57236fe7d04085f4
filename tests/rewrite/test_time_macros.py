from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.batch import Batch, MacroContext
from relay.rewrite.macros import TIME_MACROS, compile_time_macro
from relay.wire.parse import parse
from tests.any_messages import NETWORK, messages, origins

BUDAPEST = ZoneInfo("Europe/Budapest")
NOW = datetime(2026, 11, 21, 1, 2, 3, 500_000, tzinfo=UTC).timestamp()


def write(
    name: str,
    stamp: bytes,
    *,
    digits: int | None = None,
    ts_format: str | None = None,
    time_zone: tzinfo | None = None,
) -> bytes:
    context = MacroContext(b"vm", lambda: NOW, BUDAPEST, time_zone, digits, ts_format)
    message = parse(b"<13>1 %s h a - - - x" % stamp)
    assert message.version
    (value,) = compile_time_macro(name, context)(Batch([message], NETWORK, context))
    return value


STAMP = b"2026-10-01T00:14:05.1234567+02:00"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DATE", b"Oct  1 00:14:05"),
        ("FULLDATE", b"2026 Oct  1 00:14:05"),
        ("ISODATE", b"2026-10-01T00:14:05.1234567+02:00"),
        ("STAMP", b"2026-10-01T00:14:05.1234567+02:00"),
        ("UNIXTIME", b"1790806445"),
        ("YEAR", b"2026"),
        ("MONTH", b"10"),
        ("MONTH_NAME", b"October"),
        ("MONTH_ABBREV", b"Oct"),
        ("MONTH_WEEK", b"0"),
        ("DAY", b"01"),
        ("YEAR_DAY", b"274"),
        ("WEEK", b"39"),
        ("ISOWEEK", b"40"),
        ("WEEK_DAY", b"5"),
        ("WEEK_DAY_NAME", b"Thursday"),
        ("WEEK_DAY_ABBREV", b"Thu"),
        ("HOUR", b"00"),
        ("HOUR12", b"12"),
        ("AMPM", b"AM"),
        ("MIN", b"14"),
        ("SEC", b"05"),
        ("MSEC", b"123"),
        ("USEC", b"123456"),
        ("TZ", b"+02:00"),
        ("TZOFFSET", b"+02:00"),
    ],
)
def test_formats(name: str, expected: bytes) -> None:
    assert write(name, STAMP) == expected
    assert write("S_" + name, STAMP) == expected


def test_the_prefix_says_which_time() -> None:
    assert write("R_ISODATE", STAMP) == b"2026-11-21T01:53:20.250000+01:00"
    assert write("C_ISODATE", STAMP) == b"2026-11-21T02:02:03.500000+01:00"
    assert write("P_ISODATE", STAMP) == b"2026-11-21T02:02:03.500000+01:00"
    assert write("C_DATE", STAMP, time_zone=UTC) == b"Nov 21 01:02:03"
    assert len(TIME_MACROS) == 5 * 26


@pytest.mark.parametrize(
    ("name", "digits", "expected"),
    [
        ("ISODATE", 0, b"2026-10-01T00:14:05+02:00"),
        ("ISODATE", 3, b"2026-10-01T00:14:05.123+02:00"),
        ("ISODATE", 9, b"2026-10-01T00:14:05.123456700+02:00"),
        ("DATE", 3, b"Oct  1 00:14:05.123"),
        ("UNIXTIME", 7, b"1790806445.1234567"),
        ("R_UNIXTIME", 9, b"1795222400.250000000"),
        ("MSEC", 0, b"123"),
    ],
)
def test_digits_of_a_second(name: str, digits: int, expected: bytes) -> None:
    assert write(name, STAMP, digits=digits) == expected


@pytest.mark.parametrize(
    ("ts_format", "expected"),
    [
        ("bsd", b"Oct  1 00:14:05"),
        ("full", b"2026 Oct  1 00:14:05"),
        ("iso", b"2026-10-01T00:14:05.1234567+02:00"),
        ("unix", b"1790806445"),
    ],
)
def test_stamps(ts_format: str, expected: bytes) -> None:
    assert write("STAMP", STAMP, ts_format=ts_format) == expected


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (b"2026-10-01T00:14:05Z", b"2026-10-01T00:14:05+00:00"),
        (b"2026-10-01T00:14:05", b"2026-10-01T00:14:05+02:00"),
        (b"2026-10-01T00:14:60.5Z", b"2026-10-01T00:15:00.5+00:00"),
        (b"-", b"2026-11-21T01:53:20.250000+01:00"),
        (b"0000-10-01T00:14:05.75Z", b"2026-11-21T01:53:20.250000+01:00"),
    ],
)
def test_odd_stamps(stamp: bytes, expected: bytes) -> None:
    assert write("ISODATE", stamp) == expected


def test_another_zone_moves_the_clock() -> None:
    assert write("ISODATE", STAMP, time_zone=UTC) == b"2026-09-30T22:14:05.1234567+00:00"
    assert write("HOUR12", STAMP, time_zone=UTC) == b"10"
    assert write("AMPM", STAMP, time_zone=UTC) == b"PM"


def test_a_fraction_before_1970_is_left_out() -> None:
    assert write("UNIXTIME", b"1969-12-31T23:59:59.25Z", digits=2) == b"-1"


def test_weeks_of_a_month_begin_on_monday() -> None:
    # November 2026 begins on a Sunday and has 30 days.
    weeks = [write("MONTH_WEEK", b"2026-11-%02dT00:00:00Z" % day) for day in range(1, 31)]
    assert b"".join(weeks) == b"0" + b"1" * 7 + b"2" * 7 + b"3" * 7 + b"4" * 7 + b"5"


STRFTIME = {
    "YEAR": "%Y",
    "MONTH": "%m",
    "MONTH_NAME": "%B",
    "MONTH_ABBREV": "%b",
    "DAY": "%d",
    "YEAR_DAY": "%j",
    "WEEK": "%W",
    "ISOWEEK": "%V",
    "WEEK_DAY_NAME": "%A",
    "WEEK_DAY_ABBREV": "%a",
    "HOUR": "%H",
    "HOUR12": "%I",
    "AMPM": "%p",
    "MIN": "%M",
    "SEC": "%S",
    "USEC": "%f",
    "DATE": "%b %e %H:%M:%S",
    "FULLDATE": "%Y %b %e %H:%M:%S",
    "UNIXTIME": "%s",
}


@given(st.datetimes(datetime(1970, 1, 2), datetime(9998, 12, 31)), st.sampled_from(list(STRFTIME)))
def test_as_the_c_library_has_it(moment: datetime, name: str) -> None:
    written = write(name, moment.isoformat().encode() + b"Z")
    if name == "UNIXTIME":
        assert int(written) == int(moment.replace(tzinfo=UTC, microsecond=0).timestamp())
    else:
        assert written.decode() == moment.strftime(STRFTIME[name])
    assert int(write("WEEK_DAY", moment.isoformat().encode() + b"Z")) == int(f"{moment:%w}") + 1


@given(messages, origins, st.sampled_from(sorted(TIME_MACROS)), st.none() | st.integers(0, 9))
def test_every_message_has_a_time(
    message: SyslogMessage, origin: Origin, name: str, digits: int | None
) -> None:
    context = MacroContext(b"vm", lambda: NOW, BUDAPEST, None, digits)
    (value,) = compile_time_macro(name, context)(Batch([message], origin, context))
    assert value.isascii()
    assert value
