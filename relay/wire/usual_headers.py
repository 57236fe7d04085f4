"""Headers that nearly all messages have, cut from the rest by one pattern each.

Strategy: `relay.wire.parse` makes a message of many fields.  A rewrite that needs only four
of them, of lines in which nothing is unusual, gets them here in a third of the time.  A
pattern fits a line only if parsing would find the same there and nothing wrong: PRI in its
shortest spelling, fields that need not be cut, no envelope of EWMM, and for RFC 5424 a stamp
that any conversion to RFC 3339 would leave alone.

The groups of both patterns are the same:

    1  PRI with its brackets
    2  the stamp
    3  the addressing: what names host, program and process.  That of RFC 5424 begins
       with a space, that of RFC 3164 does not, so that one table can hold both.
    4  MSG without a byte order mark, and without the first space after that
"""

from __future__ import annotations

import re

from relay.wire.ewmm import APP_NAME
from relay.wire.rfc3164 import HOST_AND_PROGRAM, PROGRAM_ONLY
from relay.wire.structured_data import STRUCTURED_DATA
from relay.wire.timestamp import BSD_STAMP, ISO_STAMP, SURE_RFC3339

__all__ = ["USUAL_RFC3164", "USUAL_RFC5424", "named_by"]

_PRI = rb"<(?:[1-9]?[0-9]|1[0-8][0-9]|19[01])>"
_NO_ENVELOPE = rb"(?!%s[ :\[])" % re.escape(APP_NAME)

# Lines are without the delimiters at their end.
USUAL_RFC5424 = re.compile(
    rb"(%s)1 (%s)( [^ ]{1,255}+ %s[^ ]{1,48}+ [^ ]{1,128}+) [^ ]++ (?:-|%s)(?: |\Z)"
    rb"(?:\xef\xbb\xbf)? ?(.*+)" % (_PRI, SURE_RFC3339, _NO_ENVELOPE, STRUCTURED_DATA),
    re.DOTALL,
)
USUAL_RFC3164 = re.compile(
    rb"(%s)((?>%s|%s)) (%s|%s)(.*+)"
    % (_PRI, BSD_STAMP, ISO_STAMP, HOST_AND_PROGRAM, PROGRAM_ONLY)
    % (_NO_ENVELOPE, _NO_ENVELOPE),
    re.DOTALL,
)

_HOST_PROGRAM_PID = re.compile(rb"(?:([^ ]+) )?([^ \[:]+)(?:\[([^\]]+)\])?: ?")


def named_by(addressing: bytes) -> tuple[bytes | None, bytes | None, bytes | None]:
    """HOSTNAME, APP-NAME and PROCID in what the third group of a pattern fits."""
    if addressing.startswith(b" "):
        hostname, app_name, procid = (
            None if field == b"-" else field for field in addressing[1:].split(b" ")
        )
    else:
        match = _HOST_PROGRAM_PID.fullmatch(addressing)
        assert match is not None, addressing
        hostname, app_name, procid = match.groups()
    return hostname, app_name, procid
