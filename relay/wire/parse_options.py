"""How the lines of one source are read, where that differs from `relay.wire.parse`.

`new_parser` combines only the steps that its options need; without options it is `read_lines`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import tzinfo

from relay.codec import Lines
from relay.codec.messages import Messages
from relay.model.expression import Expression
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Transport
from relay.model.parse_options import ParseOptions
from relay.wire.adapters.applications import adapt
from relay.wire.framing.charset import Charset
from relay.wire.headers.rfc5424 import PRIVAL
from relay.wire.message_steps import steps_of
from relay.wire.parse import DELIMITERS, Dialect, line_reader, parse_as
from relay.wire.parse_tags import (
    INVALID_HOSTNAME,
    INVALID_PRI,
    MISSING_HEADER,
    MISSING_PRI,
    MISSING_TIMESTAMP,
    Tags,
    is_parse_failure,
)

Parser = Callable[[Sequence[bytes], Arrival], Lines]
"""Reads the frames of a batch of one source, one line each, in order."""

_KERNEL_PRI = (0, 5)  # kern.notice
_PRI = re.compile(rb"<([0-9]*+)>")
_HAS_PRI = re.compile(rb"(?:[0-9]{1,10}+ )?<")
_HOSTNAME = re.compile(rb"[0-9A-Za-z\-_.:@/]+")


def utf8_of(options: ParseOptions, frame: bytes) -> bytes:
    """A frame as the parser receives it.  ValueError: unknown encoding."""
    return frame if options.encoding is None else Charset(options.encoding).to_utf8(frame)


def new_parser(options: ParseOptions, *, zone: tzinfo) -> Parser:
    """Make a parser for `options`.

    Like `read_lines` it never raises, returns one line a frame, and keeps the frame
    as it was received in `raw`.

    Args:
        zone: Local zone.

    Raises:
        ValueError: An option has an invalid value; the text names it.
    """
    if options.encoding is not None:
        Charset(options.encoding)  # or ValueError
    steps = steps_of(options, zone)
    of_network = _batch_reader(options, expects_host=True)
    of_local = of_network if options.local_hostname else _batch_reader(options, expects_host=False)

    def parse_batch(frames: Sequence[bytes], arrival: Arrival) -> Lines:
        is_local = arrival.runs[0][1].transport == Transport.UNIX  # as the others of the source
        lines = (of_local if is_local else of_network)(frames)
        if not steps:
            return lines
        read: list[SyslogMessage] = []
        for start, stop, origin in arrival.each():
            messages = lines.messages(range(start, stop))
            for step in steps:
                messages = step(messages, origin)
            read += messages
        return Messages(read)

    return parse_batch


def _batch_reader(
    options: ParseOptions, *, expects_host: bool
) -> Callable[[Sequence[bytes]], Lines]:
    """How the frames of a batch are read.

    Args:
        expects_host: False = no line names its host, whatever `options` say.
    """
    dialect = _dialect(options)
    if not expects_host:
        dialect = dialect._replace(hosts=(dialect.hosts[0], False))
    read = frame_reader(options, dialect)
    if read is None:
        return line_reader(dialect)
    return lambda frames: Messages(list(map(read, frames)))


def frame_reader(
    options: ParseOptions, dialect: Dialect
) -> Callable[[bytes], SyslogMessage] | None:
    """The reader of one frame if `options` need more than `dialect`; None otherwise."""
    if options.message_bytes_max < 0:
        raise ValueError("message_bytes_max is a count of bytes, 0 or more")
    tells_missing = options.parse_tags == "all"
    text_bytes_max = options.message_bytes_max or None
    parses = not (options.no_parse or options.no_header)
    if parses and not (tells_missing or options.store_raw or text_bytes_max):
        return None

    def read(frame: bytes) -> SyslogMessage:
        text = frame[:text_bytes_max]  # the rest is not read
        line = text.rstrip(DELIMITERS)
        if options.no_parse:
            message = _of_msg(dialect.default_pri, line, frame)
        elif options.no_header:
            message = _after_pri(dialect.default_pri, line, frame)
        else:
            message = parse_as(dialect, line, frame)
        if tells_missing and (missing := _missing_parts(text, message)):
            message = message._replace(tags=missing + message.tags)
        if options.store_raw:
            message = message._replace(pairs={**(message.pairs or {}), "RAWMSG": line})
        return message

    return read


def _after_pri(default_pri: tuple[int, int], line: bytes, frame: bytes) -> SyslogMessage:
    """A message whose MSG is everything after the PRI."""
    if line[:1] != b"<":
        return _of_msg(default_pri, line, frame)
    match = _PRI.match(line)
    pri = None if match is None else PRIVAL.get(match[1].lstrip(b"0") or b"0")
    if match is None or pri is None:
        return _of_msg(default_pri, line, frame, INVALID_PRI)
    return _of_msg(pri, line[match.end() :], frame)


def _of_msg(pri: tuple[int, int], msg: bytes, raw: bytes, tags: Tags = ()) -> SyslogMessage:
    return SyslogMessage(*(*pri, 0, None, None, None, None, None, None, msg, raw), tags=tags)


def _missing_parts(text: bytes, message: SyslogMessage) -> Tags:
    """Tags for missing optional parts: PRI, stamp, host."""
    if is_parse_failure(message) or (message.pairs and ".app.name" in message.pairs):
        return ()
    missing = () if _HAS_PRI.match(text) is not None else MISSING_PRI
    if message.timestamp is None:
        missing += MISSING_TIMESTAMP
    if message.version or message.pairs is None:
        return missing
    if message.timestamp is None:
        return missing + MISSING_HEADER
    return missing + (INVALID_HOSTNAME if message.hostname is None and not message.tags else ())


def _dialect(options: ParseOptions) -> Dialect:
    if options.mode not in ("auto", "rfc3164", "rfc5424"):
        raise ValueError(f"mode {options.mode!r} is none of auto, rfc3164, rfc5424")
    if options.parse_tags not in ("errors", "all", "none"):
        raise ValueError(f"parse_tags {options.parse_tags!r} is none of errors, all, none")
    facility, severity = options.default_facility, options.default_severity
    if not 0 <= facility <= 23 or not 0 <= severity <= 7:
        raise ValueError("default_facility is 0 to 23, default_severity 0 to 7")
    return Dialect(
        reads_rfc5424=options.mode != "rfc3164",
        reads_rfc3164=not options.no_rfc3164_fallback,
        default_pri=_KERNEL_PRI if options.kernel else (facility, severity),
        hosts=(_accepts_host(options), options.expect_hostname and not options.no_hostname),
        adapt=adapt if options.adapters and options.mode == "auto" else None,
        substitutes=options.piggyback_errors,
    )


def _accepts_host(options: ParseOptions) -> Callable[[bytes], bool] | None:
    if options.bad_hostname is None and not options.check_hostname:
        return None
    try:
        bad = None if options.bad_hostname is None else Expression(options.bad_hostname)
    except ValueError as error:
        raise ValueError(f"bad_hostname is {error}") from error

    def accepts_host(word: bytes) -> bool:
        if options.check_hostname and _HOSTNAME.fullmatch(word) is None:
            return False
        return bad is None or not bad.search(word)

    return accepts_host
