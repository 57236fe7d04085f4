"""Replace the data file atomically: a missing one, or a damaged one.

The new file is made in the directory `new` beside the old one and renamed when it is
complete and synced.  Whatever happens meanwhile, the next start finds the old one, or
the new one.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from relay.model.errors import QueueError, QueueFormatError
from relay.queue.files.ownership import sync_names
from relay.queue.files.trees import Environment
from relay.queue.repair.salvage import Salvaged, salvage
from relay.queue.repair.verify import opened_file

_Filled = TypeVar("_Filled")

COMPACTED = "compacted"
"""Directory in which a smaller file is made."""

DAMAGED_FILES_MAX = 16
"""A disk that damages a file at each start must not fill up with copies."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """The replacement of a damaged file."""

    kept_as: str
    """Path of the damaged file, as it was found."""
    problems: list[str]
    salvaged: Salvaged


def damaged_files(path: str) -> list[str]:
    """Paths of the damaged files that were kept in the directory `path`."""
    return sorted(glob.glob(os.path.join(glob.escape(path), "data.mdb.damaged-*")))


def make_file(
    path: str,
    open_environment: Callable[[str], Environment],
    fill: Callable[[Environment], _Filled],
) -> _Filled:
    """Make an environment, have `fill` fill it, and put it in place.  Returns what `fill` does."""
    new = os.path.join(path, "new")
    shutil.rmtree(new, ignore_errors=True)
    os.mkdir(new, mode=0o700)
    try:
        environment = open_environment(new)
        try:
            filled = fill(environment)
        finally:
            environment.close()
        # LMDB's lock file knows the transactions of the old file; for a new one it would lie.
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(path, "lock.mdb"))
        os.rename(os.path.join(new, "data.mdb"), os.path.join(path, "data.mdb"))
    finally:
        shutil.rmtree(new, ignore_errors=True)
    sync_names(path)
    return filled


def remove_unfinished(path: str) -> None:
    """Remove the files of an interrupted compaction from the directory `path`."""
    shutil.rmtree(os.path.join(path, COMPACTED), ignore_errors=True)


def put_in_place(path: str) -> bool:
    """Let the file in the directory `COMPACTED` be that of the queue `path`, in one step.

    An environment may have it open, and another one the file that it replaces.

    Returns:
        Whether the names are durable; False = a power cut may bring the old file back.

    Raises:
        OSError: The old file is still there.
    """
    folder = os.path.join(path, COMPACTED)
    os.rename(os.path.join(folder, "data.mdb"), os.path.join(path, "data.mdb"))
    return _settled(path, folder)


def put_back(path: str) -> bool:
    """As `put_in_place`, but where a file lies that one stays.

    Raises:
        OSError: There is a file.
    """
    folder = os.path.join(path, COMPACTED)
    copy, place = os.path.join(folder, "data.mdb"), os.path.join(path, "data.mdb")
    try:
        os.link(copy, place)  # a rename would write over a file that has just appeared there
        os.unlink(copy)
    except FileExistsError:
        raise
    except OSError:  # not every file system has links
        if os.path.lexists(place):
            raise
        os.rename(copy, place)
    sync_names(os.path.dirname(path))  # its directories may be new
    return _settled(path, folder)


def _settled(path: str, folder: str) -> bool:
    """The data file has its name.  Returns whether the names are durable."""
    with suppress(OSError):  # the next start makes a new one of any
        os.rename(os.path.join(folder, "lock.mdb"), os.path.join(path, "lock.mdb"))
        os.rmdir(folder)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        return error.errno in (errno.EINVAL, errno.ENOTSUP)  # not every file system can
    return True


def prepare_file(
    path: str,
    open_environment: Callable[[str], Environment],
    make_queue: Callable[[Environment], None],
    *,
    strict: bool,
    verify: Callable[[str], list[str]],
) -> Recovery | None:
    """Make sure that `path` holds a file that LMDB can read.

    A damaged file is replaced by one with what can still be read, and stays under another
    name: see `Recovery`.

    Args:
        make_queue: Makes an empty queue of a new environment.
        verify: Returns the problems of the file that is there.
        strict: Refuse a damaged file instead of replacing it.

    Raises:
        QueueFormatError: The file is damaged, and `strict` says to refuse it.
        QueueError: Too many damaged files are kept already.
    """
    if not os.path.exists(os.path.join(path, "data.mdb")):
        make_file(path, open_environment, make_queue)
        return None
    problems = verify(path)
    if not problems:
        return None
    if strict:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise QueueFormatError(
            f"queue {path}: data.mdb is damaged, or not an LMDB file ({problems[0]}{more}); it was "
            "left as it is: set strict_queue = false to go on with what can be read of it, or "
            "move it away to start with an empty queue"
        )
    if len(damaged_files(path)) >= DAMAGED_FILES_MAX:
        raise QueueError(
            f"queue {path} is damaged ({problems[0]}), and {DAMAGED_FILES_MAX} damaged files are "
            "kept there already; look at the disk, then move them away"
        )

    def fill(environment: Environment) -> Salvaged:
        make_queue(environment)
        with opened_file(path) as file:
            return salvage(file, environment)

    # A second name instead of a rename: until the new file is complete, `data.mdb` has to stay
    # what it is, or a crash would leave no queue.
    kept_as = free_name(os.path.join(path, "data.mdb.damaged-"))
    try:
        os.link(os.path.join(path, "data.mdb"), kept_as)
    except OSError:  # not every file system has links
        shutil.copyfile(os.path.join(path, "data.mdb"), kept_as)
    try:
        salvaged = make_file(path, open_environment, fill)
    except BaseException:
        os.unlink(kept_as)  # data.mdb is still the same file
        raise
    return Recovery(kept_as, problems, salvaged)


def free_name(prefix: str) -> str:
    """A name that begins so, has the time in it, and that no file has."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = [prefix + stamp, *(f"{prefix}{stamp}-{n}" for n in range(1, DAMAGED_FILES_MAX + 1))]
    return next(name for name in names if not os.path.exists(name))
