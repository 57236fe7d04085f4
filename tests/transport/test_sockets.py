from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from relay.transport.connections import (
    READ_BYTES_MAX,
    peer_credentials,
    read_in_large_steps,
    read_rest,
)
from relay.transport.sockets import (
    SO_PASSCRED,
    SO_RXQ_OVFL,
    UnixListener,
    adopt_socket,
    bind_datagram,
    bind_stream,
    bind_unix,
    kernel_drops,
    kind_of,
    make_parents,
    obstacle_to_socket,
    plain_address,
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
    text = "this path is a {}, not a socket: remove it, or choose another path"
    assert caught.value.strerror == text.format("file") == obstacle_to_socket(str(path))
    assert path.read_text() == "precious"
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert obstacle_to_socket(str(tmp_path / "link")) == text.format("dangling link")
    assert obstacle_to_socket(str(tmp_path)) == text.format("directory")
    assert obstacle_to_socket("/dev/null") == text.format("device or pipe")
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


@contextmanager
def bound(family: int, kind: int, path: Path | None = None) -> Iterator[socket.socket]:
    """A socket as systemd hands it over: bound, listening if it is a stream."""
    with socket.socket(family, kind) as made:
        address = str(path) if path else ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0)
        made.bind(address)
        if kind != socket.SOCK_DGRAM:
            made.listen()
        made.set_inheritable(True)
        yield made


@pytest.mark.parametrize(
    ("family", "kind", "expected"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, (False, False)),
        (socket.AF_INET6, socket.SOCK_STREAM, (False, False)),
        (socket.AF_INET, socket.SOCK_DGRAM, (False, True)),
        (socket.AF_INET6, socket.SOCK_DGRAM, (False, True)),
        (socket.AF_UNIX, socket.SOCK_STREAM, (True, False)),
        (socket.AF_UNIX, socket.SOCK_DGRAM, (True, True)),
    ],
)
def test_a_socket_says_what_it_is(
    tmp_path: Path, family: int, kind: int, expected: tuple[bool, bool]
) -> None:
    path = tmp_path / "socket" if family == socket.AF_UNIX else None
    with bound(family, kind, path) as made:
        assert kind_of(made.fileno()) == expected
        assert made.getsockname(), "it must stay open"


def test_what_is_no_socket_to_listen_on(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file, pytest.raises(ValueError, match="is not a socket"):
        kind_of(file.fileno())
    with pytest.raises(ValueError, match="descriptor 1000000 is not open"):
        kind_of(1_000_000)
    here, there = socket.socketpair()
    with here, there, pytest.raises(ValueError, match="write Accept=no"):
        kind_of(here.fileno())
    with (
        bound(socket.AF_UNIX, socket.SOCK_SEQPACKET, tmp_path / "packets") as made,
        pytest.raises(ValueError, match="SOCK_SEQPACKET socket; write ListenStream="),
    ):
        kind_of(made.fileno())
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as made,
        pytest.raises(ValueError, match="another family"),
    ):
        kind_of(made.fileno())


@pytest.mark.parametrize(
    ("family", "option"), [(socket.AF_INET, SO_RXQ_OVFL), (socket.AF_UNIX, SO_PASSCRED)]
)
def test_datagram_sockets_say_more_once_they_are_adopted(
    tmp_path: Path, family: int, option: int
) -> None:
    path = tmp_path / "socket" if family == socket.AF_UNIX else None
    with bound(family, socket.SOCK_DGRAM, path) as made:
        before = made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        with adopt_socket(os.dup(made.fileno()), receive_buffer_bytes=before) as adopted:
            assert adopted.getsockopt(socket.SOL_SOCKET, option) == 1
            assert adopted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > before
            assert not os.get_inheritable(adopted.fileno())
            assert not adopted.getblocking()


def test_only_what_is_read_comes_beside_a_datagram(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bound(socket.AF_UNIX, socket.SOCK_DGRAM, path) as made:
        for option in (29, 34):  # SO_TIMESTAMP, SO_PASSSEC
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        with (
            adopt_socket(os.dup(made.fileno()), receive_buffer_bytes=4096) as adopted,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.sendto(b"hello", str(path))
            _, ancillary, _, _ = adopted.recvmsg(100, 1000)
        assert [kind for _, kind, _ in ancillary] == [socket.SCM_CREDENTIALS]


def test_a_large_buffer_of_the_unit_is_not_made_smaller() -> None:
    with bound(socket.AF_INET, socket.SOCK_DGRAM) as made:
        before = made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        with adopt_socket(os.dup(made.fileno()), receive_buffer_bytes=4096) as adopted:
            assert adopted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == before


def test_file_and_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bound(socket.AF_UNIX, socket.SOCK_DGRAM, path) as made:
        path.chmod(0o620)
        adopt_socket(os.dup(made.fileno()), receive_buffer_bytes=4096).close()
        assert path.stat().st_mode & 0o777 == 0o620


def test_a_descriptor_that_is_gone_cannot_be_adopted() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        adopt_socket(1_000_000, receive_buffer_bytes=4096)


def logged(path: Path) -> list[str]:
    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        make_parents(str(path))
    finally:
        globalLogPublisher.removeObserver(observe)
    return lines


def test_each_directory_that_is_made_is_logged(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "log.sock"
    assert logged(path) == [
        f"made directory {tmp_path}/a for {path}",
        f"made directory {tmp_path}/a/b for {path}",
    ]
    assert path.parent.is_dir() and not path.exists()
    assert logged(path) == []


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError) as failed:
        make_parents(str(tmp_path / "a" / "log.sock"))
    assert failed.value.strerror == (
        f"cannot make the directory {tmp_path}/a: File exists; move away what lies there, or "
        "choose another path"
    )


def test_a_directory_that_cannot_be_made_is_named() -> None:
    with pytest.raises(FileNotFoundError) as failed:
        make_parents("/proc/nope/deep/received.log")
    assert failed.value.strerror == (
        "cannot make the directory /proc/nope: No such file or directory; make it and let the "
        "relay's user write to it, or choose another path"
    )


def test_a_path_without_a_directory_needs_none() -> None:
    make_parents("log.sock")


class Reactor(MemoryReactorClock):
    """Adopts connections by looking at who is at the other end."""

    def __init__(self) -> None:
        super().__init__()
        self.greetings: list[bytes] = []

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> None:
        with socket.fromfd(fileDescriptor, addressFamily, socket.SOCK_STREAM) as connection:
            assert not os.get_blocking(fileDescriptor)
            self.greetings.append(connection.recv(100))


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def listener(path: Path, reactor: Reactor) -> UnixListener:
    bound = bind_unix(str(path), socket.SOCK_STREAM, mode=0o600, receive_buffer_bytes=0)
    return UnixListener(bound, Factory(), reactor=reactor)


def greet(path: Path, text: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(text)


def test_it_leaves_the_mode_alone_and_accepts_all_who_wait(path: Path, reactor: Reactor) -> None:
    listening = listener(path, reactor)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    greet(path, b"one")
    greet(path, b"two")
    listening.doRead()
    assert reactor.greetings == [b"one", b"two"]
    assert reactor.getReaders() == [listening]
    listening.stop()


def test_stopping_removes_the_file(path: Path, reactor: Reactor) -> None:
    listener(path, reactor).stop()
    assert not path.exists()
    assert reactor.getReaders() == []


def test_those_who_connected_before_the_stop_are_accepted_and_nobody_after_them(
    path: Path, reactor: Reactor
) -> None:
    listening = listener(path, reactor)
    kept = path.with_suffix(".kept")
    os.link(path, kept)
    for number in range(150):
        greet(path, b"%d" % number)
    listening.stop()
    assert reactor.greetings == [b"%d" % number for number in range(150)]
    with pytest.raises(ConnectionRefusedError):
        greet(kept, b"late")


def test_those_who_wait_at_an_inherited_socket_are_left_for_the_next_start(
    path: Path, reactor: Reactor
) -> None:
    bound = bind_unix(str(path), socket.SOCK_STREAM, mode=0o600, receive_buffer_bytes=0)
    with bound.dup() as other:
        other.setblocking(False)
        greet(path, b"one")
        UnixListener(bound, Factory(), reactor=reactor, inherited=True).stop()
        assert reactor.greetings == []
        greet(path, b"two")
        assert [other.accept()[0].recv(10) for _ in range(2)] == [b"one", b"two"]


def test_the_file_of_an_inherited_socket_stays(path: Path, reactor: Reactor) -> None:
    bound = bind_unix(str(path), socket.SOCK_STREAM, mode=0o600, receive_buffer_bytes=0)
    UnixListener(bound, Factory(), reactor=reactor, inherited=True).stop()
    assert path.exists()
    assert reactor.getReaders() == []


def test_stopping_without_the_right_to_remove_the_file(path: Path, reactor: Reactor) -> None:
    listening = listener(path, reactor)
    path.unlink()
    listening.stop()
    assert reactor.getReaders() == []


class NoMoreDescriptors:
    def getsockname(self) -> str:
        return "/nowhere/log"

    def accept(self) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    def shutdown(self, how: int) -> None:
        pass

    def close(self) -> None:
        pass


def test_without_descriptors_it_pauses_and_does_not_spin(reactor: Reactor) -> None:
    sockets: Any = NoMoreDescriptors()
    listening = UnixListener(sockets, Factory(), reactor=reactor)
    listening.doRead()
    assert reactor.getReaders() == []
    reactor.advance(1)
    assert reactor.getReaders() == [listening]
    listening.doRead()
    listening.stop()
    assert reactor.getDelayedCalls() == []


def test_a_released_socket_is_open_with_those_who_wait_in_it(path: Path, reactor: Reactor) -> None:
    listening = listener(path, reactor)
    greet(path, b"one")
    with listening.release() as bound:
        assert reactor.getReaders() == []
        greet(path, b"two")
        assert [bound.accept()[0].recv(10) for _ in range(2)] == [b"one", b"two"]
    assert reactor.greetings == []
