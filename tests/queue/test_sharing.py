from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.model.errors import QueueError
from relay.queue.sharing import QueueBeside, forget_dead_readers, map_bytes_of
from relay.queue.store import QueueStore, Removal, Transaction

MAP_BYTES = 2**24

# Opens the queue beside its owner; then ends in the middle of a read, if it is told to.
BESIDE = """
import os, sys
from relay.queue.sharing import QueueBeside
store = QueueBeside.open_beside(
    sys.argv[1], destinations=["d"], map_bytes=int(sys.argv[2])
)
print(store.read("d", start=1, records_max=100, bytes_max=10**6), flush=True)
for line in sys.stdin:
    if line == "die\\n":
        reading = store._environment.begin()
        os.kill(os.getpid(), 9)
    print(store.read("d", start=1, records_max=100, bytes_max=10**6), flush=True)
store.close()
"""


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[QueueStore]:
    store = QueueStore.open(str(tmp_path / "queue"), destinations=["d"], map_bytes=MAP_BYTES)
    yield store
    store.close()


class Beside:
    """Another process that reads."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", BESIDE, str(path / "queue"), str(MAP_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def end(self) -> int:
        self._process.communicate(timeout=20)
        return self._process.returncode


def append(store: QueueStore, *payloads: bytes) -> None:
    store.commit(Transaction(1.0, {"d": list(payloads)}))


def test_another_process_reads_what_is_committed(owner: QueueStore, tmp_path: Path) -> None:
    beside = Beside(tmp_path)
    assert beside.read() == "[]"  # it was never stored to
    append(owner, b"one", b"two")
    beside.tell("read")
    assert beside.read() == "[b'one', b'two']"
    owner.commit(Transaction(2.0, removals={"d": Removal(2)}))
    owner.commit(Transaction(2.0, removals={"d": Removal(3)}))
    beside.tell("read")
    assert beside.read() == "[]"
    assert beside.end() == 0
    assert forget_dead_readers(owner) == 0


def test_a_reader_that_was_killed_holds_no_pages(owner: QueueStore, tmp_path: Path) -> None:
    append(owner, b"one")
    beside = Beside(tmp_path)
    beside.read()
    beside.tell("die")
    assert beside.end() == -9
    size = (tmp_path / "queue" / "data.mdb").stat().st_size

    def turn_over(rounds: int) -> int:
        for _ in range(rounds):
            append(owner, bytes(65536))
            owner.commit(Transaction(3.0, removals={"d": Removal(owner.ledgers["d"].next_seq)}))
        return (tmp_path / "queue" / "data.mdb").stat().st_size

    pinned = turn_over(10)
    assert pinned > size + 5 * 65536  # so this is what would go on
    assert forget_dead_readers(owner) == 1
    turn_over(3)
    assert turn_over(30) < pinned + 4 * 65536


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(QueueError):
        QueueBeside.open_beside(str(tmp_path / "none"), destinations=["d"], map_bytes=MAP_BYTES)


def test_the_size_of_the_map(owner: QueueStore) -> None:
    assert map_bytes_of(owner) == MAP_BYTES
