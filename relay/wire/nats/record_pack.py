"""Many records in one message, between relays.

The header `PACK_HEADER` says which records, the data holds them:

    syslogrelay-pack: <lineage>,<first>,<last>,<prev>      with numbers
    syslogrelay-pack: -                                    without

    data   = %d1 *record
    record = gap length octets           gap and length are LEB128, at most 5 octets each

`gap` is the number of a record minus the one before it; of the first record it is 0, and of
records without numbers always.  `prev` is that of the first record, as in
`relay/wire/record_number.py`; that of any other is the number of the record before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from relay.wire.record_number import RecordNumber, format_record_number, parse_record_number

PACK_HEADER = "syslogrelay-pack"
PACK_RECORDS_MAX = 4096
PACK_OCTETS_MAX = 64 * 1024 * 1024
"""Of the records of one message; more than nats-server takes."""

_FORMAT = b"\x01"
_LEB_OCTETS_MAX = 5
_UNNUMBERED = b"-"


class Pack(NamedTuple):
    """The records of one message."""

    payloads: Sequence[bytes]
    lineage: str = ""
    """Empty = they have no numbers."""
    seqs: Sequence[int] = ()
    prev: int = 0

    def numbers(self) -> list[bytes | None]:
        """The number of each record as a record of its own has it in its header."""
        if not self.lineage:
            return [None] * len(self.payloads)
        before = (self.prev, *self.seqs)
        return [
            format_record_number(RecordNumber(self.lineage, seq, prev))
            for seq, prev in zip(self.seqs, before, strict=False)
        ]


def encode_pack(pack: Pack) -> tuple[bytes, bytes]:
    """The value of the header, and the data."""
    if not pack.lineage:
        parts = [_FORMAT]
        for payload in pack.payloads:
            parts += (b"\0", _leb(len(payload)), payload)
        return _UNNUMBERED, b"".join(parts)
    seqs = pack.seqs
    parts = [_FORMAT]
    before = seqs[0]
    for seq, payload in zip(seqs, pack.payloads, strict=True):
        parts += (_leb(seq - before), _leb(len(payload)), payload)
        before = seq
    value = b"%s,%d,%d,%d" % (pack.lineage.encode("ascii"), seqs[0], seqs[-1], pack.prev)
    return value, b"".join(parts)


def pack_overhead(payload: bytes) -> int:
    """Octets that a record takes in a pack beyond its own, at most."""
    return 2 * _LEB_OCTETS_MAX


def last_number(value: bytes) -> RecordNumber | None:
    """The number of the last record of a pack, by its header; None = it has none."""
    lineage, _, numbers = value.partition(b",")
    parts = numbers.split(b",")
    if len(parts) != 3:
        return None
    return parse_record_number(b"%s,%s,%s" % (lineage, parts[1], parts[2]))


def decode_pack(value: bytes, data: bytes) -> Pack | None:
    """The records of a message; None = header or data are malformed, and nothing can be believed.

    Args:
        value: Of the header.
    """
    payloads: list[bytes] = []
    gaps: list[int] = []
    at, end = len(_FORMAT), len(data)
    if data[:1] != _FORMAT or end > PACK_OCTETS_MAX:
        return None
    while at < end:
        gap, at = _read_leb(data, at)
        length, at = _read_leb(data, at)
        if gap < 0 or length < 0 or length > end - at or len(payloads) >= PACK_RECORDS_MAX:
            return None
        gaps.append(gap)
        payloads.append(data[at : at + length])
        at += length
    if not payloads or gaps[0]:
        return None
    if value == _UNNUMBERED:
        return None if any(gaps) else Pack(payloads)
    return _numbered(value, payloads, gaps)


def _numbered(value: bytes, payloads: Sequence[bytes], gaps: Sequence[int]) -> Pack | None:
    lineage, _, numbers = value.partition(b",")
    parts = numbers.split(b",")
    last = last_number(value)
    if len(parts) != 3 or last is None or not all(gaps[1:]):
        return None
    first = parse_record_number(b"%s,%s,%s" % (lineage, parts[0], parts[2]))
    if first is None:
        return None
    seqs = []
    seq = first.seq
    for gap in gaps:
        seq += gap
        seqs.append(seq)
    if seq != last.seq:
        return None
    return Pack(payloads, first.lineage, seqs, first.prev)


def _leb(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    octets = bytearray()
    while number >= 0x80:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _read_leb(data: bytes, at: int) -> tuple[int, int]:
    """A number and where the next octet is; -1 = malformed or cut off."""
    number = shift = 0
    for octet in data[at : at + _LEB_OCTETS_MAX]:
        number |= (octet & 0x7F) << shift
        at += 1
        if octet < 0x80:
            return number, at
        shift += 7
    return -1, at
