"""The true reason why a write failed, in the words of the system.

LMDB says "Input/output error" whenever the system wrote less than it should, which is what
a full disk or a quota makes it do.  The true reason comes with the next write.
"""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""There is no room: on the disk, for this user, or in one file."""

_PROBE = "probe"
_PROBE_BYTES_MIN, _PROBE_BYTES_MAX = 64 * 1024, 32 * 1024 * 1024
_FULL_WORDS = tuple(map(os.strerror, FULL))


def says_full(reason: str) -> bool:
    """Whether `reason` is that there is no room."""
    return reason.startswith(_FULL_WORDS)


def reason_of(words: str, path: str | None, wanted_bytes: int) -> str:
    """Why `wanted_bytes` could not be written in the directory `path`.

    Args:
        words: What LMDB said, as in ``mdb_txn_commit: Input/output error``.
        path: None = those words have to do.
    """
    words = words.rpartition(": ")[2]
    if path is None or words != os.strerror(errno.EIO):
        return words
    found = _find_out(path, min(max(2 * wanted_bytes, _PROBE_BYTES_MIN), _PROBE_BYTES_MAX))
    return os.strerror(found) if found else words


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
