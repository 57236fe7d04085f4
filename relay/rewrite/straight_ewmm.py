"""EWMM straight from frames of the usual forms, without a message in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo

from relay.model.origin import Origin
from relay.rewrite.acceleration import IS_COMPILED, compiled
from relay.rewrite.ewmm import EndTable, addressing_of, pairs_of_origin
from relay.rewrite.json_text import json_string
from relay.rewrite.straight import (
    Straight,
    first_and_then,
    lines_of,
    string_for,
    take_apart,
    usual_legacy,
)
from relay.rewrite.token import sender_of
from relay.wire.structured_data import without_controls
from relay.wire.timestamp import UTC_OFFSETS, StampTable, to_exact, to_milliseconds
from relay.wire.usual_headers import WHOLE_RFC5424, named_by

__all__ = ["straight_ewmm"]

_LEGACY_GROUPS = 4  # of the pattern of RFC 3164, which has fewer than that of RFC 5424


def straight_ewmm(relay_name: bytes, zone: tzinfo, *, pure: bool = False) -> Straight:
    """What `relay.rewrite.ewmm.ewmm` makes of usual frames.

    Arguments as for `ewmm`.

    Args:
        pure: Python alone, even where there is compiled code.
    """
    addressing = addressing_of(relay_name)

    def plain(frames: list[bytes], origin: Origin) -> tuple[list[bytes], list[int]]:
        whole = b"".join(frames)
        found, left = take_apart(lines_of(frames, whole), [WHOLE_RFC5424, usual_legacy(origin)])
        batch = _Batch(origin, sender_of(origin, relay_name), addressing, zone)
        batch.string = string_for(whole)
        payloads = [
            batch.legacy(*groups) if len(groups) == _LEGACY_GROUPS else batch.modern(*groups)
            for groups in found
        ]
        for index in left:
            payloads.insert(index, b"")
        return payloads, left

    def quick(frames: list[bytes], origin: Origin) -> tuple[list[bytes], list[int]]:
        batch = _Batch(origin, sender_of(origin, relay_name), addressing, zone)
        return compiled.write_ewmm(
            frames,
            not origin.is_local_socket,
            addressing,
            batch.halves,
            batch.ends,
            batch.stamps,
            batch.ends.parts,
            json_string,
        )

    return plain if pure or not IS_COMPILED else first_and_then(quick, plain)


class _Batch:
    """What the messages of one batch share.

    The objects begin with what names the sender and have MSG in the middle: both halves
    without it are made once for each addressing.
    """

    def __init__(self, origin: Origin, sender: bytes, addressing: bytes, zone: tzinfo) -> None:
        exact = StampTable(to_exact, origin.received_at, zone)
        self.ends = EndTable(pairs_of_origin(origin, sender), origin.source, exact)
        self.stamps = StampTable(to_milliseconds, origin.received_at, zone)
        self.string: Callable[[bytes], bytes] = json_string
        self._addressing = addressing
        self.halves = _Halves(json_string(sender))
        self._around: list[bytes] | None = None  # what stands before and behind an exact stamp

    def modern(
        self,
        pri: bytes,
        second: bytes,
        fraction: bytes | None,
        offset: bytes,
        addressing: bytes,
        structured_data: bytes | None,
        msg: bytes,
    ) -> bytes:
        """The envelope of a message of RFC 5424, by the groups of its pattern."""
        start, middle = self.halves[addressing]
        if fraction is None or len(fraction) < 3:
            fraction = (fraction or b"").ljust(3, b"0")
        if len(fraction) > 3 and fraction[3:].strip(b"0"):
            end = self._end_with(b"%b.%b%b" % (second, fraction, offset))
        else:
            end = self.ends[None]
        return b"%b1 %b.%b%b %b %b %b%b%b%b" % (
            pri,
            second,
            fraction[:3],
            b"+00:00" if offset in UTC_OFFSETS else offset,
            self._addressing,
            b"-" if structured_data is None else without_controls(structured_data),
            start,
            self.string(msg),
            middle,
            end,
        )

    def legacy(self, pri: bytes, stamp: bytes, addressing: bytes, msg: bytes) -> bytes:
        """The envelope of a message of RFC 3164, by the groups of its pattern."""
        start, middle = self.halves[addressing]
        return b"%b1 %b %b - %b%b%b%b" % (
            pri,
            self.stamps[stamp],
            self._addressing,
            start,
            self.string(msg),
            middle,
            self.ends[stamp],
        )

    def _end_with(self, exact: bytes) -> bytes:
        """The end of an object with `exact` as its exact stamp."""
        if self._around is None:
            self._around = self.ends.parts(exact)
        before, behind = self._around  # no other value there can read like a stamp
        return b'%b"%b"%b' % (before, exact, behind)


class _Halves(dict[bytes, tuple[bytes, bytes]]):
    """What stands before and behind MSG, up to the stamp, by addressing; made on first use."""

    def __init__(self, sender_string: bytes) -> None:
        super().__init__()
        self._sender_string = sender_string

    def __missing__(self, addressing: bytes) -> tuple[bytes, bytes]:
        hostname, program, *others = named_by(addressing)
        legacy_header = None if addressing.startswith(b" ") else addressing
        if legacy_header is not None and hostname is not None:
            legacy_header = legacy_header[len(hostname) + 1 :]
        values = dict(zip((b"PROGRAM", b"PID", b"MSGID"), (program, *others), strict=False))
        members = [
            b'"%b":%b,' % (name, json_string(value))
            for name, value in values.items()
            if value is not None
        ]
        start = b'{%b"MESSAGE":' % b"".join(members)
        middle = b'%b,"HOST_FROM":%b,"HOST":%b' % (
            b"" if legacy_header is None else b',"LEGACY_MSGHDR":%b' % json_string(legacy_header),
            self._sender_string,
            self._sender_string if hostname in (None, b"-") else json_string(hostname),
        )
        halves = self[addressing] = start, middle
        return halves
