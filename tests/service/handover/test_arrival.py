from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from relay.service.handover.arrival import (
    CONNECTIONS,
    STATE,
    TRIAL_VARIABLE,
    VARIABLE,
    arrive,
    names_in_use,
)
from relay.service.handover.document import (
    ConnectionEntry,
    Document,
    SocketEntry,
    write_document,
)
from relay.service.process.systemd import Systemd
from relay.transport.held_sockets import StreamState
from relay.transport.sockets import bind_datagram

NAME = "held datagram 127.0.0.1%3A0"


def bound() -> socket.socket:
    return bind_datagram("127.0.0.1", 0, receive_buffer_bytes=65536)


def inode(each: socket.socket) -> int:
    return os.fstat(each.fileno()).st_ino


def test_without_anything_there_is_nothing() -> None:
    arrival = arrive({}, Systemd({3: "syslog.socket"}), None)
    assert list(arrival.held) == arrival.problems == []
    assert (arrival.systemd.sockets, arrival.document) == ({3: "syslog.socket"}, None)


def test_through_exec_descriptors_keep_their_numbers() -> None:
    with bound() as udp, bound() as unit:
        numbers = {str(udp.fileno()): NAME, str(unit.fileno()): "held inherited a"}
        entry = SocketEntry(NAME, inode(udp), "in", 7)
        os.set_inheritable(udp.fileno(), True)
        document = Document(id="x", descriptors=numbers, sockets=(entry,))
        environment = {VARIABLE: str(write_document(document))}
        arrival = arrive(environment, Systemd(), None)
        assert environment == {}
        (held,) = arrival.held
        assert (held.name, held.source, held.kernel_drops) == (NAME, "in", 7)
        assert held.bound.detach() == udp.fileno()
        assert not os.get_inheritable(udp.fileno())
        assert (arrival.systemd.sockets, arrival.inherited) == ({unit.fileno(): "a"}, 1)
        assert arrival.document is not None and arrival.document.id == "x"


def test_from_the_store_they_are_known_by_inode() -> None:
    ours, theirs = socket.socketpair()
    with bound() as udp, ours, theirs:
        state = StreamState(unread=b"x")
        document = Document(
            sockets=(SocketEntry(NAME, inode(udp), "in"),),
            connections=(ConnectionEntry("held stream /s", inode(ours), state),),
        )
        left = {
            udp.fileno(): NAME,
            ours.fileno(): CONNECTIONS,
            write_document(document): STATE,
            9999: "unit",
        }
        arrival = arrive({}, Systemd(left), None)
        assert arrival.problems == []
        assert [(each.name, each.source) for each in arrival.held] == [(NAME, "in")]
        assert [(each.name, each.state) for each in arrival.held.connections] == [
            ("held stream /s", state)
        ]
        assert (arrival.connections, arrival.systemd.sockets) == (1, {9999: "unit"})
        for each in (*(held.bound for held in arrival.held), arrival.held.connections[0].connected):
            each.detach()


def test_after_a_crash_there_are_sockets_without_a_state() -> None:
    ours, theirs = socket.socketpair()
    with bound() as udp, theirs:
        left = {udp.fileno(): NAME, ours.detach(): CONNECTIONS}
        arrival = arrive({}, Systemd(left), None)
        (held,) = arrival.held
        assert (held.name, held.kernel_drops, held.file) == (NAME, None, None)
        held.bound.detach()
        assert arrival.problems == ["a connection is closed: nothing says how far it was read"]
        assert theirs.recv(1) == b""


def test_what_cannot_be_used_is_said() -> None:
    memory = os.memfd_create("x")
    arrival = arrive({}, Systemd({99999: NAME, memory: STATE}), None)
    assert arrival.problems[0].startswith("the state of the process before cannot be used: its")
    assert arrival.problems[1] == f"descriptor 99999 ({NAME}) cannot be used: Bad file descriptor"
    assert list(arrival.held) == []


def test_a_file_is_no_socket(tmp_path: Path) -> None:
    number = os.open(tmp_path, os.O_RDONLY)
    arrival = arrive({}, Systemd({number: NAME}), None)
    os.close(number)
    assert "cannot be used" in arrival.problems[0]


def test_the_newest_state_counts() -> None:
    states = [Document(id=id, stopped_at=at) for id, at in (("old", 1.0), ("new", 3.0), ("b", 2.0))]
    arrival = arrive({}, Systemd({write_document(each): STATE for each in states}), None)
    assert arrival.document is not None and arrival.document.id == "new"


def test_a_trial_takes_nothing_but_looks_at_the_sockets_of_units() -> None:
    with bound() as udp, bound() as unit:
        numbers = {str(udp.fileno()): NAME, str(unit.fileno()): "held inherited a"}
        document = Document(descriptors=numbers, sockets=(SocketEntry(NAME, 0),))
        number = str(write_document(document))
        assert names_in_use(number) == {NAME}
        arrival = arrive({TRIAL_VARIABLE: number}, Systemd(), None)
        assert list(arrival.held) == []
        assert arrival.systemd.sockets == {unit.fileno(): "a"}


@pytest.mark.parametrize("text", ["", "x"])
def test_without_a_relay_that_runs_nothing_is_in_use(text: str) -> None:
    assert names_in_use(text) == set()
