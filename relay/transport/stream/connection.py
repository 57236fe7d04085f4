"""Inbound connections: limits, pauses, orderly ends.

A connection is closed, and the reason counted and logged, when there are too many, when the
peer is idle, when TLS or the opening takes too long, and when the peer violates its protocol.
Reading pauses while admission is closed, while the peer does not read answers, and while it
exceeds its rate.
"""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from typing import Protocol as Interface

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHandshakeListener, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.codec import total_bytes
from relay.flow.marks import Marks
from relay.flow.shedding import indexes_let_in
from relay.model.clock import Clock
from relay.model.debug import CONNECTIONS
from relay.model.origin import Numbered, Origin, Received, Transport
from relay.model.text import counted
from relay.transport.connections import (
    DESCRIPTORS_RESERVED,
    Timers,
    end_writing,
    lack_of_descriptors,
    peer_credentials,
    read_by,
    read_in_large_steps,
    read_rest,
    release,
)
from relay.transport.held_sockets import StreamState
from relay.transport.peers import Pace, PeerRates, PermittedPeers
from relay.transport.reception import OversizePolicy, Reception
from relay.transport.sockets import plain_address
from relay.transport.stream.shared_reads import SharedReads
from relay.transport.tls.endpoints import verified_identity
from relay.transport.tls.failure import tls_failure
from relay.transport.turn_batch import TurnBatch
from relay.wire.hops import parted

_log = Logger(namespace=CONNECTIONS.namespace)

_CLOSE_SECONDS_MAX = 5.0  # for the peer to read the last bytes and close
_FAREWELL_SECONDS_MAX = 0.3  # for the same, when the relay stops
_AGE_MIN = 0.8  # of connection_seconds_max: where the ages begin at which connections end
_MUCH_BYTES = 16 * 1024
"""After such a chunk, as large as a TLS record, more may wait already, or come soon."""


@dataclass(frozen=True, slots=True)
class InboundLimits:
    frame_bytes_max: int
    connections_max: int
    idle_seconds_max: float
    """Silence after which a connection is closed; 0 = never."""
    handshake_seconds_max: float
    connections_per_peer_max: int = 0
    """For each peer address; 0 = no limit."""
    unfinished_bytes_max: int = 0
    """Memory for incomplete frames of all connections, in bytes; 0 = no limit."""
    oversize: str = "truncate"
    """What to do with messages above `frame_bytes_max`: an `OversizePolicy`'s name."""
    block_seconds_max: float = 0.0
    """Longest pause by admission; then messages are read and dropped.  0 = no limit."""
    rate_per_peer_max: int = 0
    """Messages a second of each peer address; 0 = no limit."""
    connection_seconds_max: float = 0.0
    """Age at which a connection ends in an orderly way; 0 = never."""
    keep_empty_lines: bool = False
    """An empty line is a message, where lines are messages."""


class _LeftAndResumed(Protocol):
    """A connection that one process may leave, and another one resume.

    Attributes:
        resumed: What another process has left; None = it is a new connection.
        resumes: Whether there can be such a thing.
    """

    resumes: ClassVar[bool] = False

    factory: InboundFactory
    transport: Any
    timers: Timers

    def __init__(self) -> None:
        self.closing = False
        self.gone = False
        self.resumed: StreamState | None = None
        self._refused = False
        self._left = False
        self._pauses: set[str] = set()
        self._pace: Pace | None = None  # exists if there is a rate

    def state(self) -> StreamState | None:
        """The state with which another process goes on with this connection; None = none can."""
        return None

    def go_on_from(self, state: StreamState) -> None:
        """Go on with what another process has left; called after `begin`."""

    def leave(self) -> StreamState | None:
        """Give the connection up without closing it; None = nobody could go on with it.

        What was decoded is with the intake.  The caller takes the socket.
        """
        if self.closing or self.gone or self._refused or self.factory.secure:
            return None
        state = self.state()
        if state is None:
            return None
        self._left = True
        unread = self._pace.leave() if self._pace is not None else b""
        self._cancel_timers()
        self.transport.unregisterProducer()
        return msgspec.structs.replace(state, unread=unread)

    def read_waiting(self) -> None:
        """Read what the kernel has received until now, unless the relay has paused."""
        if not self._pauses and not self.factory.admission.closed:
            goes_on = lambda: not self.closing and not self.gone  # noqa: E731
            read_rest(self.transport, is_local=False, goes_on=goes_on)

    def resume(self) -> None:
        """Take what another process has received and not decoded, if there is one."""
        if self.resumed is not None:
            self.go_on_from(self.resumed)
            if self.resumed.unread:
                self.dataReceived(self.resumed.unread)

    def _cancel_timers(self) -> None:
        self.timers.cancel_all()
        if self._pace is not None:
            self._pace.stop()


@implementer(IPushProducer)
class _Pausing(_LeftAndResumed):
    """A connection that pauses: by admission, and by Twisted while the peer does not read."""

    def __init__(self) -> None:
        super().__init__()
        self._dropping = ""  # why it does not wait until admission opens

    def pause_reading(self) -> None:
        self.factory.counters.pauses += 1
        self._pause("admission")
        if self.factory.limits.block_seconds_max:
            self.timers.set("blocked", self.factory.limits.block_seconds_max, self._blocked)

    def resume_reading(self) -> None:
        self.timers.cancel("blocked")
        self._dropping = ""
        self._resume("admission")

    def pauseProducing(self) -> None:
        self._pause("peer")

    def resumeProducing(self) -> None:
        self._resume("peer")

    def stopProducing(self) -> None: ...

    def _blocked(self) -> None:
        self._dropping = "it waited for local_block_seconds_max"
        self._resume("admission")

    def _pause(self, reason: str) -> None:
        if not self._pauses and not self.closing and not self.gone:
            self.transport.pauseProducing()
        self._pauses.add(reason)

    def _resume(self, reason: str) -> None:
        self._pauses.discard(reason)
        if not self._pauses and not self.closing and not self.gone:
            self.transport.resumeProducing()


@implementer(IHandshakeListener)
class InboundProtocol(_Pausing):
    """One connection from a peer, which may buffer an incomplete frame.  Subclasses decode."""

    transport: Any  # exists from connectionMade on
    factory: InboundFactory
    origin: Origin
    timers: Timers  # from connectionMade on
    slows_down: ClassVar[bool] = True
    """Whether a peer above its rate is read more slowly."""
    lingers = False
    """Whether `close` lets the peer close first.  A socket that is closed with unread bytes resets
    the connection, and the peer may lose the last answers (RFC 1122, 4.2.2.13)."""

    def __init__(self) -> None:
        super().__init__()
        self._received_at = 0.0  # time of the last chunk

    # For subclasses to implement.

    def begin(self) -> None:
        """The connection may be used."""

    def take(self, chunk: bytes) -> None:
        """The peer sent `chunk`."""
        raise NotImplementedError

    @property
    def unfinished_bytes(self) -> int:
        """Bytes buffered of the incomplete frame."""
        return 0

    def end(self) -> None:
        """The connection is gone."""

    def shut_down(self) -> None:
        """The relay stops: finish the messages received so far, then close."""
        self.close()

    def give_up(self) -> None:
        """`shut_down` takes too long: close at once."""
        self.transport.abortConnection()

    def close_idle(self) -> None:
        """The peer was idle for too long: close."""
        self.close()

    def close_old(self) -> None:
        """The connection is as old as it may be: end it without any loss."""
        self.shut_down()

    # Called by Twisted.

    def connectionMade(self) -> None:
        factory = self.factory
        self.timers = Timers(factory.clock)
        self.origin = factory.origin_of(self.transport)
        refusal = factory.refusal(self.origin.peer_host)
        if refusal:
            self._refused = True
            factory.counters.connections_refused += 1
            self.warn("refused", f"refused: {refusal}")
            self.transport.abortConnection()
            return
        factory.connection_made(self)
        if factory.rates.is_limited and self.origin.peer_host and self.slows_down:
            calls = self._take, partial(self._pause, "rate"), partial(self._resume, "rate")
            self._pace = Pace(factory.rates, self.origin.peer_host, factory.clock, *calls)
        read_in_large_steps(self.transport)
        self.transport.registerProducer(self, True)
        self._received_at = factory.clock.seconds()
        if factory.limits.idle_seconds_max:
            self.timers.set("idle", factory.limits.idle_seconds_max, self._idle)
        if factory.secure:
            self.expect_within_handshake_time("TLS handshake")
        self.begin()
        factory.admission.register(self)
        if factory.reads is not None:
            read_by(self.transport, factory.reads)
            if self._pauses:  # as while admission is closed; it was read anew by that
                self.transport.pauseProducing()
        self.resume()

    def dataReceived(self, data: bytes) -> None:
        factory = self.factory
        if len(data) >= _MUCH_BYTES and factory.reads is not None:
            factory.reads.hurry()
        if self._refused or self.closing:
            return
        self._received_at = factory.clock.seconds()
        if self._pace is None:
            self._take(data)
        else:
            self._pace.feed(data)

    def handshakeCompleted(self) -> None:
        self.handshake_done()
        self.origin = _identified(self.origin, self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone = True
        self.factory.unfinished.forget(self)
        if self._refused:
            return
        self._cancel_timers()
        self.factory.admission.unregister(self)
        if self.factory.secure and reason.value is not None and not self.closing:
            failure = tls_failure(self.transport, reason.value)
            if failure.text:  # the ends of other connections are not logged
                self.violated(failure.text, failure.kind)
        if not self._left:
            self.end()
        self.factory.connection_lost(self)  # last: a stop that waits for it continues at once

    # For subclasses to call.

    def expect_within_handshake_time(self, what: str) -> None:
        """Close the connection unless `handshake_done` is called in time."""
        seconds = self.factory.limits.handshake_seconds_max
        self.timers.set("handshake", seconds, self._too_slow, what, seconds)

    def input_ended(self) -> None:
        """The peer has closed its sending side: take what has come, and never resume reading."""
        self.take_rest()
        self.lingers = False
        self._pauses.add("end of input")
        if self.closing:
            self.transport.loseConnection()

    def handshake_done(self) -> None:
        self.timers.cancel("handshake")

    def violated(self, why: object, kind: str = "protocol") -> None:
        """Count and log a protocol violation; each `kind` has its own rate limit."""
        self.factory.counters.protocol_errors += 1
        self.warn(kind, str(why))

    def store(
        self,
        frames: Sequence[bytes],
        cut: Mapping[int, int],
        pieces: Mapping[int, int],
        positions: Mapping[str, bytes] | None = None,
        *,
        are_records: bool = False,
        numbered: Numbered | None = None,
        stored: Callable[[], object] | None = None,
        failed: Callable[[Failure], object],
    ) -> None:
        """Hand frames to the intake; pause the peer if it exceeds its rate.

        Args:
            cut, pieces: Long messages, as marked by the decoder.
            positions: Stored with them, even if there are no frames.
            numbered: Their session and numbers, where a log answers.
            are_records: They may have hops before them.
            stored: Called once they are on disk, at once if there is nothing to store.
            failed: Called if they could not be stored.
        """
        factory = self.factory
        if self._dropping:
            frames, (cut, pieces), lost = factory.let_in(frames, Marks(cut, pieces), self.origin)
            if lost:
                lost += f" dropped, {self._dropping}: {factory.admission.reason}"
                self.warn("admission-closed", lost)
        if cut or pieces:
            before, long = frames, cut
            frames, cut, pieces, *notice = factory.oversize.settle(frames, cut, pieces, self.origin)
            if any(notice):
                self.warn(*notice)
            if numbered is not None and len(frames) < len(before):
                kept = [index for index in range(len(before)) if index not in long]
                numbered = numbered.picked(kept)
        if not frames and not positions:
            if stored is not None:
                stored()
            return
        if frames and self._pace is not None:
            self._pace.charge(len(frames))
        # The decoder reuses its empty mappings for the next chunk, perhaps in this turn.
        received = Received(frames, self.origin, *((cut, pieces) if cut or pieces else ()))
        received = _parted(received) if are_records else received
        if numbered is not None:
            received = received._replace(numbered=numbered)
        factory.turn_batch.add(received, positions, stored=stored, failed=failed)

    def read_rest(self) -> None:
        """Read what the kernel has already received.

        A local peer gets EPIPE from here on, so everything it could write is read.
        While admission is closed it is dropped and counted.
        """
        if self.closing or self.gone:
            return
        if self.factory.admission.closed and not self._dropping:
            self._dropping = "the relay stops"
        self.take_rest()
        read_rest(
            self.transport,
            is_local=not self.origin.peer_host,
            goes_on=lambda: not self.closing and not self.gone,
        )

    def take_rest(self) -> None:
        """Take what waits because the peer has exceeded its rate."""
        if self._pace is not None:
            self._pace.finish()

    def warn(self, kind: str, text: str) -> None:
        """Warn, naming the source and the peer."""
        self.factory.reception.warn_of(self.origin, kind, text)

    def cut_off(self, reason: str, why: str) -> None:
        """Cut the connection at once: count it under `reason` and log it."""
        self.closing = True
        self.factory.counters.connections_closed[reason] += 1
        self.warn(reason, f"closed: {why}")
        self.transport.abortConnection()

    def close(self) -> None:
        """Close after what was written has gone out, or after five seconds."""
        if self.closing or self.gone:
            return
        self.closing = True
        self._cancel_timers()
        if self._pauses:
            self.transport.resumeProducing()  # TLS closes once it has read the peer's close_notify
        self.transport.unregisterProducer()  # or the connection would stay open
        if self.lingers and not self.factory.secure:  # TLS waits for the peer's close_notify
            end_writing(self.transport)
        else:
            self.transport.loseConnection()
        self.timers.set("close", _CLOSE_SECONDS_MAX, self.transport.abortConnection)

    def _take(self, data: bytes) -> None:
        if not self.closing:
            self.take(data)
        if not (self.closing or self.gone):
            self.factory.unfinished.note(self, len(data))

    def _idle(self) -> None:
        # The relay causes all pauses, except when the peer does not read answers.
        seconds_max, now = self.factory.limits.idle_seconds_max, self.factory.clock.seconds()
        left = seconds_max if self._pauses - {"peer"} else self._received_at + seconds_max - now
        if left > 0:
            self.timers.set("idle", left, self._idle)
            return
        self.factory.counters.connections_idle_closed += 1
        self.warn("idle", f"closed after {self.factory.limits.idle_seconds_max:g} s of silence")
        self.close_idle()

    def _too_slow(self, what: str, seconds: float) -> None:
        if self._pauses:  # the relay has paused reading
            self.expect_within_handshake_time(what)
            return
        self.violated(f"no {what} within {seconds:g} s", "handshake")
        self.close()
        self.transport.abortConnection()


def _parted(received: Received) -> Received:
    """The frames apart from the hops before them."""
    frames, hops = parted(received.frames)
    return received._replace(frames=frames, hops=hops)


class UnfinishedFrames:
    """Adds up the incomplete frames of connections, and closes some above the limit.

    The first to go is the one that has waited longest for the end of its frame, among those
    that keep at least as much as the average: closing one that keeps a few bytes would not
    help, and a sender may well leave a line unfinished for long.

    Args:
        bytes_max: For all of them, in bytes; 0 = no limit.

    Attributes:
        bytes: What they keep.
    """

    def __init__(self, *, bytes_max: int) -> None:
        self.bytes = 0
        self._bytes_max = bytes_max
        self._kept: dict[InboundProtocol, int] = {}  # whose frame began first comes first

    def note(self, connection: InboundProtocol, received_bytes: int) -> None:
        """Account for bytes that a connection has received."""
        before = self._kept.get(connection, 0)
        kept = connection.unfinished_bytes
        if kept == before == 0:
            return
        self.bytes += kept - before
        if kept != before + received_bytes and before:  # a frame was completed
            del self._kept[connection]
        if kept:
            self._kept[connection] = kept
        while self.bytes > self._bytes_max > 0:
            self._close_one()

    def forget(self, connection: InboundProtocol) -> None:
        """A connection is gone."""
        self.bytes -= self._kept.pop(connection, 0)

    def _close_one(self) -> None:
        average = self.bytes / len(self._kept)
        connection = next(each for each, kept in self._kept.items() if kept >= average)
        why = (
            f"frames that are not complete take {self.bytes} bytes on this source, which is more "
            f"than unfinished_bytes_max, and it has sent {self._kept[connection]} of them"
        )
        self.forget(connection)
        connection.cut_off("unfinished-frames", why)


class Entrance(Interface):
    """Has connections before the source's factory has them."""

    def leave_connections(self) -> list[tuple[socket.socket, StreamState]]:
        """Give up all of them; what they have received is `unread`."""

    def reading(self, header: bytes) -> Protocol:
        """The protocol of a connection that was given up."""


class InboundFactory(Factory):
    """Makes the connections of one source and keeps track of open ones.

    Args:
        new_protocol: Makes the protocol of one connection.
        secure: Whether TLS lies below the protocols.
        reads: Reads the connections together; None = the reactor reads each.
    """

    noisy = False

    def __init__(
        self,
        reception: Reception,
        *,
        transport: Transport,
        new_protocol: Callable[[], InboundProtocol],
        limits: InboundLimits,
        clock: Clock,
        secure: bool,
        permitted: PermittedPeers | None = None,
        reads: SharedReads | None = None,
    ) -> None:
        apart = reception.joining is not None or reception.is_direct
        self.turn_batch = TurnBatch(reception.intake, clock=clock, apart=apart)
        self.admission = reception.admission
        self.counters = reception.counters
        self.reception = reception
        self.limits = limits
        self.clock = clock
        self.secure = secure
        self.permitted = permitted or PermittedPeers()
        self.oversize = OversizePolicy(
            limits.oversize, frame_bytes_max=limits.frame_bytes_max, counters=reception.counters
        )
        self.rates = PeerRates(rate_max=limits.rate_per_peer_max, now=clock.seconds)
        self.reads = reads
        if reads is not None:
            reads.batch = self.turn_batch
        self.entrance: Entrance | None = None
        """Has connections before they come here."""
        self.stopping = False
        """Whether new connections are those that waited in the kernel when the relay stopped."""
        self.connections: set[InboundProtocol] = set()
        self.unfinished = UnfinishedFrames(bytes_max=limits.unfinished_bytes_max)
        self._of_peer: Counter[str] = Counter()
        self._origin = Origin(source=reception.source, transport=transport)
        self._new_protocol = new_protocol
        self._all_closed: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        protocol = self._new_protocol()
        protocol.factory = self
        return protocol

    def admits(self, address: Any) -> bool:
        """Whether the peer at `address` may connect; a refusal is counted and logged."""
        origin = self._origin_at(address)
        if origin.peer_host and not self.permitted.permits(origin.peer_host):
            self.counters.connections_refused += 1
            self.reception.warn_of(origin, "not-allowed", "refused: not allowed by allow and deny")
            return False
        users = "what the relay itself opens"
        lack = lack_of_descriptors(DESCRIPTORS_RESERVED, users, "connections_max")
        if lack:
            self.counters.connections_refused += 1
            # One rate limit for all peers, which did not cause it.
            source = f"source {origin.source}"
            text = f"refused: {lack}"
            self.reception.notices.warn(
                f"{source}, {origin.peer}", "descriptors", text, group=source
            )
        return not lack

    def refusal(self, host: str) -> str:
        """Why the peer cannot have another connection; empty if it can."""
        if self.stopping:  # it connected before the stop; it is read once and closed
            return ""
        of_peer_max = self.limits.connections_per_peer_max
        if len(self.connections) >= self.limits.connections_max:
            return f"as many are open as connections_max allows ({self.limits.connections_max:,})"
        if host and of_peer_max and self._of_peer[host] >= of_peer_max:
            return f"it has as many open as connections_per_peer_max allows ({of_peer_max:,})"
        return ""

    def let_in(
        self, frames: Sequence[bytes], marks: Marks, origin: Origin
    ) -> tuple[Sequence[bytes], Marks, str]:
        """Drop and count what admission refuses of a sender that does not wait.

        Returns:
            The other messages, and how many were dropped, as text; empty if none.
        """
        taken = indexes_let_in(self.admission, frames)
        refused = len(frames) - len(taken)
        if not refused:
            return frames, marks, ""
        rest = [frames[index] for index in taken]
        self.counters.received_records += refused  # the intake counts the rest
        self.counters.received_bytes += total_bytes(frames) - total_bytes(rest)
        self.counters.dropped["admission-closed"] += refused
        let_in = set(taken)
        lost = [frame for index, frame in enumerate(frames) if index not in let_in]
        self.counters.samples.note("admission-closed", lost, peer=origin.peer)
        return rest, marks.picked(taken), counted(refused, "message")

    def origin_of(self, transport: Any) -> Origin:
        """The origin of messages from the peer of `transport`."""
        origin = self._origin_at(transport.getPeer())
        handle = transport.getHandle()
        if origin.peer_host or not hasattr(handle, "getsockopt"):  # not of a pipe
            return origin
        pid, uid, gid = peer_credentials(handle)
        return origin._replace(pid=pid, uid=uid, gid=gid)

    def _origin_at(self, address: Any) -> Origin:
        if getattr(address, "host", None) is None:  # a local one
            return self._origin
        host = plain_address(address.host)
        return self._origin._replace(peer_host=host, peer_port=address.port)

    def connection_made(self, connection: InboundProtocol) -> None:
        self.connections.add(connection)
        self._of_peer[connection.origin.peer_host] += 1
        if connection.resumed is None:
            self.counters.connections_accepted += 1
        self.counters.connections_open = len(self.connections)
        if connection.origin.peer_host:
            connection.transport.setTcpKeepAlive(1)  # detects a vanished peer
        if seconds := self.limits.connection_seconds_max:
            # Connections that came together, after a restart, are not to end together.
            seconds *= random.uniform(_AGE_MIN, 1.0)
            connection.timers.set("age", seconds, self._too_old, connection)
        if CONNECTIONS.is_on:
            self._tell(connection, "connected")

    def connection_lost(self, connection: InboundProtocol) -> None:
        self.connections.discard(connection)
        if CONNECTIONS.is_on:
            by = "the relay" if connection.closing else "the peer"
            self._tell(connection, f"closed by {by}")
        self._of_peer[connection.origin.peer_host] -= 1
        if not self._of_peer[connection.origin.peer_host]:
            del self._of_peer[connection.origin.peer_host]
        self.counters.connections_open = len(self.connections)
        if self._all_closed is not None and not self.connections:
            done, self._all_closed = self._all_closed, None
            self.turn_batch.flush()  # whoever waits for this closes the queue
            done.callback(None)

    @property
    def resumes(self) -> bool:
        """Whether its connections can go on with what others have left."""
        return self._new_protocol().resumes

    def leave_connections(
        self, *, reads_rest: bool, most: int | None = None
    ) -> list[tuple[socket.socket, StreamState]]:
        """Give up the connections that another process, or another source, can go on with.

        Args:
            reads_rest: Take first what waits in them.
            most: How many; None = all.
        """
        left = self.entrance.leave_connections() if self.entrance is not None else []
        for connection in list(self.connections)[:most]:
            if reads_rest and connection.resumes:
                connection.read_waiting()
        self.turn_batch.flush()
        for connection in list(self.connections)[:most]:
            state = connection.leave()
            if state is None:
                continue
            if self.reception.joining is not None:
                lines = self.reception.joining.leave(connection.origin)
                state = msgspec.structs.replace(state, lines=lines)
            if (released := release(connection.transport)) is not None:
                left.append((released, state))
        return left

    def _too_old(self, connection: InboundProtocol) -> None:
        if not connection.closing:
            self.counters.connections_closed["age"] += 1
            connection.close_old()

    def _tell(self, connection: InboundProtocol, text: str) -> None:
        source, peer = self.reception.source, connection.origin.peer or "a program of this host"
        _log.debug("source {source}: {peer}: {text}", source=source, peer=peer, text=text)

    def shut_down(self, *, seconds_max: float) -> Deferred[None]:
        """Let all connections finish; close those that have not after `seconds_max`."""
        done: Deferred[None] = Deferred()
        self.turn_batch.flush()
        if self.reception.joining is not None:
            self.reception.joining.stop()
        if not self.connections:
            done.callback(None)
            return done
        self._all_closed = done
        cut = self.clock.callLater(seconds_max, self._give_up_all)
        done.addBoth(lambda _: cut.cancel() if cut.active() else None)
        for connection in list(self.connections):
            connection.shut_down()
        return done

    def _give_up_all(self) -> None:
        for connection in list(self.connections):
            connection.give_up()
        self.clock.callLater(_FAREWELL_SECONDS_MAX, self._cut_all)

    def _cut_all(self) -> None:
        for connection in list(self.connections):
            connection.transport.abortConnection()


def _identified(origin: Origin, transport: Any) -> Origin:
    """`origin` with what the peer's verified certificate says, if there is one."""
    identity = verified_identity(transport)
    return origin if identity is None else origin.identified(identity)
