"""The limits of a destination's queue, and what happens when it is full.

    block               the sources that feed the destination wait
    drop-newest         new messages are not queued
    drop-by-severity    new messages are not queued, the least severe first
    drop-oldest         the head of the queue leaves

A size is what the queue takes on disk, in whole pages, plus what waits for its commit.
A twentieth of the limit, or `reserve_bytes` if that is less, is the reserve: for local sources, and
for urgent messages where severities are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from relay.codec import total_bytes
from relay.model.message import SEVERITY_NAMES
from relay.model.policy import POLICIES
from relay.model.text import Document
from relay.model.text import size as size_text
from relay.queue.admission.backpressure import URGENT_SEVERITY_MAX
from relay.queue.admission.forecast import Forecast
from relay.queue.admission.watermark import Level, Watermark
from relay.queue.transaction import Append, Eviction

QUEUE_FULL = "queue-full"
TOO_OLD = "too-old"

_STORED_RECORD_BYTES = 4  # what a record takes in its block beside its bytes
_ALL = len(SEVERITY_NAMES) - 1
_NONE = -1

# From this part of the limit on, in thousandths, nothing less severe is queued.
_SHEDDING = ((800, 6), (850, 5), (900, 4), (950, 3), (975, URGENT_SEVERITY_MAX), (1000, _NONE))


def queue_full_reason(severity: int) -> str:
    """Why a message was dropped by its severity."""
    return f"{QUEUE_FULL}-{SEVERITY_NAMES[severity]}"


class QueueLimit:
    """The limits of one destination, and its distance from them.

    Args:
        bytes_max: Size of the queue; 0 = no limit of its own.
        seconds_max: Records that wait for longer leave; 0 = none does.
        when_full: One of `POLICIES`.
        reserve_bytes: That of the relay.
        on_drop: Called with how many records were dropped, and the reason.

    Attributes:
        queues: That of the destination, or its two lanes, the older one first.
        forecast: When they will be empty or full; `QueueWatch` takes its samples.
        watermark: What closes admission for the sources of the destination, if anything.
    """

    def __init__(
        self,
        *,
        destination: str,
        bytes_max: int = 0,
        seconds_max: float = 0.0,
        when_full: str = "block",
        reserve_bytes: int = 0,
        on_drop: Callable[[int, str], None] = lambda count, reason: None,
    ) -> None:
        assert when_full in POLICIES, when_full
        self.destination = destination
        self.queues: tuple[str, ...] = (destination,)
        self.pending_bytes = 0
        self.used_bytes = 0
        self.measure: Callable[[], int] | None = None
        """What the queues take on disk, where no limit of theirs needs it after each commit."""
        self.forecast = Forecast()
        self.change(
            bytes_max=bytes_max,
            seconds_max=seconds_max,
            when_full=when_full,
            reserve_bytes=reserve_bytes,
            on_drop=on_drop,
        )

    def change(
        self,
        *,
        bytes_max: int,
        seconds_max: float,
        when_full: str,
        reserve_bytes: int,
        on_drop: Callable[[int, str], None],
    ) -> None:
        """Have other limits from now on, and a new `watermark`.  Arguments as of the class."""
        assert when_full in POLICIES, when_full
        self.bytes_max = bytes_max
        self.seconds_max = seconds_max
        self.when_full = when_full
        self.dropped = on_drop
        self._unreserved_bytes = bytes_max - min(reserve_bytes, bytes_max // 20)
        self.watermark: Watermark | None = None
        if not bytes_max:
            self.pending_bytes = 0  # nobody counts it
        elif when_full == "block":
            self.watermark = Watermark(
                Level.at(self._unreserved_bytes), Level.at(bytes_max), describe=self._full_text
            )
            self.watermark.set(self.size)

    @property
    def size(self) -> int:
        """Bytes on disk or on their way to it."""
        used = self.used_bytes if self.measure is None else self.measure()
        return used + self.pending_bytes

    @property
    def sheds(self) -> bool:
        """Whether `severity_max` may ever say that something is to be dropped."""
        return bool(self.bytes_max) and self.when_full in ("drop-newest", "drop-by-severity")

    @property
    def has_to_evict(self) -> bool:
        """Whether the oldest records have to leave."""
        return 0 < self.bytes_max < self.size and self.when_full == "drop-oldest"

    def bytes_max_of_queues(self, used_bytes: Mapping[str, int]) -> dict[str, int]:
        """What each queue may take when the oldest records have to leave.

        Args:
            used_bytes: What each takes on disk.
        """
        older, newer = self.queues[0], self.queues[-1]
        if older == newer:
            return {older: self.bytes_max}
        beside = used_bytes[newer] + self.pending_bytes
        return {older: max(0, self.bytes_max - beside), newer: self.bytes_max}

    @property
    def room_by_hand(self) -> int | None:
        """Bytes until people may add nothing more; None = they may go on.

        What they move is kept where it is, so it may wait: it takes no room from what comes
        by itself.  Where the oldest leave, they leave for this too.
        """
        if not self.bytes_max or self.when_full == "drop-oldest":
            return None
        sheds_from = _SHEDDING[0][0] * self.bytes_max // 1000
        by_severity = self.when_full == "drop-by-severity"
        return max(0, (sheds_from if by_severity else self._unreserved_bytes) - self.size)

    def severity_max(self, *, reserved: bool) -> int:
        """The least severe messages that are still queued; below 0 = none are.

        Args:
            reserved: They come from a source that may use the reserve.
        """
        size = self.size
        if self.when_full == "drop-by-severity":
            thousandths = 1000 * size // self.bytes_max
            passed = [severity for start, severity in _SHEDDING if thousandths >= start]
            return passed[-1] if passed else _ALL
        if size >= self.bytes_max:
            return _NONE
        return _ALL if reserved or size < self._unreserved_bytes else URGENT_SEVERITY_MAX

    def report(
        self,
        *,
        backlog_records: int = 0,
        drains: bool = False,
        relay_seconds_to_full: float | None = None,
    ) -> Document:
        """The limits and how near they are, for status.

        Args:
            backlog_records: Records that wait; 0 = they are only on their way.
            drains: The destination takes what it is sent.
            relay_seconds_to_full: When the queues of all destinations together will be full.
        """
        own = self.forecast.seconds_to_fill(self.bytes_max - self.size)
        ends = [relay_seconds_to_full] if self.forecast.grows else []
        ends += [own] if self.bytes_max else []
        known = [seconds for seconds in ends if seconds is not None]
        return {
            "queue_bytes_max": self.bytes_max,
            "queue_seconds_max": self.seconds_max,
            "when_full": self.when_full,
            "used_bytes": self.size,
            "fill_percent": 100 * self.size // self.bytes_max if self.bytes_max else None,
            "seconds_to_full": min(known, default=None) if backlog_records else None,
            "seconds_to_empty": self.forecast.seconds_to_empty(backlog_records) if drains else None,
            "blocks_sources": self.watermark is not None and self.watermark.full,
        }

    def add_pending(self, payloads: Sequence[bytes]) -> int:
        """`payloads` wait for their commit.  Returns what to `settle` after it."""
        size = total_bytes(payloads) + _STORED_RECORD_BYTES * len(payloads)
        self.pending_bytes += size
        if self.watermark is not None:
            self.watermark.set(self.size)
        return size

    def settle(self, pending_bytes: int, used_bytes: int) -> None:
        """Records are on disk: `pending_bytes` wait no more, the queue takes `used_bytes`."""
        # What was under way before there was a limit, or while there was none, was not added.
        self.pending_bytes = max(0, self.pending_bytes - pending_bytes)
        self.used_bytes = used_bytes
        if self.watermark is not None:
            self.watermark.set(self.size)

    def _full_text(self, size: int) -> str:
        return (
            f"the queue of {self.destination} holds {size_text(size)} (queue_bytes_max of "
            f"destinations.{self.destination} is {size_text(self.bytes_max)})"
        )


class QueueLimits:
    """The limits of all destinations: what they make leave, and how commits settle them.

    Attributes:
        is_exceeded: One was exceeded by what is on disk, not by what comes: after a limit was
            lowered, or a command moved records here.
    """

    _used_bytes: Callable[[], Mapping[str, int]]  # from `start` on

    def __init__(self, limits: Iterable[QueueLimit]) -> None:
        self._set(limits)
        self._expiries: dict[str, float] = {}
        self.is_exceeded = False

    @property
    def have_evictions(self) -> bool:
        """Whether records have to leave although nothing else is to be committed."""
        return bool(self._expiries) or self.is_exceeded

    @property
    def are_bounded(self) -> bool:
        """Whether any destination has a limit, so that there is something to settle."""
        return bool(self._bounded)

    def start(self, used_bytes: Callable[[], Mapping[str, int]]) -> None:
        """`used_bytes` says from now on what each queue takes on disk."""
        self._used_bytes = used_bytes
        self._measure()

    def use(self, limits: Iterable[QueueLimit]) -> None:
        """These are the limits from now on; some of them may have changed.

        All of their queues have to be open.
        """
        self._set(limits)
        self._measure()
        self.look_again()

    def _set(self, limits: Iterable[QueueLimit]) -> None:
        self._limits = tuple(limits)
        self._bounded = {limit.destination: limit for limit in self._limits if limit.bytes_max}

    def _measure(self) -> None:
        used_bytes = self._used_bytes

        def used_by(limit: QueueLimit) -> int:
            return sum(map(used_bytes().__getitem__, limit.queues))

        for limit in self._limits:
            limit.measure = None if limit.bytes_max else partial(used_by, limit)
        self.settle((), used_bytes())

    def add_pending(self, payloads: Mapping[str, Sequence[bytes]]) -> dict[str, int]:
        """`payloads`, by queue, wait for their commit.  Returns what to settle after it."""
        added: dict[str, int] = {}
        for id, limit in self._bounded.items():
            for queue in limit.queues:
                if queue in payloads:
                    added[id] = added.get(id, 0) + limit.add_pending(payloads[queue])
        return added

    def expire(self, queue: str, received_before: float) -> None:
        """Let the records leave that came in before (seconds since 1970-01-01 UTC)."""
        self._expiries[queue] = received_before

    def take_evictions(self, used_bytes: Mapping[str, int]) -> dict[str, Eviction]:
        """What the next commit lets leave, by queue.

        Args:
            used_bytes: What each queue takes on disk.
        """
        expiries, self._expiries = self._expiries, {}
        self.is_exceeded = False
        evictions: dict[str, Eviction] = {}
        for limit in self._bounded.values():
            if limit.has_to_evict:
                for queue, bytes_max in limit.bytes_max_of_queues(used_bytes).items():
                    evictions[queue] = Eviction(QUEUE_FULL, bytes_max=bytes_max)
        # One rule for a queue in each commit: age now, and size is looked at again after it.
        for queue, before in expiries.items():
            evictions[queue] = Eviction(TOO_OLD, received_before=before)
        return evictions

    def settle(self, appends: Sequence[Append], used_bytes: Mapping[str, int]) -> None:
        """`appends` are on disk, where each queue now takes `used_bytes`."""
        for limit in self._bounded.values():
            pending = 0
            for append in appends:
                pending += append.limited.get(limit.destination, 0)
            limit.settle(pending, sum(map(used_bytes.__getitem__, limit.queues)))

    def look_again(self) -> None:
        """Find out whether something on disk exceeds its limit."""
        self.is_exceeded = any(limit.has_to_evict for limit in self._bounded.values())
