from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute

from relay.queue.cursor import Cursor
from relay.queue.ledger import Ledger
from relay.queue.lineage import Lineage
from relay.service.configuration.model import (
    DestinationConfiguration,
    RewriteConfiguration,
    TlsConfiguration,
    Url,
)
from relay.service.destinations import assembly as destinations
from relay.service.destinations.assembly import new_destination
from relay.service.destinations.lane import Lane
from relay.service.destinations.link import StreamLink
from relay.service.destinations.service import DestinationService
from relay.service.routes.late_tokens import LateTokens
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.tls.files import read_options, read_policy
from relay.transport.relp.outbound import RelpClientProtocol
from relay.transport.stream.outbound import SyslogStreamOutProtocol
from relay.transport.upstream import PreparedEndpoint
from relay.wire.framing.decoders import (
    encode_newline_syslog,
    encode_octet_counted_syslog,
)
from tests.certificate_files import SERVER_NAME, make_certificate_files
from tests.clocks import wall_of
from tests.connections import RecordingNotices, fired
from tests.queue_roles import AllRoles
from tests.recording import record
from tests.threads import Reactor


class Queue(AllRoles):
    """Two records, and up to where they were acknowledged."""

    def __init__(self) -> None:
        self.upto = 1

    def ledger(self, destination: str) -> Ledger:
        return Ledger(next_seq=3)

    def cursor(self, destination: str) -> Cursor:
        return Cursor(self, destination, position=1, run_in_thread=execute)  # type: ignore[arg-type]

    def read(self, destination: str, *, start: int, **_: int) -> list[bytes]:
        return [b"one", b"two"][start - 1 :]

    def lineage(self, destination: str) -> None:
        return None

    def keep_lineage(self, destination: str, lineage: Lineage) -> Deferred[None]:
        raise NotImplementedError

    def subscribe(self, destination: str, stored: Any, evicted: Any) -> None:
        pass

    def acknowledge(self, destination: str, upto: int) -> None:
        self.upto = upto


def no_form(rewrite: RewriteConfiguration) -> Any:
    raise AssertionError("it has no token")


class Setup:
    def __init__(self) -> None:
        self.reactor = Reactor()
        self.queue: Any = Queue()
        self.notices: Any = RecordingNotices()

    def build(self, url: Url, **keywords: Any) -> Any:
        configuration = DestinationConfiguration("out", url, ("in",), **keywords)
        self.certificates = CertificateWatch(
            notices=self.notices, now=self.reactor.seconds, clock=self.reactor
        )
        return new_destination(
            configuration,
            queue=self.queue,
            certificates=self.certificates,
            tokens=LateTokens(configuration.rewrite, no_form),
            notices=self.notices,
            wall=wall_of(self.reactor),
            reactor=self.reactor,
        )

    def run(self) -> None:
        self.reactor.run_handed_over()
        self.reactor.advance(0)
        self.reactor.run_handed_over()


@pytest.fixture
def setup() -> Setup:
    return Setup()


def lane_of(service: DestinationService) -> Lane:
    """What its start would make, and connect."""
    return service._new_lane("out", None)


def link_of(service: DestinationService) -> Any:
    link = lane_of(service).link
    assert isinstance(link, StreamLink)
    return link


def protocol_of(service: DestinationService) -> Any:
    return link_of(service).new_protocol()


def test_relp(setup: Setup) -> None:
    service = setup.build(
        Url("relp", host="up.example.com", port=20514),
        window_records=7,
        answer_seconds_max=8.0,
        connect_seconds_max=9.0,
    )
    assert lane_of(service).state.target == "up.example.com:20514"
    protocol = protocol_of(service)
    assert isinstance(protocol, RelpClientProtocol)
    assert protocol._answer_seconds_max == 8.0
    assert protocol._prepare_seconds_max == 9.0
    assert not protocol._secure


def test_how_long_it_waits_before_it_connects_again(setup: Setup) -> None:
    url = Url("relp", host="up.example.com", port=20514)
    state = lane_of(setup.build(url, retry_seconds_min=2.0, retry_seconds_max=5.0)).state
    pauses = []
    for failures in range(20):
        state.failed("refused")
        pauses.append(state.retry_policy(failures))
    assert 1.5 <= pauses[0] <= 2.5
    assert 3.75 <= pauses[-1] <= 6.25


@pytest.mark.parametrize(
    ("framing", "encode"),
    [("octet-counting", encode_octet_counted_syslog), ("newline", encode_newline_syslog)],
)
def test_plain_syslog_and_its_framing(setup: Setup, framing: str, encode: Any) -> None:
    service = setup.build(Url("tcp", host="up", port=514), framing=framing)
    protocol = protocol_of(service)
    assert isinstance(protocol, SyslogStreamOutProtocol)
    assert protocol._encode is encode


@pytest.mark.parametrize(("scheme", "is_tls"), [("relp+tls", True), ("tls", True), ("tcp", False)])
def test_tls_lies_below_when_it_is_asked_for(
    setup: Setup, tmp_path: Path, scheme: str, is_tls: bool
) -> None:
    files = make_certificate_files(tmp_path)
    tls = TlsConfiguration(
        trusted_ca=files.ca,
        certificate=files.client_certificate,
        private_key=files.client_key,
        server_name=SERVER_NAME,
    )
    service = setup.build(Url(scheme, host="10.0.0.5", port=6514), tls=tls)
    endpoint = link_of(service)._endpoint
    assert isinstance(endpoint, PreparedEndpoint)
    assert (endpoint._tls is not None) == is_tls
    assert protocol_of(service)._secure == is_tls
    if is_tls:
        connection = endpoint._tls.clientConnectionForTLS(SimpleNamespace())
        assert connection.get_servername() == SERVER_NAME.encode()


def test_the_name_to_verify_is_that_of_the_url(setup: Setup) -> None:
    service = setup.build(Url("tls", host="up.example.com", port=6514))
    endpoint = link_of(service)._endpoint
    connection = endpoint._tls.clientConnectionForTLS(SimpleNamespace())
    assert connection.get_servername() == b"up.example.com"


def test_its_certificates_are_known_by_its_name(setup: Setup) -> None:
    setup.build(Url("relp+tls", host="up.example.com", port=20515))
    assert [each.subject for each in setup.certificates._watched] == ["destination out"]


def test_a_file(setup: Setup, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "received.log"
    service = setup.build(Url("file", path=str(path)))
    service.startService()
    assert service.state_words == f"connecting to {path}"
    for _ in range(3):
        setup.run()
    assert service.state_words == f"appending to {path}, delivered when synced"
    assert path.read_bytes() == b"one\ntwo\n"
    assert setup.queue.upto == 3
    path.rename(path.with_suffix(".1"))
    service.reopen()
    setup.run()
    assert path.read_bytes() == b""
    assert fired(service.stopService()) == [None]


def test_a_file_that_cannot_be_opened_is_known_at_once(setup: Setup, tmp_path: Path) -> None:
    service = setup.build(Url("file", path=str(tmp_path)))
    service.startService()
    setup.run()
    assert service.state_words.startswith(f"{tmp_path}: Is a directory, next try in ")
    assert service.lanes[0].state.connects == 0


def test_udp(setup: Setup) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
        upstream.bind(("127.0.0.1", 0))
        port = upstream.getsockname()[1]
        service = setup.build(Url("udp", host="127.0.0.1", port=port))
        service.startService()
        for _ in range(3):
            setup.run()
        words = f"sending to 127.0.0.1:{port}, delivered when sent: nobody answers"
        assert service.state_words == words
        assert setup.queue.upto == 3
        assert fired(service.stopService()) == [None]


def test_an_upstream_that_cannot_be_resolved(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    service = setup.build(Url("udp", host="nowhere.invalid", port=514))
    service.startService()
    setup.run()
    assert service.state_words.startswith(
        "nowhere.invalid:514: Name or service not known, next try in "
    )


@pytest.mark.parametrize(
    "look",
    [
        lambda setup, service: setup.certificates.look(),
        lambda setup, service: service.connect(),
    ],
    ids=["the watch", "by hand"],
)
def test_it_sends_nothing_before_its_files_are_right(
    setup: Setup,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[[Setup, Any], None],
) -> None:
    files = make_certificate_files(tmp_path)
    url = Url("relp+tls", host="up.example.com", port=20514)
    missing = tmp_path / "missing.pem"
    service = setup.build(url, tls=TlsConfiguration(trusted_ca=str(missing)))
    begun: list[str] = []
    monkeypatch.setattr(StreamLink, "start", lambda link: begun.append("begun"))
    service.startService()
    setup.certificates.look()
    assert begun == []
    assert service.state_words == (
        f"trusted_ca: cannot read {missing}: No such file or directory; its messages are queued "
        "until the files are right"
    )
    service.connect()
    assert begun == []
    missing.write_bytes(Path(files.ca).read_bytes())
    look(setup, service)
    assert begun == ["begun"]
    assert service.state_words == "not started"


def test_it_stops_without_ever_having_had_its_files(setup: Setup) -> None:
    url = Url("relp+tls", host="up.example.com", port=20514)
    service = setup.build(url, tls=TlsConfiguration(trusted_ca="/missing.pem"))
    service.startService()
    assert fired(service.stopService()) == [None]


# What is handed on of the configuration.


@pytest.mark.parametrize(
    ("scheme", "in_flight_max"), [("relp", 70), ("relp+tls", 70), ("tcp", 0), ("file", 0)]
)
def test_only_relp_has_a_window(setup: Setup, scheme: str, in_flight_max: int) -> None:
    url = Url(scheme, host="127.0.0.1", port=514, path="/x")
    configuration = DestinationConfiguration("out", url, ("in",), window_records=70)
    assert configuration.in_flight_max == in_flight_max


def test_a_destination_is_told_what_is_configured(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = record(monkeypatch, destinations, "DestinationService")
    setup.build(Url("relp", host="up", port=514), refusals_max=5)
    (configuration,) = made[0].arguments
    keywords = made[0].keywords
    assert configuration.refusals_max == 5
    assert keywords.pop("wall").elapsed == setup.reactor.seconds
    assert len(keywords.pop("prerequisites")) == 2
    assert keywords.pop("fill") and keywords.pop("new_link")
    assert keywords == {
        "queue": setup.queue,
        "notices": setup.notices,
        "clock": setup.reactor,
    }


def test_where_it_connects_and_for_how_long(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    names = record(monkeypatch, destinations, "HostnameEndpoint")
    prepared = record(monkeypatch, destinations, "PreparedEndpoint")
    service = setup.build(Url("relp", host="up", port=20514), connect_seconds_max=9.0)
    lane = lane_of(service)
    assert names[0].arguments == (setup.reactor, "up", 20514)
    assert names[0].keywords == {"timeout": 9.0}
    assert prepared[0].keywords == {
        "wrapped": names[0],
        "state": lane.state,
        "tls": None,
        "clock": setup.reactor,
    }


def test_how_it_verifies_whom_it_connects_to(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = record(monkeypatch, destinations, "TlsUpstream")
    files = make_certificate_files(tmp_path)
    tls = TlsConfiguration(
        trusted_ca=files.ca,
        peer_verify="none",
        peer_fingerprints=("SHA-256:" + ":".join(["AB"] * 32),),
        tls_version_min="1.3",
    )
    setup.build(Url("relp+tls", host="up.example.com", port=20515), tls=tls)
    keywords = made[0].keywords
    assert keywords.pop("options") == read_options(tls) != read_options(TlsConfiguration())
    assert keywords.pop("fingerprints") == read_policy(tls).fingerprints != frozenset()
    assert keywords == {"server_name": "up.example.com", "peer_verify": "none"}


@pytest.mark.parametrize("scheme", ["relp", "relp+tls"])
def test_a_session_is_told_what_is_configured(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    made = record(monkeypatch, destinations, "RelpClientProtocol")
    service = setup.build(
        Url(scheme, host="up", port=20514), window_records=7, connect_seconds_max=9.0
    )
    lane = lane_of(service)
    lane.link.new_protocol()  # type: ignore[attr-defined]
    keywords = made[0].keywords
    assert keywords.pop("software").startswith(b"syslogrelay,")
    assert keywords.pop("secure") is (scheme == "relp+tls")
    assert keywords == {
        "window_records": 7,
        "numbering": lane.numbering,
        "drain": lane.drain,
        "state": lane.state,
        "clock": setup.reactor,
        "prepare_seconds_max": 9.0,
        "answer_seconds_max": 60.0,
    }


def test_a_session_over_udp_is_told_all_it_needs(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = record(monkeypatch, destinations, "DatagramSession")
    service = setup.build(Url("udp", host="127.0.0.1", port=514))
    service.startService()
    setup.run()
    (connected,) = made[0].arguments
    with connected:
        assert connected.type & socket.SOCK_DGRAM
        assert connected.gettimeout() == 0.0
    keywords = made[0].keywords
    assert callable(keywords.pop("on_failure"))
    assert keywords == {
        "drain": service.lanes[0].drain,
        "state": service.lanes[0].state,
        "clock": setup.reactor,
        "notices": setup.notices,
    }


def test_an_address_that_cannot_be_sent_to_is_a_failure(setup: Setup) -> None:
    service = setup.build(Url("udp", host="255.255.255.255", port=514))
    service.startService()
    setup.run()
    assert "Permission denied, next try in " in service.state_words


def test_a_session_that_writes_a_file_is_told_all_it_needs(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = record(monkeypatch, destinations, "FileSession")
    service = setup.build(Url("file", path=str(tmp_path / "log")))
    service.startService()
    for _ in range(3):
        setup.run()
    keywords = made[0].keywords
    keywords.pop("on_reopened")("it was removed")
    assert setup.notices.said == [("destination out", "reopened", "it was removed")]
    assert callable(keywords.pop("run_in_thread")) and callable(keywords.pop("on_failure"))
    assert keywords == {"drain": service.lanes[0].drain, "clock": setup.reactor}
