"""Records as a consumer returns them, in runs of one partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from relay.transport.kafka.client import LibraryError, Message
from relay.wire.record_number import NUMBER_HEADER

RECORD_OCTETS = 256
"""About what a record costs in memory beside its value."""


class Fetched(NamedTuple):
    """Consecutive records of one partition."""

    partition: int
    next_offset: int
    """The offset behind the last of them."""
    frames: Sequence[bytes]
    """Their values, without line feeds at the end; empty where a record has none."""
    numbers: Sequence[bytes | None]
    """The values of their headers `syslogrelay`; None = it has none."""

    @property
    def octets(self) -> int:
        """Their memory, about."""
        return sum(map(len, self.frames)) + RECORD_OCTETS * len(self.frames)


class Remark(NamedTuple):
    """An error of a partition, or of the consumer itself, in place of a record."""

    error: LibraryError
    partition: int
    """Below 0 = it is about none."""
    offset: int


def in_runs(messages: Sequence[Message]) -> list[Fetched | Remark]:
    """Records by partition, in their order, with remarks where they stand."""
    runs: list[Fetched | Remark] = []
    frames: list[bytes] = []
    numbers: list[bytes | None] = []
    last: Message | None = None
    at = -1
    for message in messages:
        error = message.error()
        partition = message.partition() if error is None else -1
        if partition != at or error is not None:
            if last is not None:
                runs.append(Fetched(at, last.offset() + 1, frames, numbers))
            frames, numbers, last, at = [], [], None, partition
        if error is not None:
            runs.append(Remark(error, _number(message.partition()), _number(message.offset())))
            continue
        frames.append((message.value() or b"").rstrip(b"\n"))
        headers = message.headers()
        numbers.append(_number_of(headers) if headers else None)
        last = message
    if last is not None:
        runs.append(Fetched(at, last.offset() + 1, frames, numbers))
    return runs


def _number_of(headers: list[tuple[str, bytes | None]]) -> bytes | None:
    for name, value in headers:
        if name == NUMBER_HEADER:
            return value
    return None


def _number(value: int | None) -> int:
    return -1 if value is None else value


def lags(positions: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
    """How many records of each partition were not read, as far as its end is known."""
    return {at: max(0, ends[at] - offset) for at, offset in positions.items() if at in ends}
