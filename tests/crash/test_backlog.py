"""A long backlog: what it costs at the start, and how it was written makes no difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred, execute

from relay.queue.cursor import Cursor
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction
from relay.queue.view import TransactionView
from tests.connections import fired
from tests.crash.audit import assert_drained
from tests.crash.chain import edge_relay
from tests.end_to_end.central import Central, numbered, numbers
from tests.end_to_end.siege import resident_bytes
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

MiB = 2**20
MAP_BYTES = 2**30
LONG_BYTES = 96 * MiB
MORE_BYTES_MAX = 24 * MiB
LONE_RECORDS = 20_000


@dataclass
class OneByOne:
    """Each message becomes a block of its own, as if nothing else had come with it."""

    payloads: Sequence[bytes]

    def apply(self, view: TransactionView) -> None:
        for payload in self.payloads:
            view.append("central", [payload], received_at=view.at)


def opened(relay: RelayProcess) -> QueueStore:
    path = relay.state_dir / "queue"
    path.parent.mkdir(parents=True, exist_ok=True)
    return QueueStore.open(str(path), destinations=["central"], map_bytes=MAP_BYTES)


def answering(programs: Programs, relay: RelayProcess) -> RelayProcess:
    programs.add(relay)
    relay.start()
    wait_until((relay.state_dir / "control.sock").exists, f"{relay.folder.name} to be there")
    return relay


def test_the_start_takes_no_memory_for_what_is_queued(programs: Programs, tmp_path: Path) -> None:
    empty = answering(programs, edge_relay(tmp_path / "empty", free_port(), free_port()))
    full = edge_relay(tmp_path / "full", free_port(), free_port())
    store = opened(full)
    record = b"<13>1 - web-1 app - - - ".ljust(1000, b"x")
    for _ in range(LONG_BYTES // (8 * MiB)):
        store.commit(Transaction(1.7e9, {"central": [record] * (8 * MiB // len(record))}))
    assert store.used_bytes > 0.9 * LONG_BYTES
    store.close()
    answering(programs, full)
    more = resident_bytes(full.pid) - resident_bytes(empty.pid)
    print(f"{LONG_BYTES // MiB} MiB queued: {more / MiB:.1f} MiB more in memory")
    assert more < MORE_BYTES_MAX
    for relay in (empty, full):
        relay.stop()


def test_a_backlog_of_single_messages_drains_like_any_other(
    programs: Programs, tmp_path: Path
) -> None:
    upstream = free_port()
    relay = edge_relay(tmp_path / "edge", free_port(), upstream)
    store = opened(relay)
    messages = numbered("app", LONE_RECORDS)
    store.operate(OneByOne(messages), at=1.7e9)
    assert reads_of(store) <= 1 + LONE_RECORDS // 4096
    store.close()
    central = Central(programs, tmp_path / "central", upstream)
    central.start()
    answering(programs, relay)
    assert numbers(central.wait_for(messages), "app") == list(range(LONE_RECORDS))
    assert_drained(relay)


def reads_of(store: QueueStore) -> int:
    """How many transactions it takes to read the whole queue, in the drain's portions."""
    reads = 0

    class Counting:
        def read(self, *arguments: Any, **keywords: Any) -> list[bytes]:
            nonlocal reads
            reads += 1
            return store.read(*arguments, **keywords)

    cursor = Cursor(
        Counting(),  # type: ignore[arg-type]
        "central",
        position=1,
        run_in_thread=execute,
    )
    found = 0
    while found < LONE_RECORDS:
        (batch,) = fired(ensureDeferred(cursor.take(records_max=4096, bytes_max=4 * MiB)))
        found += len(batch.payloads)
    return reads
