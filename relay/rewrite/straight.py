"""Rewrites that need no message: from frames of the usual forms straight to payloads.

What such a rewrite makes of a frame is, to the octet, what parsing it and the rewrite for
messages would make, in a third of the time, and in a tenth where what is done for each frame
could be compiled.  Frames that are unusual in any way are left to these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import tzinfo
from typing import TypeAlias, cast

import msgspec

from relay.model.origin import Origin
from relay.model.token import Token
from relay.rewrite.acceleration import IS_COMPILED, compiled
from relay.rewrite.json_text import json_string
from relay.rewrite.token import (
    IsToken,
    Programs,
    members_of,
    object_writer,
    sender_of,
    token_test,
)
from relay.wire.parse import DELIMITERS
from relay.wire.timestamp import StampTable, to_rfc3339
from relay.wire.usual_headers import USUAL_LOCAL, USUAL_RFC3164, USUAL_RFC5424, named_by

__all__ = [
    "Straight",
    "first_and_then",
    "lines_of",
    "straight_cee",
    "string_for",
    "take_apart",
    "usual_legacy",
]

Straight: TypeAlias = "Callable[[list[bytes], Origin], tuple[list[bytes], list[int]]]"
"""Makes the payloads of frames, one each, in order, and says the indexes of those that it has
left alone; their payloads are empty."""

# Numbers, because `in` takes three times as long with a text of one octet.
_NUL = 0
_SPACE = ord(" ")
_BRACE = ord("{")
_encode = msgspec.json.Encoder().encode


def straight_cee(
    token: Token,
    zone: tzinfo,
    *,
    relay_name: bytes,
    known: Collection[bytes] = (),
    pure: bool = False,
) -> Straight:
    """What `relay.rewrite.token.cee` makes of usual frames whose header carries no token.

    Arguments as for `cee`.

    Args:
        pure: Python alone, even where there is compiled code.
    """
    before_text = b'{%b, "message": ' % members_of(token)
    own_object = object_writer(token)
    is_token = token_test(token, known)

    def tables(origin: Origin) -> tuple[_Starts, StampTable]:
        starts = _Starts(Programs(sender_of(origin, relay_name)), before_text, is_token)
        return starts, StampTable(to_rfc3339, origin.received_at, zone)

    def plain(frames: list[bytes], origin: Origin) -> tuple[list[bytes], list[int]]:
        whole = b"".join(frames)
        headers, left = take_apart(lines_of(frames, whole), [USUAL_RFC5424, usual_legacy(origin)])
        table, stamps = tables(origin)
        if None in map(table.__getitem__, {addressing for _, _, addressing, _ in headers}):
            headers, left = _without_tokens(headers, left, table)
        starts = cast("dict[bytes, bytes]", table)
        string = string_for(whole)
        payloads = [
            b"%b%b%b%b}"
            % (
                pri,
                stamp if addressing[0] == _SPACE else stamps[stamp],
                starts[addressing],
                string(msg),
            )
            for pri, stamp, addressing, msg in headers
        ]
        if _BRACE in whole:
            for index, (pri, stamp, addressing, msg) in enumerate(headers):
                if _BRACE in msg and (written := own_object(msg)) is not None:
                    stamp = stamp if addressing[0] == _SPACE else stamps[stamp]
                    program = starts[addressing].removesuffix(before_text)
                    payloads[index] = b"%b%b%b%b" % (pri, stamp, program, written)
        for index in left:
            payloads.insert(index, b"")
        return payloads, left

    def quick(frames: list[bytes], origin: Origin) -> tuple[list[bytes], list[int]]:
        hosted, strings = not origin.is_local_socket, (json_string, own_object)
        return compiled.write_cee(frames, hosted, *tables(origin), *strings, len(before_text))

    return plain if pure or not IS_COMPILED else first_and_then(quick, plain)


def usual_legacy(origin: Origin) -> re.Pattern[bytes]:
    """The pattern of usual lines of RFC 3164, which over unix sockets name no host."""
    return USUAL_LOCAL if origin.is_local_socket else USUAL_RFC3164


def first_and_then(first: Straight, second: Straight) -> Straight:
    """Do with `second` what `first` has left alone."""

    def write(frames: list[bytes], origin: Origin) -> tuple[list[bytes], list[int]]:
        payloads, left = first(frames, origin)
        if left:
            others, still_left = second([frames[index] for index in left], origin)
            for index, payload in zip(left, others, strict=True):
                payloads[index] = payload
            left = [left[index] for index in still_left]
        return payloads, left

    return write


class _Starts(dict[bytes, bytes | None]):
    """What stands between stamp and text, by addressing; made on first use, one table a batch.

    None where the program is an app token, whose object is another one.
    """

    def __init__(self, programs: Programs, before_text: bytes, is_token: IsToken) -> None:
        super().__init__()
        self._programs = programs
        self._before_text = before_text
        self._is_token = is_token

    def __missing__(self, addressing: bytes) -> bytes | None:
        program = named_by(addressing)
        start = None
        if not self._is_token(program[1]):
            start = self._programs[program] + self._before_text
        self[addressing] = start
        return start


def _without_tokens(
    headers: list[tuple[bytes, ...]], left: list[int], starts: _Starts
) -> tuple[list[tuple[bytes, ...]], list[int]]:
    """`headers` without those that carry a token, and `left` with the indexes of these."""
    total = len(headers) + len(left)
    before = set(left)
    taken = [index for index in range(total) if index not in before]
    carrying = {
        index for index, header in zip(taken, headers, strict=True) if starts[header[2]] is None
    }
    headers = [header for header in headers if starts[header[2]] is not None]
    return headers, [index for index in range(total) if index in before or index in carrying]


def lines_of(frames: Sequence[bytes], whole: bytes) -> Sequence[bytes]:
    """`frames`, which are `whole` if joined, without the delimiters at their ends."""
    if any(octet in whole for octet in DELIMITERS):
        return [frame.rstrip(DELIMITERS) for frame in frames]
    return frames


def string_for(whole: bytes) -> Callable[[bytes], bytes]:
    """`json_string`, or something quicker that does the same for any part of `whole`."""
    return _ascii_string if whole.isascii() and _NUL not in whole else json_string


def take_apart(
    lines: Sequence[bytes], forms: Sequence[re.Pattern[bytes]]
) -> tuple[list[tuple[bytes, ...]], list[int]]:
    """The groups of the one of two forms that each of `lines` has, and the indexes of the others.

    Args:
        lines: At least one.
    """
    first, second = (form.match for form in forms)
    if first(lines[0]) is None:  # the others are likely to be as the first one
        first, second = second, first
    matches = list(map(first, lines))
    if None in matches:
        matches = [match or second(line) for match, line in zip(matches, lines, strict=True)]
    found = [match.groups() for match in matches if match is not None]
    if len(found) == len(lines):
        return found, []
    return found, [index for index, match in enumerate(matches) if match is None]


def _ascii_string(text: bytes) -> bytes:
    """Like `json_string`, for text without NUL and other octets than US-ASCII."""
    return _encode(text.decode())
