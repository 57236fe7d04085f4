"""Admission: the one place where backpressure begins.

Needs: memory stays bounded while the disk is slow or full, the queue stays below its limits,
no sender that can wait is refused, and a full destination holds up only the sources that feed it.
Hazards: pausing and resuming on every commit, a connection that is accepted while everything is
paused, a producer that is gone.  Approach: watermarks, some for the whole relay and some for one
destination; each source looks at those that concern it.  While one of them is full, all registered
producers of the source are paused, new ones at once.  Datagrams cannot wait: their
readers take what `severity_max` allows, and drop and count the rest.

The reserve is open to sources that may use it, and to urgent messages where severities are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from relay.model.message import SEVERITY_NAMES
from relay.model.text import size
from relay.queue.admission.forecast import Flow, seconds_to_fill
from relay.queue.admission.watermark import Level, Watermark

URGENT_SEVERITY_MAX = 2
"""Least severe messages that may use the reserve, whatever their source: crit."""
_LEAST_SEVERE = len(SEVERITY_NAMES) - 1


class Failure(NamedTuple):
    """Why nothing can be stored."""

    reason: str
    """One line for people."""
    since: float
    """When it began: seconds since 1970-01-01 UTC."""


class Pausable(Protocol):
    """A source of data that can wait, such as a connection."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class SourceAdmission:
    """Pauses the producers of a source while one of its watermarks is full.

    Args:
        reserved: The source may use the reserve.

    Attributes:
        closed: Whether the source must not take more.
    """

    def __init__(self, watermarks: Iterable[Watermark], *, reserved: bool = False) -> None:
        self._watermarks = tuple(watermarks)
        self._reserved = reserved
        self._producers: set[Pausable] = set()
        self.closed = self._is_closed()
        for watermark in self._watermarks:
            watermark.subscribe(self._watermark_changed)

    def use(self, watermarks: Iterable[Watermark]) -> None:
        """Look at these watermarks from now on, and pause or resume the producers if need be."""
        for watermark in self._watermarks:
            watermark.unsubscribe(self._watermark_changed)
        self._watermarks = tuple(watermarks)
        for watermark in self._watermarks:
            watermark.subscribe(self._watermark_changed)
        self._watermark_changed()

    @property
    def reason(self) -> str:
        """Why admission is closed, for people; empty while it is open."""
        return next(
            (watermark.text for watermark in self._watermarks if self._is_full(watermark)), ""
        )

    @property
    def severity_max(self) -> int:
        """The least severe messages that may come in now if they cannot wait; below 0 = none."""
        if not self.closed:
            return _LEAST_SEVERE
        if self._reserved or any(watermark.reserve_full for watermark in self._watermarks):
            return -1
        return URGENT_SEVERITY_MAX

    def register(self, producer: Pausable) -> None:
        """Add a producer; it is paused at once if admission is closed."""
        self._producers.add(producer)
        if self.closed:
            producer.pause_reading()

    def unregister(self, producer: Pausable) -> None:
        """Forget a producer, whether it is registered or not."""
        self._producers.discard(producer)

    def _is_full(self, watermark: Watermark) -> bool:
        return watermark.reserve_full if self._reserved else watermark.full

    def _is_closed(self) -> bool:
        return any(map(self._is_full, self._watermarks))

    def _watermark_changed(self) -> None:
        was_closed, self.closed = self.closed, self._is_closed()
        if self.closed == was_closed:
            return
        for producer in list(self._producers):
            # Each call may change both the producers and whether we are closed.
            if producer not in self._producers:
                continue
            if self.closed:
                producer.pause_reading()
            else:
                producer.resume_reading()


class Admission(SourceAdmission):
    """The admission of the whole relay: whether anything can be stored, what waits for its commit,
    the size of the queue, and the room on the disk.

    Args:
        pending_bytes_max: Close when more bytes than this wait for their commit; open
            again at half of it.
        queue_bytes_max: Close when the queue holds this much without the reserve; open
            again below 19/20 of that.
        reserve_bytes: Room in the queue for sources that may use the reserve.
        free_bytes_min: Close when there is less room on the disk; half of it is
            reserve.
    """

    def __init__(
        self,
        *,
        pending_bytes_max: int,
        queue_bytes_max: int,
        reserve_bytes: int = 0,
        free_bytes_min: int = 0,
    ) -> None:
        self.queue_bytes_max = queue_bytes_max
        self.free_bytes: int | None = None
        """Room on the disk at the last look; None = there was none yet."""
        self.growth = Flow()
        """Of the queue's bytes; `QueueWatch` takes its samples."""
        self.failure: Failure | None = None
        """Why nothing can be stored; None while everything can."""
        self._reserve_bytes, self._free_bytes_min = reserve_bytes, free_bytes_min
        self._storage = Watermark(
            Level(1, 1), describe=lambda _: self.failure.reason if self.failure else ""
        )
        self._pending = Watermark(
            pending_level(pending_bytes_max),
            describe=lambda pending: f"{size(pending)} wait for the disk",
        )
        self._queue = Watermark(
            Level.at(queue_bytes_max - reserve_bytes),
            Level.at(queue_bytes_max),
            describe=self._queue_text,
        )
        # Of the disk it is what is missing that counts; below 0 there is room to spare.
        self._disk = Watermark(
            *_disk_levels(free_bytes_min),
            describe=lambda missing: (
                f"the disk has room for {size(self._free_bytes_min - missing)} "
                f"(min_free_bytes is {size(self._free_bytes_min)})"
            ),
        )
        self._lasting = (self._storage, self._queue, self._disk)
        self._shared = (*self._lasting, self._pending)
        self.set_pending_bytes = self._pending.set
        """Update the bytes that wait for their commit."""
        self.set_queue_bytes = self._queue.set
        """Update the bytes that the queue holds."""
        super().__init__(self._shared)

    def change(
        self,
        *,
        pending_bytes_max: int,
        queue_bytes_max: int,
        reserve_bytes: int = 0,
        free_bytes_min: int = 0,
    ) -> None:
        """Use other limits from now on."""
        self.queue_bytes_max, self._reserve_bytes = queue_bytes_max, reserve_bytes
        self._pending.move(pending_level(pending_bytes_max))
        self._queue.move(Level.at(queue_bytes_max - reserve_bytes), Level.at(queue_bytes_max))
        if free_bytes_min != self._free_bytes_min:
            self._free_bytes_min = free_bytes_min
            self._disk.move(*_disk_levels(free_bytes_min))
            if self.free_bytes is not None:
                self.set_free_bytes(self.free_bytes)

    @property
    def pending_bytes(self) -> int:
        return self._pending.size

    @property
    def queue_bytes(self) -> int:
        return self._queue.size

    @property
    def seconds_to_full(self) -> float | None:
        """When the queue will hold its most; None if it does, or does not grow."""
        return seconds_to_fill(self.growth, self.queue_bytes_max - self.queue_bytes)

    @property
    def is_busy(self) -> bool:
        """Closed only because of what waits for its commit, as in a burst; that is no fault."""
        return self._pending.full and not self.is_stopped

    @property
    def is_stopped(self) -> bool:
        """Closed for a reason that is not over with the next commit."""
        return any(watermark.full for watermark in self._lasting)

    def when_lasting_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever what `is_stopped` depends on has changed."""
        for watermark in self._lasting:
            watermark.subscribe(changed)

    def shared_with(self, watermarks: Iterable[Watermark]) -> tuple[Watermark, ...]:
        """The marks that a source obeys: those of all sources, and of its destinations."""
        return (*self._shared, *watermarks)

    def direct_with(self, watermark: Watermark) -> tuple[Watermark, ...]:
        """The marks that a source obeys which queues nothing: its own, and those of what it may
        have to store all the same, quarantines and counters."""
        return (self._storage, self._pending, watermark)

    def set_failure(self, reason: str, at: float) -> None:
        """Nothing can be stored: let nothing in, not even what may use the reserve.

        Args:
            at: Now, in seconds since 1970-01-01 UTC.
        """
        self.failure = Failure(reason, at if self.failure is None else self.failure.since)
        self._storage.set(1)

    def clear_failure(self) -> None:
        """Everything that waited has been stored."""
        self.failure = None
        self._storage.set(0)

    def set_free_bytes(self, size: int) -> None:
        """Update the bytes that are free on the disk."""
        self.free_bytes = size
        self._disk.set(self._free_bytes_min - size)

    def _queue_text(self, held: int) -> str:
        limits = f"queue_bytes_max is {size(self.queue_bytes_max)}"
        if self._reserve_bytes:
            limits += f", reserve_bytes {size(self._reserve_bytes)}"
        return f"the queue holds {size(held)} ({limits})"


def pending_level(bytes_max: int) -> Level:
    """Closes above `bytes_max` and opens at half of it."""
    # Hence the ones.
    return Level(bytes_max + 1, bytes_max // 2 + 1)


def _disk_levels(free_bytes_min: int) -> tuple[Level, Level]:
    half, margin = free_bytes_min // 2, free_bytes_min // 8
    return Level(1, 1 - margin), Level(half + 1, half + 1 - margin)
