"""Put a new data file in the place of none, or of a damaged one, all at once.

The new file is made in the directory `new` beside the old one and renamed when it is
complete and synced.  Whatever happens meanwhile, the next start finds the old one, or
the new one.
"""

from __future__ import annotations

import glob
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from relay.model.errors import QueueError, QueueFormatError
from relay.queue.examination import find_damage, opened_file
from relay.queue.ownership import sync_names
from relay.queue.salvage import Salvaged, salvage

__all__ = ["DAMAGED_FILES_MAX", "Recovery", "damaged_files", "make_file", "prepare_file", "recover"]

DAMAGED_FILES_MAX = 16
"""A disk that damages a file at each start must not fill up with copies."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """A damaged file was replaced."""

    kept_as: str
    """Path of the damaged file, as it was found."""
    problems: list[str]
    salvaged: Salvaged


def damaged_files(path: str) -> list[str]:
    """Paths of the damaged files that were kept in the directory `path`."""
    return sorted(glob.glob(os.path.join(glob.escape(path), "data.mdb.damaged-*")))


def make_file(path: str, open_environment: Callable[[str], Any], fill: Callable[[Any], Any]) -> Any:
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
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(path, "lock.mdb"))
        os.rename(os.path.join(new, "data.mdb"), os.path.join(path, "data.mdb"))
    finally:
        shutil.rmtree(new, ignore_errors=True)
    sync_names(path)
    return filled


def prepare_file(
    path: str,
    open_environment: Callable[[str], Any],
    fill: Callable[[Any], None],
    *,
    strict: bool,
    look: Callable[[str], list[str]] = find_damage,
) -> Recovery | None:
    """Leave a file in `path` that LMDB can be trusted with.

    Args:
        fill: Makes an empty queue of a new environment.
        look: Says what is wrong with the file that is there.
        strict: Refuse a damaged file instead of replacing it.

    Raises:
        QueueFormatError: The file is damaged, and `strict` says to refuse it.
        QueueError: Too many damaged files are kept already.
    """
    if not os.path.exists(os.path.join(path, "data.mdb")):
        make_file(path, open_environment, fill)
        return None
    problems = look(path)
    if not problems:
        return None
    if strict:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise QueueFormatError(
            f"queue {path}: data.mdb is damaged, or not an LMDB file ({problems[0]}{more}); it was "
            "left as it is: set strict_queue = false to go on with what can be read of it, or "
            "move it away to start with an empty queue"
        )
    return recover(path, problems, open_environment, fill)


def recover(
    path: str,
    problems: list[str],
    open_environment: Callable[[str], Any],
    prepare: Callable[[Any], None],
) -> Recovery:
    """Replace the damaged file by one with what can still be read.

    The damaged one stays under another name: see `Recovery`.

    Args:
        problems: What is wrong; for the result.
        prepare: Makes an empty queue of a new environment.

    Raises:
        QueueError: Too many damaged files are kept already.
    """
    if len(damaged_files(path)) >= DAMAGED_FILES_MAX:
        raise QueueError(
            f"queue {path} is damaged ({problems[0]}), and {DAMAGED_FILES_MAX} damaged files are "
            "kept there already; look at the disk, then move them away"
        )

    def fill(environment: Any) -> Salvaged:
        prepare(environment)
        with opened_file(path) as file:
            return salvage(file, environment)

    kept_as = _free_name(os.path.join(path, "data.mdb.damaged-"))
    try:
        os.link(os.path.join(path, "data.mdb"), kept_as)
    except OSError:  # not every file system has links
        shutil.copyfile(os.path.join(path, "data.mdb"), kept_as)
    try:
        salvaged: Salvaged = make_file(path, open_environment, fill)
    except BaseException:
        os.unlink(kept_as)  # data.mdb is still the same file
        raise
    return Recovery(kept_as, problems, salvaged)


def _free_name(prefix: str) -> str:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = [prefix + stamp, *(f"{prefix}{stamp}-{n}" for n in range(1, DAMAGED_FILES_MAX + 1))]
    return next(name for name in names if not os.path.exists(name))
