"""Write a backup: an LMDB environment of its own, filled from the steps of a copy.

    backup/data.mdb       the queues, as one transaction of the relay saw them
    backup/backup.json    when and of what it was made

It is written in a directory beside its place, synced, verified, and renamed when it is complete;
whatever interrupts it leaves that directory, which the next attempt replaces.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from relay.model.errors import QueueError
from relay.model.text import size
from relay.queue.files.environment import open_environment, our_errors
from relay.queue.files.ownership import sync_names
from relay.queue.files.trees import Database, Environment, WriteTransaction
from relay.queue.inspect.copying import (
    STEP_BYTES,
    STEP_BYTES_MAX,
    CopiedTree,
    CopyFrom,
    CopyPage,
)
from relay.queue.repair.verify import verify

NOTE = "backup.json"
PARTIAL = ".partial"
_MAP_SLACK_BYTES = 4 * 1024**3  # for what comes while it is written; the file is not that large
_ROOM_BYTES = 8 * 1024 * 1024
_RESTARTS_MAX = 20
_SYNC_BYTES = 8 * 1024 * 1024
"""Much more at once would make commits of the relay wait, where both are on one disk."""
_RATE_FLOOR = 64 * 1024
_TIMES_MAX, _MORE_BYTES_MAX = 4, 256 * 1024 * 1024
"""How much may be copied in all: so many times what there was at first, and so much more."""


class BackupNote(msgspec.Struct):
    """Facts about a backup beside its contents."""

    made_at: float
    """Seconds since 1970-01-01 UTC."""
    state_dir: str
    software: str
    records: dict[str, int]
    """How many records wait in each queue."""
    unreadable: list[str] = []
    """Values that the disk did not return; they count as damaged when their turn comes."""


class Pace:
    """Keeps the mean rate of a copy below a limit.

    Args:
        bytes_per_second: 0 = no limit.
        clock: Seconds, monotonic.
        sleep: Waits so many seconds.
    """

    def __init__(
        self, bytes_per_second: float, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._rate = max(bytes_per_second, _RATE_FLOOR) if bytes_per_second else 0.0
        self._clock, self._sleep = clock, sleep
        self._free_at = clock()

    def release(self) -> None:
        """No limit from now on."""
        self._rate = 0.0

    def spend(self, count: int) -> None:
        """`count` bytes were copied: wait as long as they may take."""
        if not self._rate:
            return
        now = self._clock()
        # What was not used before does not add up to a burst.
        self._free_at = max(self._free_at, now) + count / self._rate
        self._sleep(self._free_at - now)


class Place:
    """The directory in which a backup is written, locked against another one.

    Attributes:
        folder: Its path.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in os.listdir(folder):  # of an attempt that was interrupted
                os.unlink(os.path.join(folder, name))
        except BlockingIOError as error:
            self.unlock()
            raise QueueError(f"{folder}: another backup is being written there") from error
        except OSError as error:
            self.unlock()
            raise QueueError(
                f"{folder} is no unfinished backup ({error.strerror}); move it away"
            ) from error

    def unlock(self) -> None:
        """Let it be opened as a queue, which locks it too."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


@contextmanager
def place_for(path: str, wanted_bytes: int) -> Iterator[Place]:
    """An empty directory that is renamed to `path` at the end, or removed after an error.

    Args:
        wanted_bytes: What the disk has to have room for.

    Raises:
        QueueError: There is something at `path`, no room, or another backup at work.
    """
    path = os.path.abspath(path)
    partial = path + PARTIAL
    if os.path.lexists(path):
        raise QueueError(f"{path} is there already; name a directory that is not")
    try:
        fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise QueueError(f"{os.path.dirname(path)}: {error.strerror}; make it first") from error
    try:
        place = Place(partial)
        try:
            _require_room(partial, wanted_bytes)
            yield place
            if os.path.lexists(path):  # a rename would replace an empty directory
                raise QueueError(f"{path} is there by now; name a directory that is not")
            os.rename(partial, path)
            os.fsync(fd)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        finally:
            place.unlock()
    except OSError as error:
        raise QueueError(f"{path}: the backup failed: {error.strerror or error}") from error
    finally:
        os.close(fd)


def _require_room(folder: str, wanted_bytes: int) -> None:
    disk = os.statvfs(folder)
    if (free := disk.f_bavail * disk.f_frsize) < wanted_bytes + _ROOM_BYTES:
        raise QueueError(
            f"{folder}: the backup takes about {size(wanted_bytes)}, and the disk has "
            f"{size(free)}; make room, or choose another disk"
        )


def write_note(folder: str, note: BackupNote) -> None:
    """Add the note, and make the directory durable.

    Raises:
        OSError: The disk is full or failing.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(os.path.join(folder, NOTE), flags, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(note)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    sync_names(folder)


class Course:
    """Brings a copy to its end though more comes meanwhile.

    Whoever keeps a pace below that of the messages never arrives.  So the pace holds until as much
    was copied as there was at first; then only what came meanwhile is left, and that goes fast.

    Args:
        used_bytes: About how much there was at first.

    Attributes:
        copied_bytes: So far.
        step_bytes: What to ask for.
    """

    def __init__(self, used_bytes: int, pace: Pace) -> None:
        self.copied_bytes = 0
        self.step_bytes = STEP_BYTES
        self._used_bytes = used_bytes
        self._pace = pace

    def step(self, count: int) -> None:
        """`count` bytes were copied, and it is not complete.

        Raises:
            QueueError: It will not be.
        """
        self.copied_bytes += count
        if self.copied_bytes > _TIMES_MAX * self._used_bytes + _MORE_BYTES_MAX:
            raise QueueError(
                "messages come faster than they can be copied; try again when fewer come, or "
                "with the backup on another disk"
            )
        if self.copied_bytes >= self._used_bytes:
            self._pace.release()
            self.step_bytes = STEP_BYTES_MAX
        self._pace.spend(count)


class BackupWriter:
    """Fills the environment in the directory `folder`.

    Args:
        used_bytes: About how much there is to copy.

    Attributes:
        unreadable: Values that the disk did not return.
    """

    def __init__(self, folder: str, used_bytes: int) -> None:
        self.unreadable: list[str] = []
        self._folder = folder
        self._copied: dict[str, bytes] = {}  # the last key of each tree
        self._trees: dict[str, Database] = {}
        self._restarts = 0
        self._unsynced_bytes = 0
        with our_errors("the backup cannot be written", folder):
            # Not after each step: until the end it has no name that anybody trusts.
            self._environment: Environment = open_environment(
                folder, 2 * used_bytes + _MAP_SLACK_BYTES, sync=False
            )

    def wanted(self, bytes_max: int = STEP_BYTES) -> CopyFrom:
        """The next request."""
        return CopyFrom(dict(self._copied), bytes_max)

    def write(self, page: CopyPage) -> tuple[int, bool]:
        """Add a step.

        Returns:
            About how many bytes came, and whether the backup is complete.

        Raises:
            QueueError: The disk is full or failing, or the queue changes too fast.
        """
        count = 0
        anew = []
        with our_errors("the backup cannot be written", self._folder):
            for name in (*page.trees, *page.whole):
                self._open(name)
            with self._environment.begin(write=True) as txn:
                for name, tree in page.trees.items():
                    count += self._add(txn, name, tree)
                    there = txn.stat(self._trees[name])["entries"]
                    if page.is_complete and there != tree.entries:
                        anew.append(name)
                for name, entries in page.whole.items() if not anew else ():
                    for key, value in entries:
                        txn.put(key, value, db=self._trees[name])
                # A quarantine loses entries anywhere, and a history may begin anew: once more.
                for name in anew:
                    txn.drop(self._trees[name], delete=False)
                    self._copied.pop(name, None)
            self._unsynced_bytes += count
            if self._unsynced_bytes >= _SYNC_BYTES:
                self._environment.sync(True)
                self._unsynced_bytes = 0
        if anew:
            self._restarts += 1
            if self._restarts > _RESTARTS_MAX:
                raise QueueError(f"{anew[0]} changes faster than it can be copied; try again later")
        return count, page.is_complete and not anew

    def close(self) -> None:
        """Close the environment, unless `finish` did."""
        self._environment.close()

    def finish(self) -> None:
        """Sync the file, close it, and verify it page by page.

        Raises:
            QueueError: It could not be written, or is not what was written.
        """
        with our_errors("the backup cannot be synced", self._folder):
            self._environment.sync(True)
        self._environment.close()
        os.unlink(os.path.join(self._folder, "lock.mdb"))
        if problems := verify(self._folder, fully=True).problems:
            raise QueueError(f"the backup is not what was written: {problems[0]}; see to the disk")

    def _open(self, name: str) -> None:
        if name not in self._trees:
            self._trees[name] = self._environment.open_db(name.encode())

    def _add(self, txn: WriteTransaction, name: str, tree: CopiedTree) -> int:
        database = self._trees[name]
        if not tree.first:
            txn.drop(database, delete=False)
            self._copied.pop(name, None)
            return 0
        cursor = txn.cursor(db=database)
        while cursor.first() and cursor.key() < tree.first:  # these have left since
            cursor.delete()
        count = 0
        for key, value in tree.added:
            txn.put(key, value, db=database)
            self._copied[name] = key
            count += len(value)
        self.unreadable += [f"{name}: {line}" for line in tree.unreadable]
        return count
