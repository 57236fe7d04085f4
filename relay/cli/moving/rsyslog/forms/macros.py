"""Properties of rsyslog as macros of the relay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from relay.cli.moving.rsyslog.filters import NotSupported, pair_name
from relay.cli.moving.rsyslog.forms.template_text import Replaced

__all__ = ["Macro", "macro_of", "source_of"]


class Macro(NamedTuple):
    """The macro or text that a template of the relay has for a property."""

    text: str
    note: str = ""
    is_utc: bool = False


_PLAIN: Mapping[str, str] = {
    "hostname": "${HOST}",
    "source": "${HOST}",
    "fromhost": "${HOST_FROM}",
    "fromhost-ip": "${SOURCEIP}",
    "syslogtag": "${SYSLOGTAG}",
    "programname": "${PROGRAM}",
    "msg": "${MSG}",
    "pri": "${PRI}",
    "pri-text": "${FACILITY}.${LEVEL}",
    "syslogfacility": "${FACILITY_NUM}",
    "syslogfacility-text": "${FACILITY}",
    "syslogseverity": "${LEVEL_NUM}",
    "syslogseverity-text": "${LEVEL}",
    "syslogpriority": "${LEVEL_NUM}",
    "syslogpriority-text": "${LEVEL}",
    "app-name": "${PROGRAM:--}",
    "procid": "${PID:--}",
    "msgid": "${MSGID:--}",
    "structured-data": "${SDATA:--}",
    "$myhostname": "${LOGHOST}",
    "iut": "1",
    "$now": "${R_YEAR}-${R_MONTH}-${R_DAY}",
    "$year": "${R_YEAR}",
    "$month": "${R_MONTH}",
    "$day": "${R_DAY}",
    "$hour": "${R_HOUR}",
    "$minute": "${R_MIN}",
    "rawmsg": "${RAWMSG}",
    "rawmsg-after-pri": "${RAWMSG}",
}
_NEARLY: Mapping[str, tuple[str, str]] = {
    "rawmsg-after-pri": ("${RAWMSG}", "rawmsg-after-pri is written with its PRI"),
    "inputname": ("${SOURCE}", "inputname is the id of the source here"),
    "uuid": ("${UNIQID}", "uuid is a number that is unique, in another form"),
    "protocol-version": ("1", "protocol-version is always 1 here"),
    **{
        f"${name}-utc": (text, "the day and hour are those of this host's zone, not UTC's")
        for name, text in (
            ("now", "${R_YEAR}-${R_MONTH}-${R_DAY}"),
            *(("year", "${R_YEAR}"), ("month", "${R_MONTH}"), ("day", "${R_DAY}")),
            *(("hour", "${R_HOUR}"), ("minute", "${R_MIN}")),
        )
    },
}
_SOURCES: Mapping[str, str] = {
    "msg": "MESSAGE",
    "hostname": "HOST",
    "source": "HOST",
    "programname": "PROGRAM",
    "app-name": "PROGRAM",
    "syslogtag": "PROGRAM",
    "procid": "PID",
    "msgid": "MSGID",
}
_TIMES: Mapping[str, str] = {
    **dict.fromkeys(("timestamp", "timereported"), ""),
    "timegenerated": "R_",
}
_DATES: Mapping[str, str] = {
    "date-rfc3164": "${@DATE}",
    "date-rfc3164-buggyday": "${@DATE}",
    "date-rfc3339": "${@ISODATE}",
    "date-unixtimestamp": "${@UNIXTIME}",
    "date-mysql": "${@YEAR}${@MONTH}${@DAY}${@HOUR}${@MIN}${@SEC}",
    "date-pgsql": "${@YEAR}-${@MONTH}-${@DAY} ${@HOUR}:${@MIN}:${@SEC}",
    "date-year": "${@YEAR}",
    "date-month": "${@MONTH}",
    "date-day": "${@DAY}",
    "date-hour": "${@HOUR}",
    "date-minute": "${@MIN}",
    "date-second": "${@SEC}",
    "date-subseconds": "${@USEC}",
    "date-wdayname": "${@WEEK_DAY_ABBREV}",
    "date-wday": "${@WEEK_DAY}",
    "date-ordinal": "${@YEAR_DAY}",
    "date-week": "${@WEEK}",
    "date-iso-week": "${@ISOWEEK}",
    "date-iso-week-year": "${@YEAR}",
}
_DATE_NOTES: Mapping[str, str] = {
    "date-subseconds": "there are always six digits",
    "date-wday": "Sunday is 1 and not 0",
    "date-week": "weeks begin on Monday",
    "date-iso-week-year": "the year of the date is not always that of the week",
}
# The positions of an ISO stamp and what is written there.
_ISO_PARTS = (
    *(("${@YEAR}", 4), ("-", 1), ("${@MONTH}", 2), ("-", 1), ("${@DAY}", 2), ("T", 1)),
    *(("${@HOUR}", 2), (":", 1), ("${@MIN}", 2), (":", 1), ("${@SEC}", 2)),
)


def macro_of(piece: Replaced) -> Macro:
    """The macro for a property; its positions count for stamps only.

    Raises:
        NotSupported: There is none.
    """
    name = piece.name
    if name in _TIMES:
        return _time(piece)
    if name in _NEARLY:
        return Macro(*_NEARLY[name])
    if name in _PLAIN:
        return Macro(_PLAIN[name])
    if name[:1] in ("!", ".") and len(name) > 1 and not name.endswith("all-json"):
        return Macro(f"${{{pair_name(name)}}}")
    raise NotSupported(f"the property {name}")


def source_of(name: str) -> str:
    """The name under which steps know a property.

    Raises:
        NotSupported: They do not.
    """
    if name in _SOURCES:
        return _SOURCES[name]
    if name[:1] in ("!", ".") and len(name) > 1:
        return pair_name(name)
    raise NotSupported(f"a part of the property {name}")


def _time(piece: Replaced) -> Macro:
    prefix = _TIMES[piece.name]
    form = next((each for each in sorted(piece.options) if each in _DATES), "date-rfc3164")
    text, note = _DATES[form], _DATE_NOTES.get(form, "")
    if piece.start > 1 or piece.stop:
        cut = _cut_iso(piece.start or 1, piece.stop or 19) if form == "date-rfc3339" else ""
        note = note if cut else f"{piece.name} is not cut"
        text = cut or text
    return Macro(text.replace("@", prefix), note, "date-utc" in piece.options)


def _cut_iso(start: int, stop: int) -> str:
    """A part of an ISO stamp, if it begins and ends where parts of a date do."""
    position, text, starts = 1, "", False
    for part, length in _ISO_PARTS:
        starts = starts or position == start
        if starts and position >= start:
            text += part
        position += length
        if position == stop + 1:
            return text if starts else ""
    return ""
