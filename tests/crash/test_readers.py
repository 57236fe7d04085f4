"""Who reads a queue and is killed, or reads for long, does not make its file grow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from relay.queue.store import QueueStore
from relay.queue.transaction import Removal, Transaction
from tests.queue_files import append

MAP_BYTES = 2**28
ROUNDS = 60
RECORDS = [b"x" * 1000] * 200

READER = """
import sys, time
from tests.crash.test_readers import opened
store = opened(sys.argv[1])
def for_ever(books):
    books.txn.stat(books.blocks["a"])
    print("reading", flush=True)
    time.sleep(600)
store.look(for_ever)
"""


def opened(path: str) -> QueueStore:
    return QueueStore.open(path, destinations=["a"], map_bytes=MAP_BYTES)


def grown_to(path: Path, *, meanwhile: bool = False) -> int:
    """Size of the file after `ROUNDS` times the same records have come and gone.

    Args:
        meanwhile: Somebody reads all the time, as nothing in the relay does.
    """
    store = opened(str(path))
    reading = store._handles.environment.begin() if meanwhile else None
    for _ in range(ROUNDS):
        append(store, a=RECORDS)
        store.commit(Transaction(0.0, removals={"a": Removal(store.ledgers["a"].next_seq)}))
    if reading is not None:
        reading.abort()
    store.close()
    return (path / "data.mdb").stat().st_size


def test_who_reads_all_the_time_would_be_found_out(tmp_path: Path) -> None:
    disturbed = grown_to(tmp_path / "disturbed", meanwhile=True)
    assert disturbed > 10 * grown_to(tmp_path / "undisturbed")


def test_a_relay_that_was_killed_while_it_read_keeps_no_pages(tmp_path: Path) -> None:
    expected = grown_to(tmp_path / "undisturbed")
    path = tmp_path / "queue"
    store = opened(str(path))
    append(store, a=RECORDS)
    store.close()
    root = str(Path(__file__).parents[2])
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert reader.stdout is not None and reader.stdout.readline() == b"reading\n"
    reader.send_signal(signal.SIGKILL)
    reader.wait(20)
    reader.stdout.close()
    assert grown_to(path) <= 2 * expected
