"""Files below a fixed directory, opened without following a link there.

The fixed directory is the administrator's, and links that lead to it are followed.  Below it
programs or senders may have been at work: each component is opened relative to the directory
before it, with O_NOFOLLOW.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from relay.queue.files.ownership import user_name
from relay.transport.sockets import make_parents

_UNSAFE = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


class Unsafe(OSError):
    """Something else lies where a file or directory should be; nothing was written."""


@dataclass(frozen=True, slots=True)
class Access:
    """Whose files and directories are that the relay makes, and who may use them."""

    owner: int = -1
    """A user id; -1 = the user that the relay runs as."""
    group: int = -1
    """A group id; -1 = as the directory or the relay's user has it."""
    mode: int = 0o640
    directory_mode: int = 0o750

    def give(self, fd: int, mode: int) -> None:
        """Apply to what was just made."""
        if (self.owner, self.group) != (-1, -1):
            try:
                os.fchown(fd, self.owner, self.group)
            except PermissionError as error:
                user = user_name(os.geteuid())
                # Another errno: the remedy for a lack of permissions would not help.
                raise OSError(
                    errno.EOPNOTSUPP,
                    f"{error.strerror}: user {user} may not give files to another owner, or to a "
                    f"group that {user} is not a member of; add {user} to the group, or leave "
                    "owner and group out",
                ) from error
        os.fchmod(fd, mode)


@contextlib.contextmanager
def directory_of(root: str, name: str, access: Access | None = None) -> Iterator[int]:
    """The open directory that holds the file `name`, a path below `root`.

    Args:
        access: Of missing directories, which are made; None = they are an error.

    Raises:
        Unsafe: A component is a link, or no directory.
        OSError: As from the system.
    """
    fd = os.open(root, _DIRECTORY)
    try:
        for component in name.split("/")[:-1]:
            inner = _directory_in(fd, component, access)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _directory_in(fd: int, name: str, access: Access | None) -> int:
    flags = _DIRECTORY | os.O_NOFOLLOW
    with _is_unsafe():
        try:
            return os.open(name, flags, dir_fd=fd)
        except FileNotFoundError:
            if access is None:
                raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=fd)
        inner = os.open(name, flags, dir_fd=fd)
        try:
            access.give(inner, access.directory_mode)
            os.fsync(fd)
        except OSError:
            os.close(inner)
            raise
        return inner


def open_file(directory: int, name: str) -> int:
    """Open a file of a directory for appending.

    Raises:
        FileNotFoundError: There is none.
        Unsafe: It is a link, a pipe or something else that is no file.
        OSError: As from the system.
    """
    with _is_unsafe():
        # A pipe that nobody reads would keep the thread waiting.
        fd = os.open(name, APPENDING | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Unsafe(errno.ENXIO, "is no regular file")
    return fd


def make_file(directory: int, name: str, access: Access) -> int:
    """Make a file in a directory and open it for appending; its name is durable then.

    Raises:
        OSError: As from the system; there is something of that name, for example.
    """
    flags = APPENDING | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL
    fd = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        access.give(fd, access.mode)
        os.fsync(directory)
    except OSError:
        os.close(fd)
        with contextlib.suppress(OSError):  # the first error is the one to report
            os.unlink(name, dir_fd=directory)
        raise
    return fd


def make_root(root: str, access: Access) -> None:
    """Make the fixed directory if it is missing, and look whether files can be made in it.

    Raises:
        OSError: They cannot.
    """
    if not os.path.isdir(root):
        make_parents(os.path.join(root, "file"))
        fd = os.open(root, _DIRECTORY)
        try:
            access.give(fd, access.directory_mode)
        finally:
            os.close(fd)
    if not os.access(root, os.W_OK | os.X_OK, effective_ids=True):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def _is_unsafe() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _UNSAFE:
            raise Unsafe(error.errno, "is a link, or not what belongs there") from error
        raise
