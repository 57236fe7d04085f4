"""Any octets on any listener: the relay stays up and good senders do not notice.

One relay for the whole module, so that it has to survive everything in a row.
"""

from __future__ import annotations

import itertools
import random
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificate_files import CertificateFiles
from tests.plain_senders import feed_datagrams
from tests.processes import Programs, free_port, running_programs, wait_until
from tests.relay_process import RelayProcess, received
from tests.relp_sender import RelpSender

SEED = 5424
CLOSE_SECONDS_MAX = 3.0
HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"

_tokens = itertools.count()


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


GARBAGE = {
    "random": random.Random(SEED).randbytes(4000),
    "http": HTTP,
    "client-hello": client_hello(),
    "zeros": bytes(2000),
    "digits": b"9" * 3000,
    "huge-count": b"999999999 x",
    "huge-relp-frame": b"2 syslog 999999999 x",
    "relp-without-open": b"1 syslog 5 hello\n",
    "empty": b"",
    "line-of-a-megabyte": b"x" * 2**20,
}
STREAMS = ["tcp", "tls", "relp", "relp+tls", "unix"]
DATAGRAMS = ["udp", "unixgram"]


class Target:
    """The relay, and ways to reach each of its listeners."""

    def __init__(self, programs: Programs, folder: Path, certificates: CertificateFiles) -> None:
        self.arrived = folder / "received.log"
        self._context = ssl.create_default_context(cafile=certificates.ca)
        own = {
            "certificate": certificates.server_certificate,
            "private_key": certificates.server_key,
            "peer_verify": "none",
        }
        self.ports = {scheme: free_port() for scheme in ("tcp", "tls", "relp", "relp+tls", "udp")}
        self.paths = {scheme: str(folder / f"{scheme}.sock") for scheme in ("unix", "unixgram")}
        sources: dict[str, dict[str, Any]] = {
            scheme.replace("+", "-"): {
                "listen": f"{scheme}://127.0.0.1:{port}",
                **(own if scheme.endswith("tls") else {}),
            }
            for scheme, port in self.ports.items()
        }
        for scheme, path in self.paths.items():
            sources[scheme] = {"listen": f"{scheme}://{path}"}
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources=sources,
            destinations={"file": {"connect": f"file://{self.arrived}"}},
        )

    def connect(
        self, scheme: str, *, encrypted: bool = True, address: str = "127.0.0.1"
    ) -> socket.socket:
        """A connection to the listener `scheme` from the local address `address`."""
        if scheme == "unix":
            local = socket.socket(socket.AF_UNIX)
            local.settimeout(10)
            local.connect(self.paths["unix"])
            return local
        upstream = ("127.0.0.1", self.ports[scheme])
        raw = socket.create_connection(upstream, timeout=10, source_address=(address, 0))
        if scheme.endswith("tls") and encrypted:
            return self._context.wrap_socket(raw, server_hostname="127.0.0.1")
        return raw

    def throw(self, scheme: str, octets: bytes) -> None:
        """Send a datagram."""
        if scheme == "udp":
            feed_datagrams(self.ports["udp"], [octets])
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(octets, self.paths["unixgram"])

    def assert_works(self, scheme: str) -> None:
        """A good sender at the listener `scheme` gets through."""
        message = new_message()
        if scheme == "relp":
            with RelpSender(self.ports["relp"]) as sender:
                sender.send([message])
                sender.close()
        elif scheme in DATAGRAMS:
            self.throw(scheme, message)
        else:
            with self.connect(scheme) as connection:
                stream = relp_stream([message]) if scheme == "relp+tls" else counted([message])
                connection.sendall(stream)
                self.wait_for(message)
        self.wait_for(message)

    def wait_for(self, message: bytes) -> None:
        wait_until(lambda: message in received(self.arrived), f"{message!r} in the file")


def new_message() -> bytes:
    return b"<13>1 - web-1 good - - - message %d" % next(_tokens)


def new_address() -> str:
    """A loopback address that has not been warned about: warnings are limited by peer."""
    return f"127.0.{next(_tokens) % 100 + 1}.{next(_tokens) % 200 + 1}"


def counted(messages: list[bytes]) -> bytes:
    return b"".join(b"%d %s" % (len(message), message) for message in messages)


def relp_stream(messages: list[bytes]) -> bytes:
    frames = (
        b"%d syslog %d %s\n" % (txnr, len(message), message)
        for txnr, message in enumerate(messages, start=2)
    )
    return b"1 open 30 relp_version=0\ncommands=syslog\n" + b"".join(frames)


def is_closed(connection: socket.socket) -> bool:
    """Read whatever comes until the relay hangs up; False if it does not."""
    connection.settimeout(CLOSE_SECONDS_MAX)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@pytest.fixture(scope="module")
def target(
    tmp_path_factory: pytest.TempPathFactory, certificates: CertificateFiles
) -> Iterator[Target]:
    with running_programs() as programs:
        target = Target(programs, tmp_path_factory.mktemp("garbage"), certificates)
        yield target
        target.relay.stop()  # says so if anything left a traceback


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("scheme", STREAMS)
def test_a_stream_of_garbage(target: Target, scheme: str, kind: str) -> None:
    target.assert_works(scheme)
    with target.connect(scheme) as connection:
        try:
            connection.sendall(GARBAGE[kind])
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # the relay may have had enough of it
            pass
        assert is_closed(connection), "the connection is stuck"
    target.assert_works(scheme)
    assert target.relay.is_running


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("scheme", ["tls", "relp+tls"])
def test_garbage_in_the_place_of_tls(target: Target, scheme: str, kind: str) -> None:
    with target.connect(scheme, encrypted=False) as connection:
        try:
            connection.sendall(GARBAGE[kind])
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        assert is_closed(connection), "the connection is stuck"
    target.assert_works(scheme)


@pytest.mark.parametrize("scheme", ["tls", "relp+tls"])
def test_plain_text_at_a_tls_port_is_reported(target: Target, scheme: str) -> None:
    with target.connect(scheme, encrypted=False, address=new_address()) as connection:
        peer = peer_of(connection)
        connection.sendall(HTTP)
        wait_until(lambda: peer in target.relay.log(), f"a warning about {peer}")
    target.assert_works(scheme)


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("scheme", DATAGRAMS)
def test_a_datagram_of_garbage(target: Target, scheme: str, kind: str) -> None:
    target.assert_works(scheme)
    target.throw(scheme, GARBAGE[kind][:60000])
    target.assert_works(scheme)


@pytest.mark.parametrize("bad", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02", b"0 x", b"12x "])
@pytest.mark.parametrize("scheme", ["tcp", "tls", "unix"])
def test_good_frames_around_a_bad_count_are_kept(target: Target, scheme: str, bad: bytes) -> None:
    good = [new_message() for _ in range(6)]
    with target.connect(scheme, address=new_address()) as connection:
        peer = peer_of(connection)
        connection.sendall(counted(good[:3]) + bad + counted(good[3:5]) + b"\n")
        connection.sendall(counted(good[5:]))
        wait_until(lambda: peer in target.relay.log(), f"a warning about {peer}")
        for message in good:
            target.wait_for(message)


@pytest.mark.parametrize("bad", [HTTP, b"\x16\x03\x01\x02\n", b"5 syslog x\n", b"99 syslog 1 x\n"])
@pytest.mark.parametrize("scheme", ["relp", "relp+tls"])
def test_good_frames_before_a_bad_relp_frame_are_kept(
    target: Target, scheme: str, bad: bytes
) -> None:
    good = [new_message() for _ in range(3)]
    with target.connect(scheme, address=new_address()) as connection:
        peer = peer_of(connection)
        connection.sendall(relp_stream(good) + bad)
        wait_until(lambda: peer in target.relay.log(), f"a warning about {peer}")
        assert is_closed(connection), "the connection is stuck"
    for message in good:
        target.wait_for(message)


def peer_of(connection: socket.socket) -> str:
    """How the log should call this end of `connection`."""
    if connection.family == socket.AF_UNIX:
        return "local process"
    host, port = connection.getsockname()
    return f"{host}:{port}"
