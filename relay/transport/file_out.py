"""Records to a file, one a line: delivered when the file is synced.

The file is opened for appending and made with mode 0640.  After a failed write
what may have been written of the batch is cut off again, so that a full disk
leaves no halves of lines.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Sequence
from functools import partial

from twisted.python.failure import Failure

from relay.flow.drain import Supplies
from relay.queue.committer import RunInThread
from relay.wire.framing import encode_newline

__all__ = ["AppendedFile", "FileSession"]

_BATCH_RECORDS = 8192


class AppendedFile:
    """A file that grows by whole, synced batches.  Used by one thread at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None

    def append(self, octets: bytes, *, reopen: bool) -> None:
        """Write `octets` at the end, and come back when they are on disk.

        Args:
            reopen: The file may have been renamed: open it by its name again.

        Raises:
            OSError: Nothing was added, as far as the file system allows that.
        """
        if reopen:
            self.close()
        if self._fd is None:
            self._fd = _open(self.path)
        regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        size = os.fstat(self._fd).st_size
        try:
            view = memoryview(octets)
            while view:
                view = view[os.write(self._fd, view) :]
            if regular:
                os.fdatasync(self._fd)
        except OSError:
            if regular:
                with contextlib.suppress(OSError):  # the first error is the one to report
                    os.ftruncate(self._fd, size)
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
        on_failure: Called once, with words; the session is over then.
    """

    def __init__(
        self,
        file: AppendedFile,
        *,
        drain: Supplies,
        run_in_thread: RunInThread,
        on_failure: Callable[[str], None],
    ) -> None:
        self._file = file
        self._drain = drain
        self._run_in_thread = run_in_thread
        self._on_failure = on_failure
        self._writing = False
        self._closed = False
        self._reopen = False

    @property
    def room(self) -> int:
        return 0 if self._writing or self._closed else _BATCH_RECORDS

    def send(self, payloads: Sequence[bytes]) -> None:
        self._write(encode_newline(payloads), len(payloads))

    def reopen(self) -> None:
        """Open the file by its name again: now, or after the batch that is being written."""
        self._reopen = True
        if not self._writing and not self._closed:
            self._write(b"", 0)

    def close(self) -> None:
        """Write nothing more; what is being written now does not count."""
        self._closed = True
        self._drain.detach(self)
        if not self._writing:
            self._file.close()

    def _write(self, octets: bytes, count: int) -> None:
        self._writing = True
        reopen, self._reopen = self._reopen, False
        written = self._run_in_thread(partial(self._file.append, octets, reopen=reopen))
        written.addCallbacks(lambda _: self._written(count), self._failed)

    def _written(self, count: int) -> None:
        self._writing = False
        if self._closed:
            self._file.close()
            return
        if self._reopen:
            self._write(b"", 0)
        self._drain.acknowledged(self, count)
        self._drain.pump()

    def _failed(self, failure: Failure) -> Failure | None:
        error = failure.value
        if not isinstance(error, OSError):
            return failure
        self._writing = False
        if not self._closed:
            self.close()
            self._on_failure(f"{self._file.path}: {error.strerror or error}")
        return None


def _open(path: str) -> int:
    """Open for appending; a file that is made is durable in its directory."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    parent = os.path.dirname(path) or "."
    os.makedirs(parent, exist_ok=True)
    fd = os.open(path, flags | os.O_CREAT, 0o640)
    directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return fd
