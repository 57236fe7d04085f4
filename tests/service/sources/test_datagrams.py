from __future__ import annotations

import socket
import stat
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from relay.model.origin import Origin, Transport
from relay.service.configuration.model import DtlsConfiguration, Url
from relay.service.process.systemd import Systemd
from relay.service.sources import datagrams, listening, streams
from relay.service.sources.service import DatagramSource
from relay.transport.datagram.dtls_inbound import DtlsReceiver, SessionLimits
from relay.transport.datagram.inbound import DatagramReader
from relay.transport.datagram.recvmmsg import Datagrams
from tests.certificate_files import make_certificate_files
from tests.configurations import build_source, new_source
from tests.connections import RecordingNotices
from tests.threads import Reactor


def test_udp_is_read_by_ourselves() -> None:
    reactor = Reactor()
    service = build_source(new_source("in", Url("udp", host="127.0.0.1")), reactor=reactor)
    assert isinstance(service, DatagramSource)
    service.startService()
    (reader,) = reactor.getReaders()
    assert isinstance(reader, DatagramReader)
    assert reader._socket.type == socket.SOCK_DGRAM
    service.stopService()


@pytest.mark.parametrize("available", [True, False])
def test_udp_is_read_with_one_call_for_many_datagrams_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, available: bool
) -> None:
    made: list[dict[str, Any]] = []

    class Many:
        def __init__(self, bound: socket.socket, **keywords: int) -> None:
            made.append(keywords)

        def receive(self) -> Datagrams:
            return Datagrams({}, {}, False)

        def close(self) -> None:
            pass

    Many.available = available  # type: ignore[attr-defined]
    monkeypatch.setattr(datagrams, "ManyDatagrams", Many)
    url = Url("udp", host="127.0.0.1")
    service = build_source(new_source("in", url, frame_bytes_max=999))
    service.startService()
    assert [keywords["frame_bytes_max"] for keywords in made] == [999] * available
    service.stopService()


@pytest.mark.parametrize(
    ("scheme", "kind"), [("unixgram", socket.SOCK_DGRAM), ("unix", socket.SOCK_STREAM)]
)
def test_unix_sockets_have_their_mode(tmp_path: Path, scheme: str, kind: socket.SocketKind) -> None:
    path = tmp_path / "log"
    service = build_source(new_source("in", Url(scheme, path=str(path)), socket_mode=0o640))
    service.privilegedStartService()
    with service._socket as bound:
        assert bound.type == kind
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


LIMITED = {
    "frame_bytes_max": 500,
    "oversize": "drop",
    "allow": (ip_network("127.0.0.0/8"),),
    "deny": (ip_network("127.0.0.9"),),
    "connections_per_peer_max": 7,
    "unfinished_bytes_max": 1000,
    "rate_per_peer_max": 8,
}


def test_what_peers_may_do_with_datagrams() -> None:
    reactor = Reactor()
    configuration = new_source("in", Url("udp", host="127.0.0.1"), **LIMITED)  # type: ignore[arg-type]
    service = build_source(configuration, reactor=reactor)
    service.startService()
    (reader,) = reactor.getReaders()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for size in (501, *[500] * 9):
            sender.sendto(b"x" * size, reader._socket.getsockname())
    reader.doRead()
    assert service.counters.dropped == {"too-long": 1, "rate-limit": 1, "no-destination": 8}
    assert not reader._permitted.permits("127.0.0.9")
    service.stopService()


def test_sockets_are_asked_for_their_buffer_and_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    for name in ("adopt_socket", "bind_unix", "bind_datagram", "bind_stream"):

        def bind(*arguments: Any, name: str = name, **keywords: Any) -> socket.socket:
            asked.append((name, arguments, keywords))
            return socket.socket()

        for module in (datagrams, listening, streams):
            monkeypatch.setattr(module, name, bind, raising=False)
    path = str(tmp_path / "log")
    for url in (
        *(Url("unix", path=path), Url("unixgram", path=path)),
        *(Url("udp", host="127.0.0.1", port=514), Url("tcp", host="127.0.0.1", port=514)),
    ):
        build_source(new_source("in", url, receive_buffer_bytes=999))._bind().close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        configuration = new_source("in", Url("systemd", inherited="net"), receive_buffer_bytes=999)
        descriptor = made.fileno()
        build_source(configuration, systemd=Systemd({descriptor: "net"}))._bind().close()
    assert asked == [
        ("bind_unix", (path, socket.SOCK_STREAM), {"mode": 0o666, "receive_buffer_bytes": 0}),
        ("bind_unix", (path, socket.SOCK_DGRAM), {"mode": 0o666, "receive_buffer_bytes": 999}),
        ("bind_datagram", ("127.0.0.1", 514), {"receive_buffer_bytes": 999}),
        ("bind_stream", ("127.0.0.1", 514), {"listens": True}),
        ("adopt_socket", (descriptor,), {"receive_buffer_bytes": 999}),
    ]


def test_datagrams_belong_to_their_source() -> None:
    reactor = Reactor()
    configuration = new_source(
        "in", Url("udp", host="127.0.0.1"), rate_per_peer_max=2, receive_buffer_bytes=2**30
    )
    service = build_source(configuration, reactor=reactor)
    assert isinstance(service, DatagramSource)
    assert service._buffer_bytes_asked == 2**30
    service.startService()
    (reader,) = reactor.getReaders()
    assert reader._origin == Origin("in", Transport.UDP)
    assert isinstance(reader._notices, RecordingNotices)
    rates = reader._rates
    assert [rates.charge("a", 1) for _ in range(3)][-1] > 0
    reactor.advance(1000)
    assert rates.charge("a", 1) == 0
    service.stopService()


def dtls_source(folder: Path, **keys: Any) -> Any:
    files = make_certificate_files(folder)
    tls = DtlsConfiguration(
        certificate=files.server_certificate, private_key=files.server_key, trusted_ca=files.ca
    )
    return new_source("in", Url("dtls", host="127.0.0.1"), tls=tls, **keys)


def test_dtls_is_decrypted_within_its_limits(tmp_path: Path) -> None:
    reactor = Reactor()
    service = build_source(
        dtls_source(tmp_path, connections_max=50, idle_seconds_max=7.0), reactor=reactor
    )
    service.startService()
    (reader,) = reactor.getReaders()
    receiver = reader._many
    assert isinstance(receiver, DtlsReceiver)
    assert receiver._limits == SessionLimits(50, 5, 30.0, 7.0)
    service.stopService()
    assert reactor.getReaders() == []


def test_dtls_waits_for_its_files(tmp_path: Path) -> None:
    reactor = Reactor()
    source = dtls_source(tmp_path)
    key = Path(source.tls.private_key)
    content = key.read_bytes()
    key.unlink()
    service = build_source(source, reactor=reactor)
    service.startService()
    assert reactor.getReaders() == []
    report = service.report()
    assert report["ready"] is False
    assert report["state"].endswith("; it does not listen until the files are right")
    key.write_bytes(content)
    service._prerequisite.look()
    assert len(reactor.getReaders()) == 1
    assert "state" not in service.report()
    service.stopService()


def test_dtls_stops_without_ever_having_had_its_files(tmp_path: Path) -> None:
    source = dtls_source(tmp_path)
    Path(source.tls.private_key).unlink()
    service = build_source(source)
    service.startService()
    service.stopService()
    assert service._socket.fileno() == -1
