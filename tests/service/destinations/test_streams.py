from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from relay.service.configuration.model import (
    TlsConfiguration,
    Url,
)
from relay.service.destinations import streams
from relay.service.destinations.link import StreamLink
from relay.service.destinations.parallel import ParallelLink
from relay.service.destinations.targets import TargetKeys
from relay.service.tls.files import read_options, read_policy
from relay.transport.relp.outbound import RelpClientProtocol
from relay.transport.stream.outbound import SyslogStreamOutProtocol
from relay.transport.upstream import Timeouts
from relay.wire.framing.decoders import (
    encode_newline_syslog,
    encode_octet_counted_syslog,
)
from relay.wire.relp.blocks import Packer
from tests.certificate_files import SERVER_NAME, make_certificate_files
from tests.configurations import new_destination
from tests.connections import fired
from tests.destination_setup import Setup, lane_of, link_of, protocol_of, target_of
from tests.recording import record


@pytest.mark.parametrize(
    ("framing", "encode"),
    [("octet-counting", encode_octet_counted_syslog), ("newline", encode_newline_syslog)],
)
def test_plain_syslog_and_its_framing(setup: Setup, framing: str, encode: Any) -> None:
    service = setup.build(Url("tcp", host="up", port=514), framing=framing)
    protocol = protocol_of(service)
    assert isinstance(protocol, SyslogStreamOutProtocol)
    assert protocol._encode is encode
    assert protocol._timeouts == Timeouts(30, 60, confirm_seconds=0.5, keepalive_seconds=60)


def test_how_long_plain_connections_have_to_live(setup: Setup) -> None:
    url = Url("tcp", host="up", port=514)
    keys = {"confirm_seconds": 2.0, "keepalive_seconds": 7.0, "answer_seconds_max": 9.0}
    protocol = protocol_of(setup.build(url, **keys))
    assert protocol._timeouts == Timeouts(30, 9, confirm_seconds=2, keepalive_seconds=7)


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
    keys = {"tls": tls} if is_tls else {}
    service = setup.build(Url(scheme, host="10.0.0.5", port=6514), **keys)
    target = target_of(service)
    assert (target.tls is not None) == is_tls
    assert protocol_of(service)._secure == is_tls
    if is_tls:
        connection = target.tls.clientConnectionForTLS(SimpleNamespace())
        assert connection.get_servername() == SERVER_NAME.encode()


def test_the_name_to_verify_is_that_of_the_url(setup: Setup) -> None:
    service = setup.build(
        Url("tls", host="up.example.com", port=6514),
        others=(Url("tls", host="other.example.com", port=6514),),
    )
    for target, name in zip(
        link_of(service)._targets.all, (b"up.example.com", b"other.example.com"), strict=True
    ):
        connection = target.tls.clientConnectionForTLS(SimpleNamespace())
        assert connection.get_servername() == name


def test_its_certificates_are_known_by_its_name(setup: Setup) -> None:
    setup.build(Url("relp+tls", host="up.example.com", port=20515))
    assert [each.subject for each in setup.certificates._watched] == ["destination out"]


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
    assert service.state_text == (
        f"trusted_ca: cannot read {missing}: No such file or directory; its messages are queued "
        "until the files are right"
    )
    service.connect()
    assert begun == []
    missing.write_bytes(Path(files.ca).read_bytes())
    look(setup, service)
    assert begun == ["begun"]
    assert service.state_text == "not started"


def test_it_stops_without_ever_having_had_its_files(setup: Setup) -> None:
    url = Url("relp+tls", host="up.example.com", port=20514)
    service = setup.build(url, tls=TlsConfiguration(trusted_ca="/missing.pem"))
    service.startService()
    assert fired(service.stopService()) == [None]


@pytest.mark.parametrize(
    ("scheme", "in_flight_max"), [("relp", 70), ("relp+tls", 70), ("tcp", 0), ("file", 0)]
)
def test_only_relp_has_a_window(setup: Setup, scheme: str, in_flight_max: int) -> None:
    url = Url(scheme, host="127.0.0.1", port=514, path="/x")
    configuration = new_destination("out", url, ("in",), window_records=70)
    assert configuration.in_flight_max == in_flight_max


def test_what_has_to_be_there_before_it_connects(setup: Setup) -> None:
    service = setup.build(Url("relp", host="up", port=514), refusals_max=5)
    assert [each.state for each in service._prerequisites] == ["", ""], "TLS files, and tokens"


def test_where_it_connects_and_for_how_long(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    names = record(monkeypatch, streams, "HostnameEndpoint")
    service = setup.build(Url("relp", host="up", port=20514), connect_seconds_max=9.0)
    target = target_of(service)
    assert names[0].arguments[1:] == ("upstream", 20514)
    assert names[0].keywords == {"timeout": 9.0, "bindAddress": None}
    assert (target.wrapped, target.tls) == (names[0], None)


def test_how_it_verifies_whom_it_connects_to(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = record(monkeypatch, streams, "TlsUpstream")
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
    assert protocol._timeouts.answer_seconds_max == 8.0
    assert protocol._timeouts.prepare_seconds_max == 9.0
    assert not protocol._secure


@pytest.mark.parametrize("scheme", ["relp", "relp+tls"])
def test_a_session_is_told_what_is_configured(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    made = record(monkeypatch, streams, "RelpClientProtocol")
    sessions = record(monkeypatch, streams, "RelpClientSession")
    service = setup.build(
        Url(scheme, host="up", port=20514), window_records=7, connect_seconds_max=9.0
    )
    lane = lane_of(service)
    lane.link.buildProtocol(None)  # type: ignore[attr-defined]
    keywords = made[0].keywords
    keywords.pop("new_session")(b"offer")
    session = sessions[0].keywords
    assert session.pop("software").startswith(b"syslogrelay,")
    assert isinstance(session.pop("packer"), Packer)
    assert session == {"window_records": 7, "offer": b"offer", "hop": b"", "report": None}
    assert keywords.pop("secure") is (scheme == "relp+tls")
    assert keywords == {
        "packs_from": 0.005,
        "numbering": lane.numbering,
        "drain": lane.drain,
        "state": lane.state,
        "clock": setup.reactor,
        "timeouts": Timeouts(9.0, 60.0),
    }


def test_it_connects_from_the_address_that_is_configured(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = record(monkeypatch, streams, "HostnameEndpoint")
    setup.build(Url("relp", host="up", port=20514), bind="192.0.2.9")
    assert endpoints[0].keywords["bindAddress"] == "192.0.2.9"
    (reactor, *_) = endpoints[0].arguments
    places = [("2001:db8::1", 1), ("192.0.2.1", 1)]
    assert reactor.nameResolver._arrange(places) == [("192.0.2.1", 1)]


def test_balance_uses_all_addresses_in_any_order(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = record(monkeypatch, streams, "HostnameEndpoint")
    setup.build(Url("relp", host="up", port=20514), several=TargetKeys(policy="balance"))
    (reactor, *_) = endpoints[0].arguments
    places = [(f"192.0.2.{number}", 1) for number in range(20)]
    arranged = reactor.nameResolver._arrange(places)
    assert sorted(arranged) == sorted(places) and arranged != places


def test_the_name_to_verify_of_a_service_is_its_domain(setup: Setup) -> None:
    service = setup.build(Url("tls", host="_syslog._tcp.example.com"))
    connection = target_of(service).tls.clientConnectionForTLS(SimpleNamespace())
    assert connection.get_servername() == b"example.com"


def test_several_connections_are_several_links(setup: Setup) -> None:
    keys = {"several": TargetKeys(connections=3, ordered=False), "window_records": 70}
    service = setup.build(Url("relp", host="up", port=20514), **keys)
    link = lane_of(service).link
    assert isinstance(link, ParallelLink)
    assert len(link._links) == 3
    assert service.configuration.in_flight_max == 210
    protocol = link._links[0].buildProtocol(None)  # type: ignore[attr-defined]
    assert protocol._numbering is None
