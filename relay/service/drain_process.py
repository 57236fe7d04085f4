"""The drain process: runs the destinations' services beside the main process.

    main process                              drain process
    sources ─▶ queue ── stored, evicted ────▶ Cursor ─▶ Drain ─▶ sessions
               Committer ◀── acknowledged ─── RemoteQueue ◀────── answers

It reads the same LMDB environment and changes nothing in it.  What it is told and what
it says is in `drain_messages.py`; the other side is `drain_supervision.py`.  It ends
when the main process does, however that ends, and at nobody else's signal.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import LogEvent, Logger, LogLevel, eventAsText, globalLogBeginner
from twisted.python.threadpool import ThreadPool

from relay.flow.drain import Drain
from relay.model.clock import DelayedCall
from relay.model.errors import QueueError
from relay.queue.sharing import QueueBeside
from relay.service.configuration import TlsConfiguration
from relay.service.destination import DestinationService
from relay.service.destinations import new_destination
from relay.service.drain_messages import (
    Alive,
    Answer,
    Began,
    Begin,
    BreakLink,
    Evicted,
    Hold,
    LetGo,
    LetItGo,
    LineageKept,
    Order,
    Release,
    Renew,
    Reopen,
    Report,
    Said,
    Skip,
    State,
    Stop,
    Stored,
    TakeUp,
    Task,
    configuration_of,
    decode_orders,
    encode,
)
from relay.service.interpreter import set_for_batches
from relay.service.remote_queue import Readable, RemoteQueue
from relay.transport.child_process import CHANNEL_FD, end_with_parent
from relay.transport.message_channel import MessageChannel
from relay.transport.notices import Notices
from relay.transport.tls_context import TlsMaterial

__all__ = ["DrainProcess", "HandedCertificates", "main"]

_REPORT_SECONDS = 0.1  # after something happened
_LOOK_SECONDS = 1.0  # at states whose words change with time

_R = TypeVar("_R", bound=Any)


class HandedCertificates:
    """Stands for `CertificateWatch`: the main process reads the files, and tells of new ones."""

    def __init__(self) -> None:
        self._materials: dict[str, TlsMaterial] = {}
        self._targets: dict[str, Any] = {}

    def give(self, id: str, material: TlsMaterial) -> None:
        self._materials[f"destination {id}"] = material

    def keep(
        self,
        subject: str,
        tls: TlsConfiguration,
        problems: Callable[..., list[str]],
        new: Callable[[TlsMaterial], _R],
    ) -> _R:
        target = new(self._materials[subject])
        self._targets[subject] = target
        return target

    def renew(self, id: str, material: TlsMaterial) -> None:
        self._targets[f"destination {id}"].renew(material)


class DrainProcess:
    """Does what the main process orders.

    Args:
        reactor: As for `assemble`.
        tell: Sends a message to the main process.
        open_store: Opens the queue: see `QueueBeside.open_beside`.
        run_in_thread: Where it is read.
        on_stopped: Called when all is stopped and said.
        new_service: Makes the service of a destination.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        reactor: Any,
        *,
        tell: Callable[[Report], None],
        open_store: Callable[..., Readable],
        run_in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
        on_stopped: Callable[[], None],
        new_service: Callable[..., DestinationService] = new_destination,
    ) -> None:
        self._reactor = reactor
        self._tell = tell
        self._open_store = open_store
        self._run_in_thread = run_in_thread
        self._on_stopped = on_stopped
        self._new_service = new_service
        self._notices = Notices(clock=reactor, log=Logger(namespace="relay"))
        self._certificates = HandedCertificates()
        self._queue: RemoteQueue  # exists from `_begin` on
        self._services: dict[str, DestinationService] = {}
        self._states: dict[str, State] = {}  # as they were told
        self._holds: dict[str, int] = {}
        self._reporting: DelayedCall | None = None
        self._looking: DelayedCall | None = None
        self._do: dict[type, Callable[[Any], object]] = {
            Begin: self._begin,
            Stored: lambda order: self._queue.stored(order.id, order.upto),
            Evicted: lambda order: self._queue.evicted(order.id, order.upto, order.reason),
            Hold: self._hold,
            Release: lambda order: self._services[order.id].drain.release(order.by),
            Skip: self._skip,
            BreakLink: lambda order: self._services[order.id].break_link(order.why),
            Reopen: lambda order: self._services[order.id].reopen(),
            Renew: lambda order: self._certificates.renew(order.id, order.material),
            LineageKept: lambda order: self._queue.lineage_kept(order.id, order.error),
            LetGo: self._let_go,
            TakeUp: lambda order: self._queue.take_up(order.map_bytes),
            Answer: lambda order: tell(Alive()),
            Stop: lambda order: self._stop(),
        }

    def obey(self, orders: Sequence[Order]) -> None:
        """Do what came in one frame."""
        for order in orders:
            self._do[type(order)](order)
        self.report_soon()

    def report_soon(self) -> None:
        """Say how the destinations are, as far as that has changed."""
        if self._reporting is None:
            self._reporting = self._reactor.callLater(_REPORT_SECONDS, self._report)

    def say(self, event: LogEvent) -> None:
        """Take an event of the log."""
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        level = event.get("log_level")
        namespace = event.get("log_namespace", "relay")
        self._tell(Said(namespace, "info" if level is None else level.name, text))
        if self._services:  # what is worth a line has changed a state
            self._reactor.callLater(0, self._report)

    def _begin(self, order: Begin) -> None:
        self._queue = RemoteQueue(
            open_store=lambda map_bytes: self._open_store(
                order.path,
                destinations=[configuration_of(task).id for task in order.tasks],
                map_bytes=map_bytes,
            ),
            tell=self._told,
            run_in_thread=self._run_in_thread,
        )
        try:
            self._queue.take_up(order.map_bytes)
            for task in order.tasks:
                self._add(task)
        except (QueueError, ValueError, SSL.Error) as error:
            self._tell(Began(str(error)))
            self._on_stopped()
            return
        for task in order.tasks:
            self._start(task)
        self._tell(Began(""))
        self._look()

    def _add(self, task: Task) -> None:
        configuration = configuration_of(task)
        if task.material is not None:
            self._certificates.give(configuration.id, task.material)
        self._queue.give(task, configuration.id)
        self._services[configuration.id] = self._new_service(
            configuration,
            queue=self._queue,
            certificates=self._certificates,
            notices=self._notices,
            reactor=self._reactor,
        )

    def _start(self, task: Task) -> None:
        service = self._services[configuration_of(task).id]
        service.startService()
        for by in task.held:
            service.drain.hold(by)

    def _told(self, report: Report) -> None:
        self._tell(report)
        self.report_soon()

    def _hold(self, order: Hold) -> None:
        self._services[order.id].drain.hold(order.by)
        self._holds[order.id] = self._holds.get(order.id, 0) + 1

    def _skip(self, order: Skip) -> None:
        drain = self._services[order.id].drain
        assert isinstance(drain, Drain), order  # those with lanes are not here
        drain.skip(order.upto)

    def _let_go(self, _: LetGo) -> None:
        self._queue.let_go().addCallback(lambda _: self._tell(LetItGo()))

    def _stop(self) -> None:
        stopping = [maybeDeferred(service.stopService) for service in self._services.values()]
        DeferredList(stopping).addCallback(self._stopped)

    def _stopped(self, results: Sequence[tuple[bool, Any]]) -> None:
        for succeeded, failure in results:
            if not succeeded:
                self._log.failure("a destination did not stop cleanly", failure=failure)
        for call in (self._reporting, self._looking):
            if call is not None and call.active():
                call.cancel()
        self._report()
        self._on_stopped()

    def _look(self) -> None:
        self._looking = self._reactor.callLater(_LOOK_SECONDS, self._look)
        self._report()

    def _report(self) -> None:
        if self._reporting is not None and self._reporting.active():
            self._reporting.cancel()
        self._reporting = None
        for id, service in self._services.items():
            state = _state_of(service, self._holds.get(id, 0))
            if self._states.get(id) != state:
                self._states[id] = state
                self._tell(state)


def _state_of(service: DestinationService, holds: int) -> State:
    state, drain = service.state, service.drain
    return State(
        id=service.id,
        words=state.words,
        ready=state.ready,
        exactly_once=state.exactly_once,
        connects=state.connects,
        failures=state.failures,
        truncated_records=state.truncated_records,
        answers=state.answers,
        in_flight=drain.in_flight,
        could_send=drain.could_send,
        sent_records=drain.sent_records,
        resent_records=drain.resent_records,
        holds=holds,
    )


def main(parent: int) -> None:
    """Run in a process that was made for it.

    Args:
        parent: Number of the main process.
    """
    end_with_parent(parent)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # to the whole group; the main process tells us

    # Not at the top: importing the reactor installs one.
    from twisted.internet import reactor as installed

    reactor: Any = installed
    readers = ThreadPool(minthreads=1, maxthreads=2, name="queue-reader")
    readers.start()
    stopped: list[bool] = []

    def stop() -> None:
        stopped.append(True)
        channel.flush()
        channel.transport.loseConnection()

    def lost() -> None:
        # Threads may hang in a system call, and nothing of ours is worth waiting for.
        os._exit(0 if stopped else 1)

    channel = MessageChannel(
        encode=encode,
        decode=decode_orders,
        clock=reactor,
        on_messages=lambda orders: process.obey(orders),
        on_lost=lost,
    )
    process = DrainProcess(
        reactor,
        tell=channel.send,
        open_store=QueueBeside.open_beside,
        run_in_thread=partial(deferToThreadPool, reactor, readers),
        on_stopped=stop,
    )
    observer: Any = partial(_log, process)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    factory = Factory.forProtocol(lambda: channel)
    factory.noisy = False
    reactor.adoptStreamConnection(CHANNEL_FD, socket.AF_UNIX, factory)
    os.close(CHANNEL_FD)
    set_for_batches()
    reactor.run(installSignalHandlers=False)


def _log(process: DrainProcess, event: LogEvent) -> None:
    """Through the channel; but what may be the last words by a way that needs no reactor."""
    if event.get("log_level") is LogLevel.critical:
        print(eventAsText(event), file=sys.stderr, flush=True)
    else:
        process.say(event)


if __name__ == "__main__":
    main(int(sys.argv[1]))
