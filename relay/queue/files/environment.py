"""LMDB's environments, opened as the queue needs them: the only module that calls lmdb."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import lmdb

from relay.model.errors import QueueError, QueueFormatError, QueueFull, StorageFailed
from relay.queue.files.format import make_queue, settle_format
from relay.queue.files.ownership import Ownership, why_refused

_DATABASES_MAX = 2048

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""There is no room: on the disk, for this user, or in one file."""

_PROBE = "probe"
_PROBE_BYTES_MIN, _PROBE_BYTES_MAX = 64 * 1024, 32 * 1024 * 1024
_FULL_MESSAGES = tuple(map(os.strerror, FULL))


@contextmanager
def opening(path: str, ownership: Ownership) -> Iterator[None]:
    """Release the queue if it cannot be opened, with a QueueError that says why."""
    try:
        yield
    except BaseException as error:
        ownership.release()
        if isinstance(error, lmdb.Error | OSError):
            reason = error.strerror if isinstance(error, OSError) else error
            if os.strerror(errno.EACCES) in str(reason):
                reason = why_refused(path) or reason
            raise QueueError(f"queue {path}: {reason}") from error
        raise


def open_environment(path: str, map_bytes: int, **options: bool) -> lmdb.Environment:
    """The environment in the directory `path`; QueueFormatError if LMDB does not know it."""
    try:
        return lmdb.open(
            path,
            map_size=map_bytes,
            max_dbs=_DATABASES_MAX,
            max_readers=126,
            mode=0o600,
            readahead=False,  # a queue is read once, from one end
            **options,
        )
    except (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError) as error:
        raise QueueFormatError(
            f"queue {path}: data.mdb is not an LMDB file that can be read ({error}); "
            "it was left as it is: move it away to start with an empty queue"
        ) from error


def check_format(environment: lmdb.Environment, path: str, *, read_only: bool = False) -> None:
    """Make sure that this is a queue of our format, or nothing yet, before any change.

    A queue of an older format is migrated, unless it is opened read-only.
    """
    with environment.begin() as txn:
        empty = not txn.cursor().first()
    found: bytes | None = None
    with suppress(lmdb.NotFoundError, lmdb.IncompatibleError):
        meta = None if empty else environment.open_db(b"meta", create=False)
        with environment.begin(db=meta) as txn:
            found = None if empty else txn.get(b"format")
    if empty:
        make_queue(environment)
    else:
        settle_format(environment, path, found, read_only=read_only)


@contextmanager
def our_errors(
    what: str = "nothing can be stored", path: str | None = None, wanted_bytes: int = 0
) -> Iterator[None]:
    """Turn LMDB's exceptions into ours.

    Args:
        what: What an error means.
        path: Directory of the queue; None = do not look there for the true reason.
        wanted_bytes: How much is to be written.
    """
    try:
        yield
    except lmdb.PanicError:
        raise  # LMDB is done for until it is opened again: not for another try
    except lmdb.MapFullError as error:
        raise QueueFull(f"{what}: the queue's map is full") from error
    except lmdb.Error as error:
        reason = reason_of(str(error), path, wanted_bytes)
        is_full = isinstance(error, lmdb.DiskError) or says_full(reason)
        raise (QueueFull if is_full else StorageFailed)(f"{what}: {reason}") from error


def says_full(reason: str) -> bool:
    """Whether `reason` is that there is no room."""
    return reason.startswith(_FULL_MESSAGES)


def reason_of(message: str, path: str | None, wanted_bytes: int) -> str:
    """Why `wanted_bytes` could not be written in the directory `path`.

    LMDB says "Input/output error" whenever the system wrote less than it should, which is what
    a full disk or a quota makes it do.  The true reason comes with the next write.

    Args:
        message: What LMDB said, as in ``mdb_txn_commit: Input/output error``.
        path: None = the message has to do.
    """
    message = message.rpartition(": ")[2]
    if path is None or message != os.strerror(errno.EIO):
        return message
    found = _find_out(path, min(max(2 * wanted_bytes, _PROBE_BYTES_MIN), _PROBE_BYTES_MAX))
    return os.strerror(found) if found else message


def _find_out(path: str, wanted_bytes: int) -> int:
    """The number of the error that a write of that size meets; 0 = none."""
    try:
        disk = os.statvfs(path)
        free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
        if free * disk.f_frsize < wanted_bytes:
            return errno.ENOSPC
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = os.stat(os.path.join(path, "data.mdb")).st_size
        if limit != resource.RLIM_INFINITY and size + wanted_bytes > limit:
            return errno.EFBIG
        _probe(os.path.join(path, _PROBE), wanted_bytes)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _probe(name: str, size: int) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with suppress(OSError):  # at once, so that a crash leaves nothing behind
            os.unlink(name)
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, b"probe", 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def library_version() -> str:
    """That of LMDB itself, not of its module for Python."""
    return ".".join(map(str, lmdb.version()))
