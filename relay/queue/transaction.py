"""What one commit changes, as values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from relay.codec import octets_of
from relay.model.seq import SeqRange

__all__ = [
    "Eviction",
    "Refusal",
    "Removal",
    "SetAside",
    "Transaction",
    "account_of_lane",
    "account_of_source",
    "destination_of",
    "is_of_source",
]

_SOURCE_ACCOUNT = "source/"
_LANE_ACCOUNT = "lane/"


def account_of_source(source: str) -> str:
    """Id of the ledger and quarantine of a source; no destination can have it."""
    return _SOURCE_ACCOUNT + source


def is_of_source(account: str) -> bool:
    """Whether a ledger is that of a source, not of a destination."""
    return account.startswith(_SOURCE_ACCOUNT)


def account_of_lane(destination: str) -> str:
    """Id of the second queue of a destination with two lanes; no destination can have it."""
    return _LANE_ACCOUNT + destination


def destination_of(account: str) -> str:
    """The destination that a queue is of."""
    return account.removeprefix(_LANE_ACCOUNT)


@dataclass(frozen=True, slots=True)
class SetAside:
    """Move records to the quarantine.

    `seqs` is one record, or exactly what is left of one block (when damaged).
    """

    seqs: SeqRange
    reason: str


@dataclass(slots=True)
class Removal:
    """Let the records before `upto` leave: delivered, but for those set aside."""

    upto: int
    """Where the queue begins already, or less: nothing leaves."""
    set_aside: list[SetAside] = field(default_factory=list)
    late: Counter[str] = field(default_factory=Counter)
    """Records that were answered after they had been evicted: number by reason."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """Let the oldest blocks leave undelivered, after all else that the commit changes."""

    reason: str
    bytes_max: int | None = None
    """Until the rest takes no more than this of the map."""
    received_before: float | None = None
    """Those with records from before this time (seconds since 1970-01-01 UTC)."""
    blocks_max: int = 2048
    """At most this many in one commit, which must not take for ever."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Frames that a source sets aside instead of queueing them."""

    source: str
    reason: str
    peer: str
    frames: Sequence[bytes]
    quarantine_bytes_max: int
    """What the quarantine of this source may hold; the rest is dropped and counted."""
    original_bytes: Sequence[int] = ()
    """How long each of `frames` was before it was cut; none = they were not cut."""


@dataclass(slots=True)
class Transaction:
    """All that one commit changes."""

    received_at: float
    """Seconds since 1970-01-01 UTC, for the blocks made of `appends`."""
    appends: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    """Payloads by destination, oldest first."""
    removals: Mapping[str, Removal] = field(default_factory=dict)
    drops: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Records that a rewrite or a limit dropped before they were queued: number by
    reason, by destination."""
    evictions: Mapping[str, Eviction] = field(default_factory=dict)
    refusals: Sequence[Refusal] = ()
    positions: Mapping[str, bytes] = field(default_factory=dict)
    """New positions by ``source/name``; an empty one is forgotten."""

    @property
    def is_answered(self) -> bool:
        """Whether somebody is told that it is on disk, and relies on it."""
        return bool(self.appends or self.refusals or self.positions or self.drops)

    @property
    def growth(self) -> int:
        """Octets that this adds to queues and quarantines of sources; 0 = it adds nothing."""
        runs = [*self.appends.values(), *(refusal.frames for refusal in self.refusals)]
        return sum(octets_of(run) + len(run) for run in runs)
