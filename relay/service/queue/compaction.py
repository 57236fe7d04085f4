"""Compacts the queue's file while the relay runs: on request, or when much of it stays free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.model.errors import QueueError
from relay.model.text import size
from relay.observe.control import Asked
from relay.queue.compaction.live import LiveCompaction
from relay.service.periodic import PeriodicService
from relay.service.queue.service import QueueService
from relay.transport.notices import Notices

_LOOKS = 3  # in a row that find it worth while
_FREE_BYTES_MIN = 64 * 1024 * 1024
_SMALL_BYTES = 64 * 1024 * 1024
_SWITCHES_MAX = 20  # that find too much left to do
_ANSWER_SECONDS = 5.0

_T = TypeVar("_T")


class Compact(msgspec.Struct, forbid_unknown_fields=True):
    """Compact the queue's file, or report on a compaction."""

    number: int = 0
    """The compaction to report on; 0 = begin one."""


class Compacted(msgspec.Struct):
    """The state of a compaction."""

    number: int
    is_over: bool
    bytes_before: int
    """Size of the file on the disk."""
    bytes_after: int = 0
    error: str = ""


@dataclass(eq=False, repr=False, kw_only=True)
class CompactionService(PeriodicService):
    """Checks once a minute whether the file is worth compacting; one compaction runs at a time."""

    name = "compaction"
    _log = Logger(namespace="relay")

    looks_at_once = False

    queue: QueueService
    free_percent: int
    """Part of the file that has to be free; 0 = only on request."""
    notices: Notices
    interval_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not self.free_percent:
            self.interval_seconds = 0.0
        self._worthy_looks = 0
        self._used_bytes = 0  # at the last look
        self._stopping = False
        self._now = Compacted(0, True, 0)
        self._waiting: list[Deferred[None]] = []  # for the end of the one that runs

    def startService(self) -> None:
        self._stopping = False
        super().startService()

    def stopService(self) -> Deferred[None]:  # type: ignore[override]
        """Ends a compaction between two steps; fires when it has ended."""
        super().stopService()
        self._stopping = True
        return succeed(None) if self._now.is_over else self._end()

    def commands(self) -> dict[str, Asked]:
        """The commands of the control socket, by name."""
        return {"queue-compact": Asked(Compact, self.ask)}

    def ask(self, wanted: Compact) -> Deferred[Compacted]:
        """Begin, unless one runs.  Fires when it is over, or after five seconds with its state."""
        if wanted.number not in (0, self._now.number):
            raise QueueError("the relay was started anew meanwhile; its queue is whole")
        if not wanted.number and self._now.is_over:
            self._begin()
        if self._now.is_over:
            return succeed(self._now)
        ended = self._end()
        ended.addTimeout(_ANSWER_SECONDS, self.clock, lambda *_: None)  # type: ignore[arg-type]  # zope
        return ended.addCallback(lambda _: self._now)

    def _end(self) -> Deferred[None]:
        ended: Deferred[None] = Deferred()
        self._waiting.append(ended)
        return ended

    def look(self) -> None:
        allocated, used = self.queue.view.allocated_bytes, self.queue.view.in_use_bytes
        before, self._used_bytes = self._used_bytes, used
        free = allocated - used
        # While a backlog drains there will be less to copy in a minute.
        is_emptying = used > _SMALL_BYTES and used < before - before // 10
        is_worth = free >= max(_FREE_BYTES_MIN, allocated * self.free_percent // 100)
        self._worthy_looks = self._worthy_looks + 1 if is_worth and not is_emptying else 0
        if self._worthy_looks >= _LOOKS and self._now.is_over:
            self._worthy_looks = 0
            self._begin()

    def _begin(self) -> None:
        self._now = Compacted(self._now.number + 1, False, self.queue.view.allocated_bytes)
        running = ensureDeferred(self._run(self.queue.new_compaction()))
        running.addCallbacks(lambda _: self._over(""), self._failed)

    async def _run(self, compaction: LiveCompaction) -> None:
        await self.queue.in_writer(compaction.begin)
        try:
            for _ in range(_SWITCHES_MAX):
                while not await self.queue.view.in_reader(compaction.step):
                    if self._stopping:
                        raise QueueError("the relay stops; its queue is as it was")
                if await self.queue.in_writer(compaction.switch):
                    return
            raise QueueError("the queue changes faster than it can be copied; try again later")
        finally:
            await self.queue.view.in_reader(compaction.abandon)

    def _failed(self, failure: Failure) -> None:
        assert failure.value is not None
        if failure.check(QueueError) is None:
            self.queue.failures.failed(failure.value)
        reason = str(failure.value)
        if not self._stopping:
            self.notices.warn("queue", "compact", f"its file was not compacted: {reason}")
        self._over(reason)

    def _over(self, error: str) -> None:
        now = self._now
        after = self.queue.view.allocated_bytes
        self._now = Compacted(now.number, True, now.bytes_before, after, error)
        if not error:
            self._log.info(
                "the queue's file was compacted: {before} before, {after} now",
                before=size(now.bytes_before),
                after=size(after),
            )
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            ended.callback(None)
