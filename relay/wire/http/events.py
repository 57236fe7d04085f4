"""Events of JSON and text as frames.

A member with a name that many programs use for the stamp, the host, the program, its pid, the
severity, the facility or the message becomes that field; every other member becomes a name-value
pair.  Without pairs the frame is RFC 5424, with pairs an EWMM envelope (`relay/wire/ewmm.py`).
An event without a message has its JSON as the message, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec

from relay.model.message import DEFAULT_FACILITY, DEFAULT_SEVERITY, FACILITY_NAMES, SEVERITY_NAMES
from relay.wire.ewmm import APP_NAME, STAMP_NAME
from relay.wire.framing.charset import whole_characters
from relay.wire.headers.rfc5424 import (
    APP_NAME_BYTES_MAX,
    MSGID_BYTES_MAX,
    PROCID_BYTES_MAX,
    format_header,
    format_message,
    header_field,
    header_hostname,
)
from relay.wire.headers.timestamp import POSSIBLE_ISO_STAMP, to_rfc3339, to_rfc5424
from relay.wire.http.content import EVENTS_MAX, too_many
from relay.wire.json.lenient import unescape
from relay.wire.json.pairs import members_of

Members = Mapping[str, bytes]
"""The members of an object; the values are JSON."""

_NANOSECONDS = 10**9
# Powers of ten that make nanoseconds of a unit, and from where on a time is in that unit:
# 10**11 seconds would be the year 5138, and 10**11 milliseconds 1973.  Nine digits at least, as
# smaller numbers are durations and the like.
_UNITS = ((0, 10**17), (3, 10**14), (6, 10**11), (9, 0))
_STAMP = re.compile(POSSIBLE_ISO_STAMP)
_NUMBER = re.compile(rb"([0-9]{9,19})(?:\.([0-9]{1,30}))?")
_TAG = re.compile(rb"([^\[:]+)(?:\[([^\]]*)\])?:? ?")
_SYSLOG = re.compile(rb"<[0-9]{1,3}>")
_WHOLE_ESCAPES = re.compile(rb"(?:[^\\]++|\\u[0-9A-Fa-f]{4}|\\[^u])*+")
_BLANKS_TO_SPACE = bytes.maketrans(b"\t\r\n", b"   ")
_DEPTH_MAX = 60  # of brackets; more are looked at closely

SEVERITIES = {
    **{name.encode(): number for number, name in enumerate(SEVERITY_NAMES)},
    **{b"%d" % number: number for number in range(8)},
    **dict.fromkeys((b"emergency", b"panic"), 0),
    **dict.fromkeys((b"critical", b"fatal", b"60"), 2),  # two-digit levels: pino, bunyan
    **dict.fromkeys((b"error", b"severe", b"50"), 3),
    **dict.fromkeys((b"warn", b"40"), 4),
    **dict.fromkeys((b"information", b"informational", b"30"), 6),
    **dict.fromkeys((b"trace", b"verbose", b"20", b"10"), 7),
}
"""Severities by the names that programs have for them, in lower case."""
_FACILITIES = {
    **{name.encode(): number for number, name in enumerate(FACILITY_NAMES)},
    **{b"%d" % number: number for number in range(24)},
}
# Names with a meaning of their own in an envelope.
_ENVELOPE_NAMES = frozenset(
    ("MESSAGE", "MSG", "MSGONLY", "HOST", "FULLHOST", "PROGRAM", "PID", "MSGID", "")
)
_TOKEN_KEY = "logsene-app-token"  # as in JSON that comes by other protocols
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Event:
    """One event; a field that it does not have is None."""

    message: bytes | None = None
    stamp: bytes | None = None
    """RFC 3339, with any number of digits."""
    host: bytes | None = None
    program: bytes | None = None
    pid: bytes | None = None
    msgid: bytes | None = None
    facility: int | None = None
    severity: int | None = None
    pairs: dict[str, bytes] = field(default_factory=dict)
    """All else; the values are JSON."""
    text: bytes = b""
    """Stands for the message if there is none."""
    has_token: bool = False
    """The message is an object with the token of an app."""


class Frames:
    """The frames of one request; ContentError above `EVENTS_MAX`.

    Args:
        bytes_max: Longest frame.

    Attributes:
        cut: Which of `frames` were cut: index to the bytes of the whole.
        with_token: How many have a token of their own.
    """

    def __init__(self, bytes_max: int) -> None:
        self.frames: list[bytes] = []
        self.cut: dict[int, int] = {}
        self.with_token = 0
        self._bytes_max = bytes_max

    def add(self, event: Event) -> None:
        self._check_room()
        self.with_token += event.has_token
        frame = _frame(event)
        if len(frame) > self._bytes_max:
            self.cut[len(self.frames)] = len(frame)
            frame = self._shortened(event, len(frame) - self._bytes_max)
        self.frames.append(frame)

    def _shortened(self, event: Event, excess: int) -> bytes:
        """The frame of an event that is `excess` bytes too long."""
        if event.message is not None and event.pairs:
            frame = _frame(replace(event, message=_without_end(event.message, excess)))
            if len(frame) <= self._bytes_max:
                return frame
        # Its pairs are too long: the JSON as it came shows most of the event.
        text = event.message if event.message is not None and not event.pairs else event.text
        stamp = None if event.stamp is None else to_rfc5424(event.stamp, 0.0, UTC)
        rest = replace(event, message=b" ", stamp=stamp, pairs={})
        if not _fits_header(rest):
            rest = Event(b" ", stamp, facility=event.facility, severity=event.severity)
        room = self._bytes_max - len(_frame(rest)) + 1
        return _frame(replace(rest, message=whole_characters(text, max(0, room))))

    def add_line(self, line: bytes, defaults: Event | None = None) -> None:
        """A line of text; one that begins with a PRI is a frame already."""
        if _SYSLOG.match(line) is None:
            event = defaults or Event()
            event.message = line
            self.add(event)
            return
        self._check_room()
        if len(line) > self._bytes_max:
            self.cut[len(self.frames)] = len(line)
        self.frames.append(whole_characters(line, self._bytes_max))

    def _check_room(self) -> None:
        if len(self.frames) >= EVENTS_MAX:
            raise too_many()

    def add_json(self, text: bytes) -> None:
        """An object, or a text or other value of JSON, which is the message."""
        members = object_of(text)
        if members is not None:
            self.add(event_of(members, text))
        else:
            self.add(Event(plain_text(text) or text))


def utf8(body: bytes) -> bytes:
    """`body`, with U+FFFD for all that is not UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return body.decode(errors="replace").encode()
    return body


def object_of(text: bytes) -> dict[str, bytes] | None:
    """The members of the JSON object `text`, or None if it is none.

    One that is nested so deep that an envelope cannot hold it is none, as is one that may have
    more than `EVENTS_MAX` members.
    """
    if text.count(b":") > EVENTS_MAX:
        return None
    try:
        members = {name: bytes(raw) for name, raw in _object.decode(text).items()}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if text.count(b"[") + text.count(b"{") > _DEPTH_MAX and members_of(b'{"":%b}' % text) is None:
        return None
    return members


def plain_text(raw: bytes | None) -> bytes | None:
    """The text of a JSON string or number; None of anything else."""
    if raw is None:
        return None
    if raw[:1] == b'"':
        if b"\\" not in raw:
            return raw[1:-1]
        try:
            return _string.decode(raw).encode()
        except msgspec.DecodeError:  # half a surrogate pair
            return unescape(raw[1:-1], errors="replace")
    return raw if raw[:1] in b"-0123456789" else None


def json_text(text: bytes) -> bytes:
    """`text` as a JSON string."""
    return _encode(text.decode(errors="replace"))


def stamp_of_epoch(nanoseconds: int) -> bytes | None:
    """A stamp in UTC; None = not within the years 1970 to 9999."""
    seconds, rest = divmod(nanoseconds, _NANOSECONDS)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    if seconds < 0:
        return None
    fraction = b"%09d" % rest
    digits = 9 if rest % 1000 else 6
    return b"%b.%bZ" % (moment.isoformat()[:19].encode(), fraction[:digits])


def stamp_of(raw: bytes) -> bytes | None:
    """The stamp in a JSON value: ISO 8601, or a time since 1970 in s, ms, µs or ns."""
    text = plain_text(raw)
    if text is None:
        return None
    if _STAMP.fullmatch(text):
        return to_rfc3339(text, 0.0, UTC)  # without an offset it is UTC, as Elasticsearch has it
    number = _NUMBER.fullmatch(text)
    if number is None:
        return None
    whole, fraction = int(number[1]), (number[2] or b"").ljust(9, b"0")
    power = next(power for power, least in _UNITS if whole >= least)
    return stamp_of_epoch(whole * 10**power + int(fraction[:power] or b"0"))


def event_of(members: Members, text: bytes = b"") -> Event:
    """The event that an object is.

    Args:
        text: The object.
    """
    event = Event(text=text.translate(_BLANKS_TO_SPACE))
    rest = dict(members)
    for attribute, read, names in _KNOWN:
        for name in names:
            raw = rest.get(name)
            value = None if raw is None else read(raw)
            if value is not None:
                setattr(event, attribute, value)
                del rest[name]
                break
    for attribute, read, outer, inner in _NESTED:
        raw = rest.get(outer, b"")
        if getattr(event, attribute) is None and raw[:1] == b"{":
            found = (object_of(raw) or {}).get(inner)
            setattr(event, attribute, None if found is None else read(found))
    if event.program is None and (tag := plain_text(rest.get("syslog-tag"))):
        parts = _TAG.fullmatch(tag)
        if parts is not None:
            event.program, event.pid = parts[1], parts[2] or event.pid
            del rest["syslog-tag"]
            if plain_text(rest.get("source")) == event.program:  # Sematext's documents repeat it
                del rest["source"]
    if _TOKEN_KEY in rest and event.text:
        return _with_token(event)
    event.pairs = rest
    return event


def _with_token(event: Event) -> Event:
    """The whole object as the message, where tokens are looked for, and removed."""
    stamp = None if event.stamp is None else to_rfc5424(event.stamp, 0.0, UTC)
    whole = replace(event, message=event.text, stamp=stamp, has_token=True)
    if _fits_header(whole):
        return whole
    return replace(whole, host=None, program=None, pid=None, msgid=None)


def _word(raw: bytes) -> bytes | None:
    return plain_text(raw) or None


def _severity(raw: bytes) -> int | None:
    return SEVERITIES.get((plain_text(raw) or b"").lower())


def _facility(raw: bytes) -> int | None:
    return _FACILITIES.get((plain_text(raw) or b"").lower())


_Read = Callable[[bytes], bytes | int | None]
_KNOWN: tuple[tuple[str, _Read, tuple[str, ...]], ...] = (
    ("message", plain_text, ("message", "MESSAGE", "msg", "log", "short_message")),
    ("stamp", stamp_of, ("@timestamp", "timestamp", "time", "ts", "ISODATE", "DATE")),
    ("host", _word, ("host", "hostname", "HOST", "host.name")),
    (
        "program",
        _word,
        ("program", "PROGRAM", "app_name", "appname", "app-name", "app", "service.name"),
    ),
    ("pid", _word, ("pid", "PID", "procid", "process.pid")),
    ("msgid", _word, ("msgid", "MSGID")),
    (
        "severity",
        _severity,
        ("severity", "level", "log.level", "loglevel", "PRIORITY", "priority", "LEVEL"),
    ),
    ("facility", _facility, ("facility", "FACILITY")),
)
_NESTED: tuple[tuple[str, _Read, str, str], ...] = (  # as in ECS; the object stays a pair
    ("host", _word, "host", "name"),
    ("program", _word, "service", "name"),
    ("pid", _word, "process", "pid"),
    ("severity", _severity, "log", "level"),
)


def _frame(event: Event) -> bytes:
    facility = DEFAULT_FACILITY if event.facility is None else event.facility
    pri = 8 * facility + (DEFAULT_SEVERITY if event.severity is None else event.severity)
    message = event.text if event.message is None else event.message
    stamp = None if event.stamp is None else to_rfc5424(event.stamp, 0.0, UTC)
    if not event.pairs and _fits_header(event):
        fields = (event.host, event.program, event.pid, event.msgid)
        return format_message(format_header(pri, stamp, *fields, None), message)
    host = event.host if header_hostname(event.host) == event.host else None
    named = {
        STAMP_NAME: event.stamp if stamp != event.stamp else None,
        "HOST": event.host if host is None else None,
        "PROGRAM": event.program,
        "PID": event.pid,
        "MSGID": event.msgid,
        "MESSAGE": message,
    }
    members = [
        b"%b:%b" % (_encode(_pair_name(name)), value.translate(_BLANKS_TO_SPACE))
        for name, value in event.pairs.items()
    ]
    members += [
        b'"%b":%b' % (name.encode(), json_text(value))
        for name, value in named.items()
        if value is not None
    ]
    header = format_header(pri, stamp, host, APP_NAME, None, None, None)
    return b"%b {%b}" % (header, b",".join(members))


def _without_end(message: bytes, excess: int) -> bytes:
    """`message` without its last characters, which take at least `excess` bytes in JSON."""
    text = json_text(message)[1:-1]
    whole = _WHOLE_ESCAPES.match(text, 0, max(0, len(text) - excess))
    start = b"" if whole is None else whole[0]
    return unescape(start.decode(errors="ignore").encode(), errors="replace")


def _pair_name(name: str) -> str:
    return "_" + name if name in _ENVELOPE_NAMES else name


def _fits_header(event: Event) -> bool:
    """Whether no field is changed by being written into a header of RFC 5424."""
    if event.stamp is not None and to_rfc5424(event.stamp, 0.0, UTC) != event.stamp:
        return False
    if event.host is not None and header_hostname(event.host) != event.host:
        return False
    return all(
        not value or (header_field(value, bytes_max) == value and value not in (b"-", APP_NAME))
        for value, bytes_max in (
            (event.program, APP_NAME_BYTES_MAX),
            (event.pid, PROCID_BYTES_MAX),
            (event.msgid, MSGID_BYTES_MAX),
        )
    )
