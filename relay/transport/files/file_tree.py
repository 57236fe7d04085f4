"""A destination's records in one file, or in files that their keys name.

A batch is written to all of its files before the first is synced.  If one of them fails, what was
added to the others is cut off again; so a batch is in all files or in none.
"""

from __future__ import annotations

import datetime
import errno
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from relay.model.clock import WallClock
from relay.model.text import counted
from relay.rewrite.forms.record_key import split_key
from relay.transport.files.below import (
    Access,
    Unsafe,
    directory_of,
    make_file,
    make_root,
    open_file,
)
from relay.transport.files.closed_files import ClosedFiles, MadeFiles, close_file
from relay.transport.files.file_names import is_clean
from relay.transport.files.writer import (
    BATCH_RECORDS,
    AppendedFile,
    open_appending,
    why_not_written,
)
from relay.wire.framing.decoders import encode_newline

_NAMELESS = "without the name of a file, from another path or from `queue replay`"
_PEERS_MAX = 1000
_SYNCS_AT_A_TIME = 16
_HOUR = 3600.0
_LATE_SECONDS = 600.0  # that late messages have for a file whose date has passed


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Where and how records are written; 0 = never, or without limit."""

    root: str
    """The fixed directory."""
    only: str = ""
    """The file that all records go to; empty = their keys name files."""
    overflow: str = "_overflow.log"
    """For records whose own file cannot be made or must not be written."""
    access: Access = field(default_factory=Access)
    files_open_max: int = 256
    files_new_per_peer_max: int = 0
    rotate_bytes: int = 0
    """A file that would grow above this is closed."""
    rotate_seconds: float = 0.0
    """A file is closed when a new period begins; periods start at midnight, local time."""
    unit: str = ""
    """Without `rotate_seconds`: the unit of the date in the names.  A file is closed when the unit
    in which it was last written has passed, and ten minutes without a line; empty = never."""


class NewFiles:
    """Counts the files that each sender causes in an hour.

    Args:
        elapsed: Seconds on a clock that is never set.
    """

    def __init__(self, per_peer_max: int, elapsed: Callable[[], float]) -> None:
        self._per_peer_max = per_peer_max
        self._elapsed = elapsed
        self._since = elapsed()
        self._counts: dict[bytes, int] = {}

    def allow(self, peer: bytes) -> bool:
        """Whether `peer` may cause one more file now; counts it."""
        if self._elapsed() - self._since >= _HOUR:
            self._since = self._elapsed()
            self._counts.clear()
        if peer not in self._counts and len(self._counts) >= _PEERS_MAX:
            peer = b""  # senders can be many: all further ones share a count
        count = self._counts.get(peer, 0)
        if self._per_peer_max and count >= self._per_peer_max:
            return False
        self._counts[peer] = count + 1
        return True


@dataclass(slots=True)
class _Open:
    file: AppendedFile
    written_at: float
    """Seconds since 1970-01-01 UTC."""


@dataclass(slots=True)
class _Group:
    """The records of a batch that go to one file."""

    peer: bytes
    payloads: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Diverted:
    """What a batch has for the overflow file."""

    payloads: list[bytes] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """Why, for each file that they were meant for."""

    def add(self, payloads: Sequence[bytes], reason: str) -> None:
        self.payloads += payloads
        self.reasons.append(reason)


class _Surplus(Exception):
    """The sender has caused too many files."""


class FileTree:
    """The files of a destination, as one.  Used by one thread at a time.

    Args:
        say: Logs a warning, given its kind and a line; called in that thread.

    Attributes:
        overflow_records: Records that went to `FileOptions.overflow` instead of their own file.
        made_files: Files that were made.
    """

    def __init__(
        self,
        options: FileOptions,
        *,
        made: MadeFiles,
        closed: ClosedFiles,
        wall: WallClock,
        say: Callable[[str, str], None],
    ) -> None:
        self.batch_records = BATCH_RECORDS
        self.overflow_records = 0
        self.made_files = 0
        self._options = options
        self._made = made
        self._closed = closed
        self._wall = wall
        self._say = say
        self._new_files = NewFiles(options.files_new_per_peer_max, wall.elapsed)
        self._files: OrderedDict[str, _Open] = OrderedDict()  # the one written last is the last

    @property
    def overflow_path(self) -> str:
        return os.path.join(self._options.root, self._options.overflow)

    @property
    def open_files(self) -> int:
        return len(self._files)

    def append(self, records: Sequence[bytes], *, reopen: bool = False) -> str:
        """As `AppendedFile.append`; records have keys unless there is only one file."""
        if reopen:
            self._close_files()
        try:
            self._made.read()
            if not records and not self._options.only:
                self._make_root()
            moved = self._looked() if not records else []
            moved += self._append(self._grouped(records))
        except OSError as error:
            self.batch_records = max(1, self.batch_records // 2)
            if error.filename is not None:
                raise
            path = self.overflow_path if isinstance(error, Unsafe) else self._options.root
            raise OSError(error.errno, why_not_written(error, path), path) from error
        self.batch_records = min(BATCH_RECORDS, 2 * self.batch_records)
        return _with_more(moved)

    def close(self) -> None:
        """Close all files; they are opened again when they are needed."""
        self._closed.is_interrupted = True
        self._close_files()

    def tidy(self) -> None:
        """Close files whose period or date is over, and remove what is not to be kept."""
        self._made.read()
        now, options = self._wall.now(), self._options
        for name in list(self._made.names) if options.rotate_seconds or options.unit else ():
            self._close_idle(name, now)
        self._closed.remove_surplus()

    # Batches.

    def _grouped(self, records: Sequence[bytes]) -> dict[str, _Group]:
        """Records by file."""
        if self._options.only:
            return {self._options.only: _Group(b"", list(records))}
        groups: dict[str, _Group] = {}
        by_key: dict[bytes | None, list[bytes]] = {}
        for record in records:
            key, payload = split_key(record)
            payloads = by_key.get(key)
            if payloads is None:
                peer, _, name = (key or b"").partition(b" ")
                file = os.fsdecode(name) if is_clean(name) else self._options.overflow
                # Senders of one file share its list.
                payloads = by_key[key] = groups.setdefault(file, _Group(peer)).payloads
            payloads.append(payload)
        return groups

    def _append(self, groups: dict[str, _Group]) -> list[str]:
        """Write and sync the records of one batch; texts about files that were moved."""
        moved: list[str] = []
        written: list[AppendedFile] = []
        synced = 0
        surplus = _Diverted()
        try:
            for name, group in groups.items():
                moved.append(self._write(name, group, written, surplus))
                if len(written) - synced >= self._options.files_open_max:
                    moved += _sync(written[synced:])
                    synced = len(written)
                self._close_surplus()
            if surplus.payloads:
                group = _Group(b"", surplus.payloads)
                moved.append(self._write_to(self._options.overflow, group, written))
            moved += _sync(written[synced:])
        except OSError:
            for file in written:
                file.undo()
            raise
        for file in written:
            file.settled()
        if surplus.reasons:
            self.overflow_records += len(surplus.payloads)
            self._say("overflow", f"{_with_more(surplus.reasons)}; written to {self.overflow_path}")
        return [text for text in moved if text]

    def _write(
        self, name: str, group: _Group, written: list[AppendedFile], surplus: _Diverted
    ) -> str:
        if name == self._options.overflow:
            surplus.add(group.payloads, f"{counted(len(group.payloads), 'message')} {_NAMELESS}")
            return ""
        try:
            return self._write_to(name, group, written)
        except (Unsafe, _Surplus) as reason:
            if self._options.only:
                raise
            self._files.pop(name, None)
            surplus.add(group.payloads, self._overflow_text(name, group, reason))
            return ""

    def _write_to(self, name: str, group: _Group, written: list[AppendedFile]) -> str:
        data = encode_newline(group.payloads)
        entry = self._opened(name, group.peer)
        now = self._wall.now()
        moved = entry.file.close_if_moved()  # or another file would be rotated in its place
        if self._is_over(entry, len(data), now):
            self._rotate(name, entry, now)
        # Before the first byte, so that an error cuts off what was written of it.
        written.append(entry.file)
        entry.written_at = now
        return entry.file.write(data) or moved

    def _overflow_text(self, name: str, group: _Group, reason: Exception) -> str:
        path = os.path.join(self._options.root, name)
        records = counted(len(group.payloads), "message")
        if isinstance(reason, Unsafe):
            return f"{records} for {path}: it {reason.strerror}"
        return (
            f"{records} for {path}: {group.peer.decode('ascii', 'replace')} has caused more new "
            f"files in an hour than files_new_per_peer_max = {self._options.files_new_per_peer_max}"
        )

    # Files.

    def _opened(self, name: str, peer: bytes) -> _Open:
        entry = self._files.get(name)
        if entry is None:
            path = os.path.join(self._options.root, name)
            file = AppendedFile(path, partial(self._open, name, peer))
            moved = file.write(b"")
            assert not moved
            file.settled()
            entry = _Open(file, file.written_at or self._wall.now())
        self._files[name] = entry
        self._files.move_to_end(name)
        return entry

    def _open(self, name: str, peer: bytes) -> int:
        """Open one file, or make it."""
        options = self._options
        if options.only:
            path = os.path.join(options.root, name)
            fd = open_appending(path, options.access)
            self._made.add(name)
            return fd
        base = os.path.basename(name)
        try:
            with directory_of(options.root, name) as directory:
                return open_file(directory, base)
        except FileNotFoundError:
            pass
        is_known = name in self._files or name == options.overflow  # it was rotated, for example
        if not is_known and not self._new_files.allow(peer):
            raise _Surplus
        self._make_root()
        self._made.add(name)
        with directory_of(options.root, name, options.access) as directory:
            fd = make_file(directory, base, options.access)
        self.made_files += 1
        return fd

    def _make_root(self) -> None:
        make_root(self._options.root, self._options.access)

    def _looked(self) -> list[str]:
        """Close files that were moved; texts about them."""
        moved = [entry.file.close_if_moved() for entry in self._files.values()]
        return [text for text in moved if text]

    def _close_files(self) -> None:
        for entry in self._files.values():
            entry.file.close()
        if not self._options.only:
            self._files.clear()

    def _close_surplus(self) -> None:
        while len(self._files) > self._options.files_open_max:
            _, entry = self._files.popitem(last=False)
            entry.file.close()

    # Rotation.

    def _is_over(self, entry: _Open, added: int, now: float) -> bool:
        options, size = self._options, entry.file.size
        if not size:
            return False
        if options.rotate_bytes and size + added > options.rotate_bytes:
            return True
        return self._is_of_another_period(entry.written_at, now)

    def _is_of_another_period(self, at: float, now: float) -> bool:
        seconds = self._options.rotate_seconds
        return bool(seconds) and _period(at, seconds) != _period(now, seconds)

    def _rotate(self, name: str, entry: _Open, now: float) -> None:
        try:
            close_file(self._options.root, name, now)
        except OSError as error:
            text = why_not_written(error, os.path.dirname(entry.file.path))
            self._say("rotate", f"{entry.file.path}: cannot rotate it: {text}")
        else:
            entry.file.close()

    def _is_past(self, at: float, now: float) -> bool:
        """Whether a file that was last written at `at` is to be closed."""
        unit = self._options.unit
        if self._options.rotate_seconds or not unit:
            return self._is_of_another_period(at, now)
        return now - at >= _LATE_SECONDS and _date(at, unit) != _date(now, unit)

    def _close_idle(self, name: str, now: float) -> None:
        """Close a file that was not written in this period, or whose date has passed."""
        path = os.path.join(self._options.root, name)
        entry = self._files.get(name)
        try:
            status = os.lstat(path)
            written_at = status.st_mtime if entry is None else entry.written_at
            if status.st_size and self._is_past(written_at, now):
                close_file(self._options.root, name, now)
                if entry is not None:
                    entry.file.close()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self._say("rotate", f"{path}: cannot rotate it: {error.strerror}")


def _with_more(reasons: Sequence[str]) -> str:
    """The first of the texts, and how many more there are."""
    more = f" (and {len(reasons) - 1:,} more files)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}" if reasons else ""


def _sync(files: Sequence[AppendedFile]) -> list[str]:
    """Sync files; many at the same time, since a file system commits them together then."""
    if len(files) < _SYNCS_AT_A_TIME:
        return [file.sync() for file in files]
    with ThreadPoolExecutor(_SYNCS_AT_A_TIME) as pool:
        return list(pool.map(AppendedFile.sync, files))


def _period(at: float, seconds: float) -> int:
    """The number of a period that begins at midnight, if a day is a multiple of it."""
    return int((at + time.localtime(at).tm_gmtoff) // seconds)


def _date(at: float, unit: str) -> tuple[int, ...]:
    """The unit of local time that `at` is in: its year, its year and month, …."""
    local = time.localtime(at)
    if unit == "week":  # the first of January of the year 1 was a Monday
        return ((datetime.date(*local[:3]).toordinal() - 1) // 7,)
    return local[: ("year", "month", "day", "hour", "minute").index(unit) + 1]
