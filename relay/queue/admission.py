"""Whether the queue can take more: the one place where backward pressure begins.

Needs: memory stays bounded when the disk is slow or full, the queue stays below
its limit, and nobody who can wait is refused.  Hazards: pausing and resuming on
every commit, a connection that comes while everything is paused, a producer that
is gone.  Approach: two gauges with a high and a low watermark each; while either
is above, all registered producers are paused, new ones at once.  Datagrams cannot
wait: their readers look at `closed` and drop, and count.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Admission", "Pausable"]


class Pausable(Protocol):
    """A source of data that can wait, such as a connection."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Admission:
    """Pauses producers while too much waits for its commit or for the upstreams.

    Args:
        pending_bytes_max: Close when more than this waits for its commit; open
            again at half of it.
        queue_bytes_max: Close when the queue holds this much; open again below
            19/20 of it.
    """

    def __init__(self, *, pending_bytes_max: int, queue_bytes_max: int) -> None:
        self.pending_bytes = 0
        self.queue_bytes = 0
        self._pending_bytes_max = pending_bytes_max
        self._queue_bytes_max = queue_bytes_max
        self._pending_high = False
        self._queue_high = False
        self._producers: set[Pausable] = set()

    @property
    def closed(self) -> bool:
        """Whether nothing more should come in."""
        return self._pending_high or self._queue_high

    @property
    def reason(self) -> str:
        """Why admission is closed, in words; empty while it is open."""
        if self._queue_high:
            return (
                f"the queue holds {self.queue_bytes:,} octets "
                f"(queue_bytes_max is {self._queue_bytes_max:,})"
            )
        if self._pending_high:
            return f"{self.pending_bytes:,} octets wait for the disk"
        return ""

    def register(self, producer: Pausable) -> None:
        """Add a producer; it is paused at once if admission is closed."""
        self._producers.add(producer)
        if self.closed:
            producer.pause_reading()

    def unregister(self, producer: Pausable) -> None:
        """Forget a producer, whether it is registered or not."""
        self._producers.discard(producer)

    def set_pending_bytes(self, size: int) -> None:
        """Say how much waits for its commit."""
        was_closed = self.closed
        self.pending_bytes = size
        limit = self._pending_bytes_max // 2 if self._pending_high else self._pending_bytes_max
        self._pending_high = size > limit
        self._tell_producers(was_closed)

    def set_queue_bytes(self, size: int) -> None:
        """Say how much the queue holds."""
        was_closed = self.closed
        self.queue_bytes = size
        limit = self._queue_bytes_max
        if self._queue_high:
            limit -= limit // 20
        self._queue_high = size >= limit
        self._tell_producers(was_closed)

    def _tell_producers(self, was_closed: bool) -> None:
        if self.closed == was_closed:
            return
        for producer in list(self._producers):
            # Each call may change both: who is registered, and whether we are closed.
            if producer not in self._producers:
                continue
            if self.closed:
                producer.pause_reading()
            else:
                producer.resume_reading()
