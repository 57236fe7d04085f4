"""Find the files that match a path with wildcards."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from relay.model.text import printable
from relay.wire.wildcard import ANY_DEPTH, Step, parse_wildcard

Identity = tuple[int, int]
"""Device and inode."""

_DIRECTORIES_MAX = 10_000  # of one search
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


@dataclass(slots=True)
class Found:
    files: dict[Identity, str] = field(default_factory=dict)
    """Regular files; of several paths to one file the first in alphabetical order."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Unreadable paths, each with the reason and the remedy."""
    errors: int = 0
    """Number of `problems` that are errors of the system: permissions, a failing disk."""


class FileSearch:
    """Looks for files, and opens them.

    A user with write access to the searched directory could link to a file that only the
    relay may read.  So a path that leads out of the fixed part of the wildcard's directories
    is a problem, unless `follow_symlinks` is set; links within it are followed, but not to
    directories below ``**``.

    Every directory that a wildcard stands in is listed, and every file that matches
    is looked at (stat): a few microseconds each.  On a network file system whose
    server is away that blocks, like everything about such files.

    Args:
        path: Absolute, with wildcards.
        follow_symlinks: Wherever they lead.
    """

    def __init__(self, path: str, *, follow_symlinks: bool = False) -> None:
        self._steps = parse_wildcard(path)
        fixed = itertools.takewhile(_is_name, self._steps[:-1])
        self._directory = os.path.join("/", *map(str, fixed))
        self._follow_symlinks = follow_symlinks

    def run(self) -> Found:
        """Look now."""
        found = Found()
        folders: dict[str, str] = {}
        for path in sorted(self._paths(found)):
            try:
                status = os.stat(path)
                outside = self._outside(path, folders)
            except OSError as error:
                _note(found, path, error)
                continue
            if outside:
                found.problems.append((path, outside))
            elif stat.S_ISREG(status.st_mode):
                found.files.setdefault(identity_of(status), path)
            else:
                found.problems.append((path, _unfit(status.st_mode)))
        return found

    def open(self, path: str) -> int:
        """Open a regular file for reading, and nothing else that may have taken its place.

        Raises:
            OSError: It cannot be opened, is something else, or lies outside.
        """
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise OSError(errno.EINVAL, _unfit(mode))
            # Of what is open the kernel says where it is; the path may lead elsewhere by now.
            outside = self._refusal(os.path.realpath(f"/proc/self/fd/{fd}"))
            if outside:
                raise OSError(errno.EPERM, outside)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _outside(self, path: str, folders: dict[str, str]) -> str:
        """Why a path out of the directory is not read; empty if it stays inside.

        Args:
            folders: Resolved directories, cached for one search.
        """
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        target = os.path.join(folders[folder], name)
        return self._refusal(os.path.realpath(target) if os.path.islink(target) else target)

    def _refusal(self, target: str) -> str:
        directory = os.path.join(os.path.realpath(self._directory), "")
        if self._follow_symlinks or target.startswith(directory):
            return ""
        return (
            f"leads to {printable_path(target)}, outside of {printable_path(self._directory)}; "
            "if that is intended, set follow_symlinks = true"
        )

    def _paths(self, found: Found) -> Iterator[str]:
        waiting: list[tuple[str, tuple[Step, ...]]] = [("/", self._steps)]
        directories = 0
        while waiting:
            folder, steps = waiting.pop()
            step, rest = steps[0], steps[1:]
            if isinstance(step, str) and step != ANY_DEPTH:
                path = os.path.join(folder, step)
                if rest:
                    waiting.append((path, rest))
                else:
                    yield path
                continue
            directories += 1
            if directories > _DIRECTORIES_MAX:
                text = f"more than {_DIRECTORIES_MAX:,} directories to search; narrow the wildcard"
                found.problems.append((folder, text))
                return
            if step == ANY_DEPTH:
                waiting.append((folder, rest))
            for entry in _entries(folder, found):
                if step == ANY_DEPTH:
                    # Links could lead round in circles.
                    is_own = _is_directory(entry, follow_symlinks=False)
                    if is_own and not entry.name.startswith("."):
                        waiting.append((entry.path, steps))
                elif not isinstance(step, str) and step(entry.name):
                    if not rest:
                        yield entry.path
                    elif _is_directory(entry):
                        waiting.append((entry.path, rest))


def _is_name(step: Step) -> bool:
    return isinstance(step, str) and step != ANY_DEPTH


def identity_of(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def inodes_in(folder: str) -> dict[int, str]:
    """Paths in `folder` by inode; empty if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return {entry.inode(): entry.path for entry in entries}
    except OSError:
        return {}


def _entries(folder: str, found: Found) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        _note(found, folder, error)
        return []


def _is_directory(entry: os.DirEntry[str], *, follow_symlinks: bool = True) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_symlinks)
    except OSError:
        return False


def _note(found: Found, path: str, error: OSError) -> None:
    if error.errno not in _ABSENT:
        found.problems.append((path, unreadable(error)))
        found.errors += 1


def unreadable(error: OSError) -> str:
    """Why a file cannot be read, and the remedy."""
    reason = error.strerror or str(error)
    if error.errno == errno.EACCES:
        return f"{reason}; let the relay's user read it, with a group such as adm for example"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{reason}; raise the limit of open files (LimitNOFILE= in the systemd unit)"
    return reason


def printable_path(path: str) -> str:
    """`path` without surrogates and control characters."""
    return printable(os.fsencode(path), length_max=None)


def _unfit(mode: int) -> str:
    kind = next((name for test, name in _KINDS if test(mode)), "no regular file")
    return f"is {kind}, and only regular files are read; narrow the wildcard"
