from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address

from relay.model.origin import Origin, Received, Transport
from relay.model.parse_options import ParseOptions
from relay.service.configuration.model import TlsConfiguration, Url
from relay.service.sources.listening import Peers
from relay.service.sources.service import DatagramSource, SourceService, StreamSource
from relay.service.tls import certificate_watch
from relay.service.tls.certificate_watch import CertificateWatch
from relay.transport.peers import GateFactory
from relay.transport.reception import ConvertedIntake
from relay.transport.relp.inbound import RelpServerProtocol
from relay.transport.stream.connection import InboundFactory
from relay.transport.stream.inbound import SyslogStreamProtocol
from relay.transport.stream.proxy import ProxyFactory
from relay.transport.tls.endpoints import TlsListener
from tests.certificate_files import make_certificate_files
from tests.configurations import build_source, new_source
from tests.connections import RecordingNotices, Wire
from tests.threads import Reactor


def factory_of(service: SourceService) -> InboundFactory:
    assert isinstance(service, StreamSource)
    return service._factory


@pytest.mark.parametrize(
    ("scheme", "protocol"),
    [("tcp", SyslogStreamProtocol), ("relp", RelpServerProtocol)],
)
def test_connections_over_tcp(scheme: str, protocol: type) -> None:
    configuration = new_source(
        "in",
        Url(scheme, host="127.0.0.1"),
        frame_bytes_max=500,
        connections_max=7,
        idle_seconds_max=8.0,
        handshake_seconds_max=9.0,
    )
    service = build_source(configuration)
    factory = factory_of(service)
    assert isinstance(factory.buildProtocol(None), protocol)
    limits = factory.limits
    assert (limits.frame_bytes_max, limits.connections_max) == (500, 7)
    assert (limits.connections_per_peer_max, limits.unfinished_bytes_max) == (1, 2**26)
    assert (limits.idle_seconds_max, limits.handshake_seconds_max) == (8.0, 9.0)
    assert not factory.secure
    service.privilegedStartService()
    with service._socket as bound:
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


LIMITED = {
    "frame_bytes_max": 500,
    "oversize": "drop",
    "allow": (ip_network("127.0.0.0/8"),),
    "deny": (ip_network("127.0.0.9"),),
    "connections_per_peer_max": 7,
    "unfinished_bytes_max": 1000,
    "rate_per_peer_max": 8,
}


@pytest.mark.parametrize(("connections", "of_peer"), [(1000, 100), (25, 2), (9, 1), (1, 1)])
def test_one_peer_gets_a_tenth_of_the_connections_unless_told_otherwise(
    connections: int, of_peer: int
) -> None:
    configuration = new_source("in", Url("tcp", host="127.0.0.1"), connections_max=connections)
    assert factory_of(build_source(configuration)).limits.connections_per_peer_max == of_peer
    unlimited = replace(configuration, peers=Peers(connections_per_peer_max=0))
    assert factory_of(build_source(unlimited)).limits.connections_per_peer_max == 0


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_what_peers_may_do_on_connections(scheme: str, tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path)
    tls = TlsConfiguration(
        trusted_ca=files.ca, certificate=files.server_certificate, private_key=files.server_key
    )
    url = Url(scheme, host="127.0.0.1")
    service = build_source(new_source("in", url, tls=tls, **LIMITED))  # type: ignore[arg-type]
    factory = factory_of(service)
    assert (factory.limits.connections_per_peer_max, factory.limits.oversize) == (7, "drop")
    assert factory.limits.unfinished_bytes_max == 1000
    assert factory.rates.charge("127.0.0.1", 10) == 0.25
    assert isinstance(service, StreamSource)
    gate = service._wrap(factory)
    assert gate.buildProtocol(IPv4Address("TCP", "127.0.0.9", 1)) is None
    assert gate.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)) is not None
    assert factory.counters.connections_refused == 1


def test_proxies_are_listened_to_below_tls_and_behind_the_gate() -> None:
    service = build_source(
        new_source(
            "in",
            Url("tcp", host="127.0.0.1"),
            proxy_protocol=True,
            allow=(ip_network("10.0.0.0/8"),),
        )
    )
    assert isinstance(service, StreamSource)
    gate = service._wrap(service._factory)
    assert isinstance(gate, GateFactory)
    proxy = gate.buildProtocol(IPv4Address("TCP", "10.1.2.3", 1)).factory
    assert isinstance(proxy, ProxyFactory)
    assert proxy.inner is service._factory
    assert gate.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)) is None


@pytest.mark.parametrize("scheme", ["udp", "relp", "tcp"])
def test_text_is_converted_before_the_intake_gets_it(scheme: str) -> None:
    url = Url(scheme, host="127.0.0.1")
    parse = ParseOptions(encoding="gb18030")
    service = build_source(new_source("in", url, frame_bytes_max=500, parse=parse))
    if isinstance(service, DatagramSource):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            reader: Any = service._new_reader(bound)
        assert len(reader._buffers[0]) == 2000  # of which any could be a byte of UTF-8
        intake = reader._intake
    else:
        factory = factory_of(service)
        assert factory.limits.frame_bytes_max == 2000
        intake = factory.turn_batch.intake
    assert isinstance(intake, ConvertedIntake)


def test_without_its_files_a_source_does_not_listen_and_says_so(tmp_path: Path) -> None:
    tls = TlsConfiguration(trusted_ca=str(tmp_path / "ca.pem"), certificate="/x", private_key="/y")
    service = build_source(new_source("in", Url("tls", host="127.0.0.1"), tls=tls))
    service.privilegedStartService()
    with service._socket as bound:
        assert not bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    report = service.report()
    assert report["state"].endswith("it does not listen until the files are right")
    assert report["ready"] is False


def test_converted_text_keeps_to_the_size_that_is_configured() -> None:
    parse = ParseOptions(encoding="gb18030")
    service = build_source(
        new_source(
            "in", Url("tcp", host="127.0.0.1"), frame_bytes_max=500, oversize="drop", parse=parse
        )
    )
    intake: Any = factory_of(service).turn_batch.intake
    assert isinstance(intake, ConvertedIntake)
    text, origin = "\u4e2d".encode("gb18030"), Origin("in", Transport.TCP)
    intake.accept_all([Received([b"<13>" + text * 200, b"<13>" + text * 100], origin)])
    assert service.counters.dropped == {"too-long": 1, "no-destination": 1}
    intake.accept_all([Received([b"<13>\xff"], origin)])
    assert isinstance(intake._reception.notices, RecordingNotices)


def test_a_proxy_has_the_time_of_a_handshake() -> None:
    reactor = Reactor()
    service = build_source(
        new_source("in", Url("tcp", host="127.0.0.1"), proxy_protocol=True), reactor=reactor
    )
    assert isinstance(service, StreamSource)
    proxy = service._wrap(service._factory)._inner
    assert (proxy.clock, proxy.inbound) == (reactor, service._factory)


def test_a_listener_is_told_which_peers_to_accept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_certificate_files(tmp_path)
    made: list[dict[str, Any]] = []

    def listener(material: Any, **keywords: Any) -> TlsListener:
        made.append(keywords)
        return TlsListener(material, **keywords)

    monkeypatch.setattr(certificate_watch, "TlsListener", listener)
    tls = TlsConfiguration(
        trusted_ca=files.ca,
        certificate=files.server_certificate,
        private_key=files.server_key,
        peer_verify="optional",
        peer_names=("*.example.com",),
        tls_version_min="1.3",
    )
    reactor = Reactor()
    service = build_source(new_source("in", Url("tls", host="127.0.0.1"), tls=tls), reactor=reactor)
    (told,) = made
    assert told["peer_verify"] == "optional"
    assert told["policy"].names == ("*.example.com",)
    assert told["options"].version_min == "1.3"
    assert isinstance(service, StreamSource)
    wrapped: Any = service._wrap(service._factory)._inner
    wrapped.buildProtocol(None).makeConnection(wire := Wire())
    assert wire.value() == b"", "the peer begins"
    assert wrapped._clock is reactor


def test_who_owns_new_certificates_is_in_the_log(tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path)
    tls = TlsConfiguration(
        trusted_ca=files.ca, certificate=files.server_certificate, private_key=files.server_key
    )
    notices: Any = RecordingNotices()
    certificates = CertificateWatch(notices=notices, now=float, clock=Reactor())
    build_source(new_source("in", Url("tls", host="127.0.0.1"), tls=tls), certificates=certificates)
    assert [each["subject"] for each in certificates.report()] == ["source in"]
