from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol

from relay.flow.pump import TooLong, check_sizes
from relay.model.errors import ConfigurationError, UpstreamError
from relay.model.origin import Arrival, Origin, Transport
from relay.model.output import SizeLimit
from relay.model.token import Token
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import (
    Configuration,
    RewriteConfiguration,
    TlsConfiguration,
    UnreadToken,
    Url,
)
from relay.service.destinations.http import DOCUMENT, HttpsConfiguration
from relay.service.destinations.kind import DestinationParts
from relay.service.destinations.link import LocalLink, StreamLink
from relay.service.destinations.sematext import SEMATEXT, SematextConfiguration
from relay.service.kinds import KINDS
from relay.service.routes.lookup_file import LookupFile
from relay.service.routes.rewriting import Rewriting
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.tls.certificates import Issued, make_authority, make_leaf
from relay.transport.http.uploads import Credentials
from relay.transport.relp.outbound import RelpClientProtocol
from relay.transport.stream.outbound import SyslogStreamOutProtocol
from relay.transport.tls.endpoints import TlsListener, TlsMaterial
from relay.wire.framing.decoders import (
    encode_newline_syslog,
    encode_octet_counted_syslog,
)
from relay.wire.parse import read_lines
from tests.clocks import wall_of
from tests.configurations import new_destination
from tests.connections import Pair
from tests.destination_setup import Setup, lane_of, protocol_of, target_of

TOKEN = "12345678-1234-1234-1234-123456789abc"
EU = Url("sematext", host="eu", is_bare=True)
US = Url("sematext", host="us", is_bare=True)
WITH_TOKEN = RewriteConfiguration("cee", Token(TOKEN.encode()))


def read(folder: Path, keys: str, *, connect: str = "sematext://eu") -> Configuration:
    """What a file with one destination of `keys` says."""
    token = folder / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    path = folder / "relay.toml"
    sources = '[sources.in]\nlisten = "udp://:514"\n'
    path.write_text(f'{sources}[destinations.out]\nconnect = "{connect}"\n{keys}\n')
    return read_configuration(str(path), KINDS)


def destination(folder: Path, keys: str, **given: str) -> SematextConfiguration:
    (found,) = read(folder, keys, **given).destinations
    assert isinstance(found, SematextConfiguration)
    return found


def problem(folder: Path, keys: str, **given: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, keys, **given)
    (line,) = caught.value.problems
    return line.partition(": ")[2]


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us", "logsene-syslog-receiver.sematext.com"),
        ("eu", "logsene-syslog-receiver.eu.sematext.com"),
    ],
)
@pytest.mark.parametrize(
    ("way", "port"), [("tls", 10514), ("relp", 20514), ("tcp", 514), ("udp", 514)]
)
def test_host_and_port_by_region_and_way(
    tmp_path: Path, region: str, host: str, way: str, port: int
) -> None:
    keys = f'token_file = "token"\nvia = "{way}"'
    assert destination(tmp_path, keys, connect=f"sematext://{region}").target == Url(
        way, host=host, port=port
    )


def test_three_lines_are_enough_and_encrypted(tmp_path: Path) -> None:
    found = destination(tmp_path, 'token_file = "token"')
    assert found.rewrite == WITH_TOKEN
    assert found.target.scheme == "tls"
    assert not read(tmp_path, 'token_file = "token"').warnings


def test_a_receiver_of_its_own(tmp_path: Path) -> None:
    found = destination(tmp_path, 'token_file = "token"\nhost = "Logs.Example.com"\nport = 99')
    assert found.target == Url("tls", host="logs.example.com", port=99)


def details(setup: Setup, **keys: Any) -> list[str]:
    """What `status` says beside the state."""
    watch = CertificateWatch(notices=setup.notices, now=float, clock=setup.reactor)
    parts = DestinationParts(watch, setup.notices, wall_of(setup.reactor), setup.reactor)
    return list(SEMATEXT.make(new_destination("out", EU, **keys), parts).details())


def endpoint_of(service: Any) -> tuple[str, int]:
    """The host and port that the sessions connect to."""
    url = target_of(service).url
    return url.host, url.port


@pytest.mark.parametrize(
    ("region", "name"),
    [
        (US, "logsene-syslog-receiver.sematext.com"),
        (EU, "logsene-syslog-receiver.eu.sematext.com"),
    ],
)
def test_tls_verifies_the_exact_name_and_ends_messages_with_lf(
    setup: Setup, region: Url, name: str
) -> None:
    service = setup.build(region)
    assert endpoint_of(service) == (name, 10514)
    connection = target_of(service).tls.clientConnectionForTLS(SimpleNamespace())
    assert connection.get_servername() == name.encode()
    protocol = protocol_of(service)
    assert isinstance(protocol, SyslogStreamOutProtocol)
    assert protocol._secure
    assert protocol._encode is encode_newline_syslog


def test_framing_may_count_octets(setup: Setup) -> None:
    service = setup.build(US, framing="octet-counting")
    assert protocol_of(service)._encode is encode_octet_counted_syslog


def test_relp_has_answers_and_no_encryption(setup: Setup) -> None:
    service = setup.build(EU, via="relp", window_records=77, answer_seconds_max=5.0)
    protocol = protocol_of(service)
    assert isinstance(protocol, RelpClientProtocol)
    assert not protocol._secure
    assert service.configuration.in_flight_max == 77
    assert service.stall_seconds == 10.0
    assert endpoint_of(service) == ("logsene-syslog-receiver.eu.sematext.com", 20514)


def test_the_window_is_relp_s(setup: Setup) -> None:
    assert setup.build(EU).configuration.in_flight_max == 0


def test_udp_and_tcp(setup: Setup) -> None:
    assert isinstance(lane_of(setup.build(US, via="udp")).link, LocalLink)
    service = setup.build(US, via="tcp")
    assert isinstance(lane_of(service).link, StreamLink)
    assert not protocol_of(service)._secure


def test_status_names_region_s_host(setup: Setup) -> None:
    state = lane_of(setup.build(EU)).state
    assert state.target == "Sematext (tls, logsene-syslog-receiver.eu.sematext.com:10514)"


@pytest.mark.parametrize("way", ["relp", "tcp", "udp"])
def test_a_token_in_clear_text_is_a_warning(setup: Setup, tmp_path: Path, way: str) -> None:
    (warning,) = read(tmp_path, f'token_file = "token"\nvia = "{way}"').warnings
    assert warning.startswith("destinations.out.via: the token is sent in clear text to logsene")
    assert warning.endswith('write via = "tls"')
    (line,) = details(setup, via=way, rewrite=WITH_TOKEN)
    assert line.startswith("WARNING: the token is sent in clear text to logsene")


def test_no_warning_without_a_token_or_with_encryption(setup: Setup, tmp_path: Path) -> None:
    assert not read(tmp_path, 'token_in = "none"\nvia = "udp"').warnings
    assert not details(setup, via="udp")
    assert not details(setup, rewrite=WITH_TOKEN)


def test_a_token_that_is_not_there_yet_leaves_in_clear_text_later(tmp_path: Path) -> None:
    rewrite = RewriteConfiguration("cee", UnreadToken("no file"))
    found = new_destination("out", EU, via="relp", rewrite=rewrite)
    assert "clear text" in found.exposure


@pytest.mark.parametrize("place", ["json", "tag", "app-name"])
def test_the_place_of_the_token(tmp_path: Path, place: str) -> None:
    found = destination(tmp_path, f'token_file = "token"\ntoken_in = "{place}"')
    assert found.rewrite == RewriteConfiguration(place, Token(TOKEN.encode()))


@pytest.mark.parametrize(
    ("place", "header"),
    [
        *(("cee", header) for header in ("rsyslog", "rfc3164", "rfc5424")),
        *(("json", header) for header in ("rsyslog", "rfc3164", "rfc5424")),
        *(("tag", header) for header in ("rsyslog", "rfc3164")),
        ("app-name", "rfc5424"),
    ],
)
def test_the_header(tmp_path: Path, place: str, header: str) -> None:
    keys = f'token_file = "token"\ntoken_in = "{place}"\nheader = "{header}"'
    assert destination(tmp_path, keys).rewrite.header == header


@pytest.mark.parametrize(
    ("header", "name", "ts_format"),
    [("rsyslog", "rfc3164", "iso"), ("rfc3164", "rfc3164", None), ("rfc5424", "rfc5424", None)],
)
def test_the_header_without_a_token(
    tmp_path: Path, header: str, name: str, ts_format: str | None
) -> None:
    form = destination(tmp_path, f'token_in = "none"\nheader = "{header}"').format
    assert form is not None
    assert (form.name, form.ts_format) == (name, ts_format)


def test_steps_come_before_the_form(tmp_path: Path) -> None:
    keys = 'token_file = "token"\nrewrite = [{ mask = ["ipv4"] }]'
    rewrite = destination(tmp_path, keys).rewrite
    assert rewrite.mode == "cee"
    assert len(rewrite.steps) == 1


def test_tokens_by_table(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("mail-token")
    mail = '{ match = { facility = "mail" }, token_file = "mail" }'
    rewrite = destination(tmp_path, f'tokens = [{mail}, {{ token_file = "token" }}]').rewrite
    assert [choice.token for choice in rewrite.tokens] == [Token(b"mail-token")]
    assert rewrite.token == Token(TOKEN.encode())


def test_without_a_token_messages_are_rfc5424_unless_format_says_otherwise(tmp_path: Path) -> None:
    found = destination(tmp_path, 'token_in = "none"')
    assert found.rewrite.token is None
    assert found.format is not None
    assert found.format.name == "rfc5424"
    other = destination(tmp_path, 'token_in = "none"\nformat = "rfc3164"')
    assert other.format is not None
    assert other.format.name == "rfc3164"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("", "destinations.out.token_file: is missing; write token_file"),
        ('token_in = "none"\ntoken_file = "token"', "destinations.out.token_file: has no meaning"),
        ('token_file = "token"\nformat = "rfc5424"', "destinations.out.format: has no meaning"),
        ('token_file = "token"\ntemplate = "$MSG"', "destinations.out.template: has no meaning"),
        (
            'token_file = "token"\nrewrite = { mode = "cee", token_file = "token" }',
            "destinations.out.rewrite: has a mode, which token_in says here",
        ),
        (
            'token_file = "token"\nvia = "relp"\nframing = "newline"',
            'destinations.out.framing: has no meaning with via = "relp", only with tls and tcp',
        ),
        (
            'token_file = "token"\nwindow_records = 9',
            'destinations.out.window_records: has no meaning with via = "tls", only with relp',
        ),
        (
            'token_file = "token"\nvia = "tcp"\ntrusted_ca = "token"',
            'destinations.out.trusted_ca: has no meaning with via = "tcp", only with tls',
        ),
        (
            'token_file = "token"\ntoken_in = "tag"\nheader = "rfc5424"',
            "destinations.out.header: found 'rfc5424'; allowed for mode 'tag': rsyslog and rfc3164",
        ),
        (
            'token_file = "token"\ntoken_in = "tag"\nstructured_data = true',
            "destinations.out.structured_data: has no meaning for mode 'tag', only for cee and",
        ),
        *(
            (
                f'token_file = "token"\nvia = "https"\n{name} = {value}',
                f'destinations.out.{name}: has no meaning with via = "https"',
            )
            for name, value in (
                ("token_in", '"tag"'),
                ("header", '"rfc5424"'),
                ("structured_data", "true"),
                ("format", '"rfc5424"'),
                ("framing", '"newline"'),
                ("window_records", "5"),
            )
        ),
        (
            'token_file = "token"\nbatch_records = 5',
            'destinations.out.batch_records: has no meaning with via = "tls", only with https',
        ),
        ('via = "https"', "destinations.out.token_file: is missing; write token_file"),
        ('token_file = "token"\nhost = "a b"', "destinations.out.host: expected a host name"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, keys: str, text: str) -> None:
    assert problem(tmp_path, keys).startswith(text)


@pytest.mark.parametrize("connect", ["sematext://asia", "sematext:us", "sematext://us:514"])
def test_a_region_is_us_or_eu(tmp_path: Path, connect: str) -> None:
    text = problem(tmp_path, 'token_file = "token"', connect=connect)
    assert text.startswith("destinations.out.connect: expected sematext://us or sematext://eu")


def test_two_regions_and_two_destinations_of_one_are_no_conflict(tmp_path: Path) -> None:
    more = "".join(
        f'\n[destinations.{id}]\nconnect = "sematext://{region}"\ntoken_file = "token"'
        for id, region in (("second", "eu"), ("third", "us"))
    )
    assert len(read(tmp_path, f'token_file = "token"{more}').destinations) == 3


def test_tls_keys_reach_the_sessions(tmp_path: Path) -> None:
    found = new_destination("out", EU, tls=TlsConfiguration(server_name="other.example.com"))
    assert found.inner.tls.server_name == "other.example.com"
    assert new_destination("out", EU, via="relp").inner.tls is None


def answers(issued: Issued, service: Any) -> bool:
    """Whether the sessions of a service accept a server with this certificate."""
    heard: list[bytes] = []
    below = TlsListener(
        TlsMaterial(
            certificate_pem=issued.certificate_pem(), private_key_pem=issued.private_key_pem()
        ),
        peer_verify="none",
    )
    server, client = Factory(), Factory()
    receiver, sender = Protocol(), Protocol()
    receiver.dataReceived = heard.append  # type: ignore[method-assign]
    sender.connectionMade = lambda: sender.transport.write(b"hello")  # type: ignore[method-assign, union-attr]
    server.buildProtocol = lambda addr: receiver  # type: ignore[method-assign]
    client.buildProtocol = lambda addr: sender  # type: ignore[method-assign]
    Pair(server, client, listener=below, upstream=target_of(service).tls)
    return heard == [b"hello"]


@pytest.mark.parametrize(
    ("region", "name", "accepted"),
    [
        (EU, "logsene-syslog-receiver.eu.sematext.com", True),
        (EU, "*.eu.sematext.com", True),
        (EU, "*.sematext.com", False),  # a wildcard is one label
        (EU, "logsene-syslog-receiver.sematext.com", False),
        (US, "logsene-syslog-receiver.sematext.com", True),
        (US, "*.sematext.com", True),
        (US, "logsene-syslog-receiver.eu.sematext.com", False),
    ],
)
def test_the_certificate_must_carry_the_region_s_name(
    setup: Setup,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    region: Url,
    name: str,
    accepted: bool,
) -> None:
    authority = make_authority("Of the system", days=2)
    (tmp_path / "system.pem").write_bytes(authority.certificate_pem())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    issued = make_leaf(authority, [name], purpose="server", days=1)
    assert answers(issued, setup.build(region)) == accepted


def test_an_authority_that_the_system_does_not_trust(setup: Setup) -> None:
    authority = make_authority("Of somebody", days=2)
    name = "logsene-syslog-receiver.eu.sematext.com"
    assert not answers(make_leaf(authority, [name], purpose="server", days=1), setup.build(EU))


@pytest.mark.parametrize(
    ("plan", "bytes_max"), [("basic", 64_000), ("standard", 128_000), ("pro", 256_000)]
)
def test_the_plan_limits_events(tmp_path: Path, plan: str, bytes_max: int) -> None:
    keys = f'token_file = "token"\nplan = "{plan}"\noversize = "split"'
    limit = SizeLimit(bytes_max, "split", f"Sematext's plan {plan}")
    assert destination(tmp_path, keys).size_limit == limit


def written(configuration: Configuration, frame: bytes) -> tuple[list[bytes], dict[str, int]]:
    """What is queued of a frame, and what is dropped."""
    rewriting = Rewriting(configuration, zone=UTC, now=float, lookup=LookupFile)
    route = rewriting.route(configuration.destinations[0])
    assert route.rewrite is not None
    assert route.take_drops is not None
    arrival = Arrival.of_one(1, Origin("in", Transport.UDP, "192.0.2.1"))
    return list(route.rewrite.write(read_lines([frame]), None, arrival)), route.take_drops()


EVENT = b"<13>1 2026-10-11T22:14:15Z web app - - - " + b"x" * 300_000


@pytest.mark.parametrize(
    ("plan", "bytes_max"), [("basic", 64_000), ("standard", 128_000), ("pro", 256_000)]
)
@pytest.mark.parametrize("place", ["cee", "json", "tag", "app-name", "none"])
def test_an_event_of_300_kb(tmp_path: Path, plan: str, bytes_max: int, place: str) -> None:
    token = "" if place == "none" else 'token_file = "token"\n'
    keys = f'{token}token_in = "{place}"\nplan = "{plan}"\n'
    (cut,), drops = written(read(tmp_path, f'{keys}oversize = "truncate"'), EVENT)
    assert (len(cut), drops) == (bytes_max, {})
    pieces, drops = written(read(tmp_path, f'{keys}oversize = "split"'), EVENT)
    assert sum(piece.count(b"x") for piece in pieces) == EVENT.count(b"x")
    assert all(len(piece) <= bytes_max for piece in pieces)
    assert not drops
    assert written(read(tmp_path, f'{keys}oversize = "drop"'), EVENT) == ([], {"too-long": 1})
    (whole,), drops = written(read(tmp_path, f'{keys}oversize = "quarantine"'), EVENT)
    assert (len(whole) > 300_000, drops) == (True, {})


@pytest.mark.parametrize("plan", ["basic", "pro"])
def test_the_drain_sets_aside_what_is_too_long(setup: Setup, plan: str) -> None:
    limit = lane_of(setup.build(EU, plan=plan, oversize="quarantine")).drain._allowance.limit
    assert limit is not None
    with pytest.raises(TooLong) as caught:
        check_sizes([b"a", b"x" * 300_000], limit)
    assert caught.value.index == 1
    assert caught.value.reason.startswith(
        f"too-long: 300,000 bytes, and the limit of Sematext's plan {plan} is"
    )
    check_sizes([b"a", b"x" * limit.bytes_max], limit)
    assert lane_of(setup.build(EU, plan=plan)).drain._allowance.limit is None


def test_what_a_format_drops_and_what_is_too_long_are_not_mixed_up(tmp_path: Path) -> None:
    pairs = '{ n = { value = "$PID", type = "int" }, m = "$MSG" }'
    form = f'{{ name = "json", scope = "none", on_error = "drop-message", pair = {pairs} }}'
    configuration = read(tmp_path, f'token_in = "none"\nformat = {form}')
    rewriting = Rewriting(configuration, zone=UTC, now=float, lookup=LookupFile)
    route = rewriting.route(configuration.destinations[0])
    assert route.rewrite is not None
    assert route.take_drops is not None
    start = b"<13>1 2026-10-11T22:14:15Z web app "
    frames = [start + b"no - - first", start + b"7 - - " + b"x" * 70_000, start + b"8 - - last"]
    arrival = Arrival.of_one(3, Origin("in", Transport.UDP, "192.0.2.1"))
    long, last = route.rewrite.write(read_lines(frames), None, arrival)
    assert len(long) == 64_000
    assert long.startswith(b'{"n":7,"m":"xxx')
    assert last == b'{"n":8,"m":"last"}'
    assert route.take_drops() == {"type-cast": 1}


@pytest.mark.parametrize(
    ("region", "host"),
    [("us", "logsene-receiver.sematext.com"), ("eu", "logsene-receiver.eu.sematext.com")],
)
def test_bulk_requests_have_the_token_for_an_index(tmp_path: Path, region: str, host: str) -> None:
    keys = 'token_file = "token"\nvia = "https"\nbatch_records = 7\ncompress = "gzip"'
    found = destination(tmp_path, keys, connect=f"sematext://{region}")
    inner = found.inner
    assert isinstance(inner, HttpsConfiguration)
    assert inner.urls == [f"https://{host}:443/_bulk"]
    assert (inner.body, inner.constant_index, inner.record_key) == ("bulk", "", None)
    assert (inner.sizes.batch_records, inner.sizes.compress) == (7, "gzip")
    assert inner.tls is not None
    token = TOKEN.encode()
    assert inner.read_credentials() == Credentials({}, (token,), index=token)
    assert (found.rewrite, found.format) == (RewriteConfiguration(), DOCUMENT)
    assert not read(tmp_path, keys).warnings
    (payload,), _ = written(read(tmp_path, keys), b'<13>Oct 11 22:14:15 web su[1]: say "hi"')
    document = json.loads(payload)
    assert (document["message"], document["host"], document["source"]) == ('say "hi"', "web", "su")
    assert TOKEN.encode() not in payload


def test_a_bulk_request_waits_for_the_token(tmp_path: Path) -> None:
    place = UnreadToken("no file", file=str(tmp_path / "later"))
    inner = new_destination("out", EU, via="https", bulk_token=place).inner
    assert isinstance(inner, HttpsConfiguration)
    with pytest.raises(UpstreamError, match="cannot read the token file"):
        inner.read_credentials()
    (tmp_path / "later").write_text(TOKEN)
    assert inner.read_credentials().index == TOKEN.encode()
