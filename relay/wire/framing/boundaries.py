"""Frame boundaries of a stream, and the plausibility of announced lengths.

Some senders announce wrong lengths, truncate a text but send its full length, count characters
instead of bytes, or begin lines with numbers.  So a length is accepted only if the bytes at the
end of its frame are plausible, and functions here return "unknown" where that depends on bytes
not received yet.

``MSG-LEN SP <PRI>`` begins a counted frame (RFC 6587 §3.4.1).  A *plausible start* is that
(without looking into the PRI) or a line that begins with ``<PRI>``.  LF, CR and NUL between
frames are separators.
"""

from __future__ import annotations

import re
from enum import IntEnum

from relay.model.errors import WrongProtocol
from relay.wire.framing.byte_order_mark import BYTE_ORDER_MARK
from relay.wire.framing.long_frame import line_end

SEPARATORS = b"\r\n\0"
START_BYTES_MAX = 16
"""Bytes of a count with its PRI."""
COUNT = re.compile(rb"(0|[1-9][0-9]{0,9}) ")
PRI = re.compile(rb"<[0-9]{1,3}>")

# Patterns called ..._SO_FAR fit what more bytes may complete.
_COUNT_SO_FAR = re.compile(rb"(?:0|[1-9][0-9]{0,9})(?: (?:<[0-9]{0,3})?)?\Z")
_REST_OF_COUNT = re.compile(rb"[0-9]{0,9} (?=<[0-9]{1,3}>)")
_REST_OF_COUNT_SO_FAR = re.compile(rb"[0-9]{0,9}(?: (?:<[0-9]{0,3})?)?\Z")
_COUNTED = re.compile(rb"(?<![0-9])([1-9][0-9]{0,9}) <[0-9]{1,3}>")
_INNER = re.compile(rb"(?<=\n)<[0-9]{1,3}>|(?<![0-9])[1-9][0-9]{0,9} <[0-9]{1,3}>")
_INNER_SO_FAR = re.compile(rb"(?:[0-9] |(?:[0-9] |\n)<[0-9]{0,3})\Z")
# Empty frames may stand before a count.
_PLAUSIBLE = re.compile(rb"<[0-9]{1,3}>|(?:0 ){0,8}[1-9][0-9]{0,9} <")
_PLAUSIBLE_SO_FAR = re.compile(rb"(?:<[0-9]{0,3}|(?:0 ){0,8}(?:0|[1-9][0-9]{0,9} ?)?)\Z")
_SEPARATORS = re.compile(rb"[\r\n\0]*")
_FEW_SEPARATORS = re.compile(rb"[\r\n\0]{0,16}")  # or a peer could grow what waits with them

# A handshake of TLS, SSL 3 or later (RFC 8446 §5.1).  RELP begins with ``open`` and offers.
_TLS_RECORD = b"\x16\x03"
_RELP_OPEN = re.compile(rb"[0-9]{1,9} open (?:0? ?\n|[0-9]{1,9} [a-zA-Z_]{1,32}=)")
_FOREIGN_SO_FAR = re.compile(
    rb"\x16|[0-9]{1,9}"
    rb"(?: (?:o(?:p(?:e(?:n(?: (?:[0-9]{0,9}(?: [a-zA-Z_]{0,32})?)?)?)?)?)?)?)?"
)
_FOREIGN_BYTES_MAX = 60
_MARK_SO_FAR = (BYTE_ORDER_MARK[:1], BYTE_ORDER_MARK[:2])


class Rest(IntEnum):
    """What is known about the bytes after those received."""

    COMES = 0
    LATE = 1
    """The stream has been idle: complete frames must not wait for more bytes."""
    MISSING = 2
    """The stream has ended."""


class Beginning:
    """The bytes before the first frame: separators, a byte order mark, another protocol.

    Attributes:
        over: The first frame begins.
        foreign: The stream has none, because it is of another protocol.
        mark_removed: A byte order mark has come.
    """

    def __init__(self) -> None:
        self.over = False
        self.foreign: WrongProtocol | None = None
        self.mark_removed = False

    def end(self, data: bytes, start: int, rest: Rest) -> int:
        """Where the first frame begins, if it is `over`, or else the bytes to keep."""
        start = after_separators(data, start)
        if not self.mark_removed and data.startswith(BYTE_ORDER_MARK, start):
            self.mark_removed = True
            start = after_separators(data, start + len(BYTE_ORDER_MARK))
        found = data[start : start + _FOREIGN_BYTES_MAX]
        if found.startswith(_TLS_RECORD):
            self.foreign = WrongProtocol("tls", "the peer speaks TLS; use a tls:// source for it")
        elif _RELP_OPEN.match(found):
            self.foreign = WrongProtocol("relp", "this is RELP; use a relp:// source for it")
        elif found:
            unknown = _FOREIGN_SO_FAR.fullmatch(found) is not None or (
                not self.mark_removed and found in _MARK_SO_FAR
            )
            self.over = rest is Rest.MISSING or not unknown
        return start


def after_separators(data: bytes, start: int) -> int:
    """The first byte from `start` on that is not a separator."""
    return _SEPARATORS.match(data, start).end()  # type: ignore[union-attr]


def may_be_count(data: bytes, start: int) -> bool:
    """Whether the bytes from `start` on may become a count, or one with a PRI."""
    return _COUNT_SO_FAR.match(data, start) is not None


def rest_of_count(data: bytes, start: int, rest: Rest) -> int:
    """How many bytes of a count stand before a PRI, if a frame has swallowed its first digits.

    Returns:
        0 if there is none, -1 if it is not known yet.
    """
    if rest is not Rest.MISSING and _REST_OF_COUNT_SO_FAR.match(data, start):
        return -1
    found = _REST_OF_COUNT.match(data, start)
    return found.end() - start if found is not None else 0


def is_followed(data: bytes, start: int, stop: int, rest: Rest) -> bool | None:
    """Whether nothing or a plausible start follows a frame.

    Args:
        start: Where the frame begins, or a line that it would be a part of.
        stop: Where it would end.

    Returns:
        None if it is not known yet.
    """
    if stop > len(data):
        is_over = rest is Rest.MISSING or (rest is Rest.LATE and line_end(data, start) is not None)
        return False if is_over else None
    at = _FEW_SEPARATORS.match(data, stop).end()  # type: ignore[union-attr]
    if at == len(data) or _PLAUSIBLE_SO_FAR.match(data, at):
        return None if rest is Rest.COMES else True
    return data[at] in SEPARATORS or _PLAUSIBLE.match(data, at) is not None


def inner_start(data: bytes, body: int, stop: int) -> int:
    """Where in the frame from `body` to `stop` another one seems to begin.

    Returns:
        0 if nothing looks like one, `stop` if its last bytes may be a part of one: that is
        known when those behind it are there.
    """
    inner = _INNER.search(data, body + 1, stop + START_BYTES_MAX)
    if inner is not None and inner.end() <= stop:
        return inner.start()
    if _INNER_SO_FAR.search(data, max(body + 1, stop - START_BYTES_MAX), stop) is None:
        return 0
    if inner is None or inner.start() >= stop:
        return stop
    # A count that ends before its SP is undecided until more bytes arrive.
    begun = data[inner.start() : stop]
    return inner.start() if begun.startswith(b"<") or b" " in begun else stop


def holds_counted(data: bytes) -> bool:
    """Whether a counted frame seems to begin somewhere in `data`."""
    return b" <" in data and _COUNTED.search(data) is not None


def next_counted(
    data: bytes, start: int, at: int, stop: int, frame_bytes_max: int, rest: Rest
) -> tuple[int, int]:
    """Where in the line from `start` to `stop` a counted frame begins.

    After a wrong count there may be no LF before the next frame.  A line that begins with a
    PRI may well quote one; it does if the line ends before the frame would, unless the end of
    the frame fits what follows.

    Args:
        at: Before this, none does.

    Returns:
        Where it begins, and 0; or where what may be one begins, and up to where bytes are
        needed; or `stop`, and 0.
    """
    has_pri = PRI.match(data, start) is not None
    at = max(at, start + 1)
    while (found := _COUNTED.search(data, at, stop)) is not None:
        at = found.end()
        length = int(found[1])
        if length > frame_bytes_max:
            continue
        frame_stop = found.end(1) + 1 + length
        followed = is_followed(data, start, frame_stop, rest) if has_pri else True
        if followed is None:
            return found.start(), max(frame_stop, len(data)) + 1
        if followed or (frame_stop <= len(data) and line_end(data[start:frame_stop], 0) is None):
            return found.start(), 0
    return stop, 0
