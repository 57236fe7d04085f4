r"""Records of the kernel's log, as /dev/kmsg gives them, and messages of RFC 5424 made of them.

A record is a line and perhaps more lines with fields (the kernel's
Documentation/ABI/testing/dev-kmsg)::

    6,339,5140900,-;NET: Registered PF_INET6 protocol family
     SUBSYSTEM=net
     DEVICE=+net:lo

In front of the semicolon: facility and severity as in syslog, a number that grows by 1 from boot
on, microseconds since boot, flags; more may follow.  Bytes that are not printable are written
``\xNN``.

    PRI        as it is; a facility above 23 becomes user
    APP-NAME   kernel, or the name before text that a program wrote there, as in ``udevd[212]: ``
    PROCID     the number in the brackets
    SD         the fields, in one element
    MSG        the text
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from relay.wire.headers.rfc5424 import APP_NAME_BYTES_MAX, format_header, format_message
from relay.wire.headers.structured_data import escape_value

__all__ = ["KernelRecord", "format_record", "parse_record"]

# 32473 is the private enterprise number for documentation (RFC 5612): we have none.
SD_ID = b"kernel@32473"

_HEAD = re.compile(rb"([0-9]{1,10}),([0-9]{1,20}),([0-9]{1,20}),[^;]*;")
_FIELD = re.compile(rb" ([A-Z_][A-Z0-9_]{0,31})=(.*)", re.DOTALL)
_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")
_PROGRAM = re.compile(rb"([!-9;-Z\\^-~]{1,%d})(?:\[([0-9]{1,10})\])?: " % APP_NAME_BYTES_MAX)
_FIELDS_MAX = 16
_FACILITY_MAX = 23
_USER = 1


class KernelRecord(NamedTuple):
    """One record."""

    pri: int
    """0 to 191."""
    seq: int
    microseconds: int
    """Since boot, without the time that the machine was suspended."""
    text: bytes
    fields: tuple[tuple[bytes, bytes], ...] = ()


def parse_record(data: bytes) -> KernelRecord | None:
    """The record that one read of /dev/kmsg has given; None = it is no record."""
    head = _HEAD.match(data)
    if head is None:
        return None
    pri, seq, microseconds = map(int, head.groups())
    facility, severity = divmod(pri, 8)
    if facility > _FACILITY_MAX:
        pri = 8 * _USER + severity
    text, *rest = data[head.end() :].rstrip(b"\n").split(b"\n")
    found = (_FIELD.fullmatch(line) for line in rest[:_FIELDS_MAX])
    fields = tuple((each[1], _unescaped(each[2])) for each in found if each is not None)
    return KernelRecord(pri, seq, microseconds, _unescaped(text), fields)


def format_record(record: KernelRecord, moment: float, hostname: bytes) -> bytes:
    """Write a record as a message; one without text gives no bytes.

    Args:
        moment: When it was logged, in seconds since 1970-01-01 UTC.
    """
    if not record.text:
        return b""
    name, pid, text = b"kernel", None, record.text
    if record.pri >= 8 and (program := _PROGRAM.match(text)):
        name, pid, text = program[1], program[2], text[program.end() :] or text
    values = [b' %s="%s"' % (key, _utf8(value)) for key, value in record.fields]
    element = b"[%s%s]" % (SD_ID, b"".join(values)) if values else None
    return format_message(
        format_header(record.pri, _stamp(moment), hostname, name, pid, None, element), text
    )


def _unescaped(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), text)


def _utf8(value: bytes) -> bytes:
    if not value.isascii():  # RFC 5424 §6.3.3
        value = value.decode("utf-8", "replace").encode()
    return escape_value(value)


def _stamp(moment: float) -> bytes | None:
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode("ascii")
    except (ValueError, OverflowError, OSError):
        return None
