"""The server's end of DTLS on one UDP socket, for many clients (RFC 6012).

Nothing is kept of a client before it has returned a cookie, so that forged addresses cost no
memory.  A client that begins anew from the same address and port replaces its session once it has
returned a cookie again (RFC 6347 §4.2.8).
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from OpenSSL import SSL

from relay.model.clock import Clock, DelayedCall
from relay.model.origin import Origin, TlsIdentity, Transport
from relay.model.text import printable
from relay.transport.datagram.dtls_session import DtlsSession
from relay.transport.datagram.recvmmsg import Datagrams, Sender
from relay.transport.peers import PermittedPeers
from relay.transport.reception import Reception
from relay.transport.sockets import plain_address
from relay.transport.tls.endpoints import DtlsListener, verified_identity
from relay.transport.tls.failure import TlsFailure
from relay.wire.framing.dtls_records import (
    ALERT,
    APPLICATION_DATA,
    NO_SESSION,
    client_random,
    encrypted_type,
    frames_of,
    split_records,
)

_DATAGRAMS_MAX = 200  # a wake-up, so that other sockets get their turn
_UDP_BYTES_MAX = 65_535
_TEXT_MAX = 800  # characters, of which a certificate's are 500 at most
Address = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Limits of the sessions of one source."""

    sessions_max: int
    sessions_per_peer_max: int
    """Of one peer address; 0 = no limit.  Room is made by the oldest session without a handshake,
    or else the one that was silent for longest."""
    handshake_seconds_max: float
    idle_seconds_max: float


class _Client:
    """One client and its session."""

    def __init__(self, address: Address, session: DtlsSession, random: bytes, now: float) -> None:
        self.address = address
        self.host = plain_address(address[0])
        self.session = session
        self.random = random
        self.heard_at = now
        self.call: DelayedCall | None = None
        self.was_open = False
        self.identity: TlsIdentity | None = None
        self.rejected = 0

    @property
    def sender(self) -> Sender:
        return self.host, self.address[1], self.identity


class DtlsReceiver:
    """Receives from one bound, non-blocking UDP socket, and decrypts.

    Args:
        frame_bytes_max: Longer messages are reported as `Datagrams.long`.
        kept_bytes_max: Bytes to keep of each, at least as many.
    """

    has_sessions: ClassVar[bool] = True

    def __init__(
        self,
        bound: socket.socket,
        *,
        listener: DtlsListener,
        reception: Reception,
        limits: SessionLimits,
        permitted: PermittedPeers,
        clock: Clock,
        frame_bytes_max: int,
        kept_bytes_max: int,
    ) -> None:
        self._socket = bound
        self._listener = listener
        self._reception = reception
        self._counters = reception.counters
        self._limits = limits
        self._permitted = permitted
        self._clock = clock
        self._sizes = frame_bytes_max, kept_bytes_max
        self._clients: dict[Address, _Client] = {}
        self._of_host: Counter[str] = Counter()
        self._waiting: DtlsSession | None = None

    def receive(self) -> Datagrams:
        """Receive waiting datagrams, up to a limit; return the messages in them."""
        received = Datagrams({}, {}, more=True)
        for _ in range(_DATAGRAMS_MAX):
            try:
                datagram, address = self._socket.recvfrom(_UDP_BYTES_MAX)
            except BlockingIOError:
                return received._replace(more=False)
            except OSError as error:  # such as an ICMP error from an earlier answer
                return received._replace(more=False, error=error)
            self._take(datagram, address, received)
        return received

    def close(self) -> None:
        """Tell all clients that their sessions end."""
        for client in list(self._clients.values()):
            client.session.close()
            self._forget(client)
        if self._waiting is not None:
            self._waiting.drop()
            self._waiting = None

    def _take(self, datagram: bytes, address: Address, received: Datagrams) -> None:
        host = plain_address(address[0])
        if not self._permitted.permits(host):
            self._reject(address, "not-allowed", "not allowed by allow and deny")
            return
        client = self._clients.get(address)
        random = client_random(datagram)
        # A copy of the ClientHello that began the session is a part of it.
        if random and (client is None or random != client.random):
            self._hello(datagram, address, random)
        elif client is not None:
            self._feed(client, datagram, received)
        elif split_records(datagram):
            kind = encrypted_type(datagram)
            if kind == ALERT:  # which holds no message: mostly the answer to our farewell
                return
            self._reject(address, "no-session", "there is no session with the sender")
            if kind == APPLICATION_DATA and len(datagram) > len(NO_SESSION):
                with suppress(OSError):  # the next record is answered as well
                    self._socket.sendto(NO_SESSION, address)
        else:
            self._reject(address, "malformed", "this is no DTLS; does the sender use udp://?")

    def _hello(self, datagram: bytes, address: Address, random: bytes) -> None:
        """Take a ClientHello that belongs to no session."""
        session = self._session_without_client()
        session.send = self._sender_to(address)
        self._listener.asking = repr(address).encode()
        known = session.sent_datagrams
        has_cookie = False
        with suppress(SSL.Error):
            has_cookie = session.listen(datagram)
        if not has_cookie and session.sent_datagrams > known:
            return  # it was asked for one
        self._waiting = None
        if not has_cookie:
            session.drop()
            self._reject(address, "malformed", "this is no usable ClientHello")
            return
        if address in self._clients:
            self._close(self._clients[address], "replaced")
        if not self._make_room(address):
            session.close()
            session.drop()
            return
        self._begin(_Client(address, session, random, self._clock.seconds()))

    def _session_without_client(self) -> DtlsSession:
        waiting = self._waiting
        if waiting is not None and not self._listener.is_current(waiting.connection):
            waiting.drop()
            waiting = None
        if waiting is None:
            new = self._listener.serverConnectionForTLS
            waiting = DtlsSession(new, clock=self._clock, send=_nowhere)
        self._waiting = waiting
        return waiting

    def _sender_to(self, address: Address) -> Callable[[bytes], None]:
        def send(datagram: bytes) -> None:
            self._socket.sendto(datagram, address)

        return send

    def _make_room(self, address: Address) -> bool:
        """Whether the peer may have another session."""
        host = plain_address(address[0])
        of_peer_max = self._limits.sessions_per_peer_max
        if of_peer_max and self._of_host[host] >= of_peer_max:
            # Datagrams know no end of a connection: most of them may be gone.  Handshakes that
            # nobody completes must not drive out sessions of peers that have shown a certificate.
            own = [client for client in self._clients.values() if client.host == host]
            least = min(own, key=lambda client: (client.was_open, client.heard_at))
            self._close(least, "peer-limit")
            text = f"as many sessions as connections_per_peer_max allows ({of_peer_max:,})"
            how = "was silent for longest" if least.was_open else "had not completed its handshake"
            origin = self._origin_at(least.address)
            self._reception.warn_of(origin, "peer-limit", f"{text}: ended the one that {how}")
        if len(self._clients) < self._limits.sessions_max:
            return True
        limit = f"{self._limits.sessions_max:,}"
        text = f"as many sessions are open as connections_max allows ({limit})"
        self._counters.connections_refused += 1
        self._reception.warn_of(self._origin_at(address), "refused", f"refused: {text}")
        return False

    def _begin(self, client: _Client) -> None:
        self._clients[client.address] = client
        self._of_host[client.host] += 1
        self._counters.connections_open = len(self._clients)
        client.session.changed = lambda: self._settle(client)
        client.call = self._clock.callLater(
            self._limits.handshake_seconds_max, self._too_slow, client
        )
        self._settle(client)

    def _feed(self, client: _Client, datagram: bytes, received: Datagrams) -> None:
        session = client.session
        texts = session.feed(datagram)
        if session.is_open and not client.was_open:
            self._opened(client)
        if texts:
            client.heard_at = self._clock.seconds()
            for text in texts:
                self._cut(client, text, received)
        if session.rejected > client.rejected:
            client.rejected = session.rejected
            self._reject(client.address, "not-authentic", "damaged, forged or a duplicate")
        self._settle(client)

    def _opened(self, client: _Client) -> None:
        client.was_open = True
        client.identity = verified_identity(client.session)
        client.heard_at = self._clock.seconds()
        self._counters.connections_accepted += 1
        assert client.call is not None
        client.call.cancel()
        client.call = self._clock.callLater(self._limits.idle_seconds_max, self._idle, client)

    def _cut(self, client: _Client, data: bytes, received: Datagrams) -> None:
        found = frames_of(data)
        if found.problem:
            self._counters.framing_errors += 1
            text = f"{printable(found.problem)}; kept as it is (RFC 6012, 5.4)"
            self._reception.warn_of(self._origin_at(client.address), "framing", text)
        frames = received.batches.setdefault(client.sender, [])
        frame_bytes_max, kept_bytes_max = self._sizes
        for frame in found.frames:
            if len(frame) > frame_bytes_max:
                received.long.setdefault(client.sender, {})[len(frames)] = len(frame)
                frame = frame[:kept_bytes_max]
            frames.append(frame)

    def _settle(self, client: _Client) -> None:
        """Count and forget a session that is over."""
        session = client.session
        if not session.is_over:
            return
        failure = session.failure
        if failure is not None:
            self._broken(client, failure)
        self._forget(client)

    def _broken(self, client: _Client, failure: TlsFailure) -> None:
        self._counters.protocol_errors += 1
        self._counters.connections_closed[failure.kind or "tls"] += 1
        where = "the session broke" if client.was_open else "DTLS handshake failed"
        text = printable(f"{where}: {failure.text}", length_max=_TEXT_MAX)
        self._reception.warn_of(self._origin_at(client.address), "dtls", text)

    def _too_slow(self, client: _Client) -> None:
        seconds = self._limits.handshake_seconds_max
        self._broken(client, TlsFailure("handshake-timeout", f"not complete after {seconds:g} s"))
        client.session.close()
        self._forget(client)

    def _idle(self, client: _Client) -> None:
        left = client.heard_at + self._limits.idle_seconds_max - self._clock.seconds()
        if left > 0:
            client.call = self._clock.callLater(left, self._idle, client)
            return
        self._counters.connections_idle_closed += 1
        client.session.close()
        self._forget(client)

    def _close(self, client: _Client, reason: str) -> None:
        self._counters.connections_closed[reason] += 1
        client.session.close()
        self._forget(client)

    def _forget(self, client: _Client) -> None:
        if client.call is not None and client.call.active():
            client.call.cancel()
        if self._clients.pop(client.address, None) is not None:
            self._of_host[client.host] -= 1
            if not self._of_host[client.host]:
                del self._of_host[client.host]
        self._counters.connections_open = len(self._clients)
        client.session.drop()

    def _reject(self, address: Address, reason: str, why: str) -> None:
        """Count a datagram that nobody vouches for, whose address may be forged."""
        self._counters.datagrams_rejected[reason] += 1
        source = f"source {self._reception.source}"
        peer = self._origin_at(address).peer
        self._reception.notices.warn(f"{source}, {peer}", reason, f"rejected: {why}", group=source)

    def _origin_at(self, address: Address) -> Origin:
        host = plain_address(address[0])
        return Origin(self._reception.source, Transport.UDP, host, address[1])


def _nowhere(datagram: bytes) -> None:
    raise AssertionError("a session without a client sends nothing")
