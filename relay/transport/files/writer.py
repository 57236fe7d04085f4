"""Records to a file, one per line: delivered when the file is synced.

The file is opened for appending and made with mode 0640.  After a failed write
what may have been written of the batch is cut off again, so that a full disk
leaves no halves of lines, and the next batch is half as large: less room may do.

A file that is removed, renamed or replaced is opened by its name again, within a
second and before the next batch.  A batch that was written while the file was
being removed is written again: nothing is delivered into a file without a name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from twisted.python.failure import Failure

from relay.flow.pump import SessionDrain
from relay.model.clock import Clock
from relay.queue.committer import RunInThread
from relay.queue.files.ownership import user_name
from relay.transport.connections import Timers
from relay.transport.files.below import (
    APPENDING,
    Access,
    Unsafe,
    directory_of,
    make_file,
    make_root,
)
from relay.wire.framing.decoders import encode_newline

BATCH_RECORDS = 8192
_LOOK_SECONDS = 1.0  # between two looks at whether the file still has its name
_REMOVALS_MAX = 10  # of the file during one append


class AppendedFile:
    """A file that grows by whole, synced batches.  Used by one thread at a time.

    `append` is all that a session needs.  `FileTree`, which spreads a batch over several files,
    writes to all of them before it syncs them, so that it can undo all.

    Args:
        path: Names it in errors.
        open_file: Opens it for appending, and makes it if it is missing.
    """

    def __init__(self, path: str, open_file: Callable[[], int] | None = None) -> None:
        self.path = path
        self.batch_records = BATCH_RECORDS
        self._open = open_file or partial(open_appending, path, Access())
        self._fd: int | None = None
        # What was written since it was last `settled`, where that begins, and how much is there.
        self._data = b""
        self._start = self._written = 0
        self._identity = (0, 0)

    def append(self, records: Sequence[bytes], *, reopen: bool = False) -> str:
        """Write `records` at the end, one a line, and come back when they are on disk.

        Args:
            reopen: Open the file by its name again, whatever seems to be there.

        Returns:
            That the file was removed, renamed or replaced, for the log; empty if it was not.

        Raises:
            OSError: Nothing was added, as far as the file system allows that.  ``filename`` is
                the file, ``strerror`` says what to do.
        """
        try:
            moved = self.write(encode_newline(records), reopen=reopen)
            moved = self.sync() or moved
        except OSError:
            self.undo()
            self.batch_records = max(1, self.batch_records // 2)
            raise
        self.settled()
        self.batch_records = min(BATCH_RECORDS, 2 * self.batch_records)
        return moved

    def write(self, data: bytes, *, reopen: bool = False) -> str:
        """Open the file if that is needed, and write at its end; `sync` has to follow, or `undo`.

        Returns and raises the same as `append`.
        """
        with self._named_errors():
            if reopen:
                self.close()
            moved = self._moved()
            if moved:
                self.close()
            if self._fd is None:
                self._fd = self._open()
            self._data = data
            self._write_all(self._fd)
        return self._reopened(moved)

    def sync(self) -> str:
        """Come back when all that was written is on disk.  Returns and raises as `append`."""
        moved = ""
        with self._named_errors():
            for _ in range(_REMOVALS_MAX):
                if not self._data:
                    break
                assert self._fd is not None, "closed before it was synced"
                if _is_regular(self._fd):
                    os.fdatasync(self._fd)
                # The path may have been unlinked during the write, and the batch with it.
                if os.fstat(self._fd).st_nlink:
                    break
                moved = "removed"
                self.close()
                self._fd = self._open()
                self._write_all(self._fd)
            else:
                raise OSError(
                    errno.ENOENT, "the file is removed again and again; find out who does that"
                )
        return self._reopened(moved)

    def close_if_moved(self) -> str:
        """Close the file if it was removed, renamed or replaced; returns as `append`."""
        moved = self._moved()
        if moved:
            self.close()
        return self._reopened(moved)

    def settled(self) -> None:
        """What was synced stays."""
        self._data, self._written = b"", 0

    def undo(self) -> None:
        """Cut off what was written since the file was last `settled`, and close the file.

        What somebody else has added behind it stays, and so does what is before that then.
        """
        if self._written:
            with contextlib.suppress(OSError):  # another error is the one to report
                if self._fd is None:
                    self._fd = self._open()
                status = os.fstat(self._fd)
                is_ours = status.st_size == self._start + self._written
                if is_ours and _identity_of(status) == self._identity:
                    os.ftruncate(self._fd, self._start)
        self.close()
        self.settled()

    def _write_all(self, fd: int) -> None:
        status = os.fstat(fd)
        self._start, self._written, self._identity = status.st_size, 0, _identity_of(status)
        view = memoryview(self._data)
        while self._written < len(view):
            self._written += os.write(fd, view[self._written :])

    @property
    def written_at(self) -> float | None:
        """When it was last written (seconds since 1970-01-01 UTC); None = it is empty or closed."""
        status = None if self._fd is None else os.fstat(self._fd)
        return status.st_mtime if status and status.st_size else None

    @property
    def size(self) -> int:
        """Bytes; of a file that is not open, and of what is no file, 0."""
        return 0 if self._fd is None else os.fstat(self._fd).st_size

    def _reopened(self, moved: str) -> str:
        return f"{self.path} was {moved}; opened it again by its name" if moved else ""

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except Unsafe:
            raise
        except OSError as error:
            raise OSError(error.errno, why_not_written(error, self.path), self.path) from error

    def _moved(self) -> str:
        """What happened to the file since it was opened: removed, renamed or replaced."""
        if self._fd is None:
            return ""
        opened = os.fstat(self._fd)
        try:
            named = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return "renamed or replaced" if opened.st_nlink else "removed"
        return "" if os.path.samestat(opened, named) else "renamed or replaced"

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Appends(Protocol):
    """One file, or several, as a session knows them."""

    @property
    def batch_records(self) -> int:
        """How many records to give it at once."""

    def append(self, records: Sequence[bytes], *, reopen: bool = False) -> str:
        """See `AppendedFile.append`."""

    def close(self) -> object: ...


class FileSession:
    """A file as a session of the drain.

    Args:
        run_in_thread: Must run one call at a time.
        on_failure: Called once with the reason; the session is over then.
        on_reopened: Called with a text when the file was removed, renamed or replaced.
        on_look: Called every second.
    """

    def __init__(
        self,
        file: Appends,
        *,
        drain: SessionDrain,
        run_in_thread: RunInThread,
        clock: Clock,
        on_failure: Callable[[str], None],
        on_reopened: Callable[[str], None],
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._file = file
        self._drain = drain
        self._run_in_thread = run_in_thread
        self._on_failure = on_failure
        self._on_reopened = on_reopened
        self._on_look = on_look
        self._writing = False
        self._closed = False
        self._reopen = False
        self._timers = Timers(clock)
        self._timers.set("look", _LOOK_SECONDS, self._look_at_name)

    @property
    def room(self) -> int:
        return 0 if self._writing or self._closed else self._file.batch_records

    def send(self, payloads: Sequence[bytes]) -> None:
        self._write(payloads)

    def reopen(self) -> None:
        """Open the file by its name again: now, or after the batch that is being written."""
        self._reopen = True
        if not self._writing and not self._closed:
            self._write(())

    def close(self) -> None:
        """Stop writing; the write in progress does not count as delivered."""
        self._closed = True
        self._timers.cancel_all()
        self._drain.detach(self)
        if not self._writing:
            self._file.close()

    def _write(self, payloads: Sequence[bytes]) -> None:
        self._writing = True
        reopen, self._reopen = self._reopen, False
        written = self._run_in_thread(partial(self._file.append, payloads, reopen=reopen))
        written.addCallbacks(self._written, self._failed, callbackArgs=(len(payloads),))

    def _look_at_name(self) -> None:
        self._timers.set("look", _LOOK_SECONDS, self._look_at_name)
        self._on_look()
        if not self._writing:
            self._write(())

    def _written(self, moved: str, count: int) -> None:
        self._writing = False
        if moved:
            self._on_reopened(moved)
        if self._closed:
            self._file.close()
            return
        if self._reopen:
            self._write(())
        self._drain.acknowledged(self, count)
        self._drain.pump()

    def _failed(self, failure: Failure) -> None:
        failure.trap(OSError)
        error = failure.value
        assert isinstance(error, OSError)
        self._writing = False
        if not self._closed:
            self.close()
            self._on_failure(f"{error.filename}: {error.strerror}")


def _is_regular(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _identity_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def why_not_written(error: OSError, path: str) -> str:
    """Why `path` cannot be written, and what helps."""
    reason = error.strerror or str(error)
    if error.errno == errno.EROFS:
        return (
            f"{reason}; list its directory in ReadWritePaths= of the unit, or choose another path"
        )
    if error.errno not in (errno.EACCES, errno.EPERM):
        return reason
    user = user_name(os.geteuid())
    place, verb = path, "write to it"
    if not os.path.lexists(path):
        place = os.path.dirname(path) or "."
        verb = f"make files in {place}"
    try:
        found = os.stat(place)
    except OSError:
        return f"{reason}: user {user} may not even look; let {user} into its directory"
    return (
        f"{reason}: user {user} may not {verb}, owned by {user_name(found.st_uid)}, mode "
        f"{stat.S_IMODE(found.st_mode):04o}; let {user} write to {place}, or choose another path"
    )


def open_appending(path: str, access: Access) -> int:
    """Open for appending; a file that is made is durable in its directory."""
    try:
        return os.open(path, APPENDING)
    except FileNotFoundError:
        pass
    root, _, name = path.rpartition("/")
    make_root(root or "/", access)
    if os.path.islink(path):  # to a file that is missing
        return os.open(path, APPENDING | os.O_CREAT, access.mode)
    with directory_of(root or "/", name) as directory:
        return make_file(directory, name, access)
