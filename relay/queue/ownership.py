"""A queue's directory: made, owned by one process, its names made durable."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from relay.model.errors import QueueError, QueueInUse

__all__ = ["hold_existing", "sync_names", "take_ownership"]


def take_ownership(path: str) -> int:
    """Make the directory `path` if need be, and lock it for this process.

    Returns:
        The descriptor that holds the lock; closing it lets others have the queue.

    Raises:
        QueueInUse: Another process has it.
        QueueError: It cannot be made or locked.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        fd = os.open(os.path.join(path, "owner.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise QueueError(
            f"queue {path}: {error.strerror}; it has to be a directory "
            f"that user {os.geteuid()} may write to"
        ) from error
    _lock(fd, path, "stop that relay or give this one another state_dir")
    with suppress(OSError):  # a full disk must not keep a queue from being drained
        os.ftruncate(fd, os.pwrite(fd, b"%d\n" % os.getpid(), 0))
    return fd


def hold_existing(path: str) -> int:
    """Keep relays away from the queue in `path` while somebody looks into it.

    Makes no file: it would belong to whoever looks, and the relay could not use it.

    Returns:
        The descriptor that holds the lock.

    Raises:
        QueueInUse: A relay has it.
        QueueError: There is no queue, or it may not be read.
    """
    if not os.path.exists(os.path.join(path, "data.mdb")):
        raise QueueError(f"queue {path}: there is none, or you may not see it")
    try:
        try:
            fd = os.open(os.path.join(path, "owner.lock"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # a copy, for example
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise QueueError(
            f"queue {path}: {error.strerror}; look as the relay's user, or as root"
        ) from error
    _lock(fd, path, "stop that relay, or ask it through its control socket")
    return fd


def _lock(fd: int, path: str, what_to_do: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise QueueInUse(f"queue {path} is in use by process {owner}; {what_to_do}") from error
    except OSError as error:
        os.close(fd)
        raise QueueError(f"queue {path}: it cannot be locked: {error.strerror}") from error


def sync_names(path: str) -> None:
    """Make the names of new files durable; LMDB syncs only what is in them."""
    for directory in (path, os.path.dirname(os.path.abspath(path))):
        with suppress(OSError):  # not every file system can, and we may not read every one
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
