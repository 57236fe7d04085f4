from __future__ import annotations

import socket

import pytest
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.tcp import Connection
from twisted.internet.unix import Server

from relay.transport.connections import ReadDescriptor, SocketConnection


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
