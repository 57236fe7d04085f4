"""Frames, blocks and sizes in Python: the reference of compiled code, and its replacement.

`frames.pyx` and `blocks.pyx` have the same functions.  What reads and writes messages has its
reference in the layers `wire` and `rewrite`.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, islice

TXNR_MAX = 999_999_999
"""The last number of a RELP frame; 1 follows it."""

_PREFIX = struct.Struct("<BI")  # of a block: version and checksum

_PRI = re.compile(rb"<([0-9]{1,3})>")
_HEADER = re.compile(rb"([0-9]{1,9}) syslog ([0-9]{1,9}) ")


def cut_run(buffer: bytes, first_txnr: int, data_bytes_max: int) -> tuple[list[bytes], int]:
    """The messages at the start of `buffer` that are numbered from `first_txnr` on.

    Returns:
        Their data, in order, and where the last of them ends: 0 = there is none.
    """
    messages: list[bytes] = []
    start = 0
    while header := _HEADER.match(buffer, start):  # nine digits at most, so TXNR_MAX is the last
        number, length = map(int, header.groups())
        stop = header.end() + length
        if number != first_txnr + len(messages) or length > data_bytes_max:
            break
        if buffer[stop : stop + 1] != b"\n":  # or it is not there yet
            break
        messages.append(buffer[header.end() : stop])
        start = stop + 1
    return messages, start


def total_bytes(payloads: Sequence[bytes]) -> int:
    """Bytes of all `payloads`."""
    return sum(map(len, payloads))


def tally(payloads: Sequence[bytes], severities: list[int], default: int) -> int:
    """Count `payloads` by the severity in their PRI (RFC 5424 §6.2.1).

    Args:
        severities: How many there are of each severity, 0 to 7; those of `payloads` are added.
        default: The severity of those without PRI.

    Returns:
        Bytes of all `payloads`.

    Raises:
        ValueError: There are not 8 `severities`.
    """
    if len(severities) != 8:
        raise ValueError(f"{len(severities)} severities, expected 8")
    for payload in payloads:
        pri = int(found[1]) if (found := _PRI.match(payload)) else 255
        severities[pri % 8 if pri < 192 else default] += 1
    return sum(map(len, payloads))


def fitting(payloads: Sequence[bytes], start: int, stop: int, bytes_max: int) -> int:
    """How many of `payloads`, from `start` to before `stop`, have no more than `bytes_max`."""
    return bisect_right(list(accumulate(map(len, islice(payloads, start, stop)))), bytes_max)


def encode_syslog(first_txnr: int, payloads: Sequence[bytes]) -> bytes:
    """`payloads` as ``syslog`` frames numbered from `first_txnr`, for one write.

    The numbers must not pass `TXNR_MAX`; payloads must not be empty.
    """
    return b"".join(
        b"%d syslog %d %s\n" % (txnr, len(payload), payload)
        for txnr, payload in enumerate(payloads, first_txnr)
    )


def encode_consecutive_answers(first_txnr: int, count: int) -> bytes:
    """``200 OK`` for `count` frames from `first_txnr` on, which must not pass `TXNR_MAX`."""
    return b"%d rsp 6 200 OK\n" * count % tuple(range(first_txnr, first_txnr + count))


def cut_slots(buffer: memoryview, slot_bytes: int, sizes: list[int]) -> list[bytes]:
    """The datagrams in `buffer`, one at the start of each slot."""
    return [
        bytes(buffer[start : start + size])
        for start, size in zip(range(0, slot_bytes * len(sizes), slot_bytes), sizes, strict=True)
    ]


def encode_records(
    version: int, header: bytes, payloads: Sequence[bytes], crc32: Callable[[bytes], int]
) -> bytes:
    """A block: version, checksum of all that follows, `header`, lengths and records.

    Args:
        crc32: Makes the checksum of bytes.
    """
    lengths = struct.pack(f"<{len(payloads)}I", *map(len, payloads))
    body = b"".join([header, lengths, *payloads])
    return _PREFIX.pack(version, crc32(body)) + body


def cut_records(value: bytes | memoryview, lengths_at: int, count: int) -> tuple[int, list[bytes]]:
    """Where the records of a block end, and the records if that is the end of `value`."""
    lengths = struct.unpack_from(f"<{count}I", value, lengths_at)
    payloads_at = lengths_at + 4 * count
    stop = payloads_at + sum(lengths)
    if stop != len(value):
        return stop, []
    # Not `struct.unpack_from`, which would keep the pattern of each block in its cache.
    records = struct.Struct("%ds" * count % lengths)
    return stop, list(records.unpack_from(value, payloads_at))


def runs(payloads: Sequence[bytes], run_bytes: int) -> list[int]:
    """Where runs end that have `run_bytes` with their last record; the last one has less."""
    stops: list[int] = []
    size = 0
    for stop, payload in enumerate(payloads, 1):
        size += len(payload)
        if size >= run_bytes or stop == len(payloads):
            stops.append(stop)
            size = 0
    return stops


def beginning_with(payloads: Sequence[bytes], byte: int) -> list[int]:
    """The indexes of those payloads that begin with `byte`."""
    return [index for index, payload in enumerate(payloads) if payload and payload[0] == byte]


def containing(payloads: Sequence[bytes], part: bytes) -> list[int]:
    """The indexes of those payloads that have `part` somewhere in them."""
    return [index for index, payload in enumerate(payloads) if part in payload]


def joined(runs: Iterable[Sequence[bytes]]) -> Sequence[bytes]:
    """The payloads of all runs as one sequence; a single run as it is."""
    rows = list(runs)
    return rows[0] if len(rows) == 1 else list(chain.from_iterable(rows))


def new_frames() -> list[bytes]:
    """A list of frames that is about to be filled from the chunks of a stream."""
    return []


def built(frames: list[bytes]) -> Sequence[bytes]:
    """The frames of such a list, which is done with."""
    return frames
