"""What a recording is made of."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Committed", "Event", "Renamed", "Sync", "Write"]


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes handed to the kernel; `is_synced`: it comes back when they are on the disk."""

    path: str
    offset: int
    data: bytes
    is_synced: bool


@dataclass(frozen=True, slots=True)
class Sync:
    """Everything that was written to the file before is on the disk now."""

    path: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """The file has another name now, and what had that name before is gone."""

    path: str
    to: str


@dataclass(frozen=True, slots=True)
class Committed:
    """`QueueStore.commit`, or its opening, has come back."""

    ledgers: dict[str, bytes]


Event = Write | Sync | Renamed | Committed
