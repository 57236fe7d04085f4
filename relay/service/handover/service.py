"""The relay's part in a handover: it takes what was left, leaves what it has, and starts anew.

A new version takes over in three steps.  A child tries whether it could (`trial.py`); then the
relay stops as usual, but sources leave their sockets open; then the process becomes the new
program, with the same number, so that a service manager sees one process.  Where systemd stores
descriptors, every stop leaves them there instead, for the next start.
"""

from __future__ import annotations

import atexit
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from relay import __version__
from relay.model.clock import Now, Reactor
from relay.model.errors import RelayError
from relay.model.text import Document as Report
from relay.model.text import counted, printable
from relay.observe.control import Command
from relay.service.configuration.model import Configuration
from relay.service.destinations.kind import in_thread
from relay.service.handover.arrival import (
    CONNECTIONS,
    STATE,
    TRIAL_VARIABLE,
    VARIABLE,
    Arrival,
)
from relay.service.handover.document import (
    ConnectionEntry,
    Document,
    SocketEntry,
    write_document,
)
from relay.service.handover.program import OwnProgram, Trial, TrialFailed
from relay.service.reloading.sockets import close_connections
from relay.service.sources.service import ListeningSource, SourceService

_ANSWER_SECONDS = 0.2  # for the answer to reach who has asked


class Handover:
    """Takes over from an earlier process, and hands over to the next one.

    Args:
        state_dir: Of the relay; the next process has to use the same.
        listening: The sources that have sockets.
        end_process: Ends this process at once, with a status.

    Attributes:
        is_upgrade: This process is about to become the new program.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        arrival: Arrival,
        *,
        state_dir: str,
        listening: Callable[[], Sequence[ListeningSource]],
        reactor: Reactor,
        now: Now,
        end_process: Callable[[int], object] = os._exit,
    ) -> None:
        self._arrival, self._state_dir, self._listening = arrival, state_dir, listening
        self._held, self._store = arrival.held, arrival.store
        self._reactor, self._now, self._end_process = reactor, now, end_process
        self._trying = False
        self._id = ""
        self._stopped_at = 0.0
        self._report: Report = {}
        self.is_upgrade = False
        self.last = _Part("handover, last", self.arrived, self.depart)
        """Starts after the sources, and stops before them."""
        self.first = _Part("handover, first", self.say_problems, self.dispatch)
        """Starts before the sources, and stops after them."""

    def commands(self) -> dict[str, Command]:
        return {"upgrade": self.upgrade, "handover": lambda: self._report}

    # At the start.

    def say_problems(self) -> None:
        for problem in self._arrival.problems:
            self._log.warn("handover: {problem}", problem=problem)

    def arrived(self) -> None:
        """All sources have taken what they can use: close the rest, and say so."""
        document = self._arrival.document or Document()
        sockets = self._held.taken + self._arrival.inherited
        closed = [each.name for each in self._held.close_left()]
        for name in closed:
            self._log.info("{name}: no source uses it any more: closed", name=name)
        lost = close_connections(self._held)
        for name in (CONNECTIONS, STATE, *closed):
            self._store.remove(name)
        self._report = {
            "id": document.id,
            "pid": os.getpid(),
            "version": __version__,
            "version_before": document.version,
            "seconds": self._now() - document.stopped_at if document.stopped_at else 0.0,
            "sockets": sockets,
            "connections": self._arrival.connections - lost - self._held.refused,
            "connections_closed": lost + self._held.refused,
            "sockets_closed": closed,
        }
        if document.version:
            self._log.info(
                "took over from version {before} after {seconds:.2f} s: {sockets}, {connections}",
                before=printable(document.version),
                seconds=self._report["seconds"],
                sockets=counted(sockets, "socket"),
                connections=counted(int(str(self._report["connections"])), "open connection"),
            )

    # At the end.

    def depart(self) -> None:
        """The sources stop next: have them leave their sockets, if somebody goes on with them."""
        self._stopped_at = self._stopped_at or self._now()
        self._held.keeps_all = self.is_upgrade or self._store.exists
        if not self.is_upgrade and self._store.exists:
            self._held.reads_rest = True
            self._held.connections_max = max(0, self._store.room - 1)  # and the state

    def dispatch(self) -> None:
        """The sources have stopped: leave what they have left to systemd."""
        if self.is_upgrade or not self._store.exists:
            return
        connections = self._held.connections
        descriptor = write_document(self._document({}))
        try:
            self._store.remove(STATE)
            if self._store.add(STATE, [descriptor]) and connections:
                self._store.add(CONNECTIONS, [each.connected.fileno() for each in connections])
            self._store.wait()
        finally:
            os.close(descriptor)
        self._held.close_connections()
        self._held.close_left()

    def _document(self, descriptors: dict[str, str]) -> Document:
        return Document(
            self._id,
            __version__,
            self._stopped_at,
            descriptors,
            sockets=tuple(
                SocketEntry(
                    *(each.name, os.fstat(each.bound.fileno()).st_ino, each.source),
                    kernel_drops=each.kernel_drops,
                    file=each.file,
                )
                for each in self._held
            ),
            connections=tuple(
                ConnectionEntry(each.name, os.fstat(each.connected.fileno()).st_ino, each.state)
                for each in self._held.connections
            ),
        )

    # Upgrade.

    def upgrade(self) -> Deferred[Report]:
        """Try the new program in a child, then stop and become it.

        Raises:
            RelayError: It cannot be done; the relay goes on.
        """
        program = self._arrival.program
        if program is None:
            raise RelayError(
                "this process cannot start itself again: it needs twistd without --chroot; restart "
                "it instead"
            )
        if self._trying or self.is_upgrade:
            raise RelayError("an upgrade is under way already; wait for its end")
        self._trying = True
        tried = in_thread(self._reactor, partial(self._try_out, program))
        return tried.addCallbacks(self._begin, self._refuse)

    def _try_out(self, program: OwnProgram) -> Trial:
        sources = self._listening()
        inherited = {
            str(each.descriptor): each.socket_name for each in sources if each.url.inherited
        }
        in_use = tuple(SocketEntry(each.socket_name, 0) for each in sources)
        document = Document(descriptors=inherited, sockets=in_use)
        descriptor = write_document(document)
        try:
            environment = {**os.environ, TRIAL_VARIABLE: str(descriptor)}
            return program.try_out(environment, [descriptor, *map(int, inherited)])
        finally:
            os.close(descriptor)

    def _begin(self, trial: Trial) -> Report:
        self._trying = False
        if trial.state_dir != self._state_dir:
            raise RelayError(
                f"refused: state_dir was {self._state_dir} and would be {trial.state_dir}, where "
                "another queue is; restart the relay instead"
            )
        self.is_upgrade, self._id = True, secrets.token_hex(8)
        self._log.info(
            "upgrade from version {before} to {version}", before=__version__, version=trial.version
        )
        self._reactor.addSystemEventTrigger("after", "shutdown", atexit.register, self.become)
        self._reactor.callLater(_ANSWER_SECONDS, self._reactor.stop)
        return {
            "id": self._id,
            "pid": os.getpid(),
            "version": trial.version,
            "version_before": __version__,
        }

    def _refuse(self, failure: object) -> Report:
        self._trying = False
        error = getattr(failure, "value", None)
        if isinstance(error, TrialFailed):
            raise RelayError(f"refused, and the relay goes on as it is: {error}") from error
        raise RelayError(f"the new version cannot be tried: {error}")

    def become(self) -> None:
        """Become the new program: the last thing that this process does."""
        program = self._arrival.program
        assert program is not None
        descriptors = {
            **{str(each.bound.fileno()): each.name for each in self._held},
            **{str(each.connected.fileno()): CONNECTIONS for each in self._held.connections},
        }
        try:
            memory = write_document(self._document(descriptors))
            for number in (*map(int, descriptors), memory):
                os.set_inheritable(number, True)
            sys.stdout.flush()
            sys.stderr.flush()
            environment = {**os.environ, **self._arrival.systemd.environment(os.getpid())}
            program.become({**environment, VARIABLE: str(memory)})
        except OSError as error:
            # The log has ended by now.
            text = f"cannot become the new version: {program.executable}: {error.strerror}"
            print(f"syslogrelay: {text}", file=sys.stderr, flush=True)
            self._end_process(1)

    def farewell(self) -> dict[str, str]:
        """The message to the service manager at the stop.

        RELOADING=1 keeps it from waiting for the end of a process that goes on as another program.
        """
        if self.is_upgrade:
            stamp = str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
            return {"RELOADING": "1", "MONOTONIC_USEC": stamp, "STATUS": "upgrading"}
        return {"STOPPING": "1", "STATUS": "stopping"}

    def end(self, status: int) -> None:
        """End the process, which hangs in its stop: as the new program, if there is to be one."""
        if self.is_upgrade:
            self.become()
        self._end_process(status)


def new_handover(
    arrival: Arrival,
    configuration: Configuration,
    sources: Sequence[SourceService],
    reactor: Reactor,
    now: Now,
) -> Handover:
    """The handover of a relay with these sources, of which others may be added."""
    return Handover(
        arrival,
        state_dir=configuration.state_dir,
        listening=lambda: [each for each in sources if isinstance(each, ListeningSource)],
        reactor=reactor,
        now=now,
    )


class _Part(Service):
    """Does one thing at its start and one at its stop."""

    def __init__(
        self, name: str, at_start: Callable[[], None], at_stop: Callable[[], None]
    ) -> None:
        self.name = name
        self._at_start, self._at_stop = at_start, at_stop

    def startService(self) -> None:
        Service.startService(self)
        self._at_start()

    def stopService(self) -> None:
        Service.stopService(self)
        self._at_stop()
