from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from relay.transport.sockets import (
    READ_BYTES_MAX,
    bind_datagram,
    bind_stream,
    bind_unix,
    kernel_drops,
    obstacle_to_socket,
    peer_credentials,
    plain_address,
    read_in_large_steps,
    read_rest,
    receive_buffer_bytes,
)


def bound_unix(path: Path, kind: socket.SocketKind, mode: int = 0o600) -> socket.socket:
    return bind_unix(str(path), kind, mode=mode, receive_buffer_bytes=100_000)


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::1", "::1"),
    ],
)
def test_ipv4_in_ipv6_clothes(host: str, plain: str) -> None:
    assert plain_address(host) == plain


def test_a_stream_socket_listens() -> None:
    with bind_stream("127.0.0.1", 0) as bound:
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert not bound.getblocking()
        with pytest.raises(OSError, match="in use"):
            bind_stream("127.0.0.1", bound.getsockname()[1])


def test_a_datagram_socket_has_the_port_for_itself() -> None:
    with bind_datagram("127.0.0.1", 0, receive_buffer_bytes=150_000) as bound:
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 150_000
        with pytest.raises(OSError, match="in use"):
            bind_datagram("127.0.0.1", bound.getsockname()[1], receive_buffer_bytes=1)


def test_what_the_kernel_granted_is_in_the_measure_of_what_was_asked_for() -> None:
    with bind_datagram("127.0.0.1", 0, receive_buffer_bytes=150_000) as bound:
        assert receive_buffer_bytes(bound) == 150_000


def test_the_kernel_has_counted_what_it_dropped_before_anything_is_read() -> None:
    with (
        bind_datagram("127.0.0.1", 0, receive_buffer_bytes=10_000) as bound,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        assert kernel_drops(bound) == 0
        for _ in range(100):
            sender.sendto(b"x" * 1000, bound.getsockname())
        received = 0
        while True:
            try:
                bound.recv(2000)
            except BlockingIOError:
                break
            received += 1
        assert 0 < received < 100
        assert kernel_drops(bound) == 100 - received


def test_no_host_is_all_addresses_of_both_families() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this host has no IPv6")
    with bind_datagram("", 0, receive_buffer_bytes=1) as bound:
        assert bound.family == socket.AF_INET6
        assert not bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        with pytest.raises(OSError, match="in use"):
            bind_datagram("127.0.0.1", bound.getsockname()[1], receive_buffer_bytes=1)


def test_an_address_of_somebody_else() -> None:
    with pytest.raises(OSError, match="assign"):
        bind_stream("192.0.2.1", 0)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
@pytest.mark.parametrize("mode", [0o600, 0o666, 0o660])
def test_a_unix_socket_has_its_mode_and_its_directory(
    tmp_path: Path, kind: socket.SocketKind, mode: int
) -> None:
    path = tmp_path / "run" / "log"
    with bound_unix(path, kind, mode) as bound:
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert not bound.getblocking()
    before = os.umask(0o022)
    os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o777 & ~before


def test_credentials_are_asked_for(tmp_path: Path) -> None:
    with bound_unix(tmp_path / "log", socket.SOCK_DGRAM) as bound:
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED)
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 100_000


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_socket_file_that_nobody_uses_is_replaced(
    tmp_path: Path, kind: socket.SocketKind
) -> None:
    path = tmp_path / "log"
    bound_unix(path, kind).close()
    assert path.is_socket()
    bound_unix(path, kind).close()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_socket_in_use_stays(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = tmp_path / "log"
    with bound_unix(path, kind):
        inode = path.stat().st_ino
        with pytest.raises(OSError, match="in use"):
            bound_unix(path, kind)
        assert path.stat().st_ino == inode


def test_what_is_no_socket_stays_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("precious")
    with pytest.raises(FileExistsError) as caught:
        bound_unix(path, socket.SOCK_DGRAM)
    words = "this path is a {}, not a socket: remove it, or choose another path"
    assert caught.value.strerror == words.format("file") == obstacle_to_socket(str(path))
    assert path.read_text() == "precious"
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert obstacle_to_socket(str(tmp_path / "link")) == words.format("dangling link")
    assert obstacle_to_socket(str(tmp_path)) == words.format("directory")
    assert obstacle_to_socket("/dev/null") == words.format("device or pipe")
    assert obstacle_to_socket(str(tmp_path / "nothing")) == ""


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        assert peer_credentials(here) == (os.getpid(), os.getuid(), os.getgid())


def test_connections_are_read_in_large_steps_below_what_lies_on_them() -> None:
    lowest: Any = StringTransport()
    lower, upper = (ProtocolWrapper(WrappingFactory(Factory()), Protocol()) for _ in range(2))
    lower.transport, upper.transport = lowest, lower
    read_in_large_steps(upper)
    assert lowest.bufferSize == READ_BYTES_MAX == 524288


class Connected:
    """A transport that reads a socket, as the reactor's own do."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.read: list[bytes] = []

    def getHandle(self) -> socket.socket:
        return self.connection

    def doRead(self) -> None:
        self.read.append(self.connection.recv(10))


@pytest.mark.parametrize("is_local", [True, False])
def test_the_rest_is_what_the_kernel_holds(is_local: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport: Any = Connected(ours)
        theirs.send(b"x" * 25)
        read_rest(transport, is_local=is_local, goes_on=lambda: True)
        assert transport.read == [b"x" * 10, b"x" * 10, b"x" * 5]
        if is_local:
            with pytest.raises(BrokenPipeError):
                theirs.send(b"late")
        else:
            assert theirs.send(b"late") == 4


def test_the_rest_ends_where_the_connection_does_and_where_nothing_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport: Any = Connected(ours)
        theirs.send(b"x" * 25)
        read_rest(transport, is_local=False, goes_on=lambda: not transport.read)
        assert transport.read == [b"x" * 10]
        transport.doRead = lambda: transport.read.append(b"again")
        read_rest(transport, is_local=False, goes_on=lambda: True)
        assert len(transport.read) == 513
