"""When one connection is read: as it comes, or gathered before each commit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.queue.gathering import Gathering
from relay.transport.inbound import InboundProtocol

__all__ = ["GatheredProtocol", "GatheredReads"]

_LITTLE_BYTES = 16 * 1024
"""Of larger chunks each holds so much work that it is better done while the disk is busy."""


class GatheredReads:
    """Makes one connection wait for commits as long as that brings more at a time.

    It begins with the second little chunk within one commit, and ends with a commit during
    which nothing came, or much: so connections that send now and then are never paused,
    and one that sends steadily is paused once, not with each commit.

    Args:
        read: Reads the connection's socket once; returns None unless it has ended.
        pause, resume: Stop and start that the reactor reads it.
        can_wait: False if something else holds the connection up, or it ends.
        abort: Cuts the connection.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        gathering: Gathering,
        *,
        read: Callable[[], object],
        pause: Callable[[], None],
        resume: Callable[[], None],
        can_wait: Callable[[], bool],
        abort: Callable[[], None],
    ) -> None:
        self._gathering = gathering
        self._read = read
        self._pause = pause
        self._resume = resume
        self._can_wait = can_wait
        self._abort = abort
        self._commit = 0  # during which the last chunk came
        self._waits = False
        self._came_bytes = 0  # while it was read for a commit

    def came(self, size: int) -> None:
        """A chunk of `size` octets was taken."""
        if self._waits:
            self._came_bytes += size
            return
        commit = self._gathering.commit
        if commit and commit == self._commit and size <= _LITTLE_BYTES and self._can_wait():
            self._waits = True
            self._gathering.wait(self)
            self._pause()
        self._commit = commit

    def read_now(self) -> bool:
        """Take what has come; whether to wait for the next commit again."""
        if not self._can_wait():
            return False
        self._came_bytes = 0
        try:
            ended = self._read()
        except Exception:
            # Here we stand where the reactor stands, and do what it does: whatever this
            # connection stumbled over must not reach the commits of the others.
            self._log.failure("a connection failed")
            self._abort()
            return False
        # Where it has ended, the reactor finds that out as well, and deals with it.
        return ended is None and 0 < self._came_bytes <= _LITTLE_BYTES

    def read_at_once(self) -> None:
        """Waiting is over: take things as they come."""
        self._waits = False
        self._resume()

    def forget(self) -> None:
        """The connection is gone."""
        self._gathering.forget(self)


class GatheredProtocol(InboundProtocol):
    """A connection that may wait for commits.  Subclasses say what its octets mean."""

    _reads: GatheredReads | None = None  # None = it does not wait

    def connectionMade(self) -> None:
        super().connectionMade()
        gathering = self.factory.gathering
        # A local program would be blocked a little more often: it is read as it writes.
        if gathering is None or not self.origin.peer_host or self._refused:
            return
        self._reads = GatheredReads(
            gathering,
            read=self.transport.doRead,  # that of TCP, whatever lies between
            pause=partial(self._pause, "commit"),
            resume=partial(self._resume, "commit"),
            can_wait=lambda: self._pauses <= {"commit"} and not self.closing,
            abort=self.transport.abortConnection,
        )

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self._reads is not None:
            self._reads.came(len(data))
        if not (self.closing or self._refused):
            self.factory.unfinished.note(self, len(data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._reads is not None:
            self._reads.forget()
        self.factory.unfinished.forget(self)
        super().connectionLost(reason)

    @property
    def unfinished_bytes(self) -> int:
        """Octets that are kept of a frame until it is complete."""
        return 0

    def cut_off(self, reason: str, why: str) -> None:
        """Cut the connection at once: count it under `reason` and log it."""
        self.closing = True
        self.factory.counters.connections_closed[reason] += 1
        self.warn(reason, f"closed: {why}")
        self.transport.abortConnection()
