from __future__ import annotations

import socket
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.tcp import Connection
from twisted.internet.unix import Server

from relay.transport.connections import (
    ReadDescriptor,
    SocketConnection,
    notice_silence,
)


def members(protocol: type) -> set[str]:
    named = {*vars(protocol), *protocol.__annotations__}
    return {name for name in named if not name.startswith("_")}


def test_a_descriptor_has_what_the_interface_of_twisted_names() -> None:
    assert members(ReadDescriptor) <= {*IReadDescriptor.names(all=True)}


@pytest.mark.parametrize("kind", [Connection, Server])
def test_connections_of_twisted_have_all_that_is_used_of_them(kind: type) -> None:
    reactor = object()
    with socket.socket() as connected:
        connection = Connection(connected, None, reactor)
        wanted = members(ReadDescriptor) | members(SocketConnection)
        assert {name for name in wanted if not hasattr(connection, name)} == set()
        assert connection.reactor is reactor
        assert {name for name in wanted - {"reactor"} if not hasattr(kind, name)} == set()


TO_THE_END = """
import os, resource
from relay.transport.connections import descriptors_left
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
opened = []
while True:
    left = descriptors_left()
    try:
        opened.append(os.open("/", os.O_RDONLY))
    except OSError:
        break
    last = left
print(left, last)
os.close(0)
print(descriptors_left())
"""


ONE_MORE = """
import os, resource
from relay.transport.connections import descriptors_left, descriptors_limit
before = descriptors_left()
with open(os.devnull):
    assert descriptors_left() == before - 1
assert 0 < before < descriptors_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
"""


def test_each_one_that_is_opened_is_one_less() -> None:
    # In a process of its own: what other tests left open may be closed at any time.
    subprocess.run([sys.executable, "-c", ONE_MORE], timeout=30, check=True)


def test_none_is_left_at_the_end_and_asking_takes_none() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TO_THE_END], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == ["0", "1", "32"]


@pytest.mark.parametrize("seconds", [8.0, 0.0])
def test_the_kernel_is_told_how_long_silence_may_last(seconds: float) -> None:
    with socket.socket() as connection:
        notice_silence(
            SimpleNamespace(getHandle=lambda: connection),
            keepalive_seconds=seconds,
            user_seconds_max=30.5,
        )
        tcp = partial(connection.getsockopt, socket.IPPROTO_TCP)
        assert tcp(socket.TCP_USER_TIMEOUT) == 30_500
        keeps_alive = connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert bool(keeps_alive) is bool(seconds)
        if seconds:
            assert tcp(socket.TCP_KEEPIDLE) == 8
            assert (tcp(socket.TCP_KEEPINTVL), tcp(socket.TCP_KEEPCNT)) == (1, 4)


def test_a_connection_without_a_socket_is_left_alone() -> None:
    without = SimpleNamespace(getHandle=lambda: None)
    notice_silence(without, keepalive_seconds=1, user_seconds_max=1)
