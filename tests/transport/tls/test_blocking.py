from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from OpenSSL import SSL

from relay.service.tls.certificates import Issued, make_authority, make_leaf
from relay.transport.tls.blocking import TlsConnection
from relay.transport.tls.endpoints import TlsListener, TlsMaterial, TlsUpstream

NAME = "central.example.com"
AUTHORITY, STRANGER = make_authority("Ours", days=2), make_authority("Somebody else", days=2)
SERVER = make_leaf(AUTHORITY, [NAME], purpose="server", days=1)
CLIENT = make_leaf(AUTHORITY, ["web-1"], purpose="client", days=1)


def material(issued: Issued | None, trusts: Issued) -> TlsMaterial:
    return TlsMaterial(
        certificate_pem=issued.certificate_pem() if issued else b"",
        private_key_pem=issued.private_key_pem() if issued else b"",
        trusted_ca_pem=trusts.certificate_pem(),
        trusted_ca="/etc/ca.pem",
    )


class Server:
    """The other end of a pair of sockets, in a thread.

    Args:
        script: What it does with the socket, and with TLS over it.
    """

    def __init__(self, script: Callable[[socket.socket, Any], None], verify: str = "none") -> None:
        self.here, self._there = socket.socketpair()
        self.here.settimeout(10)
        self._there.settimeout(10)
        self._script = script
        listener = TlsListener(material(SERVER, AUTHORITY), peer_verify=verify)

        class Transport:
            certificate_refusal = ""

        # Over the socket, unlike the relay's own.
        self._tls = SSL.Connection(listener._context, self._there)
        self._tls.set_verify(listener._flags, listener._new_check(Transport()))
        self._tls.set_accept_state()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.here.close()
        self._thread.join()

    def _serve(self) -> None:
        self._there.settimeout(None)  # pyOpenSSL takes the descriptor, and has to wait
        with self._there:
            self._script(self._there, self._tls)


def connection(
    server: Server,
    issued: Issued | None = None,
    trusts: Issued = AUTHORITY,
    server_name: str = NAME,
) -> TlsConnection:
    return TlsConnection(
        server.here, TlsUpstream(material(issued, trusts), server_name=server_name)
    )


def received(ours: TlsConnection) -> bytes:
    """The next bytes, however often TLS has something for itself."""
    while True:
        try:
            return ours.recv(65536)
        except BlockingIOError:
            continue


def echo(below: socket.socket, tls: Any) -> None:
    tls.do_handshake()
    tls.sendall(tls.recv(100))
    tls.shutdown()


@pytest.mark.parametrize("issued", [None, CLIENT])
def test_bytes_go_to_and_fro_until_the_other_end_closes(issued: Issued | None) -> None:
    with Server(echo, "required" if issued else "none") as server:
        ours = connection(server, issued)
        ours.handshake()
        assert ours.fileno() == server.here.fileno()
        ours.sendall(b"hello")
        assert received(ours) == b"hello"
        assert received(ours) == b""
        ours.close()


def test_much_at_once() -> None:
    sent = bytes(range(256)) * 4096

    def script(below: socket.socket, tls: Any) -> None:
        tls.do_handshake()
        got = b""
        while len(got) < len(sent):
            got += tls.recv(65536)
        tls.sendall(got[::-1])

    with Server(script) as server:
        ours = connection(server)
        ours.handshake()
        ours.sendall(sent)
        got = b""
        while chunk := received(ours):
            got += chunk
    assert got == sent[::-1]


def test_nothing_is_lost_that_came_with_the_goodbye() -> None:
    def script(below: socket.socket, tls: Any) -> None:
        tls.do_handshake()
        tls.sendall(b"x" * 40_000)  # more than a record of TLS
        tls.shutdown()

    with Server(script) as server:
        ours = connection(server)
        ours.handshake()
        got = b""
        while chunk := received(ours):
            got += chunk
    assert got == b"x" * 40_000


def refuse(below: socket.socket, tls: Any) -> None:
    with pytest.raises(SSL.Error, match="alert"):
        tls.do_handshake()
        tls.recv(100)


@pytest.mark.parametrize(
    ("trusts", "server_name", "text"),
    [
        (AUTHORITY, "other.example.com", f"is for {NAME}, expected other.example.com"),
        (STRANGER, NAME, "its issuer 'CN=Ours' is not among the trusted CAs in /etc/ca.pem"),
    ],
)
def test_a_server_that_is_another(trusts: Issued, server_name: str, text: str) -> None:
    with Server(refuse) as server, pytest.raises(ConnectionError, match=text):
        connection(server, None, trusts, server_name).handshake()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"0 serverclose 0\n", "the peer does not speak TLS"),
        (b"", "the connection ended during the TLS handshake"),
    ],
)
def test_a_server_that_does_not_speak_tls(answer: bytes, text: str) -> None:
    def script(below: socket.socket, tls: Any) -> None:
        below.recv(65536)
        below.sendall(answer)

    with Server(script) as server, pytest.raises(ConnectionError, match=text):
        connection(server).handshake()


@pytest.mark.parametrize("writes", [False, True])
def test_a_server_that_wants_a_certificate_says_so_late(writes: bool) -> None:
    """With TLS 1.3 our handshake is over before the server has seen that we have none."""
    over = threading.Event()

    def script(below: socket.socket, tls: Any) -> None:
        with pytest.raises(SSL.Error, match="peer did not return a certificate"):
            tls.do_handshake()
        below.close()
        over.set()

    with Server(script, "required") as server:
        ours = connection(server)
        ours.handshake()
        assert over.wait(10)
        with pytest.raises(ConnectionError, match="receiver requires a client certificate: set"):
            ours.sendall(b"hello") if writes else received(ours)


def test_a_server_that_is_silent() -> None:
    over = threading.Event()
    with Server(lambda below, tls: over.wait(10) and None) as server:
        ours = connection(server)
        ours.settimeout(0.01)
        with pytest.raises(TimeoutError):
            ours.handshake()
        over.set()
