"""TLS over a blocking socket, with the verification and error texts of destinations."""

from __future__ import annotations

import socket
from contextlib import suppress

from cryptography import x509
from OpenSSL import SSL

from relay.transport.tls.endpoints import TlsUpstream
from relay.transport.tls.failure import TlsFailure, tls_failure

_CHUNK_BYTES = 65536


class TlsBroken(ConnectionError):
    """TLS failed; the text gives the reason.

    Attributes:
        kind: As in `TlsFailure`.
    """

    def __init__(self, failure: TlsFailure) -> None:
        super().__init__(failure.text)
        self.kind = failure.kind


class TlsConnection:
    """The client's end of TLS; used like the socket below it.

    Args:
        below: Connected, with a timeout.

    Attributes:
        certificate_refusal: Why the certificate of the other end was not accepted;
            left here by its check.
        certificate_vouched: Whether a CA vouches for the names in it; as above.
        tls_end: Our end, for `tls_failure`.
    """

    certificate_refusal = ""
    certificate_vouched: bool
    tls_end: object

    def __init__(self, below: socket.socket, upstream: TlsUpstream) -> None:
        self._below = below
        self._tls = upstream.clientConnectionForTLS(self)
        self._tls.set_connect_state()

    @property
    def version(self) -> str:
        """Of the protocol, after the handshake: ``TLSv1.3``."""
        return self._tls.get_protocol_version_name()

    @property
    def chain(self) -> list[x509.Certificate]:
        """What the other end has sent: its own certificate, then those of its issuers."""
        return [each.to_cryptography() for each in self._tls.get_peer_cert_chain() or []]

    @property
    def authorities(self) -> list[str]:
        """The issuers of client certificates that the other end names; empty = it names none."""
        return [
            ", ".join(f"{name.decode()}={value.decode(errors='replace')}" for name, value in parts)
            for parts in (each.get_components() for each in self._tls.get_client_ca_list())
        ]

    def fileno(self) -> int:
        return self._below.fileno()

    def settimeout(self, value: float | None) -> None:
        self._below.settimeout(value)

    def handshake(self) -> None:
        """Perform the TLS handshake.

        Raises:
            OSError: It failed; the text gives the reason.
        """
        while True:
            try:
                self._tls.do_handshake()
            except SSL.WantReadError:
                self._flush()
                if not self._fill():
                    raise ConnectionError("the connection ended during the TLS handshake") from None
            except SSL.Error as error:
                raise self._failed(error) from None
            else:
                return self._flush()

    def recv(self, size: int) -> bytes:
        """Receive data; empty when the other end has closed.

        Raises:
            BlockingIOError: What came was TLS's own, or part of something.
            OSError: The connection is broken; the text says why.
        """
        is_open = self._fill()
        data = self._decrypted(size)
        if not data and is_open and not self._is_shut_down():
            raise BlockingIOError
        return data

    def sendall(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            OSError: The connection is broken; the text says why.
        """
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.send(rest) :]
            self._flush()
        except SSL.Error as error:
            raise self._failed(error) from None
        except ConnectionError:
            # With TLS 1.3 a server refuses our certificate when we have begun to send.
            with suppress(BlockingIOError):
                self.recv(_CHUNK_BYTES)
            raise

    def close(self) -> None:
        """Send close_notify if the connection is still up; the socket below stays open."""
        with suppress(SSL.Error, OSError):
            self._tls.shutdown()
            self._flush()

    def _fill(self) -> bool:
        """Read from below; False if the other end has closed."""
        chunk = self._below.recv(_CHUNK_BYTES)
        if chunk:
            self._tls.bio_write(chunk)
        return bool(chunk)

    def _decrypted(self, size: int) -> bytes:
        """Read everything available: select() does not see data buffered here."""
        parts = []
        try:
            while True:
                parts.append(self._tls.recv(size))
        except (SSL.WantReadError, SSL.ZeroReturnError):
            pass
        except SSL.Error as error:
            if not parts:
                raise self._failed(error) from None
        return b"".join(parts)

    def _is_shut_down(self) -> bool:
        return bool(self._tls.get_shutdown() & SSL.RECEIVED_SHUTDOWN)

    def _flush(self) -> None:
        with suppress(SSL.WantReadError):  # there is nothing more to write
            while True:
                self._below.sendall(self._tls.bio_read(_CHUNK_BYTES))

    def _failed(self, error: SSL.Error) -> TlsBroken:
        with suppress(OSError):
            self._flush()  # the alert that tells the other end
        return TlsBroken(tls_failure(self, error))
