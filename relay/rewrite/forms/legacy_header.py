"""The text between HOST and MSG in RFC 3164, and whether fields reproduce it.

For nearly all messages it is ``PROGRAM[PID]: ``, made of two fields.  Other texts, such as
``app[12 text`` or a program with blanks in its name, are forwarded unchanged; forms without
a place for them put them in front of MSG.
"""

from __future__ import annotations

from relay.model.message import SyslogMessage
from relay.wire.headers.tag import format_tag

__all__ = ["has_legacy_header", "is_irregular", "legacy_header", "text_with_tag"]

_NAME = "LEGACY_MSGHDR"
_ENDS = (b": ", b":", b" ", b"")


def legacy_header(message: SyslogMessage) -> bytes:
    """The literal text between host and MSG; empty if there is none."""
    return b"" if message.pairs is None else message.pairs.get(_NAME, b"")


def has_legacy_header(message: SyslogMessage) -> bool:
    """Whether the message was received as RFC 3164, with or without a tag."""
    return message.pairs is not None and _NAME in message.pairs


def is_irregular(message: SyslogMessage) -> bool:
    """Whether a tag made of program and pid differs from the received text."""
    literal = legacy_header(message)
    if not literal:
        return False
    tag = format_tag(message.app_name, message.procid)[:-1] if message.app_name else b""
    if message.procid and not message.app_name:
        return True
    return not literal.startswith(tag) or literal[len(tag) :] not in _ENDS


def text_with_tag(message: SyslogMessage) -> bytes:
    """MSG preceded by all text that was received between HOST and MSG."""
    return legacy_header(message) + message.msg
