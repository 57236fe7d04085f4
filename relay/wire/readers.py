"""Parsers of single frames, and changes of their text before parsing."""

from __future__ import annotations

import re
from collections.abc import Callable

from relay.model.message import SyslogMessage
from relay.wire.headers.rfc5424 import PRIVAL
from relay.wire.parse import DELIMITERS, Dialect, parse_as
from relay.wire.parse_tags import (
    INVALID_HOSTNAME,
    INVALID_PRI,
    MISSING_HEADER,
    MISSING_PRI,
    MISSING_TIMESTAMP,
    Tags,
    is_parse_failure,
)

Read = Callable[[bytes, bytes], SyslogMessage]
"""Text to be read, and the frame that it is from, to a message.  Never raises."""

_PRI = re.compile(rb"<([0-9]*+)>")
_HAS_PRI = re.compile(rb"(?:[0-9]{1,10}+ )?<")


def reading(dialect: Dialect) -> Read:
    """Read by `dialect`."""

    def read(text: bytes, frame: bytes) -> SyslogMessage:
        return parse_as(dialect, text.rstrip(DELIMITERS), frame)

    return read


def reading_nothing(pri: tuple[int, int]) -> Read:
    """All of the text is MSG."""

    def read(text: bytes, frame: bytes) -> SyslogMessage:
        return _of_msg(pri, text.rstrip(DELIMITERS), frame)

    return read


def reading_pri(default_pri: tuple[int, int]) -> Read:
    """Everything after the PRI is MSG."""

    def read(text: bytes, frame: bytes) -> SyslogMessage:
        line = text.rstrip(DELIMITERS)
        if line[:1] != b"<":
            return _of_msg(default_pri, line, frame)
        match = _PRI.match(line)
        pri = None if match is None else PRIVAL.get(match[1].lstrip(b"0") or b"0")
        if match is None or pri is None:
            return _of_msg(default_pri, line, frame, INVALID_PRI)
        return _of_msg(pri, line[match.end() :], frame)

    return read


def telling_what_is_missing(read: Read) -> Read:
    """Tags for missing optional parts: PRI, stamp, host."""

    def read_and_tell(text: bytes, frame: bytes) -> SyslogMessage:
        message = read(text, frame)
        if is_parse_failure(message) or (message.pairs and ".app.name" in message.pairs):
            return message
        missing = () if _HAS_PRI.match(text) is not None else MISSING_PRI
        if message.timestamp is None:
            missing += MISSING_TIMESTAMP
        if message.version == 0 and message.pairs is not None:
            missing += _missing_in_rfc3164(message)
        return message._replace(tags=missing + message.tags) if missing else message

    return read_and_tell


def _missing_in_rfc3164(message: SyslogMessage) -> Tags:
    if message.timestamp is None:
        return MISSING_HEADER
    if message.hostname is None and not message.tags:
        return INVALID_HOSTNAME
    return ()


def storing_raw(read: Read) -> Read:
    """The line becomes the pair RAWMSG."""

    def read_and_store(text: bytes, frame: bytes) -> SyslogMessage:
        message = read(text, frame)
        line = text.rstrip(DELIMITERS)
        return message._replace(pairs={**(message.pairs or {}), "RAWMSG": line})

    return read_and_store


def cutting(read: Read, octets_max: int) -> Read:
    """What is after the first `octets_max` bytes of the text is not read."""

    def cut_and_read(text: bytes, frame: bytes) -> SyslogMessage:
        return read(text[:octets_max], frame)

    return cut_and_read


def _of_msg(pri: tuple[int, int], msg: bytes, raw: bytes, tags: Tags = ()) -> SyslogMessage:
    return SyslogMessage(*(*pri, 0, None, None, None, None, None, None, msg, raw), tags=tags)
