"""What waits to be stored, and the transaction that stores it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from twisted.internet.defer import Deferred

from relay.codec import joined, octets_of
from relay.queue.transaction import Eviction, Refusal, Removal, Transaction

__all__ = ["RECORD_BYTES", "Append", "size_of", "split", "transaction_of"]

RECORD_BYTES = 64
"""What a record that waits for its commit takes beside its octets, about."""


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


def size_of(runs: Iterable[Sequence[bytes]]) -> int:
    """What `runs` of records take in memory, in octets, about."""
    return sum(octets_of(run) + RECORD_BYTES * len(run) for run in runs)


def split(append: Append, bytes_max: int) -> tuple[Append, Append] | None:
    """Cut the first messages off, about `bytes_max` of them and at least one.

    The second part has everything but these messages; who waits is told after that one.

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
        left -= size_of([run[: counts[destination]]])
    if not any(counts.values()):
        counts[next(destination for destination, run in runs.items() if run)] = 1
    if all(counts[destination] == len(run) for destination, run in runs.items()):
        counts[next(destination for destination, run in runs.items() if len(run) > 1)] -= 1
    heads = {destination: run[: counts[destination]] for destination, run in runs.items()}
    tails = {destination: run[counts[destination] :] for destination, run in runs.items()}
    size = size_of(heads.values())
    nobody: Deferred[None] = Deferred()
    nobody.addErrback(lambda failure: None)
    head = Append(heads, (), {}, {}, size, nobody, comes_again=append.comes_again)
    return head, replace(append, payloads=tails, size=append.size - size)


def transaction_of(
    received_at: float,
    appends: Sequence[Append],
    removals: Mapping[str, Removal],
    evictions: Mapping[str, Eviction],
) -> Transaction:
    """All `appends` and `removals` in one, in the order of the calls."""
    runs: dict[str, list[Sequence[bytes]]] = {}
    drops: dict[str, Counter[str]] = {}
    for append in appends:
        for destination, run in append.payloads.items():
            runs.setdefault(destination, []).append(run)
        for destination, reasons in append.drops.items():
            drops.setdefault(destination, Counter()).update(reasons)
    return Transaction(
        received_at,
        {destination: joined(row) for destination, row in runs.items()},
        removals,
        drops=drops,
        evictions=evictions,
        refusals=[refusal for append in appends for refusal in append.refusals],
        positions={name: at for append in appends for name, at in append.positions.items()},
    )
