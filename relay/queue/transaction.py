"""What one commit changes, as values, and the appends that it is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import NamedTuple

from twisted.internet.defer import Deferred

from relay.codec import joined, total_bytes
from relay.model.counters.kept import KeptCounters
from relay.model.seq import SeqRange

RECORD_BYTES = 64
"""What a record that waits for its commit takes beside its bytes, about."""

_SOURCE_ACCOUNT = "source/"
_LANE_ACCOUNT = "lane/"


def account_of_source(source: str) -> str:
    """Id of the ledger and quarantine of a source; no destination can have it."""
    return _SOURCE_ACCOUNT + source


def is_of_source(account: str) -> bool:
    """Whether a ledger is that of a source, not of a destination."""
    return account.startswith(_SOURCE_ACCOUNT)


def source_of(account: str) -> str:
    """The source that a ledger is of."""
    return account.removeprefix(_SOURCE_ACCOUNT)


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
    """Let the records before `upto` leave: as delivered, except for those set aside."""

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


class Counted(NamedTuple):
    """What a source counts of what is stored, once it is on disk."""

    kept: KeptCounters
    stored: int
    """Messages for destinations."""
    aside: int
    """Messages for the quarantine of the source."""


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
    counted: Sequence[Counted] = ()
    """What sources count then, once for each; `positions` has it already."""

    @property
    def is_answered(self) -> bool:
        """Whether a sender or source is told that it is on disk, and relies on it."""
        return bool(self.appends or self.refusals or self.positions or self.drops)

    @property
    def growth(self) -> int:
        """Bytes that this adds to queues and quarantines of sources; 0 = it adds nothing."""
        return size_of(self.appends, self.refusals, record_bytes=1)


@dataclass(slots=True)
class Append:
    """One call of `Committer.append`."""

    payloads: Mapping[str, Sequence[bytes]]
    refusals: Sequence[Refusal]
    positions: Mapping[str, bytes]
    drops: Mapping[str, Mapping[str, int]]
    size: int
    done: Deferred[None]
    limited: Mapping[str, int] = field(default_factory=dict)
    """What its destinations with limits are to settle after the commit."""
    comes_again: bool = False
    """Its sender sends or reads it again unless it is stored."""
    counted: Counted | None = None
    """None = no source counts it.  Of one that is split, the last part is counted as the whole."""

    @property
    def records(self) -> int:
        """How many it stores, those of `refusals` included."""
        count = sum(map(len, self.payloads.values()))
        for refusal in self.refusals:
            count += len(refusal.frames)
        return count


def size_of(
    payloads: Mapping[str, Sequence[bytes]],
    refusals: Sequence[Refusal] = (),
    *,
    record_bytes: int = RECORD_BYTES,
) -> int:
    """What payloads by destination and refused frames take in memory, in bytes, about.

    Args:
        record_bytes: Of each, beside its own bytes.
    """
    size = 0
    for run in payloads.values():
        size += total_bytes(run) + record_bytes * len(run)
    for refusal in refusals:
        size += total_bytes(refusal.frames) + record_bytes * len(refusal.frames)
    return size


def split(append: Append, bytes_max: int) -> tuple[Append, Append] | None:
    """Cut the first messages off, about `bytes_max` of them and at least one.

    The second part has everything but these messages, and the Deferred of the sender.

    Returns:
        None if it has to be stored in one piece: it is one message, or it says how far a
        source has been read, which has to be stored with all that was read.
    """
    runs = append.payloads
    if append.positions or append.refusals or max(map(len, runs.values()), default=0) < 2:
        return None
    counts: dict[str, int] = {}
    left = bytes_max
    for destination, run in runs.items():
        sizes = accumulate(len(payload) + RECORD_BYTES for payload in run)
        counts[destination] = sum(size <= left for size in sizes)
        left -= size_of({destination: run[: counts[destination]]})
    if not any(counts.values()):
        counts[next(destination for destination, run in runs.items() if run)] = 1
    if all(counts[destination] == len(run) for destination, run in runs.items()):
        counts[next(destination for destination, run in runs.items() if len(run) > 1)] -= 1
    heads = {destination: run[: counts[destination]] for destination, run in runs.items()}
    tails = {destination: run[counts[destination] :] for destination, run in runs.items()}
    size = size_of(heads)
    unused: Deferred[None] = Deferred()
    unused.addErrback(lambda failure: None)
    head = Append(heads, (), {}, {}, size, unused, comes_again=append.comes_again)
    return head, replace(append, payloads=tails, size=append.size - size)


def _counted_in(appends: Sequence[Append]) -> list[Counted]:
    """What the sources of `appends` count, once for each source."""
    found: dict[KeptCounters, list[int]] = {}
    for append in appends:
        if append.counted is None:
            continue
        kept, stored, aside = append.counted
        if (sums := found.get(kept)) is None:
            found[kept] = [stored, aside]
        else:
            sums[0] += stored
            sums[1] += aside
    return [Counted(kept, *sums) for kept, sums in found.items()]


def transaction_of(
    received_at: float,
    appends: Sequence[Append],
    removals: Mapping[str, Removal],
    evictions: Mapping[str, Eviction],
) -> Transaction:
    """All `appends` and `removals` in one, in the order of the calls."""
    runs: dict[str, list[Sequence[bytes]]] = {}
    drops: dict[str, Counter[str]] = {}
    refusals: list[Refusal] = []
    positions: dict[str, bytes] = {}
    for append in appends:
        for destination, run in append.payloads.items():
            runs.setdefault(destination, []).append(run)
        for destination, reasons in append.drops.items():
            drops.setdefault(destination, Counter()).update(reasons)
        refusals += append.refusals
        positions |= append.positions
    counted = _counted_in(appends)
    for kept, stored, aside in counted:
        positions[kept.position] = kept.encode(stored, aside)
    return Transaction(
        received_at,
        dict(zip(runs, map(joined, runs.values()), strict=True)),
        removals,
        drops=drops,
        evictions=evictions,
        refusals=refusals,
        positions=positions,
        counted=counted,
    )
