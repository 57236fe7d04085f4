"""Loops: hops in messages and beside them, and messages that have been here before.

Hops (`relay.model.hops`) travel in four ways:

    EWMM                  the pair `.syslogrelay.hops`
    RFC 5424              the parameter `hops` of the SD-ELEMENT `syslogrelay@32473`
    RELP, the last hop    syslogrelay_hop=hop in `open`, from both ends: it is in every message
                          of the session
    RELP, those before    NUL "HOPS" SP hops NUL before the message, if there are any; also before
                          each message that begins with NUL, so that none is taken for hops

The fourth is also how they are kept in a queue.  A sender may claim any hops.  All that it can
bring about is that its own messages are dropped, counted and reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from relay.codec import beginning_with, containing
from relay.model.hops import OwnHop, are_hops, joined_hops, ring_of
from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Received

HOP_OFFER = b"syslogrelay_hop"
HOPS_NAME = ".syslogrelay.hops"
"""Name of the pair in EWMM."""
HOPS_PARAMETER = ".SDATA.syslogrelay@32473.hops"
"""Name of the parameter, as steps have it."""
LOOP, TOO_MANY = "loop", "hops"
"""Reasons for a drop: it was here before; it has passed `hops_max` relays."""

_MARK = b"syslogrelay"  # in all frames that have hops
_NUL = 0
_PREFIX = re.compile(rb"\0HOPS ([!-~ ]*+)\0")
_ELEMENT = re.compile(
    rb"(?:[0-9]{1,10}+ )?<[0-9]{1,3}+>1 (?:[^ ]++ ){5}"
    rb'(?:\[(?!syslogrelay@32473[ \]])(?:[^"\]]++|"(?:[^"\\]++|\\.)*+")*+\])*+'
    rb'\[syslogrelay@32473((?: [^=" \]]++="(?:[^"\\]++|\\.)*+")*+)\]',
    re.DOTALL,
)
_PARAMETER = re.compile(rb' ([^=" \]]++)="((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_ENVELOPE = re.compile(rb"(?:[0-9]{1,10}+ )?<[0-9]{1,3}+>(?:1 )?[^{]{0,256}@syslog-ng[ :]")
_MEMBER = re.compile(rb'"\.syslogrelay(?:":\s*+\{[^{}]*?"|\.)hops":\s*+"([^"\\]*+)"')


def format_hop(hop: bytes) -> bytes:
    """The line of an end of a RELP session that is `hop`."""
    return HOP_OFFER + b"=" + hop


def hop_in(offers: Mapping[bytes, Sequence[bytes]]) -> bytes:
    """The hop that the other end is; empty if it does not say so, or not understandably."""
    hop = b",".join(offers.get(HOP_OFFER, ()))
    return hop if b" " not in hop and are_hops(hop) else b""


def with_hops(payload: bytes, hops: bytes) -> bytes:
    """A record of a payload and its hops, which may be empty."""
    return b"\0HOPS %b\0%b" % (hops, payload)


def split_hops(record: bytes) -> tuple[bytes, bytes]:
    """The hops of a record, empty if it has none, and its payload."""
    found = _PREFIX.match(record) if record[:1] == b"\0" else None
    if found is None or (found[1] and not are_hops(found[1])):
        return b"", record
    return found[1], record[found.end() :]


def records_with_hops(payloads: Sequence[bytes], hops: bytes) -> Sequence[bytes]:
    """The records of payloads that have come the same way; an empty payload stays empty."""
    if hops:
        return [payload and with_hops(payload, hops) for payload in payloads]
    marked = beginning_with(payloads, _NUL)
    if not marked:
        return payloads
    records = list(payloads)
    for index in marked:
        records[index] = with_hops(records[index], b"")
    return records


def without_hops(records: Sequence[bytes]) -> Sequence[bytes]:
    """The payloads of records, of which any may have hops."""
    return parted(records)[0]


def parted(records: Sequence[bytes]) -> tuple[Sequence[bytes], Mapping[int, bytes]]:
    """The payloads of records, and the hops of those that have some, by index."""
    marked = beginning_with(records, _NUL)
    if not marked:
        return records, {}
    payloads, hops = list(records), dict[int, bytes]()
    for index in marked:
        own, payloads[index] = split_hops(payloads[index])
        if own:
            hops[index] = own
    return payloads, hops


def hops_of(message: SyslogMessage, origin: Origin) -> bytes:
    """The hops of a message: those of its group, if it was made of others, else of its origin.

    A group may be complete when a batch of somebody else comes in, or no batch at all.
    """
    own = (message.pairs or {}).get(HOPS_NAME)
    return origin.hops if own is None or (own and not are_hops(own)) else own


def hops_in(frame: bytes) -> bytes:
    """The hops in a message of RFC 5424 or EWMM; empty if there are none."""
    found: list[bytes] = []
    if element := _ELEMENT.match(frame):
        found += [value for name, value in _PARAMETER.findall(element[1]) if name == b"hops"]
    if (header := _ENVELOPE.match(frame)) and (member := _MEMBER.search(frame, header.end())):
        found.append(member[1])
    return joined_hops(*filter(are_hops, found))


class LoopGuard:
    """Takes messages that have been here before out of the batches of one source.

    Args:
        own: This relay; nothing is looked at before it has an id.
        hops_max: Most relays that a message has passed before.
        carries: A destination of the source sends hops on.
        on_drop: Called with the reason, the number of messages and where they went.
    """

    def __init__(
        self, own: OwnHop, *, hops_max: int, carries: bool, on_drop: Callable[[str, int, str], None]
    ) -> None:
        self._own = own
        self._hops_max = hops_max
        self._carries = carries
        self._on_drop = on_drop

    def sorted_out(
        self, batches: Sequence[Received]
    ) -> tuple[Sequence[Received], Mapping[str, list[bytes]]]:
        """The same batches without loops, in order, and dropped frames by reason.

        The origin of each batch has all hops of its messages if they are to be sent on.
        """
        kept: list[Received] = []
        dropped: dict[str, list[bytes]] = {}
        for batch in batches:
            marked = containing(batch.frames, _MARK) if self._own.text else []
            if self._own.text and (marked or batch.hops or batch.origin.hops):
                kept += self._parts(batch, marked, dropped)
            else:
                kept.append(batch)
        return kept, dropped

    def _parts(
        self, batch: Received, marked: Sequence[int], dropped: dict[str, list[bytes]]
    ) -> list[Received]:
        frames, of_frame = batch.frames, dict(batch.hops)
        for index in marked:
            if hops := hops_in(frames[index]):
                of_frame[index] = joined_hops(hops, of_frame.get(index, b""))
        parts: list[tuple[list[int], bytes]] = []
        for hops, run in groupby(range(len(frames)), lambda index: of_frame.get(index, b"")):
            indexes = list(run)
            whole = joined_hops(hops, batch.origin.hops)
            if reason := self._verdict(whole):
                dropped.setdefault(reason, []).extend(frames[index] for index in indexes)
                self._on_drop(reason, len(indexes), ring_of(whole, self._own.text))
            else:
                parts.append((indexes, hops))
        if not self._carries:
            parts = [([index for indexes, _ in parts for index in indexes], b"")]
        if len(parts) == 1 and len(parts[0][0]) == len(frames) and not parts[0][1]:
            return [batch]
        return [batch.picked(indexes, hops) for indexes, hops in parts if indexes]

    def _verdict(self, hops: bytes) -> str:
        """Why messages that have come by `hops` are dropped; empty = they are not."""
        way = hops.split()
        if self._own.text in way:
            return LOOP
        return TOO_MANY if len(way) > self._hops_max else ""
