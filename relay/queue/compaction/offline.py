"""Make a queue's file as small as its contents, while no relay works with it.

LMDB uses free pages again but never gives them back.  The copy without them is read
back and compared before it takes the place of the file, in one rename; a crash leaves
one or the other.
"""

from __future__ import annotations

import os
import shutil

from relay.model.errors import QueueError
from relay.queue.files.ownership import sync_names
from relay.queue.repair.replace import COMPACTED
from relay.queue.store import QueueStore


def compact_queue(path: str) -> tuple[int, int]:
    """Compact the queue in directory `path`, which no relay has open.

    Returns:
        Bytes that the file took on the disk before, and takes now.

    Raises:
        QueueInUse: A relay has it; stop that first.
        QueueError: It cannot be done; the queue is as it was.
    """
    store = QueueStore.open_read_only(path)
    file, folder = os.path.join(path, "data.mdb"), os.path.join(path, COMPACTED)
    copy = os.path.join(folder, "data.mdb")
    try:
        before = os.stat(file)
        shutil.rmtree(folder, ignore_errors=True)  # of one that was interrupted
        os.mkdir(folder, 0o700)
        _copy(store, copy, before)
        _compare(store, folder)
        os.rename(copy, file)
        sync_names(path)
        return before.st_blocks * 512, os.stat(file).st_blocks * 512
    except OSError as error:
        raise QueueError(
            f"queue {path}: it cannot be compacted: {error}; it is as it was"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        store.close()


def _copy(store: QueueStore, copy: str, original: os.stat_result) -> None:
    fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.geteuid() == 0:  # or the relay's user could not open it
            os.fchown(fd, original.st_uid, original.st_gid)
        os.fchmod(fd, original.st_mode & 0o777)
        with store.writing() as handles:
            handles.guard.verify_rest(handles.environment)  # before LMDB reads it all
            handles.environment.copyfd(fd, compact=True)
        os.fsync(fd)
    finally:
        os.close(fd)


def _compare(store: QueueStore, folder: str) -> None:
    copied = QueueStore.open_read_only(folder)
    try:
        same = copied.ledgers == store.ledgers
    finally:
        copied.close()
    if not same:
        raise QueueError(f"queue {folder}: the copy differs; the queue is as it was")
