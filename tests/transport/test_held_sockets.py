from __future__ import annotations

import os
import socket
from pathlib import Path

from relay.transport.held_sockets import HeldSocket, HeldSockets, socket_name
from relay.transport.sockets import bind_datagram, bind_stream, bind_unix

UDP = socket_name("datagram", "127.0.0.1:0")


def datagrams() -> socket.socket:
    return bind_datagram("127.0.0.1", 0, receive_buffer_bytes=65536)


def test_a_socket_is_taken_once() -> None:
    held = HeldSockets()
    held.put(HeldSocket(UDP, bound := datagrams()))
    with bound:
        taken = held.take(UDP)
        assert taken is not None and taken.bound is bound
        assert held.take(UDP) is None


def test_another_name_takes_nothing() -> None:
    held = HeldSockets()
    held.put(HeldSocket(UDP, bound := datagrams()))
    with bound:
        assert held.take(socket_name("stream", "127.0.0.1:514")) is None
        assert held.take(socket_name("datagram", "127.0.0.1:515")) is None
        assert [each.bound for each in held] == [bound]


def test_of_one_name_each_source_gets_its_own() -> None:
    """Two sources may both say port 0."""
    held = HeldSockets()
    with datagrams() as first, datagrams() as second:
        held.put(HeldSocket(UDP, first, source="a"))
        held.put(HeldSocket(UDP, second, source="b"))
        taken = [held.take(UDP, source=id) for id in ("b", "c")]
        assert [each.bound for each in taken if each is not None] == [second, first]


def test_a_socket_of_another_kind_than_its_name_is_closed() -> None:
    held = HeldSockets()
    held.put(HeldSocket(UDP, bound := bind_stream("127.0.0.1", 0)))
    assert held.take(UDP) is None
    assert bound.fileno() == -1


def test_a_socket_at_another_port_than_its_name_is_closed() -> None:
    held = HeldSockets()
    held.put(HeldSocket(socket_name("datagram", "127.0.0.1:514"), bound := datagrams()))
    assert held.take(socket_name("datagram", "127.0.0.1:514")) is None
    assert bound.fileno() == -1
    with datagrams() as bound:
        for name in (
            socket_name("datagram", f"[::1]:{bound.getsockname()[1]}"),
            socket_name("inherited", "syslog.socket"),
        ):
            held.put(HeldSocket(name, bound))
            assert held.take(name) is not None


def test_what_nobody_has_taken_is_closed_and_said() -> None:
    held = HeldSockets()
    held.put(HeldSocket(UDP, bound := datagrams()))
    assert [each.name for each in held.close_left()] == [UDP]
    assert bound.fileno() == -1
    assert held.close_left() == []


def unix(path: Path) -> tuple[str, HeldSocket]:
    name = socket_name("datagram", str(path))
    bound = bind_unix(str(path), socket.SOCK_DGRAM, mode=0o600, receive_buffer_bytes=65536)
    found = os.lstat(path)
    return name, HeldSocket(name, bound, file=(found.st_dev, found.st_ino))


def test_a_unix_socket_is_taken_while_its_file_is_there(tmp_path: Path) -> None:
    held = HeldSockets()
    name, left = unix(tmp_path / "s")
    held.put(left)
    taken = held.take(name)
    assert taken is left
    left.bound.close()


def test_a_unix_socket_that_nobody_reaches_any_more_is_closed(tmp_path: Path) -> None:
    for number, replaced in enumerate((False, True)):
        held = HeldSockets()
        name, left = unix(tmp_path / str(number))
        held.put(left)
        (tmp_path / str(number)).rename(tmp_path / f"away{number}")
        if replaced:
            (tmp_path / str(number)).touch()
        assert held.take(name) is None
        assert left.bound.fileno() == -1


def test_sources_are_told_which_to_keep() -> None:
    held = HeldSockets()
    assert not held.keeps(UDP)
    held.keep({UDP})
    assert held.keeps(UDP) and not held.keeps("held stream :514")
    held.keep(())
    assert not held.keeps(UDP)
    held.keeps_all = True
    assert held.keeps(UDP)


def test_names_are_what_systemd_takes() -> None:
    for address in ("[::1]:514", ":0", "/run/a b\n:ü/log", "/" + "ü" * 53):
        name = socket_name("stream", address)
        assert name.isascii() and name.isprintable() and ":" not in name
        assert len(name) <= 255
    assert socket_name("stream", "/" + "ü" * 53) != socket_name("stream", "/" + "ä" * 53)
