"""Time stamps: any text becomes a valid stamp, a valid one stays what it is, and compiled code
makes the same of it."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from relay.wire.headers.timestamp import (
    to_datetime,
    to_exact,
    to_milliseconds,
    to_rfc3339,
    to_rfc5424,
)

try:
    from relay.codec.stamps import Stamps
except ImportError:  # no compiler when it was installed
    Stamps = None  # type: ignore[assignment,misc]

__all__ = ["ZONES", "check_stamp"]

ZONES: tuple[tzinfo, ...] = (
    UTC,
    ZoneInfo("Europe/Budapest"),
    ZoneInfo("America/New_York"),
    ZoneInfo("Africa/Monrovia"),  # 44 min 30 s until 1972
    ZoneInfo("Pacific/Kiritimati"),
    timezone(timedelta(hours=-12)),
    timezone(timedelta(hours=5, minutes=45)),
)
_RECEIVED_MAX = datetime(9998, 12, 31, tzinfo=UTC).timestamp()
_MOMENTS = (0.0, 951782400.25, 1.0e9, 1795222800.0, 1798761599.999999, 4.0e9, _RECEIVED_MAX)
_CONVERSIONS = (to_rfc3339, to_rfc5424, to_milliseconds, to_exact)  # as `StampForm` numbers them
_COMPILED = None if Stamps is None else {zone: Stamps(zone, _CONVERSIONS) for zone in ZONES}
_SECOND = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_OFFSET = rb"(?:Z|[+-][0-9]{2}:[0-9]{2})"


def check_stamp(text: bytes, source: random.Random) -> None:
    zone, received_at = source.choice(ZONES), source.choice(_MOMENTS)
    moment = to_datetime(text, received_at, zone)
    for convert, form, accuracy in (
        (to_rfc3339, b"(?:[.][0-9]+)?", timedelta(seconds=1)),
        (to_rfc5424, b"(?:[.][0-9]{1,6})?", timedelta(seconds=1)),
        (to_milliseconds, b"[.][0-9]{3}", timedelta(milliseconds=1)),
    ):
        stamp = convert(text, received_at, zone)
        assert re.fullmatch(_SECOND + form + _OFFSET, stamp), stamp
        read = datetime.fromisoformat(_six_digits(stamp))
        assert timedelta(0) <= moment - read < accuracy, (stamp, moment)
        # A stamp with an offset means the same for everybody, at any time.
        assert convert(stamp, source.choice(_MOMENTS), source.choice(ZONES)) == stamp
    if _COMPILED is not None:
        for number, convert in enumerate(_CONVERSIONS):
            compiled = _COMPILED[zone].convert(text, received_at, number)
            assert compiled == convert(text, received_at, zone), (text, received_at, zone, number)


def _six_digits(stamp: bytes) -> str:
    return re.sub(r"(\.[0-9]{6})[0-9]*", r"\1", stamp.decode("ascii"))
