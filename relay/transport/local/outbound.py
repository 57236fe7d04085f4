"""Records as lines into a pipe or a unix stream socket: delivered when the other end has read them.

The kernel says how much of what it was handed nobody has read yet.  So a batch is written, and
counts once nothing of it is left; the next one follows then.  What a reader has read and not
finished when it dies is lost to it: only RELP detects that.

A line goes into a pipe as a whole or not at all, so that a relay that ends, however it ends, leaves
no part of one.  A line that is longer than the pipe is refused.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import termios
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from relay.flow.pump import SessionDrain
from relay.model.clock import Clock, DelayedCall
from relay.wire.framing.decoders import encode_newline

_BATCH_RECORDS = 4096
_POLL_SECONDS_MIN = 0.001
_POLL_SECONDS_MAX = 0.1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LOOK_SECONDS = 1.0  # while nothing is sent: whether the other end is still there
PIPE_BYTES = 1024 * 1024
"""What a pipe is asked to hold; the limit of the kernel for users without privileges."""


def unread_in_pipe(fd: int) -> int:
    """Bytes in the pipe that nobody has read."""
    return _asked(fd, termios.FIONREAD)


def unread_in_socket(fd: int) -> int:
    """More than 0 while the peer of a unix socket has not read all (in the kernel's units)."""
    unread = _asked(fd, termios.TIOCOUTQ)
    # A peer that closes the socket takes what it has not read with it: nothing is left then.
    return 1 if _is_gone(fd) else unread


class LineTooLong(Exception):
    """What the next line needs is more than there can be; says both."""


def whole_lines(data: bytes, start: int, pipe: int) -> int:
    """Up to where `data` can be written into a pipe without a cut line; `start` = not now.

    A cut line would stay in a named pipe when the relay ends, and the first line of the next
    session would become its end; a program would take it for a whole one.  The kernel never cuts a
    write of `PIPE_BUF` bytes; a longer line needs room for all of it, or an empty pipe.

    Args:
        start: Where a line begins.
        pipe: Its file descriptor.

    Raises:
        LineTooLong: The pipe cannot hold the line, even when it is empty.
    """
    end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1
    if end:
        return end
    end = data.index(b"\n", start) + 1
    unread, pipe_bytes = unread_in_pipe(pipe), fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    if end - start > pipe_bytes:
        raise LineTooLong(
            f"{end - start:,} bytes with the line's end, and the pipe holds {pipe_bytes:,}"
        )
    # Pages of a pipe are at least half full, but for the one that is being read and two more.
    has_room = 2 * unread + end - start + 3 * _PAGE_BYTES <= pipe_bytes
    return end if has_room or not unread else start


class LineSession:
    """A file descriptor that takes bytes, as a session of the drain.

    Args:
        fd: Non-blocking; closed with the session.
        unread: Asks the kernel how much of what it has nobody has read.
        on_failure: Called once with the reason when the other end is gone.
        on_close: Called when the session ends for another reason; what it returns `close` returns.
        end_of_write: Given all bytes, where to go on and `fd`: up to where to write at once.
            Raises `LineTooLong` for a line that is to be refused.
    """

    def __init__(
        self,
        fd: int,
        *,
        unread: Callable[[int], int],
        drain: SessionDrain,
        clock: Clock,
        on_failure: Callable[[str], None],
        on_close: Callable[[], Deferred[None] | None] = lambda: None,
        end_of_write: Callable[[bytes, int, int], int] = lambda data, start, fd: len(data),
    ) -> None:
        self._fd = fd
        self._unread = unread
        self._drain = drain
        self._clock = clock
        self._on_failure = on_failure
        self._on_close = on_close
        self._end_of_write = end_of_write
        self._batch, self._written = b"", 0
        self._in_flight = 0  # records
        self._refusal = ""  # of the line behind what is written
        self._pause = _POLL_SECONDS_MIN
        self._closed = False
        self._call: DelayedCall = clock.callLater(_LOOK_SECONDS, self._look)

    @property
    def room(self) -> int:
        return 0 if self._in_flight or self._closed else _BATCH_RECORDS

    def send(self, payloads: Sequence[bytes]) -> None:
        self._batch, self._written = encode_newline(payloads), 0
        self._in_flight = len(payloads)
        self._pause = _POLL_SECONDS_MIN
        self._call.reset(0)  # not from within the drain's loop, which would only come back here

    def close(self) -> Deferred[None] | None:
        """Stop writing.  What has been read by now counts; the rest is sent again."""
        if self._closed:
            return None
        self._count_read()
        self._end()
        return self._on_close()

    def cut(self, why: str) -> None:
        """End the session although the other end is there."""
        self.fail(why)

    def fail(self, why: str) -> None:
        """The other end is gone, or has to go."""
        if not self._closed:
            self._count_read()
            self._end()
            self._on_failure(why)

    def _end(self) -> None:
        self._closed = True
        if self._call.active():
            self._call.cancel()
        os.close(self._fd)
        self._drain.detach(self)

    def _look(self) -> None:
        """Write what waits, count what was read, and find out whether the other end is there."""
        before = self._in_flight, self._written
        try:
            self._write()
        except BlockingIOError:
            pass
        except LineTooLong as error:
            self._refusal = str(error)
        except OSError as error:
            self.fail(error.strerror or str(error))
            return
        counted = self._count_read()
        if not counted and _is_gone(self._fd):
            self.fail("the reader has closed it")
        if not self._closed and self._refusal and not self._written:
            counted = self._refuse()
        if self._closed:
            return
        moved = (self._in_flight, self._written) != before
        self._pause = _POLL_SECONDS_MIN if moved else min(2 * self._pause, _POLL_SECONDS_MAX)
        seconds = self._pause if self._in_flight else _LOOK_SECONDS
        self._call = self._clock.callLater(seconds, self._look)
        if counted:
            self._drain.pump()

    def _write(self) -> None:
        view = memoryview(self._batch)
        while self._written < len(view):
            end = self._end_of_write(self._batch, self._written, self._fd)
            if end == self._written:
                return
            self._written += os.write(self._fd, view[self._written : end])

    def _count_read(self) -> bool:
        """Acknowledge the lines that were written if all of them were read.

        Returns:
            Whether there is room for more: it was the whole batch.
        """
        is_whole = self._written == len(self._batch)
        if not self._written or not (is_whole or self._refusal) or self._unread(self._fd):
            return False
        count = self._in_flight if is_whole else self._batch.count(b"\n", 0, self._written)
        self._in_flight -= count
        self._batch, self._written = self._batch[self._written :], 0
        self._drain.acknowledged(self, count)
        return is_whole

    def _refuse(self) -> bool:
        """Have the first line of the batch set aside; returns as `_count_read`."""
        text, self._refusal = f"too long: {self._refusal}", ""
        if not self._drain.refused(self, text):
            self.fail(text)
            return False
        self._in_flight -= 1
        self._batch = self._batch[self._batch.index(b"\n") + 1 :]
        return not self._in_flight


def _is_gone(fd: int) -> bool:
    """Whether the other end was closed."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


def _asked(fd: int, request: int) -> int:
    answer = array.array("i", [0])
    fcntl.ioctl(fd, request, answer)
    return answer[0]
