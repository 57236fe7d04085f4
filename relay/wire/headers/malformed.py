"""Messages with a header of RFC 5424 that is not in order: keep what can be read of it.

A field that is wrong or missing costs that field, and none before it.  MSG begins with what
was not understood, as it came, and a tag says which field that was.  Fields are taken as
they come; what tells them from text is how they look:

    TIMESTAMP   any stamp that `relay.wire.headers.timestamp` knows and that means an instant
    HOSTNAME    the name of a host, or an address
    APP-NAME    a word without punctuation of texts; ``CEF:0|…`` and ``app:`` are text
    PROCID      the same, if it has a digit in it or a NILVALUE or SD-ELEMENT follows
    MSGID       the same, if it looks like an identifier: capitals, digits and ``_-.``

Only lines that could not be parsed get here, so this may take its time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from relay.model.message import SyslogMessage
from relay.wire.ewmm import APP_NAME
from relay.wire.framing.byte_order_mark import without_byte_order_mark
from relay.wire.headers.hostname import is_hostname
from relay.wire.headers.rfc5424 import COLUMN, COLUMN_BYTES_MAX
from relay.wire.headers.structured_data import STRUCTURED_DATA, STRUCTURED_DATA_SO_FAR
from relay.wire.headers.timestamp import BSD_STAMP, ISO_STAMP, POSSIBLE_ISO_STAMP, ZONE_NAME
from relay.wire.parse_tags import (
    INVALID_STRUCTURED_DATA,
    MISSING_APP_NAME,
    MISSING_HOSTNAME,
    MISSING_MSGID,
    MISSING_PROCID,
    MISSING_STRUCTURED_DATA,
    MISSING_TIMESTAMP_5424,
    Tags,
)

_NILVALUE = b"-"

_BLANKS = re.compile(rb" *+")
_ANY_STAMP = re.compile(
    rb"(?:-|((?:%s|%s)(?: %s)?))(?: |\Z)" % (POSSIBLE_ISO_STAMP, BSD_STAMP, ZONE_NAME)
)
_ELEMENTS = re.compile(rb"(?:-|(%s))(?: |\Z)" % STRUCTURED_DATA, re.DOTALL)
# All of them, though one or the other may be empty.
_COLUMNS_IN_PLACE = re.compile(rb"(%s*+) (%s*+) (%s*+) (%s*+) " % ((COLUMN,) * 4))
_WORD = re.compile(rb"(%s++)(?: |\Z)" % COLUMN)
_NAME = re.compile(rb"[^\"'(),:;<=>?\[\\\]`{|}]++")
_IDENTIFIER = re.compile(rb"(?=[^A-Z]*+[A-Z])[0-9A-Z_.\-]{2,}+")
_DIGIT = re.compile(rb"[0-9]")
_STAMP = re.compile(rb"(?:-|%s)(?: |\Z)" % ISO_STAMP)
_COLUMN = re.compile(rb"[^ ]++")
_SO_FAR = re.compile(STRUCTURED_DATA_SO_FAR, re.DOTALL)
_COLUMNS = (MISSING_HOSTNAME, MISSING_APP_NAME, MISSING_PROCID, MISSING_MSGID)


class Defect(NamedTuple):
    """The first defect of a line."""

    tags: Tags
    offset: int
    """Bytes of the line before the marker that syslog-ng would put there."""


def find_defect(line: bytes, start: int) -> Defect:
    """The first defect of `line`, whose TIMESTAMP should begin at `start`."""
    stamp = _STAMP.match(line, start)
    if stamp is None:
        return Defect(MISSING_TIMESTAMP_5424, start - 1)
    at = stamp.end()
    for missing in _COLUMNS:
        column = _COLUMN.match(line, at)
        if column is None:
            return Defect(missing, min(at, len(line) - 1))
        if missing is MISSING_HOSTNAME and column.end() == len(line):
            return Defect(MISSING_APP_NAME, at)
        at = column.end() + 1
    if at > len(line):
        return Defect(MISSING_STRUCTURED_DATA, len(line) - 1)
    if line[at : at + 1] != b"[":
        return Defect(MISSING_STRUCTURED_DATA, at)
    so_far = _SO_FAR.match(line, at)
    end = at if so_far is None else so_far.end()
    if line[end : end + 1] != b" ":
        end = max(at, end - 1)
    return Defect(INVALID_STRUCTURED_DATA, end)


def error_text(line: bytes, offset: int) -> bytes:
    """The MSG that syslog-ng puts in the place of a line it cannot parse."""
    if offset <= 0:
        return b"Error processing log message: " + line
    return b"Error processing log message: %s>@<%s" % (line[:offset], line[offset:])


def parse_malformed(line: bytes, raw: bytes, pri: tuple[int, int], version: int) -> SyslogMessage:
    """Parse a message of VERSION 1 that `relay.wire.headers.rfc5424.parse_rfc5424` has refused.

    Args:
        line: The frame without the delimiters at its end.
        raw: The frame.
        pri: Facility and severity.
        version: Offset of VERSION.
    """
    at = line.index(b" ", version) + 1
    found = _ANY_STAMP.match(line, _after_blanks(line, at))
    if found is None:
        return _without_stamp(line, raw, pri, version, at)
    if found[0][-1:] == b" ":
        header = _in_place(line, found.end()) or _as_they_come(line, found.end())
    else:
        header = _Header((None,) * len(_COLUMNS), None, len(line), MISSING_HOSTNAME)
    msg = without_byte_order_mark(line[header.end :])
    return _message(pri, found[1], header, msg, raw)


class _Header(NamedTuple):
    """The header fields after TIMESTAMP."""

    columns: tuple[bytes | None, ...]
    """HOSTNAME to MSGID."""
    structured_data: bytes | None
    end: int
    """Where MSG begins."""
    tags: Tags


def _message(
    pri: tuple[int, int], timestamp: bytes | None, header: _Header, msg: bytes, raw: bytes
) -> SyslogMessage:
    hostname, app_name, procid, msgid = header.columns
    return SyslogMessage(
        *(*pri, 1, timestamp, hostname, app_name, procid, msgid, header.structured_data),
        msg,
        raw,
        tags=header.tags,
    )


def _after_blanks(line: bytes, at: int) -> int:
    blanks = _BLANKS.match(line, at)
    return at if blanks is None else blanks.end()


def _without_stamp(
    line: bytes, raw: bytes, pri: tuple[int, int], version: int, at: int
) -> SyslogMessage:
    """A message whose TIMESTAMP is none: MSG begins with it if all the others are in order."""
    tags = MISSING_TIMESTAMP_5424
    word = _WORD.match(line, at)
    header = None if word is None else _in_place(line, word.end())
    if word is None or header is None or not _is_complete(header):
        # VERSION may as well be the first word of a text.
        msg = line[version:]
        return SyslogMessage(*(*pri, 0, None, None, None, None, None, None, msg, raw), tags=tags)
    msg = word[1]
    if header.end < len(line):
        msg = b"%s %s" % (msg, line[header.end :])
    return _message(pri, None, header._replace(tags=tags), msg, raw)


def _is_complete(header: _Header) -> bool:
    """Whether all fields are there, and the message is no envelope of EWMM, whose MSG is JSON."""
    hostname, app_name, _, _ = header.columns
    has_host = hostname is None or is_hostname(hostname)
    return has_host and app_name != APP_NAME and not header.tags


def _in_place(line: bytes, at: int) -> _Header | None:
    """A header in which all fields have their place, though one may be empty."""
    found = _COLUMNS_IN_PLACE.match(line, at)
    elements = None if found is None else _ELEMENTS.match(line, found.end())
    if found is None or elements is None:
        return None
    columns: list[bytes | None] = []
    tags: Tags = ()
    for word, bytes_max, missing in zip(found.groups(), COLUMN_BYTES_MAX, _COLUMNS, strict=True):
        columns.append(None if word in (b"", _NILVALUE) else word[:bytes_max])
        if not word:
            tags += missing
    return _Header(tuple(columns), elements[1], elements.end(), tags)


def _as_they_come(line: bytes, at: int) -> _Header:
    """A header whose fields are recognised by their form, up to the first that does not fit."""
    columns: list[bytes | None] = [None] * len(_COLUMNS)
    tags: Tags = ()
    for index, missing in enumerate(_COLUMNS):
        at = _after_blanks(line, at)
        word = _WORD.match(line, at)
        if word is None or _has_elements(line, at) or not _fits(index, word, columns):
            tags = missing
            break
        if word[1] != _NILVALUE:
            columns[index] = word[1]
        at = word.end()
    elements = _ELEMENTS.match(line, at)
    if elements is not None and (not tags or elements[1] is not None):
        return _Header(tuple(columns), elements[1], elements.end(), tags)
    if not tags:
        tags = INVALID_STRUCTURED_DATA if line[at : at + 1] == b"[" else MISSING_STRUCTURED_DATA
    return _Header(tuple(columns), None, at, tags)


def _has_elements(line: bytes, at: int) -> bool:
    elements = _ELEMENTS.match(line, at)
    return elements is not None and elements[1] is not None


def _fits(index: int, found: re.Match[bytes], columns: list[bytes | None]) -> bool:
    """Whether a word looks like what should stand there."""
    word, line, end = found[1], found.string, found.end()
    if word == _NILVALUE:
        return True
    if index == 0:
        return is_hostname(word)
    if len(word) > COLUMN_BYTES_MAX[index] or _NAME.fullmatch(word) is None:
        return False
    if index == 1:
        return True
    if index == 2:
        return _DIGIT.search(word) is not None or line[end : end + 1] in (b"-", b"[")
    return _IDENTIFIER.fullmatch(word) is not None or word == columns[1]
