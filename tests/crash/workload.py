"""A random workload for a queue whose every record can be told from its seq alone.

Record `seq` of destination `d` is `payload(d, seq)`, so what a queue has to hold
follows from its ledgers, and nothing that is found in it can be made up.  The position
that goes with the records of destination ``a`` is always its next seq.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec

from relay.model.errors import DamagedRange, QueueError
from relay.model.seq import SeqRange
from relay.queue.history.keep import Histories, HistoryLimit
from relay.queue.inspect.queries import Read, read_history
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from relay.queue.transaction import (
    Eviction,
    Refusal,
    Removal,
    SetAside,
    Transaction,
    account_of_source,
)

__all__ = [
    "DESTINATIONS",
    "MAP_BYTES",
    "POSITION",
    "SOURCE",
    "check_history",
    "drain",
    "ledgers_of",
    "open_queue",
    "payload",
    "random_transaction",
]

DESTINATIONS = ("a", "b")
SOURCE = "s"
POSITION = f"{SOURCE}/file"
MAP_BYTES = 64 * 2**20
_QUARANTINE_BYTES_MAX = 20_000


def payload(destination: str, seq: int) -> bytes:
    """What record `seq` of `destination` is: 10 to 3000 bytes, most of them short."""
    dice = random.Random(f"{destination} {seq}")
    size = dice.choice((10, 60, 60, 200, 200, 200, 700, 3000))
    return b"%s %d %s" % (destination.encode(), seq, dice.randbytes(size))


def open_queue(
    path: str, *, strict: bool = True, fully: bool = True, keeps: bool = False
) -> QueueStore:
    """Open the queue.

    Args:
        keeps: What destination ``b``, of which nothing is evicted, delivers is kept.
    """
    histories = Histories({"b": HistoryLimit(3600.0, MAP_BYTES)} if keeps else {})
    return QueueStore.open(
        path,
        destinations=DESTINATIONS,
        sources=[SOURCE],
        map_bytes=MAP_BYTES,
        strict=strict,
        fully=fully,
        histories=histories,
    )


def check_history(store: QueueStore) -> None:
    """What was kept by a queue that `keeps` is what was delivered, and nothing else."""
    start, count = 0, 0
    while True:
        wanted = Read("b", start)
        page = store.look(lambda view, wanted=wanted: read_history(view, wanted))
        for record in page.records:
            assert record.payload == payload("b", record.seq), record.seq
        count += len(page.records)
        if page.next_seq == page.end_seq:
            break
        start = page.next_seq
    assert count == store.ledgers["b"].delivered, (count, store.ledgers["b"])


def ledgers_of(store: QueueStore) -> dict[str, bytes]:
    """The ledgers that have something in them, as JSON."""
    empty = Ledger()
    return {
        id: msgspec.json.encode(ledger) for id, ledger in store.ledgers.items() if ledger != empty
    }


def random_transaction(
    store: QueueStore, dice: random.Random, *, evicts: bool = True
) -> Transaction:
    """The next thing that happens to `store`.

    Args:
        evicts: Sometimes the oldest records leave.
    """
    appends, removals = {}, {}
    positions: dict[str, bytes] = {}
    for destination in DESTINATIONS:
        ledger = store.ledgers[destination]
        count = dice.choice((0, 1, 1, 2, 5, 40, 120))
        if count:
            seqs = range(ledger.next_seq, ledger.next_seq + count)
            appends[destination] = [payload(destination, seq) for seq in seqs]
        if destination == "a":
            positions[POSITION] = b"%d" % (ledger.next_seq + count)
        if ledger.queued and dice.random() < 0.4:
            removals[destination] = _removal(ledger, dice)
    refusals = []
    if dice.random() < 0.2:
        frames = [dice.randbytes(dice.randrange(1, 2000))]
        refusals.append(Refusal(SOURCE, "no-app", "peer", frames, _QUARANTINE_BYTES_MAX))
    drops = {"b": {"sampled": dice.randrange(1, 9)}} if dice.random() < 0.2 else {}
    evictions = {}
    if evicts and dice.random() < 0.1:
        bytes_max = dice.randrange(store.destination_bytes["a"] + 1)
        evictions["a"] = Eviction("queue-full", bytes_max=bytes_max)
    return Transaction(
        1.7e9,
        appends,
        removals,
        drops=drops,
        evictions=evictions,
        refusals=refusals,
        positions=positions,
    )


def _removal(ledger: Ledger, dice: random.Random) -> Removal:
    head = ledger.acknowledged_seq
    if dice.random() < 0.2:
        return Removal(head + 1, [SetAside(SeqRange(head, head + 1), "refused")])
    whole = dice.random() < 0.1
    return Removal(ledger.next_seq if whole else dice.randint(head, ledger.next_seq))


def drain(store: QueueStore, destination: str) -> tuple[dict[int, bytes], list[DamagedRange]]:
    """Read all records of `destination` by seq; acknowledge them, set damaged ones aside."""
    found: dict[int, bytes] = {}
    damaged: list[DamagedRange] = []
    while (ledger := store.ledgers[destination]).queued:
        start = ledger.acknowledged_seq
        asides: list[SetAside] = []
        try:
            records = store.read(destination, start=start, records_max=500, bytes_max=2**20)
            if not records:
                raise QueueError(f"{destination}: record {start} is missing")
            found |= dict(enumerate(records, start))
            upto = start + len(records)
        except DamagedRange as damage:
            damaged.append(damage)
            asides, upto = [SetAside(damage.seqs, damage.reason)], damage.seqs.stop
        removals: Mapping[str, Removal] = {destination: Removal(upto, asides)}
        store.commit(Transaction(1.7e9, {}, removals))
    return found, damaged


def quarantine_account() -> str:
    return account_of_source(SOURCE)
