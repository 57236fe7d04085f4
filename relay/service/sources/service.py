"""Sources as services: bound early, opened late, closed first."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from relay.flow.authorisation import Authorisation
from relay.model.clock import Port, Reactor
from relay.model.counters.kept import KeptCounters
from relay.model.counters.peers import SEVERITIES
from relay.model.counters.rates import Rates
from relay.model.text import Document
from relay.queue.ledger import Ledger
from relay.service.configuration.model import SourceConfiguration, Url
from relay.service.configuration.table import size_text
from relay.service.prerequisite import Prerequisite
from relay.service.queue.service import QueueService
from relay.service.refusal import StartRefused
from relay.service.sampling import SOURCE_RATES
from relay.transport.datagram.inbound import DatagramReader
from relay.transport.held_sockets import HeldConnection, HeldSocket, HeldSockets, socket_name
from relay.transport.reception import Reception
from relay.transport.sockets import (
    UnixListener,
    enlarge_receive_buffer,
    listen,
    receive_buffer_bytes,
)
from relay.transport.stream.connection import InboundFactory
from relay.transport.stream.resumption import resume_connection

if TYPE_CHECKING:  # direct mode is imported where a source has it
    from relay.service.direct.answering import Answering

_FINISH_SECONDS_MAX = 1.5
_FINAL_ACCEPTS_MAX = 20  # rounds, for those who go on connecting while the relay stops
_FREE_PORT_MIN = 1024
_HOW_TO_BIND = (
    "; ports below 1024 need CAP_NET_BIND_SERVICE, as in deploy/syslogrelay.service, or a socket "
    "that systemd passes (systemd://)"
)


@dataclass(frozen=True, slots=True)
class Receiving:
    """What the service of one source works with."""

    reception: Reception
    reactor: Reactor
    """Provides IReactorTime, IReactorFDSet and IReactorSocket."""
    quarantine: Callable[[], Ledger | None] = lambda: None
    """The account of what the source set aside; None = it does not do that."""
    authorise: Authorisation | None = None
    """Assigns messages to apps; None = every message is taken."""
    other_owner: Callable[[], str] = str
    """Says which other process has the queue; empty = none."""
    kept: KeptCounters | None = None
    """The counters of `reception` on disk; None = they are not kept."""
    held: HeldSockets = field(default_factory=HeldSockets)
    """Sockets that are bound already, and where to leave one."""
    answering: Answering | None = None
    """A log that answers its senders; None = they are answered when all is stored."""


class SourceService(Service):
    """One source, which begins with `startService` and ends with `stopService`."""

    _log = Logger(namespace="relay")

    def __init__(self, configuration: SourceConfiguration, receiving: Receiving) -> None:
        self.id = configuration.id
        self.url = configuration.listen
        self.counters = receiving.reception.counters
        self.kept = receiving.kept
        self._reactor = receiving.reactor
        self._quarantine = receiving.quarantine
        self.answering = receiving.answering
        self._address = str(self.url)
        self._rates = Rates(*SOURCE_RATES)

    @property
    def address(self) -> str:
        """Where it listens, with the port that the system chose if it did."""
        return self._address

    def counts(self) -> tuple[int, ...]:
        """The counters that have rates; see `SOURCE_RATES`."""
        counters, ledger = self.counters, self._quarantine()
        severities = counters.severities()
        drops = sum(counters.dropped.values())
        if ledger is not None:
            drops += ledger.dropped.get("quarantine-full", 0)
        watched = counters.watched
        warnings, errors = watched.warnings_of(severities), watched.errors_of(severities)
        return counters.received_records, warnings, errors, drops

    def sample(self, now: float) -> tuple[int, ...]:
        """Note these counters, and return them."""
        counts = self.counts()
        self._rates.note(now, counts)
        return counts

    def continue_rates(self, before: SourceService) -> None:
        """It takes the place of `before`, whose counters it has."""
        self._rates = before._rates

    def report(self) -> Document:
        """The counters, for status."""
        ledger, answering = self._quarantine(), self.answering
        counts = {each.name: getattr(self.counters, each.name) for each in fields(self.counters)}
        dropped, peers = counts.pop("dropped"), self.counters.peers
        return {
            "id": self.id,
            "listen": str(self.url),
            "address": self.address,
            "since": self.counters.since,
            "severities": dict(zip(SEVERITIES, self.counters.severities(), strict=True)),
            "peers": len(peers),
            "rates": self._rates.report(),
            "stored_seconds": self.counters.stored_seconds.report(),
            "dropped_records": dict(dropped),
            "quarantine": None
            if ledger is None
            else {  # over all runs of the source, and what found no room there
                "records": ledger.quarantined,
                "bytes": ledger.quarantine_bytes,
                "dropped_records": dict(ledger.dropped),
            },
            **{
                name: dict(count) if isinstance(count, Counter) else count
                for name, count in counts.items()
                if isinstance(count, int | Counter)
            },
            **({} if answering is None else _answers_report(answering)),
        }


def _answers_report(answering: Answering) -> Document:
    """What a log that answers adds to the report of a source."""
    state = {} if answering.is_ready else {"state": answering.state_text, "ready": False}
    return {"answers": answering.report(), **state}


class ListeningSource(SourceService):
    """A source with a socket.

    Args:
        bind: Makes the socket.
        prerequisite: What it does not receive without; None = there is nothing.
    """

    socket_kind: ClassVar[str] = "stream"
    """stream or datagram."""
    _socket: socket.socket  # exists between privilegedStartService and stopService

    def __init__(
        self,
        configuration: SourceConfiguration,
        receiving: Receiving,
        *,
        bind: Callable[[], socket.socket],
        prerequisite: Prerequisite | None = None,
    ) -> None:
        super().__init__(configuration, receiving)
        self._bind = bind
        self._prerequisite = prerequisite or Prerequisite("")
        self._prerequisite.when_fulfilled(self._begin_late)
        self._other_owner = receiving.other_owner
        self._held = receiving.held
        self._taken: HeldSocket | None = None  # whose socket is in use
        self._socket_mode: int | None = getattr(configuration, "socket_mode", None)
        self._bound = False
        self._socket_file: tuple[int, int] | None = None  # ours, and not one that we inherited

    def privilegedStartService(self) -> None:
        """Bind, while the process may still have the rights to."""
        try:
            self._socket = self._held_socket() or self._bind()
        except OSError as error:
            reason = error.strerror or str(error)
            if isinstance(error, PermissionError) and 0 < self.url.port < _FREE_PORT_MIN:
                reason += _HOW_TO_BIND
            # A second start with the same configuration: the queue is what cannot be shared.
            if error.errno == errno.EADDRINUSE and (owner := self._other_owner()):
                reason += f": {owner}"
            raise StartRefused(
                f"source {self.id}: cannot listen on {self.url}: {reason}"
            ) from error
        self._note_socket_file()
        self._bound = True
        if not self.url.inherited:  # those are passed again in any case
            self._held.note_use(self.socket_name, self._socket)

    def try_to_bind(self) -> None:
        """Find out whether the address is free; raises StartRefused if it is not."""
        path = self.url.local_path
        existed = os.path.lexists(path) if path else True
        self._other_owner = str  # the relay that runs has the queue, and is not in the way
        self.privilegedStartService()
        self._socket.close()
        if not existed:
            with contextlib.suppress(OSError):
                os.unlink(path)

    @property
    def descriptor(self) -> int:
        """Of the socket that it uses."""
        return self._socket.fileno()

    @property
    def socket_name(self) -> str:
        """Under which its socket is held while nobody uses it."""
        url = self.url
        if url.inherited:
            return socket_name("inherited", url.inherited)
        return socket_name(self.socket_kind, url.local_path or f"{url.host}:{url.port}")

    def adapt(self, bound: socket.socket) -> None:
        """Give a socket that is bound already the options of the configuration."""
        path, mode = self.url.local_path, self._socket_mode
        if path and mode is not None and stat.S_IMODE(os.stat(path).st_mode) != mode:
            os.chmod(path, mode)

    def leave_socket(self, bound: socket.socket, kernel_drops: int | None = None) -> None:
        """Leave the socket to the next source with this address."""
        name, file = self.socket_name, self._socket_file
        self._held.put(HeldSocket(name, bound, self.id, kernel_drops, file))

    @property
    def leaves_socket(self) -> bool:
        """Whether the next source is to have the socket; not if nobody reaches it any more."""
        return self._held.keeps(self.socket_name) and not self._lost_file()

    def _held_socket(self) -> socket.socket | None:
        held = self._held.take(self.socket_name, source=self.id)
        if held is None:
            return None
        self.adapt(held.bound)
        self._taken = held
        return held.bound

    def _end_unopened(self) -> None:
        """Give up the socket that was never used."""
        if self.leaves_socket:
            self.leave_socket(self._socket)
        else:
            self._held.note_end(self.socket_name)
            self._socket.close()

    def startService(self) -> None:
        if not self._bound:
            self.privilegedStartService()
        Service.startService(self)
        if not self._prerequisite.trouble:
            self.begin()

    def begin(self) -> None:
        """Receive from now on."""
        self.open(self._socket)
        self._log.info("source {id}: listens on {address}", id=self.id, address=self.address)

    def open(self, bound: socket.socket) -> None:
        """Begin to receive."""
        raise NotImplementedError

    def report(self) -> Document:
        text = self._prerequisite.state
        if self.running and not text:  # at a stop we remove the file
            text = self._lost_file()
        return super().report() | ({"state": text, "ready": False} if text else {})

    @property
    def is_receiving(self) -> bool:
        """Whether `open` was called."""
        raise NotImplementedError

    def make_bound(self) -> None:
        """Make the socket what it could not be before.

        Raises:
            OSError: It cannot.
        """

    def _begin_late(self) -> None:
        """What was missing when the relay started is there."""
        if not self.running or self.is_receiving:
            return
        try:
            self.make_bound()
        except OSError as error:
            self._prerequisite.trouble = f"cannot listen on {self.url}: {error.strerror or error}"
            self._log.warn("source {id}: {text}", id=self.id, text=self._prerequisite.trouble)
            return
        self.begin()

    def note_address(self, bound: socket.socket) -> None:
        """Learn the port that the system chose, if it did."""
        if bound.family != socket.AF_UNIX:
            host, port = bound.getsockname()[:2]
            self._address = str(Url(self.url.scheme, host=host, port=port))
        elif self.url.inherited:
            name = bound.getsockname()  # bytes if it is abstract
            path = name if isinstance(name, str) else "@" + os.fsdecode(name[1:])
            self._address = str(Url(self.url.scheme, path=path))

    def remove_socket_file(self) -> None:
        if self._socket_file is not None and not self._lost_file():
            with contextlib.suppress(OSError):  # we may have given up the right to
                os.unlink(self.url.path)

    def _note_socket_file(self) -> None:
        if self._socket.family == socket.AF_UNIX and self.url.path and not self.url.inherited:
            with contextlib.suppress(OSError):
                self._socket_file = _file_at(self.url.path)

    def _lost_file(self) -> str:
        """Why programs cannot reach our unix socket; empty if they can, or it is none."""
        if self._socket_file is None:
            return ""
        try:
            if _file_at(self.url.path) == self._socket_file:
                return ""
            found = "another file has taken the place of the socket"
        except FileNotFoundError:
            found = "somebody removed the socket"
        except OSError:  # out of our sight
            return ""
        return f"{found} {self.url.path}, so programs cannot reach this source; restart the relay"


class StreamSource(ListeningSource):
    """A listener for connections.

    Args:
        factory: Knows the open connections.
        wrap: Puts TLS below a factory, or nothing.
    """

    socket_kind = "stream"
    _stop_listening: Callable[[], object] | None = None  # while it does not listen
    _listener: Port | UnixListener  # while it listens
    _release: Callable[[], socket.socket]  # while it does: stops, and leaves the socket open

    def __init__(
        self,
        configuration: SourceConfiguration,
        receiving: Receiving,
        *,
        bind: Callable[[], socket.socket],
        factory: InboundFactory,
        wrap: Callable[[InboundFactory], Factory],
        prerequisite: Prerequisite,
    ) -> None:
        super().__init__(configuration, receiving, bind=bind, prerequisite=prerequisite)
        self._factory = factory
        self._wrap = wrap

    @property
    def is_receiving(self) -> bool:
        return self._stop_listening is not None

    @property
    def descriptor(self) -> int:
        return self._listener.fileno() if self.is_receiving else super().descriptor

    def make_bound(self) -> None:
        if self._socket.fileno() < 0:  # it could not listen before
            self._socket = self._bind()
            self._note_socket_file()
        elif not self.url.inherited:
            listen(self._socket)

    def open(self, bound: socket.socket) -> None:
        if self._taken is not None:  # it may have been left before it ever listened
            listen(bound)
        self.note_address(bound)
        if self.answering is not None:
            self.answering.start()
        factory = self._wrap(self._factory)
        if bound.family == socket.AF_UNIX:
            listener = UnixListener(
                bound, factory, reactor=self._reactor, inherited=bool(self.url.inherited)
            )
            self._stop_listening, self._release = listener.stop, listener.release
            self._listener = listener
        else:
            self._listen_at_port(bound, factory)
        for held in self._held.take_connections(self.socket_name):
            if not resume_connection(held, self._factory, self._reactor):
                self._held.refused += 1

    def _listen_at_port(self, bound: socket.socket, factory: Factory) -> None:
        port = self._reactor.adoptStreamPort(bound.fileno(), bound.family, factory)
        bound.close()  # the port has its own copy
        self._stop_listening = partial(_stop_port, port, inherited=bool(self.url.inherited))
        self._release = partial(_release_port, port)
        self._listener = port

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        if self._stop_listening is None:
            self._end_unopened()
            return
        if self.leaves_socket:
            left = self._factory.leave_connections(
                reads_rest=self._held.reads_rest, most=self._held.room
            )
            for connected, state in left:
                self._held.put_connection(HeldConnection(self.socket_name, connected, state))
            self.leave_socket(self._release())
        else:
            self._held.note_end(self.socket_name)
            self._factory.stopping = True
            await maybeDeferred(self._stop_listening)
        await self._factory.shut_down(seconds_max=_FINISH_SECONDS_MAX)
        if self.answering is not None:
            await self.answering.stop()


class DatagramSource(ListeningSource):
    """A datagram socket.

    Args:
        new_reader: Makes the reader of a bound socket.
        receive_buffer_bytes: What was asked for.
    """

    socket_kind = "datagram"
    _reader: DatagramReader | None = None

    def __init__(
        self,
        configuration: SourceConfiguration,
        receiving: Receiving,
        *,
        bind: Callable[[], socket.socket],
        new_reader: Callable[[socket.socket], DatagramReader],
        receive_buffer_bytes: int = 0,
        prerequisite: Prerequisite | None = None,
    ) -> None:
        super().__init__(configuration, receiving, bind=bind, prerequisite=prerequisite)
        self._new_reader = new_reader
        self._buffer_bytes_asked = receive_buffer_bytes
        self._buffer_bytes = 0

    @property
    def is_receiving(self) -> bool:
        return self._reader is not None

    def open(self, bound: socket.socket) -> None:
        self.note_address(bound)
        self._note_buffer(bound)
        self._reader = self._new_reader(bound)
        if self._taken is not None:
            self._reader.forget_kernel_drops(self._taken.kernel_drops)
        elif self.url.inherited:
            self._reader.forget_kernel_drops()
        self._reactor.addReader(self._reader)

    def adapt(self, bound: socket.socket) -> None:
        super().adapt(bound)
        if self._buffer_bytes_asked:
            enlarge_receive_buffer(bound, self._buffer_bytes_asked)

    def report(self) -> Document:
        return {**super().report(), "receive_buffer_bytes": self._buffer_bytes}

    def _note_buffer(self, bound: socket.socket) -> None:
        """Learn what the kernel granted; say it if that is little."""
        self._buffer_bytes = receive_buffer_bytes(bound)
        # A full unix socket makes its senders wait, whatever its buffer.
        if bound.family != socket.AF_UNIX and 2 * self._buffer_bytes < self._buffer_bytes_asked:
            self._log.warn(
                "source {id}: asked for a receive buffer of {asked}, the kernel grants {granted}; "
                "raise it with: sysctl -w net.core.rmem_max={size}",
                id=self.id,
                asked=size_text(self._buffer_bytes_asked),
                granted=size_text(self._buffer_bytes),
                size=self._buffer_bytes_asked,
            )

    def stopService(self) -> None:
        Service.stopService(self)
        if self._reader is None:
            self._end_unopened()
            return
        self._reactor.removeReader(self._reader)
        if self.leaves_socket:
            self.leave_socket(self._socket, self._reader.release(reads_rest=self._held.reads_rest))
            return
        self._held.note_end(self.socket_name)
        self.remove_socket_file()
        self._reader.drain_and_close(inherited=bool(self.url.inherited))


def _file_at(path: str) -> tuple[int, int]:
    """Device and inode of what has the name `path`."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _stop_port(port: Port, *, inherited: bool) -> object:
    """Accept who has come until now, unless they can wait for the next start, and stop."""
    if not inherited:
        for _ in range(_FINAL_ACCEPTS_MAX):
            if not select.select([port], [], [], 0)[0]:
                break
            port.doRead()
    return port.stopListening()


def _release_port(port: Port) -> socket.socket:
    """Stop, and leave the socket open, with the connections that wait in it."""
    bound = socket.socket(fileno=os.dup(port.fileno()))
    bound.set_inheritable(False)
    port.stopListening()
    return bound


class KeptPositions(Service):
    """Says at the start which sources are gone and how far they have read is still kept.

    A source whose id was changed begins anew, as one that was never there: its files may be
    read a second time.

    Args:
        sources: Ids of the configured ones, by now.
    """

    name = "kept-positions"
    _log = Logger(namespace="relay")

    def __init__(self, sources: Callable[[], Collection[str]], *, queue: QueueService) -> None:
        self._sources = sources
        self._queue = queue
        self._known: Collection[str] = ()

    @property
    def gone(self) -> list[str]:
        """Ids of those that are gone; known from the start on."""
        sources = self._sources()
        return [id for id in self._known if id not in sources]

    def startService(self) -> None:
        Service.startService(self)
        self.follow()

    def follow(self) -> None:
        """There are other sources."""
        before = self.gone
        self._known = self._queue.view.sources_with_positions()
        for id in self.gone:
            if id in before:
                continue
            self._log.warn(
                "source {id} is gone; how far it has read its files or journal is kept under that "
                "name: if it has another name now, give it the old one back, or it reads them anew",
                id=id,
            )
