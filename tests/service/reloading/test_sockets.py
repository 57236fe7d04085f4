"""Which sockets stay while sources change."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import SourceConfiguration
from relay.service.configuration.url import Url
from relay.service.kinds import KINDS
from relay.service.reloading.sockets import can_bind_first, close_connections, wanted_socket
from relay.service.sources.service import DatagramSource, SourceService, StreamSource
from relay.transport.held_sockets import HeldConnection, HeldSockets, StreamState
from tests.relay_process import toml_text


def of(cls: type[SourceService], url: Url) -> Any:
    """A source with an address, and nothing else."""
    source: Any = cls.__new__(cls)
    source.url = url
    return source


def udp(host: str, port: int) -> Any:
    return of(DatagramSource, Url("udp", host=host, port=port))


def configured(tmp_path: Path, listen: str) -> SourceConfiguration:
    keys = {"peer_verify": "none", "certificate": "c.pem", "private_key": "k.pem"}
    table = {"listen": listen, **(keys if listen.startswith(("tls", "dtls")) else {})}
    sources, destinations = {"in": table}, {"out": {"connect": f"file:{tmp_path}/all.log"}}
    path = tmp_path / "relay.toml"
    path.write_text(toml_text({"sources": sources, "destinations": destinations}))
    return read_configuration(str(path), KINDS, to_start=True).sources[0]


@pytest.mark.parametrize(
    "listen",
    [
        *("udp://[::1]:514", "dtls://:6514", "unixgram:/dev/log", "unix:/run/x"),
        *("tcp://127.0.0.1:1", "relp://:2", "tls://:6514", "http://127.0.0.1:80"),
    ],
)
def test_a_wanted_socket_has_the_name_that_its_source_asks_for(tmp_path: Path, listen: str) -> None:
    source = configured(tmp_path, listen)
    cls = DatagramSource if listen.startswith(("udp", "dtls", "unixgram")) else StreamSource
    assert wanted_socket(source) == of(cls, source.listen).socket_name


def test_a_socket_is_bound_before_others_end_unless_they_are_in_its_way() -> None:
    new = udp("127.0.0.1", 514)
    assert can_bind_first(new, [udp("127.0.0.1", 515), of(SourceService, Url("kmsg"))])
    assert not can_bind_first(new, [udp("127.0.0.1", 515), udp("127.0.0.1", 514)])
    assert not can_bind_first(new, [udp("", 514)])
    assert can_bind_first(udp("127.0.0.1", 0), [udp("", 0)])
    assert not can_bind_first(of(SourceService, Url("kmsg")), [])
    assert not can_bind_first(of(StreamSource, Url("tcp", inherited="x.socket")), [])


def test_connections_that_nobody_takes_are_closed_and_counted() -> None:
    held = HeldSockets()
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"<13>a")
        held.put_connection(HeldConnection("held stream :514", ours, StreamState(unread=b"xy")))
        assert close_connections(held) == 1
        assert ours.fileno() == -1
    assert close_connections(held) == 0
