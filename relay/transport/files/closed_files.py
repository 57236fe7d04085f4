"""Files that a destination has closed: their names, compression, and how many are kept.

A file is closed by renaming it: ``web.log`` becomes ``web.log.20261130T000000Z``, the time in UTC
when it was closed, and after compression ``web.log.20261130T000000Z.zst``.  Nothing is written
to it any more.  The names of files that the destination has made are kept in a hidden file of the
fixed directory, so that nothing else is ever compressed or removed.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import itertools
import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from relay.model.clock import WallClock
from relay.model.text import counted
from relay.transport.files.below import directory_of
from relay.transport.files.file_names import CLOSED

COMPRESSIONS = ("zstd", "gzip")
_ENDINGS = {"zstd": ".zst", "gzip": ".gz"}
_CHUNK_BYTES = 1024 * 1024
_IDLE_SECONDS = 3600.0  # after which a file counts as one that is not written any more
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED_NAME = re.compile(f"(?P<base>.+?){CLOSED.pattern}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept of closed files; 0 = all."""

    seconds: float = 0.0
    """Since they were last written."""
    size: int = 0
    """Of all files of the destination."""
    files: int = 0
    """Closed ones of each name."""

    def __bool__(self) -> bool:
        return bool(self.seconds or self.size or self.files)


class MadeFiles:
    """The names of files that a destination has made, below its fixed directory.

    Args:
        id: Of the destination.
        is_kept: Keep them on disk; if not, none are known after a start.
    """

    def __init__(self, root: str, id: str, *, is_kept: bool) -> None:
        self.names: set[str] = set()
        self._root = root
        self._file = f".syslogrelay-{id}"
        self._is_kept = is_kept
        self._is_read = False

    def read(self) -> None:
        """Read what is on disk, once.  OSError if that cannot be done."""
        if self._is_read or not self._is_kept:
            return
        lines = [b""]
        with (
            contextlib.suppress(FileNotFoundError),
            directory_of(self._root, self._file) as directory,
            self._opened(directory, self._file, os.O_RDONLY, "rb") as file,
        ):
            lines = file.read().split(b"\n")
        self.names.update(os.fsdecode(line) for line in lines[:-1] if line)
        self._is_read = True
        if lines[-1]:  # a name that was being written when the relay ended
            self.forget(())

    def add(self, name: str) -> None:
        """A file is going to be made: know it first, on disk too."""
        if not self._is_kept or name in self.names:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with (
            directory_of(self._root, self._file) as directory,
            self._opened(directory, self._file, flags, "ab") as file,
        ):
            before = os.fstat(file.fileno()).st_size
            try:
                file.write(os.fsencode(name) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(file.fileno(), before)
                raise
            if not before:
                os.fsync(directory)
        self.names.add(name)

    def forget(self, names: Iterable[str]) -> None:
        """Files of these names are no more."""
        self.names.difference_update(names)
        new = f"{self._file}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with directory_of(self._root, self._file) as directory:
            with self._opened(directory, new, flags, "wb") as file:
                file.writelines(os.fsencode(name) + b"\n" for name in sorted(self.names))
                file.flush()
                os.fsync(file.fileno())
            os.rename(new, self._file, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)

    @staticmethod
    def _opened(directory: int, name: str, flags: int, mode: str) -> IO[bytes]:
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
        file: IO[bytes] = os.fdopen(fd, mode)
        return file


def close_file(root: str, name: str, at: float) -> None:
    """Give a file the name of a closed one.

    Args:
        at: Seconds since 1970-01-01 UTC.

    Raises:
        OSError: It keeps its name.
    """
    base = os.path.basename(name)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    with directory_of(root, name) as directory:
        for number in itertools.count():
            closed = f"{base}.{stamp}-{number}" if number else f"{base}.{stamp}"
            if not any(_exists(directory, closed + end) for end in ("", *_ENDINGS.values())):
                break
        os.rename(base, closed, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)


@dataclass(slots=True)
class _File:
    directory: str
    name: str
    base: str
    """What it was called before it was closed."""
    status: os.stat_result
    is_compressed: bool = False

    @property
    def is_closed(self) -> bool:
        return self.name != self.base

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.name)

    @property
    def first_name(self) -> str:
        return os.path.join(self.directory, self.base)


class ClosedFiles:
    """Compresses and removes files of one destination.

    Args:
        kept_always: Name of a file that is not removed while it is not closed.
        compress: One of `COMPRESSIONS`; empty = not at all.
        say: Logs a warning, given its kind and a line; called in any thread.
    """

    def __init__(
        self,
        made: MadeFiles,
        *,
        root: str,
        kept_always: str,
        compress: str,
        keeping: Keeping,
        wall: WallClock,
        say: Callable[[str, str], None],
    ) -> None:
        self.removed_files = 0
        self.compressed_files = 0
        self.is_interrupted = False
        """Compression ends soon, and begins again at the next call."""
        self._made = made
        self._root = root
        self._kept_always = kept_always
        self._compress = compress
        self._keeping = keeping
        self._wall = wall
        self._say = say

    def compress(self) -> None:
        """Compress what is closed; may take long, and run while files are written."""
        if not self._compress:
            return
        self.is_interrupted = False
        for directory, bases in self._bases().items():
            try:
                self._compress_in(directory, bases)
            except FileNotFoundError:
                pass  # the directory is gone
            except OSError as error:
                path = os.path.join(self._root, directory)
                self._say("compress", f"{path}: cannot compress: {error.strerror}")

    def remove_surplus(self) -> None:
        """Remove what is not to be kept.  Nothing must be written meanwhile."""
        if not self._keeping:
            return
        files = sorted(self._files(), key=lambda file: file.status.st_mtime)
        surplus = self._surplus(files)
        for file in surplus:
            self._remove(file)
        left = {file.first_name for file in files if file not in surplus}
        gone = [name for name in self._made.names if name not in left]
        if gone:
            self._made.forget(gone)
            for directory in sorted({os.path.dirname(name) for name in gone}, reverse=True):
                self._remove_directory(directory)

    def _surplus(self, files: Sequence[_File]) -> list[_File]:
        """Those of `files`, oldest first, that are not to be kept."""
        keeping, surplus = self._keeping, []
        size = sum(file.status.st_size for file in files)
        closed: dict[str, int] = defaultdict(int)
        for file in files:
            closed[file.first_name] += file.is_closed
        for file in files:
            age = self._wall.age(file.status.st_mtime)
            if not file.is_closed and (age < _IDLE_SECONDS or file.name == self._kept_always):
                continue
            too_many = file.is_closed and keeping.files and closed[file.first_name] > keeping.files
            too_old = keeping.seconds and age > keeping.seconds
            if too_many or too_old or (keeping.size and size > keeping.size):
                surplus.append(file)
                size -= file.status.st_size
                closed[file.first_name] -= file.is_closed
        return surplus

    def _bases(self) -> dict[str, set[str]]:
        """The names of files that were made, by directory."""
        bases: dict[str, set[str]] = defaultdict(set)
        for name in list(self._made.names):
            bases[os.path.dirname(name)].add(os.path.basename(name))
        return bases

    def _files(self) -> Iterator[_File]:
        for directory, bases in self._bases().items():
            with (
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                directory_of(self._root, os.path.join(directory, "file")) as fd,
            ):
                yield from _files_in(fd, directory, bases)

    def _compress_in(self, directory: str, bases: set[str]) -> None:
        with directory_of(self._root, os.path.join(directory, "file")) as fd:
            for name in os.listdir(fd):
                found = _CLOSED_NAME.fullmatch(name)
                if found and found["part"] and found["base"] in bases:
                    os.unlink(name, dir_fd=fd)  # a relay ended while it wrote this
            for file in list(_files_in(fd, directory, bases)):
                if self.is_interrupted:
                    return
                if not file.is_closed or file.is_compressed:
                    continue
                try:
                    # Both are there if the relay ended between the last two steps.
                    if not any(_exists(fd, file.name + end) for end in _ENDINGS.values()):
                        if not self._compress_one(fd, file.name):
                            return
                        self.compressed_files += 1
                    os.unlink(file.name, dir_fd=fd)
                except OSError as error:
                    path = os.path.join(self._root, file.path)
                    self._say("compress", f"{path}: cannot compress it: {error.strerror}")
                    if error.errno in _FULL:
                        return  # the others need room, too

    def _compress_one(self, directory: int, name: str) -> bool:
        """Make the compressed file, durable and under its name; false = was interrupted."""
        whole = name + _ENDINGS[self._compress]
        part = f"{whole}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        source_fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        with os.fdopen(source_fd, "rb", buffering=0) as source:
            status = os.fstat(source.fileno())
            try:
                with os.fdopen(os.open(part, flags, 0o600, dir_fd=directory), "wb") as target:
                    with _compressor(self._compress, target) as compressor:
                        while chunk := source.read(_CHUNK_BYTES):
                            if self.is_interrupted:
                                raise InterruptedError(errno.EINTR, "interrupted")
                            compressor.write(chunk)
                    target.flush()
                    os.fchown(target.fileno(), status.st_uid, status.st_gid)
                    os.fchmod(target.fileno(), stat.S_IMODE(status.st_mode))
                    os.utime(target.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
                    os.fsync(target.fileno())
                os.rename(part, whole, src_dir_fd=directory, dst_dir_fd=directory)
                os.fsync(directory)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.unlink(part, dir_fd=directory)
                if isinstance(error, InterruptedError):
                    return False
                raise
        return True

    def _remove(self, file: _File) -> None:
        try:
            with directory_of(self._root, file.path) as fd:
                os.unlink(file.name, dir_fd=fd)
        except OSError as error:
            path = os.path.join(self._root, file.path)
            self._say("keep", f"{path}: cannot remove it: {error.strerror}")
        else:
            self.removed_files += 1

    def _remove_directory(self, name: str) -> None:
        """Remove a directory and those above it, as far as they are empty."""
        while name:
            try:
                with directory_of(self._root, name) as fd:
                    os.rmdir(os.path.basename(name), dir_fd=fd)
            except OSError:  # it is not empty
                return
            name = os.path.dirname(name)

    @property
    def text(self) -> str:
        """What was done, for `status`; empty if nothing is to be done."""
        done = []
        if self._compress:
            done.append(f"compressed {counted(self.compressed_files, 'closed file')}")
        if self._keeping:
            done.append(f"removed {counted(self.removed_files, 'old file')}")
        return ", ".join(done)


def _files_in(fd: int, directory: str, bases: set[str]) -> Iterator[_File]:
    for name in os.listdir(fd):
        found = _CLOSED_NAME.fullmatch(name)
        base, is_compressed = name, False
        if name not in bases and found is not None and not found["part"]:
            base, is_compressed = found["base"], bool(found["compressed"])
        if base not in bases:
            continue
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                yield _File(directory, name, base, status, is_compressed)


def _compressor(kind: str, target: IO[bytes]) -> io.RawIOBase | io.BufferedIOBase:
    if kind == "gzip":
        return gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0)
    # Loaded by those who ask for it: it takes some megabytes.
    import zstandard

    compressor = zstandard.ZstdCompressor(write_checksum=True)
    writer: io.RawIOBase = compressor.stream_writer(target, closefd=False)  # type: ignore[assignment]
    return writer


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
