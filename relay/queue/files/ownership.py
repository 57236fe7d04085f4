"""A queue's directory: made, owned by one process, its names made durable."""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from relay.model.errors import QueueError, QueueInUse

_NAME = "owner.lock"
_TRIES = 10
_FOR_A_START = "stop that relay or give this one another state_dir"


class Ownership:
    """The locks on a queue's directory, and on the file `owner.lock` in it.

    A cleaner may remove the file, and a second relay would lock a new one; the directory exists for
    as long as the queue does.  The file holds the process number of the owner.
    """

    def __init__(self, *fds: int) -> None:
        self._fds = fds

    def is_of(self, path: str) -> bool:
        """Whether the directory that is locked is the one at `path`."""
        try:
            found = os.stat(path)
        except OSError:
            return False
        return any(os.path.samestat(os.fstat(fd), found) for fd in self._fds)

    def release(self) -> None:
        """Release the locks."""
        fds, self._fds = self._fds, ()
        for fd in fds:
            os.close(fd)


def take_ownership(path: str) -> Ownership:
    """Make the directory `path` if need be, and lock it for this process.

    Raises:
        QueueInUse: Another process has it.
        QueueError: It cannot be made or locked.
    """
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        os.makedirs(path, mode=0o700, exist_ok=True)
        with _locked_directory(path, _FOR_A_START) as directory:
            file = _locked_file(path, _FOR_A_START)
    except OSError as error:
        raise QueueError(f"queue {path}: {why_refused(path) or error.strerror}") from error
    with suppress(OSError):  # a full disk must not keep a queue from being drained
        os.ftruncate(file, os.pwrite(file, b"%d\n" % os.getpid(), 0))
    return Ownership(directory, file)


def hold_existing(path: str) -> Ownership:
    """Lock relays out of the queue in `path` while it is open read-only.

    Makes no file: it would belong to this user, and the relay might not be able to open it.

    Raises:
        QueueInUse: A relay has it.
        QueueError: There is no queue, or it may not be read.
    """
    if not os.path.exists(os.path.join(path, "data.mdb")):
        raise QueueError(f"queue {path}: there is none, or you may not see it")
    what_to_do = "stop that relay, or ask it through its control socket"
    try:
        with _locked_directory(path, what_to_do) as directory:
            try:
                file = os.open(os.path.join(path, _NAME), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # a copy, for example
                return Ownership(directory)
            _lock(file, path, what_to_do)
    except OSError as error:
        what = why_refused(path) or f"{error.strerror}; look as the relay's user, or as root"
        raise QueueError(f"queue {path}: {what}") from error
    return Ownership(directory, file)


def owner_text(path: str) -> str:
    """Which other process has the queue in `path`, and what to do; empty = none that we see."""
    with suppress(QueueError, OSError):
        try:
            with _locked_directory(path, _FOR_A_START) as directory:
                os.close(directory)
        except QueueInUse as error:
            return str(error)
    return ""


def owner_of(path: str) -> int:
    """Number of the process that had the queue in `path` last, as its file says; 0 = unknown.

    It may have ended: the number stays in the file.
    """
    try:
        with open(os.path.join(path, _NAME), encoding="ascii") as file:
            return max(0, int(file.read(20)))
    except (OSError, ValueError):
        return 0


@contextmanager
def _locked_directory(path: str, what_to_do: str) -> Iterator[int]:
    """The directory, which stays locked unless the block fails."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _lock(fd, path, what_to_do)
    try:
        yield fd
    except BaseException:
        os.close(fd)
        raise


def _locked_file(path: str, what_to_do: str) -> int:
    """The lock's file, which is still the one with that name when it is locked."""
    name = os.path.join(path, _NAME)
    for _ in range(_TRIES):
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _lock(fd, path, what_to_do)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(name)):
                return fd
        os.close(fd)
    raise QueueError(f"queue {path}: somebody removes {_NAME} again and again; find out who")


def _lock(fd: int, path: str, what_to_do: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise QueueInUse(
            f"queue {path} is in use by process {_owner(path)}; {what_to_do}"
        ) from error
    except OSError as error:
        os.close(fd)
        raise QueueError(f"queue {path}: it cannot be locked: {error.strerror}") from error


def _owner(path: str) -> str:
    """Number of the process that has the locks, as its file or the kernel says."""
    if pid := owner_of(path):
        return str(pid)
    with suppress(OSError), open("/proc/locks", encoding="ascii") as file:
        inode = f":{os.stat(path).st_ino}"
        for line in file:
            fields = line.split()
            if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(inode):
                return fields[4]
    return "unknown"


def why_refused(path: str) -> str:
    """Why this user cannot work in the directory `path`, and what helps; empty = unknown."""
    above = os.path.dirname(os.path.abspath(path))
    names = [os.path.join(path, name) for name in ("data.mdb", "lock.mdb", _NAME)]
    for place in (os.path.dirname(above), above, path):
        if os.path.exists(place) and not os.path.isdir(place):
            return f"{place} is a file, and has to be a directory: move it away"
    there = [place for place in (above, path, *names) if os.path.lexists(place)]
    for place in there or [os.path.dirname(above)]:
        wanted = os.R_OK | os.W_OK | (os.X_OK if os.path.isdir(place) else 0)
        if not os.access(place, wanted, effective_ids=True):
            with suppress(OSError):
                found = os.stat(place)
                owner, user = user_name(found.st_uid), user_name(os.geteuid())
                return (
                    f"{place} is owned by {owner} (mode {stat.S_IMODE(found.st_mode):04o}), and "
                    f"user {user} may not write to it: run the relay as {owner}, or let {user} "
                    "own it"
                )
    return ""


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def sync_names(path: str) -> None:
    """Make the names of new files durable; LMDB syncs only what is in them."""
    for directory in (path, os.path.dirname(os.path.abspath(path))):
        with suppress(OSError):  # not every file system can, and we may not read every one
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
