from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay.transport.inherited import adopt_socket, scheme_of
from relay.transport.sockets import SO_PASSCRED, SO_RXQ_OVFL


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
    ("family", "kind", "scheme"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, "tcp"),
        (socket.AF_INET6, socket.SOCK_STREAM, "tcp"),
        (socket.AF_INET, socket.SOCK_DGRAM, "udp"),
        (socket.AF_INET6, socket.SOCK_DGRAM, "udp"),
        (socket.AF_UNIX, socket.SOCK_STREAM, "unix"),
        (socket.AF_UNIX, socket.SOCK_DGRAM, "unixgram"),
    ],
)
def test_a_socket_says_what_it_is(tmp_path: Path, family: int, kind: int, scheme: str) -> None:
    path = tmp_path / "socket" if family == socket.AF_UNIX else None
    with bound(family, kind, path) as made:
        assert scheme_of(made.fileno()) == scheme
        assert made.getsockname(), "it must stay open"


def test_what_is_no_socket_to_listen_on(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file, pytest.raises(ValueError, match="is not a socket"):
        scheme_of(file.fileno())
    with pytest.raises(ValueError, match="descriptor 1000000 is not open"):
        scheme_of(1_000_000)
    here, there = socket.socketpair()
    with here, there, pytest.raises(ValueError, match="write Accept=no"):
        scheme_of(here.fileno())
    with (
        bound(socket.AF_UNIX, socket.SOCK_SEQPACKET, tmp_path / "packets") as made,
        pytest.raises(ValueError, match="SOCK_SEQPACKET socket; write ListenStream="),
    ):
        scheme_of(made.fileno())
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as made,
        pytest.raises(ValueError, match="another family"),
    ):
        scheme_of(made.fileno())


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
