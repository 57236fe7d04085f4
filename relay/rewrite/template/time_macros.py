"""Macros that write a time: ``ISODATE``, ``R_DATE``, ``S_UNIXTIME`` and so on.

The prefix says which time: none and ``S_`` that of the message's stamp, ``R_`` that of
its reception, ``P_`` and ``C_`` now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from relay.rewrite.batch import Batch, Column, MacroContext, Moments

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_WEEK_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_FRACTION = re.compile(rb":[0-9]{2}[.,]([0-9]+)")

_Write = Callable[[datetime, bytes | None], str]
"""Writes an instant; the stamp, if it came from one, has digits after the microseconds."""


def iso_date(digits: int | None) -> _Write:
    """How to write RFC 3339 with `digits` of fraction; None = as many as the stamp has."""

    def write(moment: datetime, stamp: bytes | None) -> str:
        text = moment.replace(microsecond=0).isoformat()
        return text[:19] + _fraction(moment, stamp, digits) + text[19:]

    return write


def _fraction(moment: datetime, stamp: bytes | None, digits: int | None) -> str:
    """The fraction of a second with its point, or nothing; cut off, never rounded."""
    if digits == 0:
        return ""
    known = f"{moment.microsecond:06d}"
    if digits is not None and digits <= len(known):
        return "." + known[:digits]
    if stamp is not None:
        found = _FRACTION.search(stamp)
        own = "" if found is None else found[1].decode("ascii")
        # Otherwise the stamp is invalid, and the moment is the receive time.
        if own[:6].ljust(6, "0") == known:
            known = own
    text = known[:9] if digits is None else known.ljust(digits, "0")[:digits]
    return "." + text if text else ""


def _clock(moment: datetime) -> str:
    return f"{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d}"


def bsd_date(digits: int | None) -> _Write:
    """How to write ``Mmm dd hh:mm:ss`` with `digits` of fraction; None = without one."""
    digits = digits or 0

    def write(moment: datetime, stamp: bytes | None) -> str:
        month = _MONTHS[moment.month - 1][:3]
        fraction = _fraction(moment, stamp, digits)
        return f"{month} {moment.day:2d} {_clock(moment)}{fraction}"

    return write


def _full_date(digits: int | None) -> _Write:
    bsd = bsd_date(digits)
    return lambda moment, stamp: f"{moment.year:04d} {bsd(moment, stamp)}"


def _unix_time(digits: int | None) -> _Write:
    digits = digits or 0

    def write(moment: datetime, stamp: bytes | None) -> str:
        seconds = (moment - _EPOCH) // _SECOND
        # Before 1970 a fraction would count the other way.
        return str(seconds) + (_fraction(moment, stamp, digits) if seconds >= 0 else "")

    return write


_STAMPS: Mapping[str, Callable[[int | None], _Write]] = {
    "bsd": bsd_date,
    "full": _full_date,
    "iso": iso_date,
    "unix": _unix_time,
}


def _mondays(day: int, moment: datetime) -> int:
    """How many Mondays there have been by `day`, the moment's day counted from 1."""
    return (day - moment.weekday() + 6) // 7


def _year_day(moment: datetime) -> int:
    return moment.timetuple().tm_yday


def _offset(moment: datetime) -> str:
    return moment.isoformat()[-6:]


_PARTS: Mapping[str, Callable[[datetime], str]] = {
    "YEAR": lambda moment: f"{moment.year:04d}",
    "MONTH": lambda moment: f"{moment.month:02d}",
    "MONTH_NAME": lambda moment: _MONTHS[moment.month - 1],
    "MONTH_ABBREV": lambda moment: _MONTHS[moment.month - 1][:3],
    # Weeks begin on Monday; days before the first one are in week 0.
    "MONTH_WEEK": lambda moment: str(_mondays(moment.day, moment)),
    "DAY": lambda moment: f"{moment.day:02d}",
    "YEAR_DAY": lambda moment: f"{_year_day(moment):03d}",
    "WEEK": lambda moment: f"{_mondays(_year_day(moment), moment):02d}",
    "ISOWEEK": lambda moment: f"{moment.isocalendar().week:02d}",
    "WEEK_DAY": lambda moment: str(moment.isoweekday() % 7 + 1),  # 1 = Sunday
    "WEEK_DAY_NAME": lambda moment: _WEEK_DAYS[moment.weekday()],
    "WEEK_DAY_ABBREV": lambda moment: _WEEK_DAYS[moment.weekday()][:3],
    "HOUR": lambda moment: f"{moment.hour:02d}",
    "HOUR12": lambda moment: f"{(moment.hour + 11) % 12 + 1:02d}",
    "AMPM": lambda moment: "AM" if moment.hour < 12 else "PM",
    "MIN": lambda moment: f"{moment.minute:02d}",
    "SEC": lambda moment: f"{moment.second:02d}",
    "MSEC": lambda moment: f"{moment.microsecond // 1000:03d}",
    "USEC": lambda moment: f"{moment.microsecond:06d}",
    "TZ": _offset,
    "TZOFFSET": _offset,
}

_DATES: Mapping[str, Callable[[MacroContext], _Write]] = {
    "DATE": lambda context: bsd_date(context.frac_digits),
    "FULLDATE": lambda context: _full_date(context.frac_digits),
    "ISODATE": lambda context: iso_date(context.frac_digits),
    "STAMP": lambda context: _STAMPS[context.ts_format or "iso"](context.frac_digits),
    "UNIXTIME": lambda context: _unix_time(context.frac_digits),
}

_PREFIXES = ("", "S_", "R_", "C_", "P_")

TIME_MACROS = frozenset(prefix + name for prefix in _PREFIXES for name in (*_DATES, *_PARTS))
"""All of them, with and without prefix."""


class _Written(dict[bytes | None, bytes]):
    """A time macro's values for the stamps of one batch, made on first use."""

    def __init__(self, write: _Write, moments: Moments) -> None:
        super().__init__()
        self._write = write
        self._moments = moments

    def __missing__(self, stamp: bytes | None) -> bytes:
        written = self._write(self._moments[stamp], stamp).encode("ascii")
        self[stamp] = written
        return written


def compile_time_macro(name: str, context: MacroContext) -> Column:
    """The function that writes the time macro `name`, one of `TIME_MACROS`."""
    prefix = name[:2] if name[1:2] == "_" else ""
    write = _writer(name.removeprefix(prefix), context)

    def from_stamps(batch: Batch) -> list[bytes]:
        written = _Written(write, batch.moments)
        return [written[message.timestamp] for message in batch.messages]

    def from_reception(batch: Batch) -> list[bytes]:
        moment = batch.local_moment(batch.origin.received_at)
        return [write(moment, None).encode("ascii")] * len(batch.messages)

    def from_now(batch: Batch) -> list[bytes]:
        return [write(batch.local_moment(batch.now), None).encode("ascii")] * len(batch.messages)

    return {"": from_stamps, "S_": from_stamps, "R_": from_reception}.get(prefix, from_now)


def _writer(name: str, context: MacroContext) -> _Write:
    if name in _DATES:
        return _DATES[name](context)
    part = _PARTS[name]
    return lambda moment, stamp: part(moment)
