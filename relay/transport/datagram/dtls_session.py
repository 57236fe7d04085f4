"""One DTLS session (RFC 6347) over memory: datagrams in, application data and datagrams out.

OpenSSL keeps the state of the handshake, its retransmissions and the window against replays.  A
memory BIO is a stream, so records go in one by one, and come out cut at their headers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509

from relay.model.clock import Clock, DelayedCall
from relay.transport.tls.failure import TlsFailure, tls_failure
from relay.wire.framing.dtls_records import (
    APPLICATION_DATA,
    PLAINTEXT_BYTES_MAX,
    join_records,
    split_records,
)

DATAGRAM_BYTES_MAX = 1200
"""Largest datagram of a handshake, in bytes: paths of IPv6 carry it, tunnels included."""

_CHUNK_BYTES = 65536
_TIMER_SECONDS_MIN = 0.02  # OpenSSL's own clock may be a little behind ours
_SILENT = TlsFailure("dtls-silent", "the peer does not answer the DTLS handshake")


class DtlsSession:
    """One end of a session.  It is the transport that `CertificateCheck` and `tls_failure` know.

    Args:
        new_connection: Makes OpenSSL's end for this transport, client or server.
        send: Sends a datagram to the peer; called from within all methods.
        changed: Called when a timer has ended the session.

    Attributes:
        is_open: The handshake is done, and nothing has ended the session.
        is_over: The session has ended.
        failure: Why it has; None = the peer closed it, or we did.
        sent_datagrams: How many were handed to `send`.
        rejected: Records of application data that gave none: damaged, forged or duplicates.
        certificate_refusal, certificate_vouched, tls_end: See `TlsTransport`.
    """

    certificate_refusal = ""
    certificate_vouched = False
    tls_end: object = None

    def __init__(
        self,
        new_connection: Callable[[DtlsSession], SSL.Connection],
        *,
        clock: Clock,
        send: Callable[[bytes], object],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.is_open = False
        self.is_over = False
        self.failure: TlsFailure | None = None
        self.sent_datagrams = 0
        self.rejected = 0
        self.send = send
        self.changed = changed
        self._clock = clock
        self._timer: DelayedCall | None = None
        self._tls: SSL.Connection | None = new_connection(self)
        self._tls.set_ciphertext_mtu(DATAGRAM_BYTES_MAX)

    @property
    def connection(self) -> SSL.Connection:
        assert self._tls is not None
        return self._tls

    def getPeerCertificate(self) -> X509 | None:
        return self.connection.get_peer_certificate()

    @property
    def version(self) -> str:
        """Of the protocol, after the handshake: ``DTLSv1.2``."""
        return self.connection.get_protocol_version_name()

    @property
    def chain(self) -> list[x509.Certificate]:
        """Certificates that the peer has sent: its own, then those of its issuers."""
        return [each.to_cryptography() for each in self.connection.get_peer_cert_chain() or []]

    def start(self) -> None:
        """Begin the handshake as the client."""
        self.connection.set_connect_state()
        self._run(self._shake_hands)

    def listen(self, datagram: bytes) -> bool:
        """Take a ClientHello as the server; answer with a cookie if it has none.

        Returns:
            Whether it has a valid cookie.  The handshake has gone on then, and the session is the
            client's; otherwise it can take the next one's.

        Raises:
            SSL.Error: It is no ClientHello that can be answered; drop the session.
        """
        self.connection.set_accept_state()
        self.connection.bio_write(datagram)
        try:
            self.connection.DTLSv1_listen()
        except SSL.WantReadError:
            self._flush_quietly()
            return False
        self._run(self._shake_hands)
        return True

    def feed(self, datagram: bytes) -> list[bytes]:
        """Take a datagram of the peer; return the application data of its records."""
        texts: list[bytes] = []
        for record in split_records(datagram):
            if self.is_over:
                break
            known = len(texts)
            self.connection.bio_write(record)
            self._run(self._shake_hands if not self.is_open else lambda: None, texts)
            if self.is_open and record[0] == APPLICATION_DATA and len(texts) == known:
                self.rejected += 1
        return texts

    def write(self, data: bytes) -> None:
        """Send `data` as one record.

        Args:
            data: 1 to `PLAINTEXT_BYTES_MAX` bytes.

        Raises:
            OSError: `send` has failed.
            SSL.Error: The session cannot send.
        """
        assert len(data) <= PLAINTEXT_BYTES_MAX
        self.connection.send(data)
        self._flush()

    def close(self) -> None:
        """Tell the peer, and end; does nothing if the session is over."""
        if self.is_over:
            return
        if self.is_open:
            self._run(self._say_goodbye)
        self._end(None)

    def drop(self) -> None:
        """Give the memory back.  OpenSSL's part and this refer to each other."""
        self._end(self.failure)
        self._tls = None

    def _shake_hands(self) -> None:
        self.connection.do_handshake()
        self.is_open = True

    def _say_goodbye(self) -> None:
        self.connection.shutdown()

    def _run(self, step: Callable[[], None], texts: list[bytes] | None = None) -> None:
        """Run `step`, read what that made readable, and send what came of it."""
        failure: TlsFailure | None = None
        is_over = False
        try:
            step()
            while self.is_open and texts is not None:
                texts.append(self.connection.recv(PLAINTEXT_BYTES_MAX))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:  # close_notify, which gets the same answer
            is_over = True
            self._run(self._say_goodbye)
        except SSL.Error as error:
            is_over, failure = True, tls_failure(self, error)
        self._flush_quietly()
        if is_over:
            self._end(failure)
        elif not self.is_over:
            self._set_timer()

    def _flush_quietly(self) -> None:
        # The kernel may be busy, or tell of an ICMP error for an earlier datagram.
        with suppress(OSError):
            self._flush()

    def _flush(self) -> None:
        parts: list[bytes] = []
        try:
            while True:
                parts.append(self.connection.bio_read(_CHUNK_BYTES))
        except SSL.WantReadError:
            pass
        for datagram in join_records(split_records(b"".join(parts)), DATAGRAM_BYTES_MAX):
            self.sent_datagrams += 1
            self.send(datagram)

    def _set_timer(self) -> None:
        """Wait for the time of OpenSSL's next retransmission, if there is one."""
        self._cancel()
        if self.is_open:
            return
        seconds = self.connection.DTLSv1_get_timeout()
        if seconds is not None:
            delay = max(seconds, _TIMER_SECONDS_MIN)
            self._timer = self._clock.callLater(delay, self._retransmit)

    def _retransmit(self) -> None:
        self._timer = None
        self._run(self._handle_timeout)
        if self.is_over:
            self.changed()

    def _handle_timeout(self) -> None:
        try:
            self.connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self._end(_SILENT)

    def _end(self, failure: TlsFailure | None) -> None:
        self._cancel()
        if not self.is_over:
            self.is_open, self.is_over, self.failure = False, True, failure

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
