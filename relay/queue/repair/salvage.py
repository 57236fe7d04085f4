"""Salvage what can be read of a damaged file into a new one.

The snapshot before the newest is read too: what a damaged page of the newest had was
often on another page then.  Blocks never change and seqs are never used twice, so the
two can be put together; at worst something is sent again that was acknowledged.  In the
place of records that are nowhere an empty block is stored.  It counts as damaged, so
they are set aside and counted when their turn comes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat

import msgspec

from relay.queue.block import KEY, BlockDamaged, decode_block, payload_bytes
from relay.queue.files.trees import Environment, WriteTransaction
from relay.queue.ledger import Ledger
from relay.queue.repair.pages import Entry, PageFile, Snapshot
from relay.queue.repair.verify import BLOCKS, HISTORY, LEDGER, QUARANTINE, sound_ledger
from relay.queue.transaction import is_of_source

_COMMIT_BYTES = 16 * 2**20
_LOST_LEDGER = "ledger-unreadable"


@dataclass(slots=True)
class Salvaged:
    """The result of a salvage."""

    records: int = 0
    """In blocks that are whole."""
    unreadable_records: int = 0
    """Of which nothing was found."""
    lost_ledgers: list[str] = field(default_factory=list)
    """Ids whose counts had to begin anew; what else was in their queues is not known."""
    may_lack_more: bool = False
    """Names or ledgers could not be read, or only as of the commit before the last."""


class _Writer:
    """Puts values into an environment, in transactions of a bounded size."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._txn: WriteTransaction | None = None
        self._size = 0

    def put(self, name: bytes, key: bytes, value: bytes) -> None:
        if self._txn is None:
            self._txn = self._environment.begin(write=True)
        self._txn.put(key, value, db=self._environment.open_db(name, txn=self._txn))
        self._size += len(value) + 64
        if self._size >= _COMMIT_BYTES:
            self.commit()

    def commit(self) -> None:
        if self._txn is not None:
            self._txn.commit()
        self._txn, self._size = None, 0

    def abort(self) -> None:
        if self._txn is not None:
            self._txn.abort()


class _Source:
    """The named trees of one snapshot of a damaged file."""

    def __init__(self, file: PageFile, snapshot: Snapshot) -> None:
        self._file, self._snapshot = file, snapshot
        audit = file.audit(snapshot)
        entries = list(file.walk(snapshot.names, "names", audit))
        self._trees = {entry.key: file.tree(entry) for entry in entries}
        self.names = set(self._trees)
        self.lacks_names = bool(audit.problems) or None in self._trees.values()

    def progress(self) -> int:
        """A number that grows with each record that comes or goes."""
        return sum(each.received + each.acknowledged_seq for _, each in self.ledgers())

    def ledgers(self) -> Iterator[tuple[str, Ledger]]:
        """The ledgers that add up, each with its account's id."""
        for entry in self.entries(b"meta"):
            if entry.key.startswith(LEDGER):
                ledger = sound_ledger(self._file.value(entry), any_version=True)
                if ledger is not None:
                    yield entry.key.removeprefix(LEDGER).decode("utf-8", "replace"), ledger

    def is_whole(self) -> bool:
        """Whether every page of it can be read, and is used once."""
        audit = self._file.audit(self._snapshot)
        for name, tree in self._trees.items():
            if tree is None:
                return False
            for _ in self._file.walk(tree, repr(name), audit):
                pass
        return not audit.problems

    def entries(self, name: bytes) -> Iterator[Entry]:
        tree = self._trees.get(name)
        if tree is not None:
            yield from self._file.walk(tree, "", self._file.audit(self._snapshot))


def salvage(file: PageFile, environment: Environment) -> Salvaged:
    """Fill the empty `environment` with what `file` still has, its format excepted."""
    return _Salvage(file, environment).run()


class _Salvage:
    """One salvage of `file` into `environment`."""

    def __init__(self, file: PageFile, environment: Environment) -> None:
        sources = [_Source(file, snapshot) for snapshot in file.snapshots]
        if len(sources) < 2 or sources[0].lacks_names:
            sources = _with_lost(file, sources)
        self._file = file
        self._sources = sources
        self._writer = _Writer(environment)
        self._ledgers, are_newest = self._sound_ledgers()
        lacks_names = not sources or sources[0].lacks_names
        self._salvaged = Salvaged(may_lack_more=lacks_names or not are_newest)

    def run(self) -> Salvaged:
        try:
            self._copy()
            self._writer.commit()
        except BaseException:
            self._writer.abort()
            raise
        return self._salvaged

    def _copy(self) -> None:
        names = set().union(*(source.names for source in self._sources))
        for entry, _ in self._merged(b"positions"):
            self._writer.put(b"positions", entry.key, self._file.value(entry))
        ids = {id.encode() for id in self._ledgers}
        for prefix in (BLOCKS, QUARANTINE):
            ids |= {name[len(prefix) :] for name in names if name.startswith(prefix)}
        for key in sorted(ids):
            self._copy_account(key)
        for name in sorted(name for name in names if name.startswith(HISTORY)):
            for entry, _ in self._merged(name):
                if len(entry.key) == KEY.size:
                    self._writer.put(name, entry.key, self._file.value(entry))

    def _copy_account(self, key: bytes) -> None:
        id = key.decode("utf-8", "replace")
        ledger = self._ledgers.get(id)
        if ledger is None:
            self._salvaged.lost_ledgers.append(id)
        last_aside, asides, aside_bytes = self._copy_quarantine(key)
        if is_of_source(id):
            ledger = ledger or _ledger_of_source(last_aside, asides, aside_bytes)
        else:
            ledger = self._copy_blocks(key, ledger, last_aside)
        self._writer.put(b"meta", LEDGER + key, msgspec.json.encode(ledger))

    def _merged(self, name: bytes) -> Iterator[tuple[Entry, bool]]:
        """Entries by key, each as the newest snapshot has it, and whether it does."""
        runs = [
            zip(each.entries(name), repeat(number == 0), strict=False)
            for number, each in enumerate(self._sources)
        ]
        before = b""
        for entry, is_newest in heapq.merge(*runs, key=lambda item: item[0].key):
            if entry.key != before and not entry.is_subtree:
                yield entry, is_newest
            before = entry.key

    def _sound_ledgers(self) -> tuple[dict[str, Ledger], bool]:
        """By id, each the newest that adds up; and whether all are from the newest snapshot."""
        ledgers: dict[str, Ledger] = {}
        are_newest = True
        for number, source in enumerate(self._sources):
            for id, ledger in source.ledgers():
                if id not in ledgers:
                    ledgers[id] = ledger
                    are_newest = are_newest and number == 0
        return ledgers, are_newest

    def _copy_quarantine(self, id: bytes) -> tuple[int, int, int]:
        """Returns the last seq, the number of entries and their bytes."""
        last = count = size = 0
        for entry, _ in self._merged(QUARANTINE + id):
            if len(entry.key) == KEY.size:
                (last,) = KEY.unpack(entry.key)
                self._writer.put(QUARANTINE + id, entry.key, self._file.value(entry))
                count, size = count + 1, size + entry.size
        return last, count, size

    def _copy_blocks(self, id: bytes, ledger: Ledger | None, last_aside: int) -> Ledger:
        """Copy the blocks of a destination; returns its ledger as it is then."""
        covered = ledger.acknowledged_seq if ledger else 0  # everything before is accounted for
        ends_open = False  # the last block is damaged: it reaches to the next one
        queued_bytes = 0
        for entry, is_newest in self._merged(BLOCKS + id):
            if len(entry.key) != KEY.size:
                continue
            (seq,) = KEY.unpack(entry.key)
            value = self._file.value(entry)
            try:
                count = len(decode_block(value).payloads)
            except BlockDamaged:
                count = 0
            if ledger is None:
                covered = seq
                ledger = Ledger(next_seq=seq, acknowledged_seq=seq, delivered=seq - 1)
            is_first = covered == ledger.acknowledged_seq and not ends_open
            if not count and not is_newest:
                continue
            if (count and seq + count <= covered) or (seq < covered and not is_first):
                continue  # it has left already, or overlaps
            if seq > covered and not ends_open:
                if seq >= ledger.next_seq:
                    continue  # out of place
                self._writer.put(BLOCKS + id, KEY.pack(covered), b"")
                self._salvaged.unreadable_records += seq - covered
            self._writer.put(BLOCKS + id, entry.key, value)
            queued_bytes += payload_bytes(value)
            self._salvaged.records += count
            covered, ends_open = max(covered, seq + (count or 1)), not count
        if ledger is None:  # and no block
            return Ledger(
                next_seq=last_aside + 1, acknowledged_seq=last_aside + 1, delivered=last_aside
            )
        if covered < ledger.next_seq and not ends_open:
            self._writer.put(BLOCKS + id, KEY.pack(covered), b"")
            self._salvaged.unreadable_records += ledger.next_seq - covered
        next_seq = max(ledger.next_seq, covered)
        return msgspec.structs.replace(
            ledger, next_seq=next_seq, queued_bytes=queued_bytes, dropped=dict(ledger.dropped)
        )


def _with_lost(file: PageFile, sources: list[_Source]) -> list[_Source]:
    """`sources`, after the newest snapshot if it is its meta page that is damaged.

    Ledgers only grow, so they say which one that is: pages of names from before the
    snapshot that is left have smaller ones.  Where the meta pages are sound and neither
    leads to a ledger, there is nothing to compare with, and what is found may be from long
    ago, with pages of another destination in it by now.
    """
    best, highest = None, max((source.progress() for source in sources), default=0)
    if sources and not highest:
        return sources
    for snapshot in file.lost_snapshots():
        source = _Source(file, snapshot)
        progress = source.progress()
        if progress > highest and source.is_whole():
            best, highest = source, progress
    return sources if best is None else [best, *sources]


def _ledger_of_source(last: int, asides: int, aside_bytes: int) -> Ledger:
    return Ledger(
        next_seq=last + 1,
        acknowledged_seq=last + 1,
        quarantined=asides,
        dropped={_LOST_LEDGER: last - asides} if last > asides else {},
        quarantine_bytes=aside_bytes,
    )
