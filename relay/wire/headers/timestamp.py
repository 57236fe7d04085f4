"""Time stamps as senders write them, and the RFC 3339 stamps made from them.

Two families are understood.  BSD: ``Mmm dd hh:mm:ss`` (RFC 3164 §4.1.2) with an optional
fraction, and with a year before the clock (PIX, ASA), after it (Linksys, H3C) or before the
month (NX-OS).  ISO: ``yyyy-mm-ddThh:mm:ss`` with an optional fraction, also with a blank or
``t`` for the T and a comma for the point.  Both may have an offset from UTC (``Z``, ``+02:00``,
``+0200``, ``+02``, also after a blank) or the name of a zone (``UTC``, ``CEST``).

Strategy: parsing of messages only finds where a stamp ends (`BSD_STAMP`,
`ISO_STAMP`); what it means is worked out when a rewrite needs it, because a BSD
stamp has no meaning without the receive time (year) and a zone (offset).

What is past the end of its unit rolls over, as in syslog-ng, so that February 30 is
March 2, February 29 of a common year March 1, and a leap second the first second of the
next minute.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import IntEnum

_CLOCK = rb"[0-9]{2}:[0-9]{2}:[0-9]{2}"
_MONTH = rb"(?:J(?i:an|un|ul)|F(?i:eb)|M(?i:ar|ay)|A(?i:pr|ug)|S(?i:ep)|O(?i:ct)|N(?i:ov)|D(?i:ec))"
_DAY = rb"[ 0-9]?[0-9]"
_YEAR = rb"[12][0-9]{3}"
_FRACTION = rb"(?:[.,][0-9]*)"
# The end of an offset that is not in the form of RFC 3339; without this, any sign and two
# digits would be an offset.
_END = rb"(?=[ :\t]|\Z)"
_NUMBER = rb"[+-][0-9]{2}(?::?[0-9]{2})?"

# Zones by name, and their minutes ahead of UTC.  The American ones are those of RFC 5322 §4.3.
# CST, IST and BST are left out: each is the name of zones that are hours apart, and a wrong
# time is worse than a zone that stays text.
_ZONES = {
    **dict.fromkeys((b"Z", b"UTC", b"GMT", b"UT", b"WET"), 0),
    **dict.fromkeys((b"CET", b"MEZ", b"WEST"), 60),
    **dict.fromkeys((b"CEST", b"MESZ", b"EET", b"SAST"), 120),
    **dict.fromkeys((b"EEST", b"MSK"), 180),
    **dict.fromkeys((b"HKT", b"SGT", b"AWST"), 480),
    **dict.fromkeys((b"JST", b"KST"), 540),
    b"AEST": 600,
    b"AEDT": 660,
    b"NZST": 720,
    b"NZDT": 780,
    b"EDT": -240,
    b"EST": -300,
    b"CDT": -300,
    b"MDT": -360,
    b"MST": -420,
    b"PDT": -420,
    b"PST": -480,
}
ZONE_NAME = rb"(?:%s)" % b"|".join(sorted(_ZONES, reverse=True))
"""Grammar of the zones that are known by name, without groups."""

# Grammar of a stamp, without groups, to be built into the patterns of a header.  Names of
# zones are not in it: whether a word behind a stamp is one depends on what follows it.
_BSD_CLOCK = rb"%s%s?(?:Z%s| ?%s%s)?" % (_CLOCK, _FRACTION, _END, _NUMBER, _END)
BSD_STAMP = rb"(?:%s %s (?:%s %s(?: ?%s)?(?=[ \t])|%s|%s %s%s)|%s %s %s %s%s)" % (
    *(_MONTH, _DAY),
    *(_CLOCK, _YEAR, _NUMBER),
    _BSD_CLOCK,
    *(_YEAR, _BSD_CLOCK, _END),
    *(_YEAR, _MONTH, _DAY, _BSD_CLOCK, _END),
)
_ISO_LOCAL = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]%s%s?" % (_CLOCK, _FRACTION)
ISO_STAMP = rb"%s(?:[Zz]|[+-][0-9]{2}:[0-9]{2}| ?%s%s)?" % (_ISO_LOCAL, _NUMBER, _END)
_OFFSET_HOUR = rb"[+-](?:[01][0-9]|2[0-3])"  # RFC 3339 §5.6
POSSIBLE_ISO_STAMP = rb"(?!0000)%s(?:[Zz]| ?%s(?::?[0-5][0-9])?%s)?" % (
    *(_ISO_LOCAL, _OFFSET_HOUR, _END),
)
"""Grammar of an ISO stamp that means an instant: without year 0 and offsets of a day."""

_OFFSET = rb"(?: ?(?P<offset>[Zz]|%s|%s))?" % (_NUMBER, ZONE_NAME)
_BSD = re.compile(
    rb"(?:(?P<year_first>%s) )?(?P<month>%s) (?P<day>%s) (?:(?P<year_before>%s) )?"
    rb"(?P<h>..):(?P<m>..):(?P<s>..)(?:[.,](?P<fraction>[0-9]*))?(?: (?P<year_after>%s))?%s"
    % (_YEAR, _MONTH, _DAY, _YEAR, _YEAR, _OFFSET)
)
_ISO = re.compile(
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    rb"(?:[.,](?P<fraction>[0-9]*))?%s" % _OFFSET
)
# RFC 3339 §5.6 date-time, upper case as RFC 5424 §6.2.3 demands.  Whether
# the month has that day is checked separately; a leap second is left to the conversion.
_RFC3339 = re.compile(
    rb"([0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    rb"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    rb"(?:\.([0-9]+))?(Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_BELOW_MILLISECONDS = re.compile(rb"[.,][0-9]{3}[0-9]*[1-9]")
_MONTHS = (
    *(b"jan", b"feb", b"mar", b"apr", b"may", b"jun"),
    *(b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"),
)
UTC_OFFSETS = (b"Z", b"-00:00")
"""Offsets that a stamp with a number for its offset writes as +00:00."""
_FUTURE_SECONDS_MAX = 31 * 86400


Convert = Callable[[bytes | None, float, tzinfo], bytes]
"""Converts a stamp, by the receive time and the local zone."""


class StampForm(IntEnum):
    """How a stamp is written."""

    RFC3339 = 0
    RFC5424 = 1
    MILLISECONDS = 2
    EXACT = 3
    BSD = 4


class StampTable(dict[bytes | None, bytes]):
    """The converted stamps of one batch, made on first use.

    Messages of a batch often share their stamp; BSD stamps have only seconds.
    Make one table per batch, so that it cannot outgrow the batch.

    Args:
        convert: `to_rfc3339`, `to_rfc5424`, `to_milliseconds` or `to_exact`.
        received_at: Seconds since 1970-01-01 UTC.
        zone: Local zone for stamps that have no offset.
    """

    def __init__(self, convert: Convert, received_at: float, zone: tzinfo) -> None:
        super().__init__()
        self._convert = convert
        self._received_at = received_at
        self._zone = zone

    def __missing__(self, stamp: bytes | None) -> bytes:
        converted = self[stamp] = self._convert(stamp, self._received_at, self._zone)
        return converted


def to_rfc3339(stamp: bytes | None, received_at: float, zone: tzinfo) -> bytes:
    """Convert `stamp` to RFC 3339; a valid one stays as it is, to the last digit.

    Args:
        stamp: As received; None or a text without meaning gives the receive time.
        received_at: Seconds since 1970-01-01 UTC, 0 to the end of the year 9998.
        zone: Local zone for stamps that have no offset.
    """
    if stamp is not None and _split_rfc3339(stamp):
        return stamp
    return _convert(stamp, received_at, zone)


def to_rfc5424(stamp: bytes | None, received_at: float, zone: tzinfo) -> bytes:
    """Convert like `to_rfc3339`, with at most six digits of fraction (RFC 5424 §6.2.3)."""
    if stamp is not None:
        parts = _split_rfc3339(stamp)
        if parts is not None:
            second, fraction, offset = parts
            if fraction is None or len(fraction) <= 6:
                return stamp
            return b"%s.%s%s" % (second, fraction[:6], offset)
    return _convert(stamp, received_at, zone)


def to_milliseconds(stamp: bytes | None, received_at: float, zone: tzinfo) -> bytes:
    """Convert to the form of an EWMM header: three digits, cut off, and never ``Z``.

    Arguments as for `to_rfc3339`.
    """
    parts = _split_rfc3339(stamp) if stamp is not None else None
    if parts is None:
        moment = to_datetime(stamp, received_at, zone)
        return (_second(moment) + moment.strftime(".%f")[:4] + _offset(moment)).encode("ascii")
    return _with_milliseconds(*parts)


def _with_milliseconds(second: bytes, fraction: bytes | None, offset: bytes) -> bytes:
    milliseconds = b"000" if fraction is None else fraction[:3].ljust(3, b"0")
    return b"%s.%s%s" % (second, milliseconds, b"+00:00" if offset in UTC_OFFSETS else offset)


def is_same_millisecond(exact: bytes, stamp: bytes) -> bool:
    """Whether both are RFC 3339 and `to_milliseconds` makes the same of them."""
    first, second = _split_rfc3339(exact), _split_rfc3339(stamp)
    if first is None or second is None:
        return False
    return _with_milliseconds(*first) == _with_milliseconds(*second)


def to_exact(stamp: bytes | None, received_at: float, zone: tzinfo) -> bytes:
    """Convert as `to_rfc3339` if `to_milliseconds` would lose digits; if not, nothing.

    Arguments as for `to_rfc3339`.
    """
    if stamp is None or _BELOW_MILLISECONDS.search(stamp) is None:
        return b""
    exact = to_rfc3339(stamp, received_at, zone)
    if exact is stamp:
        return exact
    # A stamp without meaning has become the receive time.
    return exact if _BELOW_MILLISECONDS.search(exact) is not None else b""


CONVERSIONS: tuple[Convert, ...] = (to_rfc3339, to_rfc5424, to_milliseconds, to_exact)
"""By `StampForm`; how BSD stamps are written is up to the options of a format."""


def format_epoch(seconds: float, zone: tzinfo) -> bytes:
    """Write `seconds` since 1970-01-01 UTC as RFC 3339 with microseconds."""
    moment = _on_whole_minutes(datetime.fromtimestamp(seconds, zone))
    return (_second(moment) + moment.strftime(".%f") + _offset(moment)).encode("ascii")


def has_offset(stamp: bytes) -> bool:
    """Whether `stamp`, of either family, has an offset from UTC."""
    parts = _ISO.fullmatch(stamp) or _BSD.fullmatch(stamp)
    return parts is not None and parts["offset"] is not None


def to_datetime(stamp: bytes | None, received_at: float, zone: tzinfo) -> datetime:
    """The instant that `stamp` means, in its own offset, or else the receive time.

    Digits after the microseconds are cut off.  Arguments as for `to_rfc3339`.
    """
    moment = None if stamp is None else _moment(stamp, received_at, zone)
    return moment or _on_whole_minutes(datetime.fromtimestamp(received_at, zone))


def _convert(stamp: bytes | None, received_at: float, zone: tzinfo) -> bytes:
    moment = None if stamp is None else _moment(stamp, received_at, zone)
    if stamp is None or moment is None:
        return format_epoch(received_at, zone)
    digits = _fraction_digits(stamp)
    fraction = moment.strftime(".%f")[: digits + 1] if digits else ""
    return (_second(moment) + fraction + _offset(moment)).encode("ascii")


def _split_rfc3339(stamp: bytes) -> tuple[bytes, bytes | None, bytes] | None:
    """Second, fraction and offset of a valid RFC 3339 stamp that needs no conversion."""
    match = _RFC3339.fullmatch(stamp)
    if match is None:
        return None
    second, fraction, offset = match.groups()
    if second[8:10] > b"28" or second.startswith(b"0000"):
        try:
            datetime.fromisoformat(second.decode("ascii"))
        except ValueError:  # February 30 and the like
            return None
    return second, fraction, offset


def _moment(stamp: bytes, received_at: float, zone: tzinfo) -> datetime | None:
    try:
        moment = _local_moment(stamp, received_at, zone)
        return None if moment is None else _on_whole_minutes(moment)
    except (ValueError, OverflowError):  # year 0, an offset of a day, past year 1 or 9999
        return None


def _local_moment(stamp: bytes, received_at: float, zone: tzinfo) -> datetime | None:
    iso = _ISO.fullmatch(stamp)
    if iso is not None:
        *numbers, fraction, offset = iso.groups()
        year, month, day, *clock = map(int, numbers)
        in_month = _since_month_began(day, clock, fraction)
        years, month_before = divmod(month - 1, 12)
        return datetime(year + years, month_before + 1, 1, tzinfo=_zone(offset, zone)) + in_month
    bsd = _BSD.fullmatch(stamp)
    if bsd is None:
        return None
    month = _MONTHS.index(bsd["month"].lower()) + 1
    day, *clock = map(int, bsd.group("day", "h", "m", "s"))
    in_month = _since_month_began(day, clock, bsd["fraction"])
    zone = _zone(bsd["offset"], zone)
    known_year = bsd["year_before"] or bsd["year_after"] or bsd["year_first"]
    if known_year is not None:
        return datetime(int(known_year), month, 1, tzinfo=zone) + in_month
    return _in_latest_year(month, in_month, received_at, zone)


def _in_latest_year(month: int, in_month: timedelta, received_at: float, zone: tzinfo) -> datetime:
    """The latest such moment that is at most 31 days after the receive time.

    Senders' clocks run ahead, and a message of December may wait until January;
    31 days serve both, all year round.
    """
    year = datetime.fromtimestamp(received_at, zone).year + 1
    while True:
        moment = datetime(year, month, 1, tzinfo=zone) + in_month
        if moment.timestamp() - received_at <= _FUTURE_SECONDS_MAX:
            return moment
        year -= 1


def _since_month_began(day: int, clock: list[int], fraction: bytes | None) -> timedelta:
    hours, minutes, seconds = clock
    microseconds = int(fraction[:6].ljust(6, b"0")) if fraction else 0
    return timedelta(
        days=day - 1, hours=hours, minutes=minutes, seconds=seconds, microseconds=microseconds
    )


def _zone(offset: bytes | None, local: tzinfo) -> tzinfo:
    if offset is None:
        return local
    minutes = _ZONES.get(offset.upper())
    if minutes is None:
        minutes = int(offset[1:3]) * 60 + int(offset[3:].lstrip(b":") or b"0")
        if offset[:1] == b"-":
            minutes = -minutes
    return timezone(timedelta(minutes=minutes)) if minutes else UTC


def _fraction_digits(stamp: bytes) -> int:
    """How many digits of fraction `stamp` has, six at most."""
    parts = _ISO.fullmatch(stamp) or _BSD.fullmatch(stamp)
    return 0 if parts is None else min(len(parts["fraction"] or b""), 6)


def _second(moment: datetime) -> str:
    return moment.replace(microsecond=0, tzinfo=None).isoformat()


def _offset(moment: datetime) -> str:
    return moment.isoformat()[-6:]


def _on_whole_minutes(moment: datetime) -> datetime:
    """RFC 3339 has no seconds in offsets; local mean times before 1900 do."""
    offset = moment.utcoffset()
    if offset is None or offset.microseconds or offset.seconds % 60:
        return moment.astimezone(UTC)
    return moment
