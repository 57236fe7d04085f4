"""The last 24 hours in numbers: a ring of samples in a file, for the charts of the page.

The file, version 1
===================

A header, then 8,640 slots of one size.  Numbers are big endian.

    header, 32 bytes    magic b"RELAYHIS", version (4), seconds of a sample (4), slots (4),
                        bytes of a slot (4), CRC-32 of these 24 bytes (4), zeros (4)
    slot, 96 bytes      end of the sample, seconds since 1970-01-01 UTC (double); its length in
                        seconds (float); 16 counts (4 bytes each); queued messages and
                        bytes at its end (8 each); CRC-32 of these 92 bytes (4)

The sample of the time t lies in slot t / 10 modulo 8,640.  So a day is overwritten by the next
one, whatever the clock does.  A sample is added to an earlier one of the same ten seconds, as after
a restart, and replaces a later one, as after the clock was set back.
A slot counts if its sum is right and its time is that of the slot, within the last 24 hours.  A
sample is written with one pwrite and not synced, because a crash may take some of them.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import NamedTuple

VERSION = 1
SAMPLE_SECONDS = 10
SLOTS = 8640
POINTS_MAX = 1000
COUNTS = (
    *("messages", "warnings", "errors", "drops", "delivered"),
    *("severity0", "severity1", "severity2", "severity3"),
    *("severity4", "severity5", "severity6", "severity7"),
)
"""What a sample counts, in the order of the file; the places behind these are zero."""

_MAGIC = b"RELAYHIS"
_HEADER = struct.Struct(">8sIIIII4x")
_HEAD_SUMMED = 24
_SLOT = struct.Struct(">df16IQQ")
_SUMMED = _SLOT.size
_SUM = struct.Struct(">I")
_ROW = struct.Struct(_SLOT.format + "I")
_SLOT_BYTES = _SUMMED + _SUM.size
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_COUNT_MAX = 0xFFFFFFFF
_PLACES = 16
_SIZE = _HEADER.size + SLOTS * _SLOT_BYTES


class Sample(NamedTuple):
    """What happened in a few seconds."""

    at: float
    """Its end, in seconds since 1970-01-01 UTC."""
    seconds: float
    counts: Sequence[int]
    """In the order of `COUNTS`."""
    queued_records: int
    """At its end; likewise below."""
    queued_bytes: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A history, and why an earlier one was given up; empty = it was not."""

    history: History
    trouble: str = ""


class History:
    """The ring, in memory and in its file.

    Args:
        file: Descriptor; it is closed by `close`.
        data: Content of the file.
    """

    def __init__(self, file: int, data: bytearray) -> None:
        self._file = file
        self._data = data

    @classmethod
    def open(cls, path: str) -> Opened:
        """Go on with the file, or begin it anew where it is missing, damaged or of another version.

        Raises:
            OSError: It cannot be read or written.
        """
        file = os.open(path, _FLAGS, 0o600)
        try:
            data = os.pread(file, _SIZE + 1, 0)
            trouble = _trouble(data) if data else ""
            if trouble or not data:
                data = _new_header() + bytes(_SIZE - _HEADER.size)
                os.ftruncate(file, 0)
                _write(file, data, 0)
        except OSError:
            os.close(file)
            raise
        return Opened(cls(file, _without_damage(data)), trouble)

    def close(self) -> None:
        os.close(self._file)

    def move(self, path: str) -> None:
        """Write all of it to a new file, where somebody has removed the old one.

        Raises:
            OSError: It cannot be written.
        """
        file = os.open(path, _FLAGS | os.O_EXCL, 0o600)
        os.close(self._file)
        self._file = file
        _write(file, self._data, 0)

    def add(self, sample: Sample) -> None:
        """Keep a sample; it is in memory even where the file cannot be written.

        Raises:
            OSError: The file cannot be written.
        """
        number = int(sample.at) // SAMPLE_SECONDS
        before = [each for each in self._read(number, number + 1) if each.at < sample.at]
        if before:  # a restart, or a timer that was late
            sample = _joined([*before, sample])
        counts = [min(max(0, count), _COUNT_MAX) for count in sample.counts]
        counts += [0] * (_PLACES - len(counts))
        queued = (max(0, sample.queued_records), max(0, sample.queued_bytes))
        body = _SLOT.pack(sample.at, sample.seconds, *counts, *queued)
        slot = body + _SUM.pack(zlib.crc32(body))
        offset = _HEADER.size + number % SLOTS * _SLOT_BYTES
        self._data[offset : offset + _SLOT_BYTES] = slot
        _write(self._file, slot, offset)

    def samples(self, now: float, seconds: float) -> list[Sample]:
        """Those of the last `seconds`, at most of a day, oldest first."""
        since = max(0.0, now - min(seconds, SLOTS * SAMPLE_SECONDS))
        first, end = int(since) // SAMPLE_SECONDS + 1, int(now) // SAMPLE_SECONDS + 1
        return [sample for sample in self._read(first, end) if since < sample.at <= now]

    def _read(self, first: int, end: int) -> Iterator[Sample]:
        """The samples of the times `first` to before `end`, in `SAMPLE_SECONDS`."""
        begin, count = first % SLOTS, max(0, min(end - first, SLOTS))
        slots = memoryview(self._data)[_HEADER.size :]
        pieces = (slots[begin * _SLOT_BYTES :], slots[: begin * _SLOT_BYTES])
        rows = chain.from_iterable(_ROW.iter_unpack(piece) for piece in pieces)
        for number, row in zip(range(first, first + count), rows, strict=False):
            # Most slots that do not count are empty or a day old.
            if number <= row[0] / SAMPLE_SECONDS < number + 1:
                queued = row[2 + _PLACES : 4 + _PLACES]
                yield Sample(row[0], row[1], row[2 : 2 + len(COUNTS)], *queued)


def thinned(samples: Sequence[Sample], points_max: int = POINTS_MAX) -> list[Sample]:
    """At most `points_max` samples: the counts of neighbours add up, of queues the longest counts.

    Neighbours are those within the same multiple of a step of time, so that a point does not
    change when later ones come.
    """
    if len(samples) <= points_max:
        return list(samples)
    step = SAMPLE_SECONDS * 2
    length = samples[-1].at - samples[0].at
    while length // step + 2 > max(2, points_max):
        step += SAMPLE_SECONDS
    groups = groupby(samples, key=lambda sample: int(sample.at) // step)
    return [_joined(list(group)) for _, group in groups]


def _joined(samples: Sequence[Sample]) -> Sample:
    """Consecutive samples as one."""
    return Sample(
        samples[-1].at,
        sum(sample.seconds for sample in samples),
        [*map(sum, zip(*(sample.counts for sample in samples), strict=True))],
        max(sample.queued_records for sample in samples),
        max(sample.queued_bytes for sample in samples),
    )


def _without_damage(data: bytes) -> bytearray:
    """The content of a file, with zeros for slots whose sum is wrong."""
    found = bytearray(data)
    for offset in range(_HEADER.size, _SIZE, _SLOT_BYTES):
        slot = data[offset : offset + _SLOT_BYTES]
        if zlib.crc32(slot[:_SUMMED]) != _SUM.unpack_from(slot, _SUMMED)[0]:
            found[offset : offset + _SLOT_BYTES] = bytes(_SLOT_BYTES)
    return found


def _new_header() -> bytes:
    fields = (_MAGIC, VERSION, SAMPLE_SECONDS, SLOTS, _SLOT_BYTES)
    unsummed = _HEADER.pack(*fields, 0)
    return _HEADER.pack(*fields, zlib.crc32(unsummed[:_HEAD_SUMMED]))


def _trouble(data: bytes) -> str:
    """Why the content of a file is no history that this relay can go on with."""
    if len(data) < _HEADER.size or data[:8] != _MAGIC:
        return "it is no history"
    _, version, *_ = fields = _HEADER.unpack_from(data)
    if fields[-1] != zlib.crc32(data[:_HEAD_SUMMED]):
        return "its header is damaged"
    if data[: _HEADER.size] != _new_header():
        return f"it has version {version}, this relay writes version {VERSION}"
    if len(data) != _SIZE:
        return f"it has {len(data):,} bytes, expected {_SIZE:,}"
    return ""


def _write(file: int, data: bytes | bytearray, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], offset + done)
