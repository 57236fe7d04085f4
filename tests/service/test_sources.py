from __future__ import annotations

import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from twisted.protocols.tls import TLSMemoryBIOFactory

from relay.flow.intake import Intake
from relay.model.counters import SourceCounters
from relay.queue.admission import Admission
from relay.service.configuration import SourceConfiguration, TlsConfiguration, Url
from relay.service.source import DatagramSource, SourceService, StreamSource
from relay.service.sources import RELP_SOFTWARE, new_source, read_pem
from relay.transport.datagram_in import DatagramReader
from relay.transport.inbound import InboundFactory
from relay.transport.relp_in import RelpServerProtocol
from relay.transport.stream_in import SyslogStreamProtocol
from tests.certificate_files import make_certificate_files
from tests.connections import RecordingNotices
from tests.threads import Reactor


def build(configuration: SourceConfiguration, reactor: Any = None) -> SourceService:
    notices: Any = RecordingNotices()
    counters = SourceCounters()
    intake = Intake(routes=[], append=lambda _: None, now=lambda: 0.0, counters=counters)  # type: ignore[arg-type,return-value]
    return new_source(
        configuration,
        intake=intake,
        admission=Admission(pending_bytes_max=100, queue_bytes_max=100),
        counters=counters,
        notices=notices,
        reactor=reactor or Reactor(),
    )


def factory_of(service: SourceService) -> InboundFactory:
    assert isinstance(service, StreamSource)
    return service._factory


@pytest.mark.parametrize(
    ("scheme", "protocol"),
    [("tcp", SyslogStreamProtocol), ("relp", RelpServerProtocol)],
)
def test_connections_over_tcp(scheme: str, protocol: type) -> None:
    configuration = SourceConfiguration(
        "in",
        Url(scheme, host="127.0.0.1"),
        frame_bytes_max=500,
        connections_max=7,
        idle_seconds_max=8.0,
        handshake_seconds_max=9.0,
    )
    service = build(configuration)
    factory = factory_of(service)
    assert isinstance(factory.buildProtocol(None), protocol)
    limits = factory.limits
    assert (limits.frame_bytes_max, limits.connections_max) == (500, 7)
    assert (limits.idle_seconds_max, limits.handshake_seconds_max) == (8.0, 9.0)
    assert not factory.secure
    service.privilegedStartService()
    with service._socket as bound:
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


@pytest.mark.parametrize("scheme", ["tls", "relp+tls"])
def test_connections_over_tls(scheme: str, tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path)
    tls = TlsConfiguration(
        trusted_ca=files.ca, certificate=files.server_certificate, private_key=files.server_key
    )
    service = build(SourceConfiguration("in", Url(scheme, host="127.0.0.1"), tls=tls))
    factory = factory_of(service)
    assert factory.secure
    assert isinstance(service, StreamSource)
    wrapped = service._wrap(factory)
    assert isinstance(wrapped, TLSMemoryBIOFactory)
    assert wrapped.wrappedFactory is factory


def test_udp_is_read_by_ourselves() -> None:
    reactor = Reactor()
    service = build(SourceConfiguration("in", Url("udp", host="127.0.0.1")), reactor)
    assert isinstance(service, DatagramSource)
    service.startService()
    (reader,) = reactor.getReaders()
    assert isinstance(reader, DatagramReader)
    assert reader._socket.type == socket.SOCK_DGRAM
    service.stopService()


@pytest.mark.parametrize(
    ("scheme", "kind"), [("unixgram", socket.SOCK_DGRAM), ("unix", socket.SOCK_STREAM)]
)
def test_unix_sockets_have_their_mode(tmp_path: Path, scheme: str, kind: socket.SocketKind) -> None:
    path = tmp_path / "log"
    service = build(SourceConfiguration("in", Url(scheme, path=str(path)), socket_mode=0o640))
    service.privilegedStartService()
    with service._socket as bound:
        assert bound.type == kind
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_we_call_ourselves() -> None:
    assert RELP_SOFTWARE.startswith(b"syslogrelay,")


def test_no_file_is_no_certificate(tmp_path: Path) -> None:
    assert read_pem("") == b""
    (tmp_path / "x.pem").write_bytes(b"pem")
    assert read_pem(str(tmp_path / "x.pem")) == b"pem"
