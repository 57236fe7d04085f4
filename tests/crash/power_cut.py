"""Cut the power at every point of a recording, and open what the disk would have then.

A disk keeps what was synced before the cut.  Of what was written since it keeps any
part: sectors of 512 bytes are whole or not there, in any combination, whatever the
order in which they were written; a file may have its new length with zeros in it, or its
old one.  Every write of the recording is such a point, and every sync.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from relay.queue.ledger import Ledger
from relay.queue.repair.replace import COMPACTED
from relay.queue.transaction import is_of_source
from tests.crash.events import Committed, Event, Renamed, Sync, Write
from tests.crash.workload import (
    DESTINATIONS,
    POSITION,
    SOURCE,
    check_history,
    drain,
    ledgers_of,
    open_queue,
)
from tests.crash.workload import payload as payload_of

__all__ = ["PowerCuts", "record"]

SECTOR = 512
FOLDERS = ("new", COMPACTED)  # where a file is before it gets its name
RECORD_SECONDS_MAX = 300.0


def record(folder: Path, *, seed: int, transactions: int) -> list[Event]:
    """Run the workload in a process of its own and return what it wrote."""
    output = folder / "events"
    queue = folder / "recorded"
    command = [sys.executable, "-m", "tests.crash.recording"]
    command += [str(queue), str(seed), str(transactions), str(output)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=RECORD_SECONDS_MAX,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    events: list[Event] = pickle.loads(output.read_bytes())
    # Nothing was missed: the recording makes the very same file.
    images: dict[str, bytearray] = {}
    for event in events:
        if isinstance(event, Write):
            _apply(images.setdefault(event.path, bytearray()), event.offset, event.data)
        elif isinstance(event, Renamed):
            images[event.to] = images.pop(event.path)
    assert images == {str(queue / "data.mdb"): (queue / "data.mdb").read_bytes()}
    return events


def _apply(image: bytearray, offset: int, data: bytes) -> None:
    image.extend(bytes(max(0, offset + len(data) - len(image))))
    image[offset : offset + len(data)] = data


class PowerCuts:
    """The states of the disk after a power cut, and whether they hold what they must.

    Args:
        folder: For the file of each state; on memory is best.
        subsets: Random states at each point, beside those that are always tried.

    Attributes:
        states: How many were tried.
    """

    def __init__(self, folder: Path, events: Sequence[Event], *, seed: int, subsets: int) -> None:
        self.states = 0
        self._folder = folder
        self._events = events
        self._dice = random.Random(seed)
        self._subsets = subsets
        self._committed: list[dict[str, bytes]] = [
            event.ledgers for event in events if isinstance(event, Committed)
        ]

    def check(self) -> None:
        """Try all; an AssertionError names the point and the state."""
        synced: dict[str, bytearray] = {}  # by path
        pending: list[tuple[int, bytes]] = []  # of one file
        commits = 0
        path = ""
        for number, event in enumerate(self._events):
            if isinstance(event, Committed):
                assert not pending, "a commit came back before its writes were synced"
                commits += 1
                continue
            if isinstance(event, Renamed):
                assert not pending, "renamed before it was synced"
                synced[event.to] = synced.pop(event.path)
                self._try_all(f"event {number}, renamed", synced, event.to, pending, commits)
                continue
            assert path in ("", event.path) or not pending, "another file before it was synced"
            path = event.path
            synced.setdefault(path, bytearray())
            if isinstance(event, Write):
                pending += _sectors(event)
                self._try_all(f"event {number}, a write", synced, path, pending, commits)
            if isinstance(event, Sync) or event.is_synced:
                for offset, data in pending:
                    _apply(synced[path], offset, data)
                pending.clear()
                self._try_all(f"event {number}, synced", synced, path, pending, commits)

    def _try_all(
        self,
        point: str,
        synced: Mapping[str, bytearray],
        path: str,
        pending: list[tuple[int, bytes]],
        commits: int,
    ) -> None:
        for name, kept, keeps_length in self._choices(pending):
            image = bytearray(synced[path])
            for offset, data in kept:
                _apply(image, offset, data)
            if keeps_length and pending:
                end = max(offset + len(data) for offset, data in pending)
                image.extend(bytes(max(0, end - len(image))))
            self.states += 1
            try:
                self._check_state({**synced, path: image}, commits)
            except Exception as error:
                raise AssertionError(
                    f"{point}; {name} of what was not synced: {error!r}"
                ) from error

    def _choices(
        self, pending: list[tuple[int, bytes]]
    ) -> Iterator[tuple[str, list[tuple[int, bytes]], bool]]:
        yield "nothing", [], False
        if not pending:
            return
        yield "all", pending, True
        yield "the length alone", [], True
        yield "the last sector alone", pending[-1:], False
        yield "all but the last sector", pending[:-1], False
        yield "all but the first sector", pending[1:], True
        for _ in range(self._subsets):
            share = self._dice.random()
            kept = [sector for sector in pending if self._dice.random() < share]
            yield f"{len(kept)} of {len(pending)} sectors", kept, self._dice.random() < 0.5

    def _check_state(self, images: Mapping[str, bytearray], commits: int) -> None:
        queue = self._folder / "state"
        shutil.rmtree(queue, ignore_errors=True)
        queue.mkdir(parents=True)
        for path, image in images.items():
            folder = os.path.basename(os.path.dirname(path))
            place = queue / folder if folder in FOLDERS else queue
            place.mkdir(exist_ok=True)
            (place / "data.mdb").write_bytes(image)
        store = open_queue(str(queue), keeps=True)
        try:
            check_history(store)
            # What had come back is there; what was on its way may be, as a whole.
            allowed = self._committed[max(0, commits - 1) : commits + 1]
            found = ledgers_of(store)
            assert found in allowed, f"{found} is none of {allowed}"
            decoded = {id: msgspec.json.decode(text, type=Ledger) for id, text in found.items()}
            next_of_a = decoded.get("a", Ledger()).next_seq
            position = store.positions(SOURCE).get(POSITION.partition("/")[2])
            assert position == (b"%d" % next_of_a) or (position is None and next_of_a == 1)
            for destination in DESTINATIONS:
                ledger = decoded.get(destination, Ledger())
                assert not is_of_source(destination) and ledger.gap == 0
                records, damaged = drain(store, destination)
                queued = range(ledger.acknowledged_seq, ledger.next_seq)
                assert not damaged and list(records) == list(queued)
                for seq, data in records.items():
                    assert data == payload_of(destination, seq), (destination, seq)
            check_history(store)
        finally:
            store.close()


def _sectors(write: Write) -> list[tuple[int, bytes]]:
    """The parts of a write that are each on the disk as a whole or not at all."""
    parts = []
    offset, data = write.offset, write.data
    while data:
        size = SECTOR - offset % SECTOR
        parts.append((offset, data[:size]))
        offset, data = offset + size, data[size:]
    return parts
