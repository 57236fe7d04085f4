"""Macros: names of message parts in templates and value-pairs.

Hard macros are worked out from a message and are read-only; soft ones are its
name-value pairs.  Names and formats are those of syslog-ng.  Where it has nothing to
say about a message, a macro is empty.

The prefix of a time macro says which time: none and ``S_`` that of the message's stamp, ``R_``
that of its reception, ``P_`` and ``C_`` now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES, JsonText, SyslogMessage
from relay.model.origin import Transport
from relay.model.template import split_template
from relay.rewrite.batch import Batch, Column, MacroContext, Moments
from relay.rewrite.fields import PREFIX, elements_of
from relay.rewrite.forms.token import hostname_of, legacy_header, unix_pairs
from relay.wire.json.pairs import items_of, text_of
from relay.wire.list_syntax import format_list

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


def bsd_date(digits: int | None) -> _Write:
    """How to write ``Mmm dd hh:mm:ss`` with `digits` of fraction; None = without one."""
    digits = digits or 0

    def write(moment: datetime, stamp: bytes | None) -> str:
        month = _MONTHS[moment.month - 1][:3]
        return f"{month} {moment.day:2d} {moment:%H:%M:%S}{_fraction(moment, stamp, digits)}"

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


_PARTS: Mapping[str, Callable[[datetime], str]] = {
    "YEAR": lambda moment: f"{moment.year:04d}",
    "MONTH": lambda moment: f"{moment.month:02d}",
    "MONTH_NAME": lambda moment: _MONTHS[moment.month - 1],
    "MONTH_ABBREV": lambda moment: _MONTHS[moment.month - 1][:3],
    # Weeks begin on Monday; days before the first one are in week 0.
    "MONTH_WEEK": lambda moment: str(_mondays(moment.day, moment)),
    "DAY": lambda moment: f"{moment.day:02d}",
    "YEAR_DAY": lambda moment: f"{moment:%j}",
    "WEEK": lambda moment: f"{_mondays(moment.timetuple().tm_yday, moment):02d}",
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
    **dict.fromkeys(("TZ", "TZOFFSET"), lambda moment: moment.isoformat()[-6:]),
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


ALIASES: Mapping[str, str] = {
    "MSG": "MESSAGE",
    "MSGONLY": "MESSAGE",
    "FULLHOST": "HOST",
    "FULLHOST_FROM": "HOST_FROM",
}
"""Other names of soft macros."""

_Value = TypeVar("_Value")

_FACILITIES = [name.encode() for name in FACILITY_NAMES]
_SEVERITIES = [name.encode() for name in SEVERITY_NAMES]
_DELIMITERS = b"\n\r\0"
_LOCAL_ADDRESS = b"127.0.0.1"
# IANA protocol numbers.
_PROTOCOLS = {Transport.TCP: b"6", Transport.UDP: b"17"}


def _each(value: Callable[[SyslogMessage], _Value]) -> Callable[[Batch], list[_Value]]:
    return lambda batch: [value(message) for message in batch.messages]


def _same(value: Callable[[Batch], _Value]) -> Callable[[Batch], list[_Value]]:
    return lambda batch: [value(batch)] * len(batch.messages)


def _facility(message: SyslogMessage) -> bytes:
    number = message.facility
    return _FACILITIES[number] if 0 <= number < len(_FACILITIES) else b"%x" % number


def _severity(message: SyslogMessage) -> bytes:
    number = message.severity
    return _SEVERITIES[number] if 0 <= number < len(_SEVERITIES) else b"%d" % number


def _bsd_tag(message: SyslogMessage) -> bytes:
    return b"%d%s" % (message.severity, chr(ord("A") + message.facility).encode("utf-8", "replace"))


def _tags(batch: Batch) -> list[bytes]:
    own = f".source.{batch.origin.source}".encode()
    only_own = format_list([own])
    return [
        format_list(message.tags if own in message.tags else (*message.tags, own))
        if message.tags
        else only_own
        for message in batch.messages
    ]


def _header(message: SyslogMessage) -> bytes:
    """What stands between host and text in RFC 3164."""
    literal = legacy_header(message)
    if literal or not message.app_name:
        return literal
    return message.app_name + (b"[%s]: " % message.procid if message.procid else b": ")


def _ip_version(batch: Batch) -> bytes:
    host = batch.origin.peer_host
    return b"6" if ":" in host else b"4" if host else b""


def _port(batch: Batch) -> bytes:
    return b"%d" % batch.origin.peer_port if batch.origin.peer_port else b""


def _unique_ids(batch: Batch) -> list[bytes]:
    hostid = batch.context.hostid
    return [b"%08x@%016x" % (hostid, number) for number in batch.receipts]


_HARD: Mapping[str, Column] = {
    "PRI": _each(lambda message: b"%d" % message.pri),
    "FACILITY": _each(_facility),
    "FACILITY_NUM": _each(lambda message: b"%d" % message.facility),
    **dict.fromkeys(("SEVERITY", "LEVEL", "PRIORITY"), _each(_severity)),
    **dict.fromkeys(
        ("SEVERITY_NUM", "LEVEL_NUM", "PRIORITY_NUM"),
        _each(lambda message: b"%d" % message.severity),
    ),
    "TAG": _each(lambda message: b"%02x" % message.pri),
    "BSDTAG": _each(_bsd_tag),
    "TAGS": _tags,
    "SDATA": _each(lambda message: elements_of(message) or b""),
    "MSGHDR": _each(_header),
    "SYSLOGTAG": _each(lambda message: _header(message).rstrip()),  # as rsyslog calls it
    "RAWMSG_SIZE": _each(lambda message: b"%d" % len(message.raw)),
    "SEQNUM": lambda batch: batch.sequence_numbers,
    "RCPTID": lambda batch: [b"%d" % number for number in batch.receipts],
    "UNIQID": _unique_ids,
    "HOSTID": _same(lambda batch: b"%08x" % batch.context.hostid),
    "RUNID": _same(lambda batch: b"%d" % batch.context.runid),
    "LOGHOST": _same(lambda batch: batch.context.relay_name),
    # In hundredths of a second.
    "SYSUPTIME": _same(
        lambda batch: b"%d" % ((batch.origin.monotonic_at - batch.context.started_at) * 100)
    ),
    **dict.fromkeys(
        ("SOURCEIP", "PEERIP"),
        _same(lambda batch: batch.origin.peer_host.encode("ascii", "replace") or _LOCAL_ADDRESS),
    ),
    **dict.fromkeys(("SOURCEPORT", "PEERPORT"), _same(_port)),
    "PROTO": _same(lambda batch: _PROTOCOLS.get(batch.origin.transport, b"")),
    "IP_PROTO": _same(_ip_version),
    # Supported by syslog-ng only: the local address that received a message, and
    # contexts of its pattern database.
    **dict.fromkeys(("DESTIP", "DESTPORT", "CONTEXT_ID"), _same(lambda batch: b"")),
}

HARD_MACROS: frozenset[str] = frozenset(_HARD) | TIME_MACROS
"""Macros that are read-only."""


def _pair(message: SyslogMessage, name: str) -> bytes | None:
    return None if message.pairs is None else message.pairs.get(name)


def _or_sender(host: Callable[[SyslogMessage], bytes | None]) -> _Values:
    return lambda batch: [host(message) or batch.sender for message in batch.messages]


def _field(name: str, value: Callable[[SyslogMessage], bytes | None]) -> _Values:
    def values(batch: Batch) -> list[bytes | None]:
        return [
            own if (own := value(message)) is not None else _pair(message, name)
            for message in batch.messages
        ]

    return values


_Values = Callable[[Batch], list[bytes | None]]
"""Like a column, with None where a message does not have the name."""

_FIELDS: Mapping[str, _Values] = {
    "HOST": _or_sender(hostname_of),
    "HOST_FROM": _or_sender(lambda message: _pair(message, "HOST_FROM")),
    "PROGRAM": _field("PROGRAM", lambda message: message.app_name),
    "PID": _field("PID", lambda message: message.procid),
    "MSGID": _field("MSGID", lambda message: message.msgid),
    "MESSAGE": lambda batch: [message.msg for message in batch.messages],
    "SOURCE": _same(lambda batch: batch.origin.source.encode()),
}

FIELD_NAMES = tuple(_FIELDS)
"""Soft macros that stand for fields of a message or its origin."""


def check_settable(name: str) -> None:
    """Raise ValueError if `name` is a hard macro."""
    if name in HARD_MACROS:
        raise ValueError(
            f"{name} is a hard macro: it is worked out from the message and cannot be set; "
            "set a name of your own"
        )


def compile_macro(name: str, context: MacroContext) -> Column:
    """The function that writes `name`: a macro, or else a name-value pair.

    What a message does not have is empty.
    """
    if name in TIME_MACROS:
        return compile_time_macro(name, context)
    if name in _HARD:
        return _HARD[name]
    values = compile_value(name)
    if name in _FIELDS or name in ALIASES:
        return lambda batch: [value or b"" for value in values(batch)]
    if name.startswith(PREFIX):  # of a repeated parameter the last value
        return lambda batch: [_last(value or b"") for value in values(batch)]
    return lambda batch: [text_of(value) if value else b"" for value in values(batch)]


def _last(value: bytes) -> bytes:
    items = items_of(value) if isinstance(value, JsonText) else None
    return text_of(items[-1]) if items else text_of(value)


def compile_value(name: str) -> _Values:
    """The function that looks up the soft macro `name`; None where it does not exist."""
    name = ALIASES.get(name, name)
    if name in _FIELDS:
        return _FIELDS[name]
    if name.startswith(PREFIX):
        return lambda batch: [elements.get(name) for elements in batch.elements]
    if name == "RAWMSG":
        return lambda batch: [
            raw if (raw := _pair(message, name)) is not None else message.raw.rstrip(_DELIMITERS)
            for message in batch.messages
        ]

    def values(batch: Batch) -> list[bytes | None]:
        default = origin_pairs(batch).get(name)
        return [
            default if (own := _pair(message, name)) is None else own for message in batch.messages
        ]

    return values


def origin_pairs(batch: Batch) -> dict[str, bytes]:
    """Attributes of a sender, by syslog-ng's names."""
    origin = batch.origin
    pairs = unix_pairs(origin)
    if origin.tls_identity is not None:
        pairs[".tls.x509_cn"] = origin.tls_identity.encode("utf-8", "replace")
    return pairs


Escape = Callable[[bytes], bytes]
"""Escapes a value for its context, such as a path."""


def compile_template(text: str, context: MacroContext, *, escape: Escape | None = None) -> Column:
    """The function that writes `text` for each message of a batch.

    Args:
        escape: Applied to values and defaults, not to the text around them.

    Raises:
        ValueError: Something in `text` is no macro; says what, and at which character.
    """
    parts = [
        _constant(part) if isinstance(part, bytes) else _value(*part, context, escape)
        for part in split_template(text)
    ]
    if len(parts) == 1:
        return parts[0]

    def render(batch: Batch) -> list[bytes]:
        return [b"".join(row) for row in zip(*[part(batch) for part in parts], strict=True)]

    return render


def _constant(text: bytes) -> Column:
    return lambda batch: [text] * len(batch.messages)


def _value(name: str, default: bytes, context: MacroContext, escape: Escape | None) -> Column:
    macro = compile_macro(name, context)
    if escape is None:
        if not default:
            return macro
        return lambda batch: [value or default for value in macro(batch)]
    return lambda batch: [escape(value or default) for value in macro(batch)]
