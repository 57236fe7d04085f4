"""Restore a backup into a state directory that has no queue.

The queue keeps the ids of its lineages, and the next start begins a new epoch in each.  That tells
a receiver of another relay which records it has already (`relay/wire/relp/lineage.py`): what it
has from before the backup is not sent again; if it has more than the backup, or knows another
epoch, the relay notices, takes a new lineage, and sends what waits once more.  The id by which
relays recognise their own messages is not restored: a copy must not take those of the original
for its own.  The lineages are marked as those of a copy, since a log answers nothing: what reads it
would drop new records that have numbers of old ones, so for a log the relay takes a new lineage.
"""

from __future__ import annotations

import os
import shutil
from typing import NamedTuple

import msgspec

from relay.model.errors import QueueError, QueueFormatError
from relay.model.text import size
from relay.queue.backup.writing import NOTE, BackupNote
from relay.queue.files.environment import open_environment, our_errors
from relay.queue.files.ownership import sync_names, take_ownership
from relay.queue.lineage import SENT, Lineage
from relay.queue.positions import sealed, unsealed
from relay.queue.repair.compatibility import examine
from relay.queue.repair.verify import verify

_PIECE_BYTES = 1024 * 1024
_MAP_SLACK_BYTES = 1024**3
_NOTE_BYTES_MAX = 16 * 1024 * 1024
_OWN_ID = b"/relay/id"
_LINEAGES = f"{SENT}/".encode()
_MAY_BE_THERE = {"owner.lock", "lock.mdb", "headroom", "new", "given-up"}


class Restored(NamedTuple):
    """A restored queue."""

    note: BackupNote
    size: int
    """Of the file, in bytes."""


def restore_queue(backup: str, path: str) -> Restored:
    """Make the queue in directory `path` from a backup, which stays as it is.

    Raises:
        QueueFormatError: The backup is of a newer version, or damaged.
        QueueInUse: A relay works with the directory.
        QueueError: There is a queue, no backup or no room, or the disk fails.
    """
    note = _note_of(backup)
    found = examine(backup)
    if not found.can_open or found.state == "none":
        raise QueueFormatError(found.text)
    if problems := verify(backup, fully=True).problems:
        raise QueueFormatError(
            f"backup {backup} is damaged ({problems[0]}); use another one. What can be read of it "
            "is recovered by a relay without strict_queue whose state directory has a copy of "
            "data.mdb as queue/data.mdb"
        )
    ownership = take_ownership(path)
    try:
        if others := sorted(set(os.listdir(path)) - _MAY_BE_THERE):
            raise QueueError(
                f"queue {path} is not empty, there is {others[0]}; move the directory away, or "
                "restore into another state directory"
            )
        count = _place(backup, path)
    except OSError as error:
        raise QueueError(f"queue {path}: not restored: {error.strerror or error}") from error
    finally:
        ownership.release()
    return Restored(note, count)


def _note_of(backup: str) -> BackupNote:
    path = os.path.join(backup, NOTE)
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(_NOTE_BYTES_MAX), type=BackupNote)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise QueueError(
            f"{backup} is no backup of `syslogrelay queue backup`: {NOTE}: {reason}"
        ) from error


def _place(backup: str, path: str) -> int:
    """Copy the file, change what must not be the same, and let it have its name."""
    new = os.path.join(path, "new")
    shutil.rmtree(new, ignore_errors=True)
    os.mkdir(new, 0o700)
    try:
        count = _copy(os.path.join(backup, "data.mdb"), os.path.join(new, "data.mdb"))
        _begin_anew(new, count)
        os.unlink(os.path.join(new, "lock.mdb"))
        if problems := verify(new, fully=True).problems:
            raise QueueError(f"queue {path}: the copy is damaged ({problems[0]}); see to the disk")
        _give_to_owner(path, new)
        if os.path.exists(os.path.join(path, "lock.mdb")):  # of another file; it would lie
            os.unlink(os.path.join(path, "lock.mdb"))
        os.rename(os.path.join(new, "data.mdb"), os.path.join(path, "data.mdb"))
    finally:
        shutil.rmtree(new, ignore_errors=True)
    sync_names(path)
    return count


def _copy(source: str, target: str) -> int:
    count = os.stat(source).st_size
    disk = os.statvfs(os.path.dirname(target))
    if (free := disk.f_bavail * disk.f_frsize) < count:
        raise QueueError(f"the backup has {size(count)}, and the disk has {size(free)}; make room")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(source, "rb") as reading, open(os.open(target, flags, 0o600), "wb") as writing:
        while piece := reading.read(_PIECE_BYTES):
            writing.write(piece)
        writing.flush()
        os.fsync(writing.fileno())
    return count


def _begin_anew(folder: str, file_bytes: int) -> None:
    """Forget who the relay was, and mark the lineages."""
    with our_errors("the queue cannot be restored", folder):
        environment = open_environment(folder, file_bytes + _MAP_SLACK_BYTES)
        try:
            positions = environment.open_db(b"positions")
            with environment.begin(write=True) as txn:
                txn.delete(_OWN_ID, db=positions)
                cursor = txn.cursor(db=positions)
                more = cursor.set_range(_LINEAGES)
                while more and (key := bytes(cursor.key())).startswith(_LINEAGES):
                    if (marked := _marked(key, bytes(cursor.value()))) is not None:
                        cursor.put(key, marked)
                    more = cursor.next()
        finally:
            environment.close()


def _marked(key: bytes, value: bytes) -> bytes | None:
    """The history of a queue, with a note that the original has sent other records since."""
    lineage = Lineage.decode(unsealed(key, value))
    if lineage is None:
        return None
    return sealed(key, msgspec.structs.replace(lineage, is_copy=True).encode())


def _give_to_owner(path: str, new: str) -> None:
    """As root: the files belong to the owner of the state directory, who runs the relay."""
    if os.geteuid() != 0:
        return
    owner = os.stat(os.path.dirname(path))
    for name in (path, *(os.path.join(path, each) for each in os.listdir(path) if each != "new")):
        os.chown(name, owner.st_uid, owner.st_gid)
    os.chown(os.path.join(new, "data.mdb"), owner.st_uid, owner.st_gid)
