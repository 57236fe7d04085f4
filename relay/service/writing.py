"""Write files that a relay reads (certificates, keys, lists, configurations) each in one step.

A running relay never sees half of one: a file gets its permissions when it is made, is synced, and
takes the place of another in one rename.  A pair of a certificate and its key takes two renames,
one right after the other: a relay that looks in between finds that they do not fit, goes on with
the old pair, and looks again.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

SECRET_MODE = 0o600
PUBLIC_MODE = 0o644
_OTHERS = 0o007


class Written(NamedTuple):
    """A file to write."""

    path: Path
    data: bytes
    mode: int
    """Of a new file; one that replaces another gets the permissions and the owner of that, but
    a secret is never readable by others."""


def write_files(files: Sequence[Written], *, replace: bool) -> None:
    """Write all `files`, or none if one cannot be written.

    They get their names in the given order: a key has to come before its certificate, since the
    watch of a relay looks at both as soon as one has changed.

    Args:
        replace: Files of these names are replaced; else each must be a new name.

    Raises:
        OSError: It cannot be done, and `filename` is that of `files`; FileExistsError without
            `replace`.
    """
    ready: list[tuple[Path, Path]] = []
    try:
        for file in files:
            # A link stays one: certbot and configuration management point at files that way.
            place = file.path.resolve() if replace else file.path
            if not replace and os.path.lexists(place):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place))
            new = place.with_name(f".{place.name}.new")
            with _about(place):
                new.unlink(missing_ok=True)
                ready.append((new, place))
                _write_new(new, file, place)
        for new, place in ready:
            with _about(place):
                if replace:
                    os.replace(new, place)
                else:
                    _give_name(new, place)
    except BaseException:
        for new, _ in ready:
            with suppress(OSError):
                new.unlink()
        raise
    for folder in {place.parent for _, place in ready}:
        _sync(folder)


@contextmanager
def _about(place: Path) -> Iterator[None]:
    """Errors name the file that is meant, not the one that takes its place."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(place)) from error


def _write_new(new: Path, file: Written, place: Path) -> None:
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, SECRET_MODE)
    with os.fdopen(descriptor, "wb") as opened:
        mode = file.mode
        with suppress(FileNotFoundError):
            before = os.stat(place)
            if not stat.S_ISREG(before.st_mode):  # /dev/null would be gone for everybody
                raise OSError(errno.EINVAL, "it is there, and is not a regular file")
            mode = before.st_mode & 0o777
            if file.mode == SECRET_MODE:
                mode &= ~_OTHERS
            with suppress(PermissionError):  # not root: the new file is ours
                os.fchown(descriptor, before.st_uid, before.st_gid)
        opened.write(file.data)
        os.fchmod(descriptor, mode)
        opened.flush()
        os.fsync(descriptor)


def _give_name(new: Path, place: Path) -> None:
    """Rename, but fail if there is a file of that name by now."""
    try:
        os.link(new, place)
    except FileExistsError:
        raise
    except OSError:  # not every file system has links
        if os.path.lexists(place):
            raise
        os.rename(new, place)
    else:
        new.unlink()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
