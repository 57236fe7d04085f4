"""Headers that nearly all messages have, cut from the rest by one pattern each.

Strategy: `relay.wire.parse` makes a message of many fields.  A rewrite that needs only four
of them, of lines in which nothing is unusual, gets them here in a third of the time.  A
pattern fits a line only if parsing would find the same there and nothing wrong: PRI in its
shortest spelling, fields that need not be cut, no envelope of EWMM, and for RFC 5424 a stamp
that any conversion to RFC 3339 would leave alone.

The groups of `USUAL_RFC5424` and `USUAL_RFC3164` are the same:

    1  PRI with its brackets
    2  the stamp
    3  the addressing: what names host, program and process.  That of RFC 5424 begins
       with a space, that of RFC 3164 does not, so that one table can hold both.
    4  MSG; of RFC 5424 without a byte order mark and the first space after that

`WHOLE_RFC5424` takes the same lines further apart:

    1        PRI with its brackets
    2, 3, 4  second, fraction without the point (or None) and offset of the stamp
    5        the addressing with MSGID as its last word
    6        STRUCTURED-DATA, or None for the NILVALUE
    7        MSG without a byte order mark
"""

from __future__ import annotations

import re

from relay.wire.ewmm import APP_NAME
from relay.wire.rfc3164 import HOST_AND_PROGRAM, PROGRAM_ONLY
from relay.wire.rfc5424 import COLUMN
from relay.wire.structured_data import STRUCTURED_DATA
from relay.wire.timestamp import BSD_STAMP, ISO_STAMP, SURE_RFC3339, SURE_RFC3339_PARTS

__all__ = ["USUAL_LOCAL", "USUAL_RFC3164", "USUAL_RFC5424", "WHOLE_RFC5424", "named_by"]

_PRI = rb"<(?:[1-9]?[0-9]|1[0-8][0-9]|19[01])>"
_NO_ENVELOPE = rb"(?!%s[ :\[])" % re.escape(APP_NAME)

_WORDS = rb" %s{1,255}+ %s%s{1,48}+ %s{1,128}+" % (COLUMN, _NO_ENVELOPE, COLUMN, COLUMN)
_MARK = rb"(?: |\Z)(?:\xef\xbb\xbf)?"

# Lines are without the delimiters at their end.
USUAL_RFC5424 = re.compile(
    rb"(%s)1 (%s)(%s) %s++ (?:-|%s)%s ?(.*+)"
    % (_PRI, SURE_RFC3339, _WORDS, COLUMN, STRUCTURED_DATA, _MARK),
    re.DOTALL,
)
WHOLE_RFC5424 = re.compile(
    rb"(%s)1 %s(%s %s{1,32}+) (?:-|(%s))%s(.*+)"
    % (_PRI, SURE_RFC3339_PARTS, _WORDS, COLUMN, STRUCTURED_DATA, _MARK),
    re.DOTALL,
)
_LEGACY = rb"(%s)((?>%s|%s)) (%%s)(.*+)" % (_PRI, BSD_STAMP, ISO_STAMP)
_PROGRAM_ONLY = PROGRAM_ONLY % _NO_ENVELOPE
USUAL_RFC3164 = re.compile(
    _LEGACY % (HOST_AND_PROGRAM % _NO_ENVELOPE + b"|" + _PROGRAM_ONLY), re.DOTALL
)
USUAL_LOCAL = re.compile(_LEGACY % _PROGRAM_ONLY, re.DOTALL)
"""`USUAL_RFC3164` of lines that do not name their host."""

_HOST_PROGRAM_PID = re.compile(rb"(?:([^ :\[]++) )?([^ \[:]++)(?:\[([^\]]++)\])?: ?")


def named_by(addressing: bytes) -> tuple[bytes | None, ...]:
    """HOSTNAME, APP-NAME and PROCID of an addressing, and MSGID if it has one."""
    if addressing.startswith(b" "):
        words = addressing[1:].split(b" ")
        return tuple([None if word == b"-" else word for word in words])
    match = _HOST_PROGRAM_PID.fullmatch(addressing)
    assert match is not None, addressing
    return match.groups()
