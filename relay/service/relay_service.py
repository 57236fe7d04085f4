"""The whole relay as one service, and the trees of services that it is made of."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, tzinfo
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

from twisted.application.service import MultiService, Service
from twisted.internet.defer import (
    Deferred,
    ensureDeferred,
    gatherResults,
    maybeDeferred,
    succeed,
)
from twisted.logger import ILogObserver, Logger

from relay.model.clock import Reactor
from relay.service.exit_status import ExitStatus
from relay.service.process.settings import raise_open_files_limit, set_for_batches
from relay.service.refusal import StartRefused
from relay.service.stop_lead import StopLead

_STOP_SECONDS_MAX = 4.2
_STANDARD_ERROR = 2
_KILL_SECONDS = 4.8
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Services(MultiService):
    """A MultiService that stops what it has started if one child cannot start.

    Otherwise the threads of those that have started keep the process alive.

    Args:
        children: In the order of their start.
    """

    _log = Logger(namespace="relay")

    def __init__(self, children: Iterable[Service] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for child in children:
            child.setServiceParent(self)

    def startService(self) -> None:
        Service.startService(self)
        started: list[Service] = []
        for child in self:
            try:
                child.startService()
            except BaseException:
                for earlier in reversed(started):
                    # What takes the reactor's help is not waited for: it does not run.
                    ensureDeferred(self._stop_child(earlier))
                raise
            started.append(child)

    def take_in(self, child: Service, *, before: Service | None = None) -> None:
        """Start a child and have it from now on, if it starts.

        Unlike `addService`, it does not bind what is bound already.

        Args:
            before: The child that it stands before; None = it is the last one.

        Raises:
            StartRefused: The relay is stopping, or the child cannot start.
        """
        if not self.running:
            raise StartRefused("the relay is stopping")
        child.startService()
        at = len(self.services) if before is None else self.services.index(before)
        child.parent = self
        self.services.insert(at, child)
        if child.name is not None:
            self.namedServices[child.name] = child

    async def let_go(self, child: Service) -> None:
        """Stop a child, and have it no longer."""
        self.services.remove(child)
        self.namedServices.pop(child.name, None)
        child.parent = None
        await self._stop_child(child)

    async def _stop_child(self, child: Service) -> None:
        try:
            await maybeDeferred(child.stopService)
        except Exception:  # the outermost edge: the others must still stop
            self._log.failure("{child!r} did not stop cleanly", child=child)


class SequentialService(_Services):
    """A MultiService whose shutdown is as ordered as its start-up.

    MultiService stops its children in reverse order but does not wait for one
    before it stops the next, so the queue would close under the listeners.
    """

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return ensureDeferred(self._stop_children())

    async def _stop_children(self) -> None:
        for child in reversed(list(self)):
            await self._stop_child(child)


class ConcurrentService(_Services):
    """A MultiService whose children stop all at once; it has stopped when all have.

    So a stop takes as long as the slowest of them, however many there are.
    """

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        stopping = [ensureDeferred(self._stop_child(child)) for child in reversed(list(self))]
        return gatherResults(stopping).addCallback(lambda _: None)


class RelayService(SequentialService):
    """Starts top down, stops bottom up, and stops within five seconds.

    Everything in the relay ends quickly by itself.  What may not is a thread in a
    system call: a name that is being resolved, a file on a disk that hangs.  The
    interpreter would wait for it at its end.  By then the queue is closed, or its
    disk hangs and waiting does not help: so the process is ended.

    Args:
        children: In the order of their start.
        exit_status: Of the process; None = it is 0 after a clean stop.
        end_process: Ends the process at once, with this status.

    Attributes:
        lead: Waited for before the stop begins, and its five seconds.
        before_stop: What is waited for before anything stops; fires soon.
        log_observer: What writes the log of the application that it belongs to; None =
            whatever twistd has.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        children: Iterable[Service] = (),
        *,
        exit_status: ExitStatus | None = None,
        end_process: Callable[[int], object] = os._exit,
    ) -> None:
        super().__init__(children)
        self._exit_status = exit_status
        self._end_process = end_process
        self._stopped = False
        self.lead: Callable[[], Deferred[None]] = lambda: succeed(None)
        self.before_stop: Callable[[], Deferred[None]] = lambda: succeed(None)
        self.log_observer: ILogObserver | None = None

    def setServiceParent(self, parent: Any) -> None:
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self.log_observer is not None:
            parent.setComponent(ILogObserver, self.log_observer)

    def startService(self) -> None:
        raise_open_files_limit()
        set_for_batches()
        faulthandler.enable(_STANDARD_ERROR)  # where a disk or a library ends the process
        super().startService()

    def stopService(self) -> Deferred[None]:
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        await self.lead()
        last_resort = threading.Timer(_STOP_SECONDS_MAX, self._end)
        last_resort.daemon = True
        last_resort.start()
        self._log.info("stopping")
        began = time.monotonic()
        await self.before_stop()
        await self._stop_children()
        self._stopped = True
        self._log.info("stopped after {seconds:.1f} s", seconds=time.monotonic() - began)

    def _end(self) -> None:
        has_failed = self._exit_status is not None and self._exit_status.has_failed
        self._end_process(0 if self._stopped and not has_failed else 1)


def local_zone() -> tzinfo:
    """This host's time zone, with its summer time rules; UTC if it has none."""
    name = os.environ.get("TZ", "").lstrip(":")
    try:
        if name and not name.startswith("/"):
            return ZoneInfo(name)
        with open(name or "/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, KeyError):  # KeyError: no zone of that name
        return UTC


class StopGuard(Service):
    """Lets the kernel end the process 4.8 s after SIGTERM or SIGINT, whatever it does.

    Twisted's handlers only ask the reactor to stop, and a reactor that is busy for ever
    never hears it.  What was answered is on disk, so ending it loses nothing.

    Args:
        lead: The seconds come on top of these; a second signal ends it.
    """

    name = "stop guard"

    def __init__(self, *, reactor: Reactor, lead: StopLead | None = None) -> None:
        self._reactor = reactor
        self._lead = lead
        self._is_stopping = False
        self._before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def startService(self) -> None:
        Service.startService(self)
        # The reactor installs its handlers when it runs, which it does not yet.
        self._reactor.callLater(0, self._install)

    def stopService(self) -> None:
        Service.stopService(self)
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def _install(self) -> None:
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if self.running and callable(before):
                self._before[number] = before
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        seconds = _KILL_SECONDS
        if self._lead is not None:
            if self._is_stopping:
                self._reactor.callFromThread(self._lead.cut)
            else:
                seconds += self._lead.seconds()
        signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends the process
        if not self._is_stopping:
            self._is_stopping = True
            self._before[number](number, frame)
