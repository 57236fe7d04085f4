"""What waits to be stored, and the transaction that stores it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from relay.queue.transaction import Eviction, Refusal, Removal, Transaction

__all__ = ["Append", "transaction_of"]


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


def transaction_of(
    received_at: float,
    appends: Sequence[Append],
    removals: Mapping[str, Removal],
    evictions: Mapping[str, Eviction],
) -> Transaction:
    """All `appends` and `removals` in one, in the order of the calls."""
    payloads: dict[str, list[bytes]] = {}
    drops: dict[str, Counter[str]] = {}
    for append in appends:
        for destination, run in append.payloads.items():
            payloads.setdefault(destination, []).extend(run)
        for destination, reasons in append.drops.items():
            drops.setdefault(destination, Counter()).update(reasons)
    return Transaction(
        received_at,
        payloads,
        removals,
        drops=drops,
        evictions=evictions,
        refusals=[refusal for append in appends for refusal in append.refusals],
        positions={name: at for append in appends for name, at in append.positions.items()},
    )
