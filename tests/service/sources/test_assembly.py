from __future__ import annotations

import os
import socket
import stat
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.protocols.tls import TLSMemoryBIOFactory

from relay import __version__
from relay.flow.intake import Intake
from relay.model.counters import SourceCounters
from relay.model.origin import Origin, Received
from relay.model.parse_options import ParseOptions
from relay.queue.admission.backpressure import Admission
from relay.queue.ledger import Ledger
from relay.service.configuration.model import SourceConfiguration, TlsConfiguration, Url
from relay.service.process.systemd import NO_SYSTEMD, Systemd
from relay.service.refusal import StartRefused
from relay.service.sources import assembly as sources
from relay.service.sources.assembly import RELP_SOFTWARE, new_source
from relay.service.sources.service import DatagramSource, SourceService, StreamSource
from relay.service.tls.certificate_watch import CertificateWatch
from relay.transport.converted_intake import ConvertedIntake
from relay.transport.datagram.inbound import DatagramReader
from relay.transport.datagram.recvmmsg import Datagrams
from relay.transport.peers import GateFactory
from relay.transport.relp.inbound import RelpServerProtocol
from relay.transport.stream.connection import InboundFactory
from relay.transport.stream.inbound import SyslogStreamProtocol
from relay.transport.stream.proxy import ProxyFactory
from relay.transport.stream.shared_reads import SharedReads
from relay.transport.tls.endpoints import TlsListener
from tests.certificate_files import make_certificate_files
from tests.clocks import wall_at
from tests.connections import RecordingNotices, Wire
from tests.threads import Reactor


def build(
    configuration: SourceConfiguration,
    reactor: Any = None,
    systemd: Systemd = NO_SYSTEMD,
    **keywords: Any,
) -> SourceService:
    notices: Any = RecordingNotices()
    counters = SourceCounters()
    intake = Intake(routes=[], append=lambda _: None, wall=wall_at(0.0), counters=counters)  # type: ignore[arg-type,return-value]
    keywords.setdefault("certificates", CertificateWatch(notices=notices, now=float, clock=reactor))
    return new_source(
        configuration,
        intake=intake,
        admission=Admission(pending_bytes_max=100, queue_bytes_max=100),
        counters=counters,
        notices=notices,
        reactor=reactor or Reactor(),
        systemd=systemd,
        **{"local_block_seconds_max": 2.5, **keywords},
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
    assert (limits.connections_per_peer_max, limits.unfinished_bytes_max) == (1, 2**26)
    assert (limits.idle_seconds_max, limits.handshake_seconds_max) == (8.0, 9.0)
    assert not factory.secure
    service.privilegedStartService()
    with service._socket as bound:
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


@pytest.mark.parametrize(
    ("scheme", "protocol"), [("tls", SyslogStreamProtocol), ("relp+tls", RelpServerProtocol)]
)
def test_connections_over_tls(scheme: str, protocol: type, tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path)
    tls = TlsConfiguration(
        trusted_ca=files.ca, certificate=files.server_certificate, private_key=files.server_key
    )
    service = build(SourceConfiguration("in", Url(scheme, host="127.0.0.1"), tls=tls))
    factory = factory_of(service)
    assert factory.secure
    assert isinstance(factory.buildProtocol(None), protocol)
    assert isinstance(service, StreamSource)
    wrapped = service._wrap(factory)._inner
    assert isinstance(wrapped, TLSMemoryBIOFactory)
    assert wrapped.wrappedFactory is factory


@pytest.mark.parametrize(
    ("url", "seconds"), [(Url("unix", path="/run/x"), 2.5), (Url("tcp", host="127.0.0.1"), 0.0)]
)
def test_only_local_programs_are_not_blocked_for_long(url: Url, seconds: float) -> None:
    limits = factory_of(build(SourceConfiguration("in", url))).limits
    assert limits.block_seconds_max == seconds


def test_udp_is_read_by_ourselves() -> None:
    reactor = Reactor()
    service = build(SourceConfiguration("in", Url("udp", host="127.0.0.1")), reactor)
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

    Many.available = available  # type: ignore[attr-defined]
    monkeypatch.setattr(sources, "ManyDatagrams", Many)
    url = Url("udp", host="127.0.0.1")
    service = build(SourceConfiguration("in", url, frame_bytes_max=999))
    service.startService()
    assert [keywords["frame_bytes_max"] for keywords in made] == [999] * available
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


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_inherited_socket_is_used_as_it_is(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, kind) as made:
        made.bind(str(path))
        if kind == socket.SOCK_STREAM:
            made.listen()
        path.chmod(0o620)
        systemd = Systemd({os.dup(made.fileno()): "log.socket"})
        configuration = SourceConfiguration("in", Url("systemd", inherited="log.socket"))
        reactor = Reactor()
        service = build(configuration, reactor, systemd)
        service.startService()
        scheme = "unixgram" if kind == socket.SOCK_DGRAM else "unix"
        assert service.address == f"{scheme}://{path}"
        assert service.report()["listen"] == "systemd://log.socket"
        assert len(reactor.getReaders()) == 1
        service.stopService()
    assert stat.S_IMODE(path.stat().st_mode) == 0o620


def test_an_inherited_unix_socket_has_no_addresses_to_allow() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        systemd = Systemd({made.fileno(): "log"})
        configuration = SourceConfiguration(
            "in", Url("systemd", inherited="log"), deny=(ip_network("10.0.0.0/8"),)
        )
        with pytest.raises(StartRefused, match="is a unix socket, where senders have no address"):
            build(configuration, systemd=systemd)


def test_an_inherited_unix_stream_has_no_proxies_either() -> None:
    """`allow` has to name proxies, and cannot here: the words say to remove both."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind(b"\0syslogrelay-proxied-%d" % os.getpid())
        made.listen()
        configuration = SourceConfiguration(
            "in",
            Url("systemd", inherited="log"),
            allow=(ip_network("10.0.0.0/8"),),
            proxy_protocol=True,
        )
        with pytest.raises(StartRefused, match=r"no address; remove allow and proxy_protocol$"):
            build(configuration, systemd=Systemd({made.fileno(): "log"}))


def test_an_abstract_socket_has_an_address_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(b"\0syslogrelay-test-%d" % os.getpid())
        systemd = Systemd({os.dup(made.fileno()): "log"})
        service = build(SourceConfiguration("in", Url("systemd", inherited="log")), systemd=systemd)
        service.startService()
        assert service.address == f"unixgram://@syslogrelay-test-{os.getpid()}"
        service.stopService()


def test_an_inherited_socket_that_is_not_there() -> None:
    configuration = SourceConfiguration("in", Url("systemd", inherited="log"))
    with pytest.raises(StartRefused, match=r"source in: cannot use systemd://log: .*only net"):
        build(configuration, systemd=Systemd({3: "net"}))


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
    configuration = SourceConfiguration(
        "in", Url("tcp", host="127.0.0.1"), connections_max=connections
    )
    assert factory_of(build(configuration)).limits.connections_per_peer_max == of_peer
    unlimited = replace(configuration, connections_per_peer_max=0)
    assert factory_of(build(unlimited)).limits.connections_per_peer_max == 0


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_what_peers_may_do_on_connections(scheme: str, tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path)
    tls = TlsConfiguration(
        trusted_ca=files.ca, certificate=files.server_certificate, private_key=files.server_key
    )
    url = Url(scheme, host="127.0.0.1")
    service = build(SourceConfiguration("in", url, tls=tls, **LIMITED))  # type: ignore[arg-type]
    factory = factory_of(service)
    assert (factory.limits.connections_per_peer_max, factory.limits.oversize) == (7, "drop")
    assert factory.limits.unfinished_bytes_max == 1000
    assert factory.rates.charge("127.0.0.1", 10) == 0.25
    assert isinstance(service, StreamSource)
    gate = service._wrap(factory)
    assert gate.buildProtocol(IPv4Address("TCP", "127.0.0.9", 1)) is None
    assert gate.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)) is not None
    assert factory.counters.connections_refused == 1


def test_what_peers_may_do_with_datagrams() -> None:
    reactor = Reactor()
    configuration = SourceConfiguration("in", Url("udp", host="127.0.0.1"), **LIMITED)  # type: ignore[arg-type]
    service = build(configuration, reactor)
    service.startService()
    (reader,) = reactor.getReaders()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for size in (501, *[500] * 9):
            sender.sendto(b"x" * size, reader._socket.getsockname())
    reader.doRead()
    assert service.counters.dropped == {"too-long": 1, "rate-limit": 1, "no-destination": 8}
    assert not reader._permitted.permits("127.0.0.9")
    service.stopService()


def test_proxies_are_listened_to_below_tls_and_behind_the_gate() -> None:
    service = build(
        SourceConfiguration(
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


def test_an_inherited_udp_socket_has_no_proxies() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        configuration = SourceConfiguration(
            "in", Url("systemd", inherited="net"), proxy_protocol=True
        )
        with pytest.raises(StartRefused, match=r"is a UDP socket.*remove proxy_protocol"):
            build(configuration, systemd=Systemd({made.fileno(): "net"}))


def test_what_we_call_ourselves() -> None:
    assert RELP_SOFTWARE.startswith(b"syslogrelay,")


@pytest.mark.parametrize("scheme", ["udp", "relp", "tcp"])
def test_text_is_converted_before_the_intake_gets_it(scheme: str) -> None:
    url = Url(scheme, host="127.0.0.1")
    parse = ParseOptions(encoding="gb18030")
    service = build(SourceConfiguration("in", url, frame_bytes_max=500, parse=parse))
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


def test_an_inherited_stream_is_refused_if_its_text_cannot_be_cut() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as inherited:
        inherited.bind(("127.0.0.1", 0))
        inherited.listen()
        systemd = Systemd({inherited.fileno(): "a"})
        configuration = SourceConfiguration(
            "in", Url("systemd", inherited="a"), parse=ParseOptions(encoding="utf-16")
        )
        with pytest.raises(StartRefused, match=r"parse.encoding: 'utf-16' is no superset"):
            build(configuration, systemd=systemd)


def test_sockets_are_asked_for_their_buffer_and_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    for name in ("adopt_socket", "bind_unix", "bind_datagram", "bind_stream"):

        def bind(*arguments: Any, name: str = name, **keywords: Any) -> socket.socket:
            asked.append((name, arguments, keywords))
            return socket.socket()

        monkeypatch.setattr(sources, name, bind)
    path = str(tmp_path / "log")
    for url in (
        *(Url("unix", path=path), Url("unixgram", path=path)),
        *(Url("udp", host="127.0.0.1", port=514), Url("tcp", host="127.0.0.1", port=514)),
    ):
        build(SourceConfiguration("in", url, receive_buffer_bytes=999))._bind().close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        configuration = SourceConfiguration(
            "in", Url("systemd", inherited="net"), receive_buffer_bytes=999
        )
        descriptor = made.fileno()
        build(configuration, systemd=Systemd({descriptor: "net"}))._bind().close()
    assert asked == [
        ("bind_unix", (path, socket.SOCK_STREAM), {"mode": 0o666, "receive_buffer_bytes": 999}),
        ("bind_unix", (path, socket.SOCK_DGRAM), {"mode": 0o666, "receive_buffer_bytes": 999}),
        ("bind_datagram", ("127.0.0.1", 514), {"receive_buffer_bytes": 999}),
        ("bind_stream", ("127.0.0.1", 514), {"listens": True}),
        ("adopt_socket", (descriptor,), {"receive_buffer_bytes": 999}),
    ]


def test_without_its_files_a_source_does_not_listen_and_says_so(tmp_path: Path) -> None:
    tls = TlsConfiguration(trusted_ca=str(tmp_path / "ca.pem"), certificate="/x", private_key="/y")
    service = build(SourceConfiguration("in", Url("tls", host="127.0.0.1"), tls=tls))
    service.privilegedStartService()
    with service._socket as bound:
        assert not bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    report = service.report()
    assert report["state"].endswith("it does not listen until the files are right")
    assert report["ready"] is False


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_source_tells_its_service_what_it_reports(scheme: str) -> None:
    ledger: Any = Ledger()
    service = build(
        SourceConfiguration("in", Url(scheme, host="127.0.0.1")), quarantine=lambda: ledger
    )
    assert (service.id, service.url) == ("in", Url(scheme, host="127.0.0.1"))
    assert service.report()["quarantine"]["records"] == 0
    if isinstance(service, StreamSource):
        assert service.counters is service._factory.counters


def test_unless_it_is_given_more_a_source_is_plain() -> None:
    unlimited = build(SourceConfiguration("in", Url("unix", path="/x")))
    notices = factory_of(unlimited).notices
    bare = new_source(
        SourceConfiguration("in", Url("unix", path="/x")),
        intake=factory_of(unlimited).turn_batch.intake,
        admission=Admission(pending_bytes_max=100, queue_bytes_max=100),
        counters=unlimited.counters,
        certificates=CertificateWatch(notices=notices, now=float, clock=Reactor()),
        notices=notices,
        reactor=Reactor(),
    )
    factory = factory_of(bare)
    assert factory.limits.block_seconds_max == 0.0
    assert bare.report()["quarantine"] is None


@pytest.mark.parametrize("scheme", ["tcp", "relp"])
def test_connections_belong_to_their_source(scheme: str) -> None:
    lineages: Any = object()
    service = build(
        SourceConfiguration(
            "in", Url(scheme, host="127.0.0.1"), parse=ParseOptions(empty_lines=True)
        ),
        lineages=lineages,
    )
    factory = factory_of(service)
    assert isinstance(factory.reads, SharedReads)
    assert factory.reads._answers is (scheme == "relp")
    assert factory._origin == Origin("in", scheme)
    assert factory.limits.keep_empty_lines is True
    assert isinstance(service, StreamSource)
    assert factory.clock is service._reactor
    assert factory.admission is not None
    assert isinstance(factory.notices, RecordingNotices)
    protocol: Any = factory.buildProtocol(None)
    if scheme == "relp":
        assert protocol._software == RELP_SOFTWARE == b"syslogrelay," + __version__.encode()
        assert protocol._lineages is lineages


def test_datagrams_belong_to_their_source() -> None:
    reactor = Reactor()
    configuration = SourceConfiguration(
        "in", Url("udp", host="127.0.0.1"), rate_per_peer_max=2, receive_buffer_bytes=2**30
    )
    service = build(configuration, reactor)
    assert isinstance(service, DatagramSource)
    assert service._buffer_bytes_asked == 2**30
    service.startService()
    (reader,) = reactor.getReaders()
    assert reader._origin == Origin("in", "udp")
    assert isinstance(reader._notices, RecordingNotices)
    rates = reader._rates
    assert [rates.charge("a", 1) for _ in range(3)][-1] > 0
    reactor.advance(1000)
    assert rates.charge("a", 1) == 0
    service.stopService()


def test_converted_text_keeps_to_the_size_that_is_configured() -> None:
    parse = ParseOptions(encoding="gb18030")
    service = build(
        SourceConfiguration(
            "in", Url("tcp", host="127.0.0.1"), frame_bytes_max=500, oversize="drop", parse=parse
        )
    )
    intake: Any = factory_of(service).turn_batch.intake
    assert isinstance(intake, ConvertedIntake)
    text, origin = "\u4e2d".encode("gb18030"), Origin("in", "tcp")
    intake.accept_all([Received([b"<13>" + text * 200, b"<13>" + text * 100], origin)])
    assert service.counters.dropped == {"too-long": 1, "no-destination": 1}
    intake.accept_all([Received([b"<13>\xff"], origin)])
    assert isinstance(intake._notices, RecordingNotices)


def test_a_proxy_has_the_time_of_a_handshake() -> None:
    reactor = Reactor()
    service = build(
        SourceConfiguration("in", Url("tcp", host="127.0.0.1"), proxy_protocol=True), reactor
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

    monkeypatch.setattr(sources, "TlsListener", listener)
    tls = TlsConfiguration(
        trusted_ca=files.ca,
        certificate=files.server_certificate,
        private_key=files.server_key,
        peer_verify="optional",
        peer_names=("*.example.com",),
        tls_version_min="1.3",
    )
    reactor = Reactor()
    service = build(SourceConfiguration("in", Url("tls", host="127.0.0.1"), tls=tls), reactor)
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
    build(
        SourceConfiguration("in", Url("tls", host="127.0.0.1"), tls=tls), certificates=certificates
    )
    assert [each["subject"] for each in certificates.report()] == ["source in"]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_inherited_unix_socket_does_not_authorise_by_network(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as made:
        made.bind(b"\0syslogrelay-network-%d" % os.getpid())
        if kind == socket.SOCK_STREAM:
            made.listen()
        systemd = Systemd({made.fileno(): "log"})
        configuration = SourceConfiguration(
            "in", Url("systemd", inherited="log"), authorise=("network",)
        )
        with pytest.raises(StartRefused) as caught:
            build(configuration, systemd=systemd)
    assert caught.value.text == (
        "source in: systemd://log is a unix socket, where senders have no address; remove network "
        "from authorise"
    )


def test_an_inherited_udp_socket_may_authorise_by_network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        configuration = SourceConfiguration(
            "in",
            Url("systemd", inherited="net"),
            authorise=("network",),
            allow=(ip_network("10.0.0.0/8"),),
        )
        service = build(configuration, systemd=Systemd({made.fileno(): "net"}))
    assert isinstance(service, DatagramSource)


def test_an_inherited_stream_may_have_proxies() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        configuration = SourceConfiguration(
            "in",
            Url("systemd", inherited="net"),
            proxy_protocol=True,
            allow=(ip_network("10.0.0.0/8"),),
        )
        service = build(configuration, systemd=Systemd({made.fileno(): "net"}))
    assert isinstance(service, StreamSource)
