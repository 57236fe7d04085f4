"""What programs of this host write into pipes, and what the relay itself logs."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IReadDescriptor
from twisted.internet.protocol import Protocol
from twisted.logger import ILogObserver, LogEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.model.clock import Now, Reactor
from relay.model.errors import QueueError
from relay.model.origin import Origin, Transport
from relay.model.text import counted
from relay.transport.connections import READ_BYTES_MAX
from relay.transport.reception import Reception

_FACILITY_SYSLOG = 5
_WAITING_MAX = 1000  # lines of the relay's log that wait for the next turn of the reactor


@implementer(IAddress)
class _Nowhere:
    host = None


class _Reading:
    """The end of a pipe, as what reads the rest of a connection knows a socket."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def shutdown(self, how: int) -> None:
        """A pipe has nothing of the kind: its writers wait for the next reader."""


@implementer(IReadDescriptor)
class PipeConnection(FileDescriptor):
    """The reading end of a pipe as the transport of a protocol.

    Args:
        fd: Non-blocking; closed with the connection.
    """

    SEND_LIMIT = 0
    bufferSize = READ_BYTES_MAX

    def __init__(self, fd: int, protocol: Protocol, reactor: Reactor) -> None:
        FileDescriptor.__init__(self, reactor)  # type: ignore[arg-type]  # zope
        self._fd = fd
        self._protocol = protocol
        self._reactor_clock = reactor
        self.connected = 1
        protocol.makeConnection(self)
        self.startReading()  # type: ignore[no-untyped-call]

    def fileno(self) -> int:
        return self._fd

    def getHandle(self) -> _Reading | None:
        return _Reading(self._fd) if self.connected else None

    def getPeer(self) -> object:
        return _Nowhere()

    def getHost(self) -> object:
        return _Nowhere()

    def doRead(self) -> Exception | None:
        try:
            data = os.read(self._fd, self.bufferSize)
        except BlockingIOError:
            return None
        if not data:
            return ConnectionDone()
        self._protocol.dataReceived(data)
        return None

    def loseConnection(self) -> None:
        # There is nothing to write first; not from within the call that wants it closed.
        self._reactor_clock.callLater(0, self.connectionLost, Failure(ConnectionDone()))

    abortConnection = loseConnection

    def connectionLost(self, reason: Failure) -> None:
        if self.connected:
            FileDescriptor.connectionLost(self, reason)
            os.close(self._fd)
            self._protocol.connectionLost(reason)


@implementer(ILogObserver)
class OwnLog:
    """Log events of the relay as messages of a source, with facility syslog.

    What a message of this source causes is logged and not taken again: events that name
    the source are left out.  Lines wait for the next turn of the reactor; more than a thousand
    are dropped and counted, as are those that come while admission is closed.

    Args:
        as_message: Severity and text of an event; None = it is none.
        severity_max: The least severe that are taken (0 to 7).
        relay_name: HOSTNAME.
    """

    def __init__(
        self,
        reception: Reception,
        *,
        as_message: Callable[[LogEvent], tuple[int, str] | None],
        relay_name: str,
        severity_max: int,
        now: Now,
        reactor: Reactor,
    ) -> None:
        self._reception = reception
        self._origin = Origin(source=reception.source, transport=Transport.UNIX, pid=os.getpid())
        self._as_message = as_message
        self._relay_name = relay_name
        self._severity_max = severity_max
        self._now = now
        self._reactor = reactor
        self._waiting: list[bytes] = []
        self._own = (f"source {reception.source}:", f"source {reception.source},")

    def __call__(self, event: LogEvent) -> None:
        """Observe an event, in any thread."""
        severity, text = self._as_message(event) or (8, "")
        if severity <= self._severity_max and not text.startswith(self._own):
            self._reactor.callFromThread(self._take, severity, text)

    def flush(self) -> None:
        """Store what waits."""
        frames, self._waiting = self._waiting, []
        if frames:
            done = self._reception.intake.accept(frames, self._origin)
            done.addErrback(self._not_stored, len(frames))

    def _take(self, severity: int, text: str) -> None:
        admission, counters = self._reception.admission, self._reception.counters
        for line in text.splitlines():
            frame = self._frame(severity, line)
            if admission.closed or len(self._waiting) >= _WAITING_MAX:
                counters.received_records += 1
                counters.received_bytes += len(frame)
                reason = "admission-closed" if admission.closed else "own-log"
                counters.dropped[reason] += 1
                counters.samples.note(reason, [frame])
                continue
            if not self._waiting:
                self._reactor.callLater(0, self.flush)
            self._waiting.append(frame)

    def _frame(self, severity: int, line: str) -> bytes:
        stamp = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="microseconds")
        header = f"<{8 * _FACILITY_SYSLOG + severity}>1 {stamp} {self._relay_name}"
        return f"{header} syslogrelay {os.getpid()} - - {line}".encode(errors="backslashreplace")

    def _not_stored(self, failure: Failure, count: int) -> None:
        failure.trap(QueueError)
        text = f"{counted(count, 'message')} lost: {failure.getErrorMessage()}"
        self._reception.warn("not-stored", text)
