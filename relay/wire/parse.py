"""Bytes of a frame to a message, whatever they are.

Strategy: parsing is total.  It never raises, and every octet of a frame ends up in
a field of the message; `raw` keeps the frame in any case.  In order:

1. VERSION 1 after the PRI means RFC 5424.  If the rest does not fit, all of it is
   MSG: a half-understood header is worse than none.
2. A PRI that is none (``<999>``, ``< 13>``) makes the whole line MSG.
3. Anything else is RFC 3164, with or without PRI.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.model.message import DEFAULT_FACILITY, DEFAULT_SEVERITY, SyslogMessage
from relay.wire.rfc3164 import parse_rfc3164
from relay.wire.rfc5424 import PRIVAL, parse_rfc5424

__all__ = ["parse", "parse_all", "severity_of"]

_PRI = re.compile(rb"<([0-9]{1,3})>(0*1 )?")
_DELIMITERS = b"\n\r\0"


def parse(frame: bytes) -> SyslogMessage:
    """Parse one frame.  Never raises; what cannot be parsed is MSG.

    LF, CR and NUL at the end of the frame are not part of MSG.
    """
    line = frame.rstrip(_DELIMITERS)
    message = parse_rfc5424(line, frame)
    if message is not None:
        return message
    if line[:1] != b"<":
        return parse_rfc3164(line, frame, None, 0)
    match = _PRI.match(line)
    pri = PRIVAL.get(match[1]) if match is not None else None
    if match is None or pri is None:
        return _unparsed(line, frame, (DEFAULT_FACILITY, DEFAULT_SEVERITY))
    if match[2] is not None:
        return _unparsed(line[match.start(2) :], frame, pri)
    return parse_rfc3164(line, frame, pri, match.end())


def parse_all(frames: Sequence[bytes]) -> list[SyslogMessage]:
    """Parse the frames of a batch, in order, one message a frame."""
    return [parse(frame) for frame in frames]


def severity_of(frame: bytes) -> int:
    """Severity of a message, 0 to 7, by its PRI alone: what `parse` finds, but cheaper."""
    match = _PRI.match(frame)
    pri = PRIVAL.get(match[1]) if match is not None else None
    return DEFAULT_SEVERITY if pri is None else pri[1]


def _unparsed(text: bytes, raw: bytes, pri: tuple[int, int]) -> SyslogMessage:
    return SyslogMessage(*pri, 0, None, None, None, None, None, None, text, raw)
