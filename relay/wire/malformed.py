"""Say where the header of an RFC 5424 message stops being one.

Only lines that could not be parsed get here, so this may take its time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

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
from relay.wire.structured_data import STRUCTURED_DATA_SO_FAR
from relay.wire.timestamp import ISO_STAMP

__all__ = ["Defect", "error_text", "find_defect"]

_STAMP = re.compile(rb"(?:-|%s)(?: |\Z)" % ISO_STAMP)
_COLUMN = re.compile(rb"[^ ]++")
_SO_FAR = re.compile(STRUCTURED_DATA_SO_FAR, re.DOTALL)
_COLUMNS = (MISSING_HOSTNAME, MISSING_APP_NAME, MISSING_PROCID, MISSING_MSGID)


class Defect(NamedTuple):
    """What is wrong with a line."""

    tags: Tags
    offset: int
    """Octets of the line before the marker that syslog-ng would put there."""


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
