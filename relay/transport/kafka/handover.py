"""The state that the thread of a consumer and the reactor share.

The thread puts events into a queue, and has the reactor called once for all that it finds there.
The reactor says how far it has come: which offsets are on disk, and whether the thread has to wait.
Most have one writer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from relay.transport.kafka.fetched import Fetched

WINDOW_OCTETS = 8 * 1024 * 1024
"""About the most that is on its way from the consumer to the disk, beside one batch."""


class Began(NamedTuple):
    """A partition is read from here on."""

    partition: int
    offset: int
    is_own: bool
    """It goes on where this relay has stopped; else the numbers that it knows say nothing."""


class Gap(NamedTuple):
    """Records of a partition are gone, and it is read from its beginning."""

    partition: int
    offset: int
    """Where reading should have gone on."""
    low: int
    """The first one that there is."""
    is_recreated: bool
    """The offset is behind the end: these are other records."""


class Warned(NamedTuple):
    """Something to warn of."""

    kind: str
    text: str


class Ended(NamedTuple):
    """The thread has ended; nothing comes after it."""

    why: str
    """Empty = it was told to."""


Event = Fetched | Began | Gap | Warned | Ended


class Handover:
    """Between one thread and the reactor.

    Args:
        offsets: How far the partitions are on disk: the next offset of each.
        call_from_thread: Lets the reactor call something; safe in any thread.
        deliver: Called in the reactor when there are events.
    """

    def __init__(
        self,
        offsets: Mapping[int, int],
        *,
        call_from_thread: Callable[..., object],
        deliver: Callable[[], object],
    ) -> None:
        self.events: deque[Event] = deque()
        self.stored: dict[int, int] = dict(offsets)
        """The next offset of each partition, as it is on disk.  The reactor writes it,
        and the thread where a partition begins."""
        self.is_paused = False
        """Admission is closed.  The reactor writes it."""
        self.is_stopping = False
        """The thread has to end.  The reactor writes it."""
        self.trouble = ""
        """Why nothing comes, for people; empty = all is well.  The thread writes it."""
        self.ends: Mapping[int, int] = {}
        """The end of each partition, as far as it is known.  The thread writes it."""
        self.assigned: tuple[int, ...] | None = None
        """The partitions that are read; None = not known yet.  The thread writes it."""
        self.partitions = 0
        """How many the topic has; 0 = not known yet.  The thread writes it."""
        self._given = 0  # octets, by the thread
        self._done = 0  # octets, by the reactor
        self._is_called = False
        self._call_from_thread = call_from_thread
        self._deliver = deliver
        self._woken = threading.Event()

    # For the thread.

    def put(self, event: Event) -> None:
        """Hand an event to the reactor."""
        if isinstance(event, Fetched):
            self._given += event.octets
        self.events.append(event)
        if not self._is_called:
            self._is_called = True
            self._call_from_thread(self._called)

    @property
    def is_held(self) -> bool:
        """Whether nothing more is wanted now."""
        return self.is_paused or self._given - self._done >= WINDOW_OCTETS

    @property
    def is_settled(self) -> bool:
        """Whether all that was handed over is on disk."""
        return self._given == self._done

    def wait(self, seconds: float) -> None:
        """Wait until the reactor has changed something, so long at most."""
        self._woken.wait(seconds)
        self._woken.clear()

    # For the reactor.

    def done(self, octets: int) -> None:
        """So much is on disk, or given up."""
        self._done += octets
        self._woken.set()

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        self._woken.set()

    def stop(self) -> None:
        self.is_stopping = True
        self._woken.set()

    def _called(self) -> None:
        self._is_called = False  # first: what comes from now on is a call of its own
        self._deliver()
