"""Starts the drain process, starts it again, and passes on what the two sides say.

A drain process that ends costs what was in flight: it comes again, or with an upstream
that says what it has, not even that.  The next one begins where this process has heard
that the last one was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.logger import Logger, LogLevel

from relay.model.clock import Clock, DelayedCall
from relay.service.drain_messages import (
    Acknowledged,
    AcknowledgedLate,
    Alive,
    Answer,
    Began,
    Begin,
    Heard,
    KeepLineage,
    LetGo,
    LetItGo,
    Order,
    Report,
    Said,
    SetAside,
    State,
    Stop,
    TakeUp,
    decode_reports,
    encode,
)
from relay.service.remote_destination import RemoteDestination
from relay.transport.child_process import ChildProcess
from relay.transport.message_channel import MessageChannel
from relay.transport.notices import Notices

__all__ = ["DrainSupervision", "Run", "start_run"]

_MODULE = "relay.service.drain_process"
_RETRY_SECONDS_MIN, _RETRY_SECONDS_MAX = 0.5, 30.0
_GOOD_SECONDS = 60.0  # it ran for this long: what ends it then is something new
_ASK_SECONDS = 10.0
_SILENCES_MAX = 3  # questions without an answer
_STOP_SECONDS_MAX = 2.2  # more than its destinations take
_LET_GO_SECONDS_MAX = 5.0  # a read from a disk that hangs


class Run(Protocol):
    """One drain process."""

    pid: int | None

    def send(self, order: Order) -> None: ...

    def kill(self) -> None: ...


StartRun = Callable[..., Run]
"""Starts one; given `on_reports`, `on_line` and `on_ended`.  Raises OSError."""


class Queue(Protocol):
    """The queue service, as far as it is needed here."""

    @property
    def path(self) -> str: ...

    @property
    def map_bytes(self) -> int: ...

    def forget_dead_readers(self) -> None: ...


class DrainSupervision(Service):
    """Runs the destinations, in a process of their own.

    Args:
        new_destinations: Makes them, given what sends orders to the process.
        start_run: Starts a process.
    """

    name = "drain process"
    _log = Logger(namespace="relay")

    def __init__(
        self,
        new_destinations: Callable[[Callable[[Order], None]], Sequence[RemoteDestination]],
        *,
        queue: Queue,
        start_run: StartRun,
        notices: Notices,
        clock: Clock,
    ) -> None:
        self.destinations = new_destinations(self._tell)
        self._by_id: Mapping[str, Any] = {one.id: one for one in self.destinations}
        self._queue = queue
        self._start_run = start_run
        self._notices = notices
        self._clock = clock
        self._run: Run | None = None
        self._began_at = 0.0
        self._failures = 0  # in a row
        self._silences = 0
        self._retry: DelayedCall | None = None
        self._asking: DelayedCall | None = None
        self._without_queue = False  # its file is being replaced
        self._gone: list[Deferred[None]] = []  # who waits for the end of the process
        self._let_go: list[Deferred[None]] = []  # who waits until it has closed the queue
        self._drain: Mapping[
            Any, str
        ] = {  # what is said of one destination, and what it is to its drain
            Acknowledged: "acknowledged",
            AcknowledgedLate: "acknowledged_late",
            SetAside: "set_aside",
            Heard: "heard",
        }

    def startService(self) -> None:
        Service.startService(self)
        for destination in self.destinations:
            destination.startService()
        self._start()
        self._asking = self._clock.callLater(_ASK_SECONDS, self._ask)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        for call in (self._retry, self._asking):
            if call is not None and call.active():
                call.cancel()
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        if self._run is not None:
            self._tell(Stop())
            await self._ended_within(_STOP_SECONDS_MAX)
        for destination in self.destinations:
            await destination.stopService()

    # For whoever replaces the queue's file.

    def let_go(self) -> Deferred[None]:
        """Have the process close the queue; fires when nobody but us has it open.

        It neither reads nor begins until `take_up`; what it has read already is sent.
        """
        self._without_queue = True
        if self._run is None:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._let_go.append(closed)
        self._tell(LetGo())
        patience = self._clock.callLater(_LET_GO_SECONDS_MAX, self._run.kill)

        def done(_: None) -> None:
            if patience.active():
                patience.cancel()

        return closed.addCallback(done)

    def take_up(self) -> None:
        """The queue is open again: let the process go on with it."""
        self._without_queue = False
        if self._run is not None:
            self._tell(TakeUp(self._queue.map_bytes))
        elif self.running and self._retry is None:
            self._start()

    # The process.

    def _tell(self, order: Order) -> None:
        if self._run is not None:
            self._run.send(order)

    def _start(self) -> None:
        self._retry = None
        if self._without_queue:
            return
        self._silences = 0
        self._began_at = self._clock.seconds()
        try:
            self._run = self._start_run(
                on_reports=self._reports, on_line=self._line, on_ended=self._ended
            )
        except OSError as error:
            self._ended(f"cannot be started: {error.strerror or error}")
            return
        tasks = [destination.begin() for destination in self.destinations]
        self._tell(Begin(self._queue.path, self._queue.map_bytes, tasks))

    def _ended(self, how: str) -> None:
        self._run = None
        self._queue.forget_dead_readers()
        words = f"its process {how}"
        if self.running:
            if self._clock.seconds() - self._began_at >= _GOOD_SECONDS:
                self._failures = 0
            seconds = min(_RETRY_SECONDS_MAX, _RETRY_SECONDS_MIN * 2 ** min(self._failures, 10))
            self._failures += 1
            words += f" and is started again in {seconds:g} s"
            self._notices.warn("drain process", "ended", f"{how}, next start in {seconds:g} s")
            self._retry = self._clock.callLater(seconds, self._start)
        for destination in self.destinations:
            destination.ended(words)
        waiting, self._gone, self._let_go = [*self._gone, *self._let_go], [], []
        for deferred in waiting:
            deferred.callback(None)

    async def _ended_within(self, seconds: float) -> None:
        """Wait for its end, and end it when that takes too long."""
        ended: Deferred[None] = Deferred()
        self._gone.append(ended)
        assert self._run is not None
        patience = self._clock.callLater(seconds, self._run.kill)
        await ended
        if patience.active():
            patience.cancel()

    def _ask(self) -> None:
        self._asking = self._clock.callLater(_ASK_SECONDS, self._ask)
        if self._run is None:
            return
        if self._silences >= _SILENCES_MAX:
            seconds = _SILENCES_MAX * _ASK_SECONDS
            self._log.critical(
                "the drain process has said nothing for {seconds:g} s: it is killed and started "
                "again",
                seconds=seconds,
            )
            self._silences = 0
            self._run.kill()
            return
        self._silences += 1
        self._tell(Answer())

    def _line(self, line: str) -> None:
        self._log.error("drain process: {line}", line=line)

    def _reports(self, reports: Sequence[Report]) -> None:
        """Take what came in one frame."""
        self._silences = 0
        assert self._run is not None
        for report in reports:
            if isinstance(report, Said):
                level: Any = LogLevel.levelWithName(report.level)
                Logger(namespace=report.namespace).emit(level, "{text}", text=report.text)
            elif isinstance(report, Began):
                if report.error:
                    self._notices.warn("drain process", "begin", report.error)
                else:
                    self._log.info("drain process {pid} runs", pid=self._run.pid)
            elif isinstance(report, LetItGo):
                waiting, self._let_go = self._let_go, []
                for closed in waiting:
                    closed.callback(None)
            elif not isinstance(report, Alive):
                self._report_of_one(report, self._run)

    def _report_of_one(self, report: Any, run: Run) -> None:
        destination: RemoteDestination = self._by_id[report.id]
        if isinstance(report, State):
            destination.state.heard(report)
        elif isinstance(report, KeepLineage):
            destination.keep_lineage(report, run.send)
        else:
            getattr(destination.drain, self._drain[type(report)])(report)


class _Run:
    """A real process."""

    def __init__(self, channel: MessageChannel, process: ChildProcess) -> None:
        self.pid = process.pid
        self.send = channel.send
        self.kill = process.kill


def start_run(
    reactor: Any,
    *,
    on_reports: Callable[[Sequence[Report]], None],
    on_line: Callable[[str], None],
    on_ended: Callable[[str], None],
) -> Run:
    """Start a drain process.

    Raises:
        OSError: There is no process or memory left for it.
    """
    channel = MessageChannel(
        encode=encode,
        decode=decode_reports,
        clock=reactor,
        on_messages=on_reports,
        on_lost=lambda: process.channel_lost(),
    )
    process = ChildProcess(channel, on_line=on_line, on_ended=on_ended)
    process.start(reactor, _MODULE, [str(os.getpid())])
    return _Run(channel, process)
