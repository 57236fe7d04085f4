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
from collections.abc import Callable, Sequence
from functools import partial

from twisted.python.failure import Failure

from relay.flow.pump import SessionDrain
from relay.model.clock import Clock
from relay.queue.committer import RunInThread
from relay.queue.files.ownership import user_name
from relay.transport.connections import Timers
from relay.transport.sockets import make_parents
from relay.wire.framing.decoders import encode_newline

_BATCH_RECORDS = 8192
_LOOK_SECONDS = 1.0  # between two looks at whether the file still has its name
_REMOVALS_MAX = 10  # of the file during one append


class AppendedFile:
    """A file that grows by whole, synced batches.  Used by one thread at a time.

    A session uses `batch_records`, `append` and `close` only.  What spreads records over several
    files has these, and an `AppendedFile` for each path: everything about one file is here.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.batch_records = _BATCH_RECORDS
        """How many records to give it at once."""
        self._fd: int | None = None

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
            why = self._append(encode_newline(records), reopen=reopen)
        except OSError as error:
            raise OSError(error.errno, _why_not_written(error, self.path), self.path) from error
        return f"{self.path} was {why}; opened it again by its name" if why else ""

    def _append(self, octets: bytes, *, reopen: bool) -> str:
        if reopen:
            self.close()
        why = self._moved()
        for _ in range(_REMOVALS_MAX):
            if why:
                self.close()
            if self._fd is None:
                self._fd = _open(self.path)
            if not octets:
                return why
            try:
                self._write(self._fd, octets)
            except OSError:
                self.batch_records = max(1, self.batch_records // 2)
                raise
            # The path may have been unlinked during the write, and the batch with it.
            if os.fstat(self._fd).st_nlink:
                self.batch_records = min(_BATCH_RECORDS, 2 * self.batch_records)
                return why
            why = "removed"
        self.close()
        raise OSError(errno.ENOENT, "the file is removed again and again; find out who does that")

    def _moved(self) -> str:
        """What happened to the file since it was opened: removed, renamed or replaced."""
        if self._fd is None:
            return ""
        opened = os.fstat(self._fd)
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return "renamed or replaced" if opened.st_nlink else "removed"
        return "" if os.path.samestat(opened, named) else "renamed or replaced"

    def _write(self, fd: int, octets: bytes) -> None:
        status = os.fstat(fd)
        regular = stat.S_ISREG(status.st_mode)
        try:
            view = memoryview(octets)
            while view:
                view = view[os.write(fd, view) :]
            if regular:
                os.fdatasync(fd)
        except OSError:
            if regular:
                with contextlib.suppress(OSError):  # the first error is the one to report
                    os.ftruncate(fd, status.st_size)
            self.close()
            raise

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class FileSession:
    """A file as a session of the drain.

    Args:
        run_in_thread: Must run one call at a time.
        on_failure: Called once with the reason; the session is over then.
        on_reopened: Called with a text when the file was removed, renamed or replaced.
    """

    def __init__(
        self,
        file: AppendedFile,
        *,
        drain: SessionDrain,
        run_in_thread: RunInThread,
        clock: Clock,
        on_failure: Callable[[str], None],
        on_reopened: Callable[[str], None],
    ) -> None:
        self._file = file
        self._drain = drain
        self._run_in_thread = run_in_thread
        self._on_failure = on_failure
        self._on_reopened = on_reopened
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


def _why_not_written(error: OSError, path: str) -> str:
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


def _open(path: str) -> int:
    """Open for appending; a file that is made is durable in its directory."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    parent = os.path.dirname(path) or "."
    make_parents(path)
    fd = os.open(path, flags | os.O_CREAT, 0o640)
    directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return fd
