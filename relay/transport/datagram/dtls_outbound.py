"""The client's end of DTLS to an upstream (RFC 6012): used like a connected datagram socket.

Nobody answers the records, so a receiver that was restarted without a farewell goes unnoticed
until the next handshake.  Each session therefore has an age at which a new one replaces it; while
that is made, the old one is used.  A receiver that has no session any more may say so by an alert
in clear text, as our source does.  Anybody can forge that, so it ends nothing: it is a reason to
make the next session early, and to wait for it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.model.clock import Clock, DelayedCall, Reactor
from relay.model.text import printable
from relay.transport.datagram.dtls_session import DtlsSession
from relay.transport.tls.endpoints import TlsUpstream
from relay.wire.framing.dtls_records import is_clear_alert

_UDP_BYTES_MAX = 65_535
_DATAGRAMS_MAX = 100  # a wake-up
_DOUBTED_SECONDS_MIN = 5.0  # age of a session
_TEXT_MAX = 800  # characters, of which a certificate's are 500 at most


@implementer(IReadDescriptor)
class DtlsConnection:
    """One session over a connected UDP socket of its own.

    Args:
        changed: Called when the handshake is done, when the session is doubted, and when it has
            ended.

    Attributes:
        is_doubted: Somebody says that the upstream has no such session.
        trouble: Why it has ended, in text; empty = it has not.
    """

    def __init__(
        self,
        connected: socket.socket,
        upstream: TlsUpstream,
        *,
        reactor: Reactor,
        handshake_seconds_max: float,
        changed: Callable[[DtlsConnection], None],
    ) -> None:
        self.is_doubted = False
        self.trouble = ""
        self._socket = connected
        self._reactor = reactor
        self._seconds_max = handshake_seconds_max
        self._changed = changed
        self._is_closed = False
        self._session = DtlsSession(
            upstream.clientConnectionForTLS, clock=reactor, send=self._send, changed=self._look
        )
        self._was_open = False
        self._limit: DelayedCall = reactor.callLater(handshake_seconds_max, self._too_slow)

    @property
    def is_open(self) -> bool:
        return self._session.is_open

    def start(self) -> None:
        """Begin the handshake."""
        self._reactor.addReader(self)
        self._session.start()
        self._look()

    def write(self, data: bytes) -> None:
        """Send one record.

        Raises:
            OSError: The kernel does not take it, or the session has ended.
        """
        try:
            self._session.write(data)
        except SSL.Error:
            raise OSError(errno.EPIPE, "the DTLS session cannot send") from None

    @property
    def socket(self) -> socket.socket:
        return self._socket

    def close(self) -> None:
        """Tell the upstream, and end; `changed` is not called."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._limit.active():
            self._limit.cancel()
        self._session.close()
        self._session.drop()
        self._reactor.removeReader(self)
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "dtls"

    def connectionLost(self, reason: Failure) -> None:
        # The reactor takes an ICMP error for the end of a connection.
        if not self._is_closed:
            self.doRead()
            self._end(reason.getErrorMessage())

    def doRead(self) -> None:
        """Take what the upstream has sent (called by the reactor)."""
        for _ in range(_DATAGRAMS_MAX):
            if self._is_closed or self.trouble:
                return
            try:
                datagram = self._socket.recv(_UDP_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError as error:  # ICMP: nobody listens there
                self._end(error.strerror or str(error))
                return
            if self.is_open and is_clear_alert(datagram):
                self.is_doubted = True
                self._changed(self)
            else:
                self._session.feed(datagram)  # receivers of syslog have nothing to say
                self._look()

    def _send(self, datagram: bytes) -> None:
        self._socket.send(datagram)

    def _look(self) -> None:
        session = self._session
        if session.is_over:
            failure = session.failure
            self._end("the receiver ended the session" if failure is None else failure.text)
        elif session.is_open and not self._was_open:
            self._was_open = True
            self._limit.cancel()
            self._changed(self)

    def _too_slow(self) -> None:
        seconds = f"{self._seconds_max:g} s"
        self._end(f"no answer to the DTLS handshake within {seconds} (connect_seconds_max)")

    def _end(self, text: str) -> None:
        if not self.trouble and not self._is_closed:
            self.trouble = printable(text, length_max=_TEXT_MAX)
            self.close()
            self._changed(self)


class DtlsSocket:
    """Sends messages to one upstream, by one session after the other.

    Args:
        connected: Non-blocking.
        new_connection: Makes a connection of a connected socket, and what to call on changes.
        encode: Frames a message.
        session_seconds_max: Age at which a session is replaced.

    Attributes:
        on_failure: Called with the reason when there is no session any more.
        on_doubt: Called when a session is replaced early, because the upstream may not have it.
    """

    def __init__(
        self,
        connected: socket.socket,
        *,
        new_connection: Callable[[socket.socket, Callable[[DtlsConnection], None]], DtlsConnection],
        encode: Callable[[bytes], bytes],
        session_seconds_max: float,
        clock: Clock,
    ) -> None:
        self.on_failure: Callable[[str], None] = lambda text: None
        self.on_doubt: Callable[[], None] = lambda: None
        self._new_connection = new_connection
        self._encode = encode
        self._seconds_max = session_seconds_max
        self._clock = clock
        self._ready: Deferred[DtlsSocket] = Deferred()
        self._renewal: DelayedCall | None = None
        self._used_since = 0.0
        self._used: DtlsConnection | None = None
        self._next: DtlsConnection | None = new_connection(connected, self._look)

    def handshake(self) -> Deferred[DtlsSocket]:
        """Make the first session.

        Returns:
            Fires with this; fails with OSError if there is no session.
        """
        assert self._next is not None
        self._next.start()
        return self._ready

    def send(self, message: bytes) -> None:
        """Send one message.

        Raises:
            BlockingIOError: The session is doubted; a new one is being made.
            OSError: See `DtlsConnection.write`.
        """
        assert self._used is not None
        if self._used.is_doubted and self._next is not None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._used.write(self._encode(message))

    def getsockopt(self, level: int, option: int) -> int:
        """An option of the socket that `send` uses."""
        assert self._used is not None
        return self._used.socket.getsockopt(level, option)

    def close(self) -> None:
        """End all sessions."""
        if self._renewal is not None and self._renewal.active():
            self._renewal.cancel()
        for connection in (self._used, self._next):
            if connection is not None:
                connection.close()

    def _look(self, connection: DtlsConnection) -> None:
        if connection.trouble:
            self.close()
            if self._used is None:
                self._ready.errback(OSError(errno.ECONNABORTED, connection.trouble))
            else:
                self.on_failure(connection.trouble)
            return
        if connection is self._used:
            self._doubt()
            return
        before, self._used, self._next = self._used, connection, None
        self._used_since = self._clock.seconds()
        self._renewal = self._clock.callLater(self._seconds_max, self._renew)
        if before is None:
            self._ready.callback(self)
        else:
            before.close()

    def _doubt(self) -> None:
        """Make the next session early, but not so often that forged alerts keep us busy."""
        assert self._used is not None and self._renewal is not None
        if self._next is None:
            age = self._clock.seconds() - self._used_since
            if age < _DOUBTED_SECONDS_MIN:
                self._used.is_doubted = False
                return
            self._renewal.cancel()
            self.on_doubt()
            self._renew()

    def _renew(self) -> None:
        """Ask by a new handshake whether the receiver is there."""
        assert self._used is not None
        try:
            self._next = self._new_connection(
                connect_again(self._used.socket.getpeername()), self._look
            )
        except OSError as error:
            self.close()
            self.on_failure(error.strerror or str(error))
            return
        self._next.start()


def connect_again(address: object) -> socket.socket:
    """Another connected, non-blocking UDP socket to `address`, as `getpeername` gives it.

    Raises:
        OSError: There is none.
    """
    assert isinstance(address, tuple)
    family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    connected = socket.socket(family, socket.SOCK_DGRAM)
    try:
        connected.setblocking(False)
        connected.connect(address)
    except BaseException:
        connected.close()
        raise
    return connected
