"""Options of a source that change parsed messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, timedelta, timezone, tzinfo

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.model.parse_options import ParseOptions
from relay.wire.adapters.applications import app_tag
from relay.wire.ewmm import APP_NAME
from relay.wire.headers.timestamp import (
    StampTable,
    format_epoch,
    has_offset,
    to_datetime,
    to_rfc3339,
)
from relay.wire.parse import DELIMITERS
from relay.wire.parse_tags import INVALID_PROGRAM, SANITIZED, is_parse_failure

Messages = list[SyslogMessage]
Step = Callable[[Messages, Origin], Messages]
"""From the messages of a batch and their origin to as many messages."""

_HEADER = "LEGACY_MSGHDR"
_PROGRAM = re.compile(rb"(?=[^A-Za-z]*+[A-Za-z])[0-9A-Za-z.\-_()/]+")
_LINE_ENDS_TO_SPACE = bytes.maketrans(b"\r\n\0", b"   ")
_QUARTER = 15 * 60
_CLOCK_SECONDS_OFF_MAX = 30
# Offsets in use that are no whole hours, in minutes.
_ODD_OFFSETS = frozenset(
    sign * (hours * 60 + minutes)
    for sign, hours, minutes in (
        *((-1, 9, 30), (-1, 3, 30), (-1, 2, 30), (1, 3, 30), (1, 4, 30), (1, 5, 30)),
        *((1, 5, 45), (1, 6, 30), (1, 8, 45), (1, 9, 30), (1, 10, 30), (1, 12, 45), (1, 13, 45)),
    )
)
_NAMED = ("\\b", "\\f", "\\n", "\\r", "\\t", "\\\\")
_ESCAPES = {
    **{byte: f"\\x{byte:02x}" for byte in range(32)},
    **{ord(character): escape for character, escape in zip("\b\f\n\r\t\\", _NAMED, strict=True)},
    **{0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)},
}


def each(change: Callable[[SyslogMessage], SyslogMessage]) -> Step:
    """Apply `change` to each message."""

    def step(messages: Messages, origin: Origin) -> Messages:
        return [change(message) for message in messages]

    return step


def with_line_end(message: SyslogMessage) -> SyslogMessage:
    """CR and LF at the end of the frame belong to MSG, except for messages in envelopes."""
    frame, msg = message.raw, message.msg
    line = frame.rstrip(DELIMITERS)
    line_end = frame[len(line) :].replace(b"\0", b"")
    if not line_end or not line.endswith(msg) or APP_NAME in line[: len(line) - len(msg)]:
        return message
    return message._replace(msg=msg + line_end)


def without_bad_program(message: SyslogMessage) -> SyslogMessage:
    """A tag that names no program is part of MSG (RFC 3164 only)."""
    pairs, app_name = message.pairs, message.app_name
    if pairs is None or _HEADER not in pairs:
        return message
    if app_name is not None and _PROGRAM.fullmatch(app_name) is not None:
        return message
    if app_name is None and message.procid is None:
        return message
    return _tag_to_msg(message)._replace(tags=message.tags + INVALID_PROGRAM)


def with_kernel_program(message: SyslogMessage) -> SyslogMessage:
    """A message of the kernel that has no stamp has the program kernel and no tag."""
    if message.facility or message.version or message.timestamp is not None:
        return message
    if is_parse_failure(message):
        return message
    return _tag_to_msg(message)._replace(app_name=b"kernel")


def with_app_tag(message: SyslogMessage) -> SyslogMessage:
    """A tag for the adapter that read it."""
    tags = app_tag(message)
    return message._replace(tags=message.tags + tags) if tags else message


def with_offsets(zone: tzinfo | None, *, guess: bool) -> Step:
    """Write stamps without offset as RFC 3339, in `zone` or in the zone they must be in.

    That one is guessed: if a stamp differs from the receive time by an offset that is
    in use somewhere, give or take 30 seconds, it is from there.  Stamps that neither
    applies to stay as they are.
    """

    def convert(stamp: bytes | None, received_at: float, _: tzinfo) -> bytes:
        if stamp is None or has_offset(stamp):
            return stamp or b""
        guessed = _guess(stamp, received_at) if guess else None
        stamp_zone = guessed or zone
        return stamp if stamp_zone is None else to_rfc3339(stamp, received_at, stamp_zone)

    def step(messages: Messages, origin: Origin) -> Messages:
        stamps = StampTable(convert, origin.received_at, UTC)
        return [
            message
            if message.timestamp is None
            else message._replace(timestamp=stamps[message.timestamp])
            for message in messages
        ]

    return step


def _guess(stamp: bytes, received_at: float) -> timezone | None:
    ahead = to_datetime(stamp, received_at, UTC).timestamp() - received_at
    offset = round(ahead / _QUARTER) * _QUARTER
    if abs(ahead - offset) > _CLOCK_SECONDS_OFF_MAX:
        return None
    minutes = offset // 60
    is_used = minutes in _ODD_OFFSETS or (minutes % 60 == 0 and -12 * 60 <= minutes <= 14 * 60)
    return timezone(timedelta(minutes=minutes)) if is_used else None


def with_receive_time(zone: tzinfo) -> Step:
    """The stamp is the receive time, in `zone`."""

    def step(messages: Messages, origin: Origin) -> Messages:
        stamp = format_epoch(origin.received_at, zone)
        return [message._replace(timestamp=stamp) for message in messages]

    return step


def with_peer_host(messages: Messages, origin: Origin) -> Messages:
    """HOSTNAME is the peer's address, none for local senders."""
    return with_host(origin.peer_host.encode())(messages, origin)


def with_chained_host(messages: Messages, origin: Origin) -> Messages:
    """HOSTNAME is followed by the peer's address where that is another."""
    peer = origin.peer_host.encode()
    return [
        message._replace(hostname=b"%s/%s" % (message.hostname, peer))
        if peer and message.hostname and message.hostname != peer
        else message
        for message in messages
    ]


def with_host(hostname: bytes | None) -> Step:
    """All messages are from `hostname`."""
    return each(lambda message: message._replace(hostname=hostname or None))


def with_program(app_name: bytes | None) -> Step:
    """All messages are from `app_name`; the text of their received tag is dropped."""
    return each(lambda message: without_legacy_header(message)._replace(app_name=app_name))


def with_valid_utf8(message: SyslogMessage) -> SyslogMessage:
    """An MSG that is not UTF-8 is escaped: bytes, control characters and backslashes."""
    try:
        message.msg.decode()
    except UnicodeDecodeError:
        text = message.msg.decode(errors="surrogateescape").translate(_ESCAPES)
        return message._replace(msg=text.encode(), tags=message.tags + SANITIZED)
    return message


def on_one_line(message: SyslogMessage) -> SyslogMessage:
    """CR, LF and NUL in MSG are spaces."""
    return message._replace(msg=message.msg.translate(_LINE_ENDS_TO_SPACE))


def without_legacy_header(message: SyslogMessage) -> SyslogMessage:
    """The text of the tag is not kept."""
    if message.pairs is None or _HEADER not in message.pairs:
        return message
    pairs = {name: value for name, value in message.pairs.items() if name != _HEADER}
    return message._replace(pairs=pairs or None)


def without_tags(message: SyslogMessage) -> SyslogMessage:
    """Tags about parsing are removed."""
    return message._replace(tags=()) if message.tags else message


def marked_utf8(message: SyslogMessage) -> SyslogMessage:
    """MSG is UTF-8, whatever is in it."""
    return message._replace(is_utf8=True)


def marked_if_utf8(message: SyslogMessage) -> SyslogMessage:
    """MSG is UTF-8 if it looks like that; ASCII does."""
    try:
        message.msg.decode()
    except UnicodeDecodeError:
        return message
    return message._replace(is_utf8=True)


def with_tags(tags: tuple[bytes, ...]) -> Step:
    """All messages have `tags`."""

    def change(message: SyslogMessage) -> SyslogMessage:
        return message._replace(tags=tuple(dict.fromkeys(message.tags + tags)))

    return each(change)


def _tag_to_msg(message: SyslogMessage) -> SyslogMessage:
    header = (message.pairs or {}).get(_HEADER, b"")
    plain = without_legacy_header(message)
    return plain._replace(app_name=None, procid=None, msg=header + message.msg)


def steps_of(options: ParseOptions, zone: tzinfo) -> list[Step]:
    """The steps that `options` request, in order."""
    requested: list[tuple[object, Step]] = [
        (options.keep_line_end, each(with_line_end)),
        (options.check_program, each(without_bad_program)),
        (options.kernel, each(with_kernel_program)),
        (options.parse_tags == "all", each(with_app_tag)),
        (
            options.guess_timezone or options.time_zone,
            with_offsets(options.time_zone, guess=options.guess_timezone),
        ),
        (not options.keep_timestamp, with_receive_time(zone)),
        (not options.keep_hostname and not options.chain_hostnames, with_peer_host),
        (options.chain_hostnames, with_chained_host),
        (options.host_override, with_host(options.host_override)),
        (options.program_override, with_program(options.program_override)),
        (options.sanitize_utf8, each(with_valid_utf8)),
        (options.validate_utf8, each(marked_if_utf8)),
        (options.assume_utf8, each(marked_utf8)),
        (options.no_multi_line, each(on_one_line)),
        (options.dont_store_legacy_msghdr, each(without_legacy_header)),
        (options.parse_tags == "none", each(without_tags)),
        (options.tags, with_tags(options.tags)),
    ]
    return [step for wanted, step in requested if wanted]
