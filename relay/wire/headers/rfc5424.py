"""Messages of RFC 5424: parse them, and write headers that are always valid."""

from __future__ import annotations

import re

from relay.model.message import SyslogMessage
from relay.wire.headers.hostname import HOSTNAME_BYTES_MAX, is_hostname
from relay.wire.headers.structured_data import STRUCTURED_DATA, without_controls
from relay.wire.headers.timestamp import POSSIBLE_ISO_STAMP

# §6.2.1: PRIVAL is 0 to 191.  Senders in the field pad it with zeros.
PRIVAL = {
    spelling % prival: divmod(prival, 8)
    for prival in range(192)
    for spelling in (b"%d", b"%02d", b"%03d")
}

APP_NAME_BYTES_MAX = 48  # §6.2.5
PROCID_BYTES_MAX = 128  # §6.2.6
MSGID_BYTES_MAX = 32  # §6.2.7
COLUMN_BYTES_MAX = (HOSTNAME_BYTES_MAX, APP_NAME_BYTES_MAX, PROCID_BYTES_MAX, MSGID_BYTES_MAX)
"""Longest HOSTNAME, APP-NAME, PROCID and MSGID."""

COLUMN = rb"[^\x00- \x7f]"
"""One byte of these."""

# A header field: its group is what it may hold, and not set for the NILVALUE.
_FIELD = rb"(?:-(?= )|(%s{1,%d}+)%s*+) "
# §6, from PRI to the byte before MSG (or its byte order mark, §6.4).  Fields are
# taken with any bytes but space and controls; `format_header` is the strict side.  Without
# STRUCTURED-DATA a message is accepted only if nothing at all follows MSGID SP.
_HEADER = re.compile(
    rb"<([0-9]{1,3})>0*1 (?:-|(%s)) %s(?:-|(%s)|(?=\Z))(?: |\Z)(?:\xef\xbb\xbf)?"
    % (
        POSSIBLE_ISO_STAMP,
        b"".join(_FIELD % (COLUMN, bytes_max, COLUMN) for bytes_max in COLUMN_BYTES_MAX),
        STRUCTURED_DATA,
    ),
    re.DOTALL,
)

_PRINTUSASCII = bytes(range(0x21, 0x7F))
_TO_PRINTUSASCII = bytes(byte if byte in _PRINTUSASCII else 0x5F for byte in range(256))


def parse_rfc5424(line: bytes, raw: bytes) -> SyslogMessage | None:
    """Parse a message of VERSION 1, or return None if it is not one.

    HOSTNAME, APP-NAME, PROCID and MSGID are cut to the lengths of §6.2.

    Args:
        line: The frame without the delimiters at its end.
        raw: The frame.
    """
    match = _HEADER.match(line)
    if match is None:
        return None
    prival, timestamp, hostname, app_name, procid, msgid, data = match.groups()
    pri = PRIVAL.get(prival)
    if pri is None:
        return None
    msg = line[match.end() :]
    return SyslogMessage(*pri, 1, timestamp, hostname, app_name, procid, msgid, data, msg, raw)


def header_field(value: bytes | None, bytes_max: int) -> bytes:
    """Make a header field of `value`: 1 to `bytes_max` of PRINTUSASCII (§6).

    Nothing becomes the NILVALUE, a byte that is not allowed an underscore.
    """
    if not value:
        return b"-"
    value = value[:bytes_max]
    if value.translate(None, _PRINTUSASCII):
        return value.translate(_TO_PRINTUSASCII)
    return value


def format_header(
    pri: int,
    timestamp: bytes | None,
    hostname: bytes | None,
    app_name: bytes | None,
    procid: bytes | None,
    msgid: bytes | None,
    structured_data: bytes | None,
) -> bytes:
    """Write everything before MSG (§6), without the space that separates it.

    Args:
        pri: 0 to 191.
        timestamp: A stamp of §6.2.3, as from `to_rfc5424`.
        structured_data: Valid SD-ELEMENTs.  Their control characters are escaped.
    """
    return b"<%d>1 %s %s %s %s %s %s" % (
        pri,
        timestamp or b"-",
        header_hostname(hostname),
        header_field(app_name, APP_NAME_BYTES_MAX),
        header_field(procid, PROCID_BYTES_MAX),
        header_field(msgid, MSGID_BYTES_MAX),
        without_controls(structured_data) if structured_data else b"-",
    )


def header_hostname(value: bytes | None) -> bytes:
    """A header field; a name in UTF-8 stays as it is, although §6.2.4 has only US-ASCII."""
    if value is None or value.isascii() or not is_hostname(value):
        return header_field(value, HOSTNAME_BYTES_MAX)
    return value


def format_message(header: bytes, msg: bytes) -> bytes:
    """Join `header` and MSG; an empty MSG leaves no space behind."""
    return b"%s %s" % (header, msg) if msg else header
