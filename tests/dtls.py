"""DTLS in memory: both ends' certificates, a UDP socket by hand, and clients of a receiver."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from twisted.internet.task import Clock

from relay.service.tls.certificates import make_authority, make_leaf
from relay.transport.datagram.dtls_session import DtlsSession
from relay.transport.tls.cookies import Cookies
from relay.transport.tls.endpoints import DtlsListener, TlsMaterial, TlsOptions, TlsUpstream

__all__ = ["Client", "Datagrams", "material", "new_listener", "new_upstream"]


@cache
def material(purpose: str) -> TlsMaterial:
    """Of a server or a client, which trust the same authority."""
    authority = _authority()
    names = ["central.example.com", "127.0.0.1"] if purpose == "server" else ["web-1.example.com"]
    leaf = make_leaf(authority, names, purpose=purpose, days=1)
    return TlsMaterial(
        certificate_pem=leaf.certificate_pem(),
        private_key_pem=leaf.private_key_pem(),
        trusted_ca_pem=authority.certificate_pem(),
    )


_authority = cache(lambda: make_authority("Test authority", days=2))


def new_listener(clock: Clock, *, peer_verify: str = "required") -> DtlsListener:
    cookies = Cookies(clock.seconds)
    return DtlsListener(material("server"), cookies=cookies, peer_verify=peer_verify)


def new_upstream(
    *, server_name: str = "central.example.com", certificate: bool = True, ciphers: str = ""
) -> TlsUpstream:
    own = material("client")
    if not certificate:
        own = TlsMaterial(trusted_ca_pem=own.trusted_ca_pem)
    options = TlsOptions(datagrams=True, ciphers=ciphers)
    return TlsUpstream(own, server_name=server_name, options=options)


class Datagrams:
    """A UDP socket by hand: `received` waits in it, with addresses; `sent` was sent to them."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, tuple[str, int]] | OSError] = []
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.error: OSError | None = None
        self.closed = False

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        if not self.received:
            raise BlockingIOError
        item = self.received.pop(0)
        if isinstance(item, OSError):
            raise item
        return item

    def sendto(self, datagram: bytes, address: tuple[str, int]) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append((datagram, address))

    def close(self) -> None:
        self.closed = True


class Client:
    """A client of what reads the other end of `datagrams`.

    Args:
        deliver: Lets the server take what waits.
    """

    def __init__(
        self,
        datagrams: Datagrams,
        deliver: Callable[[], object],
        clock: Clock,
        *,
        host: str = "192.0.2.1",
        port: int = 1000,
        upstream: TlsUpstream | None = None,
    ) -> None:
        self.address = (host, port)
        self.sent: list[bytes] = []
        self._datagrams = datagrams
        self._deliver = deliver
        made_by = upstream or new_upstream()
        self.session = DtlsSession(
            made_by.clientConnectionForTLS, clock=clock, send=self.sent.append
        )

    def connect(self) -> Client:
        """Begin and exchange datagrams until nobody has any."""
        self.session.start()
        self.exchange()
        return self

    def exchange(self) -> None:
        while self.flush() or self.take():
            pass

    def flush(self) -> int:
        """Let the server take what the client has sent."""
        count = len(self.sent)
        for datagram in self.sent:
            self._datagrams.received.append((datagram, self.address))
        self.sent.clear()
        self._deliver()
        return count

    def take(self) -> int:
        """Take what the server has sent to the client."""
        mine = [each for each in self._datagrams.sent if each[1] == self.address]
        for each in mine:
            self._datagrams.sent.remove(each)
            if not self.session.is_over:
                self.session.feed(each[0])
        return len(mine)

    def say(self, text: bytes) -> None:
        self.session.write(text)
        self.exchange()
