"""Bytes of a frame to a message, whatever they are.

Strategy: parsing is total.  It never raises, and every byte of a frame ends up in
a field of the message; `raw` keeps the frame in any case.  In order:

1. VERSION 1 after the PRI means RFC 5424.  If the rest does not fit, what could be read is
   kept, and MSG begins where it ends (`relay/wire/headers/malformed.py`).
2. A PRI that is none (``<999>``, ``< 13>``) makes the line MSG, under PRI 13 (RFC 3164
   §4.3.3).
3. An octet count or a byte order mark before a PRI is passed over.
4. Anything else is RFC 3164, with or without PRI.
5. What is an envelope of EWMM is opened, whichever header it has.

Tags name everything that could not be parsed; see `relay.wire.parse_tags`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from relay.codec import IS_COMPILED, Lines, native
from relay.codec.messages import Messages
from relay.model.message import DEFAULT_FACILITY, DEFAULT_SEVERITY, SyslogMessage
from relay.wire.ewmm import APP_NAME, decode_ewmm
from relay.wire.framing.byte_order_mark import BYTE_ORDER_MARK
from relay.wire.headers.hostname import is_hostname
from relay.wire.headers.malformed import error_text, find_defect, parse_malformed
from relay.wire.headers.rfc3164 import is_leading_hostname, parse_rfc3164
from relay.wire.headers.rfc5424 import PRIVAL, parse_rfc5424
from relay.wire.parse_tags import BY_BIT, INVALID_PRI, INVALID_VERSION, UNEXPECTED_FRAMING, Tags

if TYPE_CHECKING:
    from relay.codec.lines import Reader

DELIMITERS = b"\n\r\0"
"""Bytes that are not part of MSG at the end of a frame."""

# syslog-ng takes <> for 0 and any number of digits.
_PRI = re.compile(rb"<([0-9]*+)>(0*1 )?")
_MARKED_PRI = BYTE_ORDER_MARK + b"<"
_OCTET_COUNT = re.compile(rb"[0-9]{1,10}+ (?=<[0-9]*+>)")
_SYSLOG = 5 * 8 + 3  # syslog.err


class Dialect(NamedTuple):
    """Rules for parsing lines."""

    reads_rfc5424: bool = True
    reads_rfc3164: bool = True
    default_pri: tuple[int, int] = (DEFAULT_FACILITY, DEFAULT_SEVERITY)
    """Facility and severity of lines without PRI."""
    hosts: tuple[Callable[[bytes], bool] | None, bool] = (None, True)
    """`accepts_host` and `expects_host` of `parse_rfc3164`."""
    adapt: Callable[[bytes, SyslogMessage, tuple[int, int]], SyslogMessage] | None = None
    """Parses formats of certain applications; called with line, message and
    `default_pri`."""
    substitutes: bool = False
    """Unparsable lines become an error message of syslog-ng, PRI 43."""


_DEFAULT = Dialect()
_READERS_MAX = 256  # kept, one for each dialect


def parse(frame: bytes) -> SyslogMessage:
    """Parse one frame.  Never raises; unparsable text is MSG.

    LF, CR and NUL at the end of the frame are not part of MSG.
    """
    return parse_as(_DEFAULT, frame.rstrip(DELIMITERS), frame)


def read_lines(frames: Sequence[bytes], dialect: Dialect = _DEFAULT) -> Lines:
    """Read the frames of a batch by `dialect`, one line each, in order."""
    reader = _reader(dialect)
    if reader is None:
        return Messages([parse_as(dialect, frame.rstrip(DELIMITERS), frame) for frame in frames])
    lines = reader.read(frames)
    adapt = dialect.adapt
    if adapt is None:
        return lines
    # The reference has adapted the lines that it read.
    adapted = frozenset(lines.unread())
    return Messages(
        [
            message
            if index in adapted
            else adapt(message.raw.rstrip(DELIMITERS), message, dialect.default_pri)
            for index, message in enumerate(lines.messages())
        ]
    )


def line_reader(dialect: Dialect) -> Callable[[Sequence[bytes]], Lines]:
    """`read_lines` by `dialect`; that of the compiled reader where it does all of it."""
    reader = _reader(dialect)
    if reader is not None and dialect.adapt is None:
        return reader.read
    return partial(read_lines, dialect=dialect)


def parse_all(frames: Sequence[bytes], dialect: Dialect = _DEFAULT) -> list[SyslogMessage]:
    """The messages of `read_lines`."""
    return read_lines(frames, dialect).messages()


@lru_cache(_READERS_MAX)
def _reader(dialect: Dialect) -> Reader | None:
    """The compiled reader of lines for `dialect`, if there is one."""
    if not IS_COMPILED or not dialect.reads_rfc3164 or dialect.substitutes or dialect.hosts[0]:
        return None
    facility, severity = dialect.default_pri
    return native.lines.Reader(
        SyslogMessage,
        lambda frame: parse_as(dialect, frame.rstrip(DELIMITERS), frame),
        is_hostname=is_hostname,
        is_bare_hostname=is_leading_hostname,
        tags=BY_BIT,
        default_pri=facility * 8 + severity,
        expects_host=dialect.hosts[1],
        reads_rfc5424=dialect.reads_rfc5424,
    )


def severity_of(frame: bytes) -> int:
    """Severity of a message, 0 to 7, from its PRI alone: as in `parse`, but cheaper."""
    match = _PRI.match(frame) or _PRI.match(frame.removeprefix(BYTE_ORDER_MARK))
    pri = None if match is None else PRIVAL.get(match[1].lstrip(b"0") or b"0")
    return DEFAULT_SEVERITY if pri is None else pri[1]


def parse_as(dialect: Dialect, line: bytes, frame: bytes) -> SyslogMessage:
    """Parse like `parse`, by the rules of `dialect`.

    Args:
        line: What to parse, without the delimiters at its end.
        frame: What was received.
    """
    message = parse_rfc5424(line, frame) if dialect.reads_rfc5424 else None
    if message is None:
        message = _parse_other(line, frame, dialect)
    if message.app_name == APP_NAME:  # adapters do not apply to its contents
        return decode_ewmm(message)
    if dialect.adapt is not None:
        return dialect.adapt(line, message, dialect.default_pri)
    return message


def _parse_other(line: bytes, frame: bytes, dialect: Dialect) -> SyslogMessage:
    if line[:1] != b"<":
        # Not every transport knows where a mark at the start of a message was put.
        if line.startswith(_MARKED_PRI):
            unmarked = line.removeprefix(BYTE_ORDER_MARK)
            return parse_as(dialect._replace(adapt=None), unmarked, frame)
        count = _OCTET_COUNT.match(line) if line < b":" else None  # if it begins with a digit
        if count is not None:
            message = parse_as(dialect._replace(adapt=None), line[count.end() :], frame)
            return message._replace(tags=UNEXPECTED_FRAMING + message.tags)
        if not dialect.reads_rfc3164:
            return _unparsed(line, frame, dialect.default_pri, INVALID_PRI, 0, dialect)
        return parse_rfc3164(line, frame, dialect.default_pri, 0, *dialect.hosts)
    match = _PRI.match(line)
    pri = None if match is None else PRIVAL.get(match[1].lstrip(b"0") or b"0")
    if match is None or pri is None:
        default = (DEFAULT_FACILITY, DEFAULT_SEVERITY)
        return _unparsed(line, frame, default, INVALID_PRI, 0, dialect)
    if match[2] is not None and dialect.reads_rfc5424:
        if match[1] not in PRIVAL:  # in a spelling that `parse_rfc5424` does not know
            canonical = b"<%d>%s" % (pri[0] * 8 + pri[1], line[match.end(1) + 1 :])
            known = parse_rfc5424(canonical, frame)
            if known is not None:
                return known
        if dialect.substitutes:
            defect = find_defect(line, match.end())
            return _unparsed(line, frame, pri, defect.tags, defect.offset, dialect)
        return parse_malformed(line, frame, pri, match.start(2))
    start = match.end(1) + 1
    if not dialect.reads_rfc3164:
        return _unparsed(line, frame, pri, INVALID_VERSION, start, dialect)
    return parse_rfc3164(line, frame, pri, start, *dialect.hosts)


def _unparsed(
    line: bytes, raw: bytes, pri: tuple[int, int], tags: Tags, offset: int, dialect: Dialect
) -> SyslogMessage:
    app_name = None
    if dialect.substitutes:
        pri, app_name, line = divmod(_SYSLOG, 8), b"syslog-ng", error_text(line, offset)
    return SyslogMessage(*(*pri, 0, None, None, app_name, None, None, None, line, raw), tags=tags)
