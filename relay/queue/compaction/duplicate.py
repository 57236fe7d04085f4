"""Bring a second environment up to date with the one in use, a bounded step at a time.

A database with a slash in its name is that of one account: new keys are beyond all
others, and the value of a key never changes.  So entries that are missing in the duplicate lie
at its end, and surplus ones, but for a quarantine, at its head.  (A history
makes an exception where the numbers of a queue began anew; it is copied from its beginning
then.)  The other databases are small, and copied where they differ.
"""

from __future__ import annotations

from relay.model.errors import QueueError
from relay.queue.compaction.handles import Handles
from relay.queue.files.trees import Database, Environment, Transaction, WriteTransaction
from relay.queue.files.values import Unreadable

_CURSOR_ENTRY_BYTES = 64  # what an entry costs beside its bytes, about


class Duplicate:
    """A second environment.

    Args:
        handles: The environment in use; this is made in the thread that writes to it.
        environment: A new, empty one, which the caller closes.
        is_lossy: Copy what can be read of a value that is unreadable; else that is an error.
    """

    def __init__(
        self, handles: Handles, environment: Environment, *, is_lossy: bool = False
    ) -> None:
        self._is_lossy = is_lossy
        self.environment = environment
        self._sources = handles.databases()
        with environment.begin(write=True) as txn:
            self._targets = {name: environment.open_db(name, txn=txn) for name in self._sources}

    def catch_up(self, txn: Transaction, bytes_max: int) -> tuple[int, bool]:
        """Copy about `bytes_max` bytes of the missing entries, durably.

        Args:
            txn: A read transaction of the environment in use, with buffers.

        Returns:
            About how many bytes were copied, and whether the duplicate has now all that
            the transaction can see.
        """
        copied = 0
        with self.environment.begin(write=True) as target:
            for name, source in self._sources.items():
                if b"/" in name:
                    left = bytes_max - copied
                    copied += _catch_up(
                        txn, source, target, self._targets[name], left, is_lossy=self._is_lossy
                    )
            is_complete = copied < bytes_max
            if is_complete:  # accounts and positions with all that they are of
                for name, source in self._sources.items():
                    if b"/" not in name:
                        _make_equal(txn, source, target, self._targets[name])
        return copied, is_complete

    def check(self, txn: Transaction) -> None:
        """Raises QueueError unless the duplicate looks like what `txn` can see."""
        with self.environment.begin(buffers=True) as target:
            for name, source in self._sources.items():
                if _outline(txn, source) != _outline(target, self._targets[name]):
                    raise QueueError(f"the copy of {name.decode()} differs")


def _catch_up(
    txn: Transaction,
    source: Database,
    target: WriteTransaction,
    copy: Database,
    bytes_max: int,
    *,
    is_lossy: bool,
) -> int:
    """Bytes that were copied; at least `bytes_max` if there may be more to do."""
    entries = txn.cursor(db=source)
    if not entries.first():
        target.drop(copy, delete=False)
        return 0
    copies = target.cursor(db=copy)
    head = bytes(entries.key())
    # Entries that left the source since the last step lie at the head of the copy.
    while copies.first() and copies.key() < head:
        copies.delete()
    copied = 0
    more = True
    # Values never change, so whatever the copy has needs no second look: go on behind it.
    if copies.last():
        more = entries.set_range(copies.key())
        if more and bytes(entries.key()) == copies.key():
            more = entries.next()
    while more and copied < bytes_max:
        value = entries.value()
        if isinstance(value, Unreadable) and not is_lossy:
            number = int.from_bytes(entries.key(), "big")
            raise QueueError(f"what is stored from {number} on cannot be read: {value.reason}")
        target.put(entries.key(), value, db=copy, append=True)
        copied += len(value) + _CURSOR_ENTRY_BYTES
        more = entries.next()
    if more:
        return max(copied, bytes_max)
    # A quarantine loses entries anywhere, which its ends do not show; only its size does.
    if target.stat(copy)["entries"] != txn.stat(source)["entries"]:
        _delete_others(txn, source, target, copy)
    if target.stat(copy)["entries"] != txn.stat(source)["entries"]:
        # An entry came before others: a history whose queue's numbers began anew.  Once more.
        target.drop(copy, delete=False)
        return bytes_max
    return copied


def _delete_others(
    txn: Transaction, source: Database, target: WriteTransaction, copy: Database
) -> None:
    """Delete the keys of the copy that the source has not; both go on in order."""
    entries, copies = txn.cursor(db=source), target.cursor(db=copy)
    has_entry, has_copy = entries.first(), copies.first()
    while has_copy:
        key = bytes(entries.key()) if has_entry else None
        if key is not None and key < copies.key():
            has_entry = entries.next()
        elif key == copies.key():
            has_entry, has_copy = entries.next(), copies.next()
        else:
            has_copy = copies.delete() and bool(copies.key())


def _make_equal(
    txn: Transaction, source: Database, target: WriteTransaction, copy: Database
) -> None:
    wanted = {bytes(key): bytes(value) for key, value in txn.cursor(db=source)}
    there = {bytes(key): bytes(value) for key, value in target.cursor(db=copy)}
    for key in there.keys() - wanted.keys():
        target.delete(key, db=copy)
    for key, value in wanted.items():
        if there.get(key) != value:
            target.put(key, value, db=copy)


def _outline(txn: Transaction, database: Database) -> tuple[object, ...]:
    """The number of entries, the first key and the last one."""
    cursor = txn.cursor(db=database)
    first = bytes(cursor.key()) if cursor.first() else None
    return txn.stat(database)["entries"], first, bytes(cursor.key()) if cursor.last() else None
