from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from relay.transport.sockets import bind_unix
from relay.transport.unix_listener import UnixListener


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


def greet(path: Path, words: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(words)


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
