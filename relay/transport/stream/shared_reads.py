"""Read coalescing: connections with little traffic are read together, at most 1,000 times/s.

At some thousand messages a second nearly every message wakes the reactor, and a turn of the
reactor costs more than all else that is done with one message.  So the connections of a source
are watched by an epoll of their own, which the reactor watches as one descriptor.  While messages
stream in, the reactor leaves it alone, and it is asked once a millisecond: what has come until
then is read in one turn.

A chunk of a connection that sends much takes the reactor some milliseconds.  With fifty of them
in one turn, the drains would get a fiftieth of the reactor, and fall back on reading from the
disk what they could have had from memory.  So a turn reads one such chunk, and the connections
behind it come first in the next turn.

Hazards: a lone message, which must not wait; a connection that sends much, which must be read as
fast as it can be handled; one that ends or pauses while others are read; and descriptors that are
used again.  What comes meanwhile waits in the kernel's buffers: this is nothing for local programs,
which would be blocked, or for datagrams, which would be dropped.  Peers that wait for each answer
must not wait for a millisecond more: where there are answers, only those that send on without
them let the reactor leave it alone (`stream`).
"""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.model.clock import Reactor
from relay.transport.connections import ReadDescriptor, Timers
from relay.transport.turn_batch import TurnBatch

PAUSE_SECONDS = 0.001
"""From one reading to the next, if so little time lay between the last two."""


@implementer(IReadDescriptor)
class SharedReads:
    """Takes the place of `reactor` for the transports that it reads (`relay.transport.sockets`).

    Args:
        answers: Peers may wait for answers.
        new_poller: Makes what watches the descriptors; the last reader closes it.

    Attributes:
        batch: Takes what is read together; None = nobody does.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        reactor: Reactor,
        *,
        answers: bool = False,
        new_poller: Callable[[], select.epoll] = select.epoll,
    ) -> None:
        self.batch: TurnBatch | None = None
        self._reactor = reactor
        self._new_poller = new_poller
        self._poller: select.epoll | None = None  # exists while there are readers
        self._readers: dict[int, ReadDescriptor] = {}
        self._descriptors: dict[ReadDescriptor, int] = {}  # which readers may have closed
        self._is_watched = False  # by the reactor
        self._timers = Timers(reactor)  # while it is not
        self._read_at = float("-inf")
        self._hurries = False
        self._unread: list[tuple[ReadDescriptor, int]] = []  # left to the next turn
        self._answers = answers
        self._streams = False  # a peer has sent on without an answer, at the last reading

    def __getattr__(self, name: str) -> Any:
        """Delegates everything else to the reactor."""
        return getattr(self._reactor, name)

    # Called by transports.

    def addReader(self, reader: ReadDescriptor) -> None:
        if reader in self._descriptors:
            return
        if self._poller is None:
            self._poller = self._new_poller()
            self._watch()
        descriptor = reader.fileno()
        self._poller.register(descriptor, select.EPOLLIN)
        self._readers[descriptor] = reader
        self._descriptors[reader] = descriptor

    def removeReader(self, reader: ReadDescriptor) -> None:
        descriptor = self._descriptors.pop(reader, None)
        if descriptor is None:
            return
        assert self._poller is not None
        del self._readers[descriptor]
        with suppress(OSError):  # it may be closed
            self._poller.unregister(descriptor)
        if not self._readers:
            self._close()

    def hurry(self) -> None:
        """Much has come: read again at once."""
        self._hurries = True

    def stream(self) -> None:
        """A peer that may wait for answers has sent on without one."""
        self._streams = True

    @property
    def _may_pause(self) -> bool:
        return not self._hurries and (self._streams or not self._answers)

    # Called by the reactor.

    def fileno(self) -> int:
        return -1 if self._poller is None else int(self._poller.fileno())

    def logPrefix(self) -> str:
        return "connections"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends."""

    def doRead(self) -> None:
        now = self._reactor.seconds()
        streams = now - self._read_at < PAUSE_SECONDS
        self._read_at = now
        self._read_all()
        if streams and self._is_watched and self._may_pause:
            self._unwatch()
            self._pause()

    def _pause(self) -> None:
        self._timers.set("read", PAUSE_SECONDS, self._pause_ended)

    def _pause_ended(self) -> None:
        has_read = self._read_all()
        if self._poller is None or self._is_watched:  # all have gone, and perhaps others have come
            return
        if has_read and self._may_pause:
            self._pause()
        else:
            self._read_at = self._reactor.seconds()
            self._watch()

    def _read_all(self) -> bool:
        """Read once each connection of which something has come; whether there was one."""
        self._hurries = self._streams = False
        ready, self._unread = self._unread or self._ready(), []
        if self.batch is not None:
            self.batch.hold()
        for index, (reader, event) in enumerate(ready):
            if reader in self._descriptors:  # no other reading has removed it
                self._read(reader, event)
            if self._hurries:
                self._unread = ready[index + 1 :]
                break
        if self.batch is not None:
            self.batch.release()
        return bool(ready)

    def _ready(self) -> list[tuple[ReadDescriptor, int]]:
        """The connections of which something has come, with what epoll says of each."""
        assert self._poller is not None
        events = self._poller.poll(0, len(self._readers))
        return [(self._readers[at], event) for at, event in events if at in self._readers]

    def _read(self, reader: ReadDescriptor, event: int) -> None:
        """Read one connection, and end it, as the reactor does: the others go on, come what may."""
        why: Exception | None = None
        try:
            why = reader.doRead() if event & select.EPOLLIN else ConnectionLost()
        except Exception as error:
            self._log.failure("a connection failed")
            why = error
        if why is None:
            return
        self.removeReader(reader)
        try:
            self._end(reader, why)
        except Exception:
            self._log.failure("a connection failed at its end")

    def _end(self, reader: Any, why: Exception) -> None:
        if isinstance(why, ConnectionDone) and IHalfCloseableDescriptor.providedBy(reader):
            reader.readConnectionLost(Failure(why))
        else:
            self._reactor.removeWriter(reader)
            reader.connectionLost(Failure(why))

    def _close(self) -> None:
        self._timers.cancel_all()
        if self._is_watched:
            self._unwatch()
        poller, self._poller = self._poller, None
        assert poller is not None
        poller.close()

    def _watch(self) -> None:
        self._is_watched = True
        self._reactor.addReader(self)

    def _unwatch(self) -> None:
        self._is_watched = False
        self._reactor.removeReader(self)
