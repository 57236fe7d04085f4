from __future__ import annotations

import re
import socket
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from relay.model.errors import ConfigurationError
from relay.model.token import Token
from relay.service.configuration.file import (
    DEFAULT_PATH,
    examine_file,
    read_configuration,
)
from relay.service.configuration.keys import keys_of
from relay.service.configuration.model import (
    DEFAULT_STATE_DIR,
    AlertLimits,
    Configuration,
    DestinationLimits,
    History,
    RewriteConfiguration,
    TlsConfiguration,
    UnreadToken,
    Url,
)
from relay.service.kinds import KINDS
from relay.service.sources.listening import Access, MultiLine, Peers
from relay.service.tls.certificates import make_authority, make_leaf
from tests.certificate_files import make_certificate_files
from tests.configurations import new_destination, new_source, schemes
from tests.odd_certificates import make_crl

ROOT = Path(__file__).parents[3]

SMALL = """
[sources.in]
listen = "udp://:514"
[destinations.out]
connect = "tcp://far:514"
"""


def read(tmp_path: Path, text: str) -> Configuration:
    path = tmp_path / "relay.toml"
    path.write_text(text)
    return read_configuration(str(path), KINDS)


def problems(tmp_path: Path, text: str) -> list[str]:
    """The problems of a file, without its name and their lines, in the order of the alphabet."""
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    name = re.compile(re.escape(f"{tmp_path}/relay.toml") + r"(:\d+)*: ")
    assert all(name.match(problem) for problem in caught.value.problems)
    return sorted(name.sub("", problem, count=1) for problem in caught.value.problems)


def test_the_smallest_file(tmp_path: Path) -> None:
    configuration = read(tmp_path, SMALL)
    assert configuration == Configuration(
        name=socket.gethostname(),
        state_dir=DEFAULT_STATE_DIR,
        sources=(new_source("in", Url("udp", port=514)),),
        destinations=(
            new_destination("out", Url("tcp", "far", 514), sources=("in",), framing="newline"),
        ),
    )
    assert configuration.path == f"{tmp_path}/relay.toml"


def test_every_key(tmp_path: Path) -> None:
    authority = make_authority("test")
    leaf = make_leaf(authority, ["localhost"], purpose="server")
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem())
    (tmp_path / "own.pem").write_bytes(leaf.certificate_pem())
    (tmp_path / "own-key.pem").write_bytes(leaf.private_key_pem())
    (tmp_path / "token").write_text("secret-secret-secret\n")
    configuration = read(
        tmp_path,
        """
        [relay]
        name = "web-1"
        state_dir = "state"
        queue_bytes_max = "1 GiB"
        pending_bytes_max = "1 MiB"
        allow_volatile_state = true
        strict_queue = true
        examine_fully = true
        statistics_seconds = 0
        commit_seconds_min = 0.01
        [sources.secure]
        listen = "relp+tls://:20515"
        trusted_ca = "ca.pem"
        certificate = "own.pem"
        private_key = "own-key.pem"
        peer_verify = "optional"
        frame_bytes_max = "64 KiB"
        connections_max = 7
        idle_seconds_max = 2.5
        handshake_seconds_max = 3
        [sources."local.1"]
        listen = "unixgram:log.sock"
        socket_mode = 0o600
        receive_buffer_bytes = 4096
        [destinations.central]
        connect = "relp+tls://central.example:20515"
        sources = ["local.1"]
        rewrite = { mode = "cee", token_file = "token" }
        trusted_ca = "ca.pem"
        peer_verify = "none"
        server_name = "other.example"
        window_records = 5
        answer_seconds_max = 6
        connect_seconds_max = 7
        retry_seconds_min = 0.5
        retry_seconds_max = 8
        refusals_max = 9
        [destinations.lines]
        connect = "tls://logs.example:6514"
        framing = "newline"
        """,
    )
    assert replace(configuration, sources=(), destinations=()) == Configuration(
        name="web-1",
        state_dir=f"{tmp_path}/state",
        queue_bytes_max=2**30,
        pending_bytes_max=2**20,
        allow_volatile_state=True,
        strict_queue=True,
        examine_fully=True,
        statistics_seconds=0.0,
        commit_seconds_min=0.01,
    )
    assert configuration.sources == (
        new_source(
            "secure",
            Url("relp+tls", port=20515),
            tls=TlsConfiguration(
                trusted_ca=f"{tmp_path}/ca.pem",
                certificate=f"{tmp_path}/own.pem",
                private_key=f"{tmp_path}/own-key.pem",
                peer_verify="optional",
            ),
            frame_bytes_max=65536,
            connections_max=7,
            idle_seconds_max=2.5,
            handshake_seconds_max=3.0,
        ),
        new_source(
            "local.1",
            Url("unixgram", path=f"{tmp_path}/log.sock"),
            socket_mode=0o600,
            receive_buffer_bytes=4096,
        ),
    )
    assert configuration.destinations == (
        new_destination(
            "central",
            Url("relp+tls", "central.example", 20515),
            sources=("local.1",),
            rewrite=RewriteConfiguration("cee", Token(b"secret-secret-secret")),
            tls=TlsConfiguration(
                trusted_ca=f"{tmp_path}/ca.pem", peer_verify="none", server_name="other.example"
            ),
            window_records=5,
            answer_seconds_max=6.0,
            connect_seconds_max=7.0,
            retry_seconds_min=0.5,
            retry_seconds_max=8.0,
            refusals_max=9,
        ),
        new_destination(
            "lines",
            Url("tls", "logs.example", 6514),
            sources=("secure", "local.1"),
            framing="newline",
        ),
    )


@pytest.mark.parametrize(
    ("scheme", "framing"),
    [("tls", "octet-counting"), ("tcp", "newline")],
)
def test_default_framing(scheme: str, framing: str, tmp_path: Path) -> None:
    configuration = read(tmp_path, SMALL.replace("tcp:", f"{scheme}:"))
    assert configuration.destinations[0].framing == framing


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    expected = [
        "rely: unknown key, did you mean 'relay'? Allowed here: relay, apps, sources, "
        "destinations, filters, tests, watch, alerts, web",
        "relay.name: expected a name of 1 to 255 printable ASCII characters without spaces, found "
        "'two words'",
        "relay.statistic_seconds: unknown key, did you mean 'statistics_seconds'? Allowed here: "
        f"{', '.join(keys_of(Configuration))}",
        "sources.\"b d\": expected an id of at most 63 ASCII letters, digits, '.', '_' and '-' "
        "that starts with a letter or a digit, found 'b d'",
        "sources.in.socket_mode: expected permissions from 0o000 to 0o777, such as 0o660, found "
        "666",
        "sources.in.listen: unknown scheme 'tpc', did you mean 'tcp'? listen takes "
        f"{schemes('listen')}",
        'sources."b d".connections_max: has no meaning for udp, only for dtls and tcp and tls and '
        "relp and relp+tls and http and https and unix and systemd; remove it or change the URL",
        'sources.c.listen: is missing; write for example listen = "tcp://0.0.0.0:514"',
        "destinations.out.conect: unknown key, did you mean 'connect'? Allowed here: "
        f"{', '.join(KINDS.fitting_keys('connect', None))}",
        "destinations.out.sources: there is no source 'inn', did you mean 'in'? the sources are: "
        "in, b d, c",
        "destinations.out.rewrite.mode: expected one of none, cee, json, tag, app-name, ewmm; "
        "found 'ceee', did you mean 'cee'?",
        "destinations.out.connect: is missing; write for example connect = "
        '"relp://central.example.com:20514"',
        "destinations.relp.trusted_ca: has no meaning for relp, only for dtls and tls and "
        "relp+tls and sematext and https and nats+tls and kafka+tls; remove it or change the URL",
        "destinations.relp.framing: has no meaning for relp, only for tcp and tls and sematext; "
        "remove it or change the URL",
        "destinations.relp.retry_seconds_min: 100 is more than retry_seconds_max, 60; change one "
        "of them",
    ]
    assert problems(
        tmp_path,
        """
        [rely]
        [relay]
        name = "two words"
        statistic_seconds = 5
        [sources.in]
        listen = "tpc://:514"
        socket_mode = 666
        [sources."b d"]
        listen = "udp://:515"
        connections_max = 5
        [sources.c]
        [destinations.out]
        conect = "tcp://far:514"
        sources = ["inn", "c"]
        rewrite = { mode = "ceee" }
        [destinations.relp]
        connect = "relp://far:1"
        trusted_ca = "nowhere"
        framing = "newline"
        retry_seconds_min = 100
        """,
    ) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            [
                "sources: there is none; a relay needs at least one, such as [sources.network] "
                'with listen = "tcp://:514"',
                "destinations: there is none; a relay needs at least one, such as "
                '[destinations.central] with connect = "relp://central.example.com:20514"',
            ],
        ),
        (
            SMALL.replace("[sources.in]", "[[sources]]"),
            [
                "sources: expected tables [sources.ID], found a list of 1",
            ],
        ),
        (
            "sources.in = 5\n[destinations.out]\nconnect = 'udp://far:1'",
            ["sources.in: expected a table, found 5"],
        ),
        ("relay = 1\n" + SMALL, ["relay: expected a table, found 1"]),
        (
            SMALL + "sources = []",
            ["destinations.out.sources: expected a list of source ids, found an empty list"],
        ),
        (
            SMALL + "sources = ['x']",
            ["destinations.out.sources: there is no source 'x'; the sources are: in"],
        ),
        (
            SMALL + "rewrite = 'cee'",
            ["destinations.out.rewrite: expected a table, found 'cee'"],
        ),
        (
            SMALL.replace("tcp://far:514", "journald://"),
            [
                "destinations.out.connect: journald can only be listened on; connect takes one of "
                f"{schemes('connect')}"
            ],
        ),
        (
            SMALL.replace("udp://:514", "tls://:6514"),
            [
                "sources.in.certificate: is missing; a TLS listener needs certificate and "
                "private_key",
                'sources.in.trusted_ca: is missing; peer_verify = "required" (the default) '
                "verifies the senders' certificates with it; to accept senders without a "
                'certificate write peer_verify = "none"',
            ],
        ),
        (
            SMALL.replace("udp://:514", "tls://:6514") + "[sources.in.tls]\n",
            [
                "sources.in.tls: unknown key. Allowed here: "
                + ", ".join(KINDS.fitting_keys("listen", KINDS.source("tls"))),
                "sources.in.certificate: is missing; a TLS listener needs certificate and "
                "private_key",
                'sources.in.trusted_ca: is missing; peer_verify = "required" (the default) '
                "verifies the senders' certificates with it; to accept senders without a "
                'certificate write peer_verify = "none"',
            ],
        ),
        (
            SMALL.replace("tcp://far:514", "udp://127.0.0.1:514"),
            [
                "destinations.out.connect: udp://127.0.0.1:514 is this relay itself and messages "
                "would go round for ever (source 'in' feeds 'out'); give the sources of 'out' "
                "without 'in'"
            ],
        ),
        (
            SMALL + "[sources.again]\nlisten = 'udp://:514'",
            [
                "sources.again.listen: udp://:514 is already taken by sources.in.listen "
                "(udp://:514); choose another one"
            ],
        ),
    ],
)
def test_problems(text: str, expected: list[str], tmp_path: Path) -> None:
    assert problems(tmp_path, text) == sorted(expected)


SET = """
[sources.net]
listen = "default-network://127.0.0.1"
rfc5424_tls_port = 0
[sources.other]
listen = "unix:///run/log"
[destinations.out]
connect = "tcp://far:514"
"""


def test_a_set_of_listeners_is_several_sources(tmp_path: Path) -> None:
    limits = 'oversize = "drop"\nallow = ["10.0.0.0/8"]\ndeny = ["10.0.0.1"]\n'
    limits += "connections_per_peer_max = 5\nrate_per_peer_max = 6\n"
    text = SET.replace("[sources.other]", f"udp_port = 5514\n{limits}[sources.other]")
    configuration = read(tmp_path, text)
    assert [(source.id, str(source.listen)) for source in configuration.sources] == [
        ("net.udp", "udp://127.0.0.1:5514"),
        ("net.tcp", "tcp://127.0.0.1:514"),
        ("net.rfc5424-tcp", "tcp://127.0.0.1:601"),
        ("other", "unix:///run/log"),
    ]
    for source in configuration.sources[:3]:
        networks = (ip_network("10.0.0.0/8"),), (ip_network("10.0.0.1"),)
        assert (source.oversize, source.access) == ("drop", Access(*networks, rate_per_peer_max=6))
    assert configuration.sources[1].peers == Peers(connections_per_peer_max=5)
    ids = tuple(source.id for source in configuration.sources)
    assert configuration.destinations[0].sources == ids


@pytest.mark.parametrize(
    ("sources", "ids"),
    [
        ('["net"]', ("net.udp", "net.tcp", "net.rfc5424-tcp")),
        ('["net.udp", "other"]', ("net.udp", "other")),
    ],
)
def test_a_destination_takes_a_set_or_members_of_it(
    sources: str, ids: tuple[str, ...], tmp_path: Path
) -> None:
    text = SET + f"sources = {sources}\n[destinations.all]\nconnect = 'udp://far:514'\n"
    assert read(tmp_path, text).destinations[0].sources == ids


def test_the_tls_listener_of_a_set_has_the_certificate(tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path)
    keys = f'certificate = "{files.server_certificate}"\nprivate_key = "{files.server_key}"\n'
    text = SET.replace("default-network", "sematext-receiver")
    text = text.replace("rfc5424_tls_port = 0", keys + 'peer_verify = "none"')
    _, tcp, tls, relp, _ = read(tmp_path, text).sources
    assert (tls.id, tls.tls.certificate) == ("net.tls", files.server_certificate)
    assert (tcp.frame_bytes_max, relp.frame_bytes_max) == (65536, 262144)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "rfc5424_tls_port = 0",
            'peer_verify = "none"',
            [
                "sources.net.certificate: is missing; the TLS listener on port 6514 needs "
                "certificate and private_key: give both, or write rfc5424_tls_port = 0 to leave "
                "it out"
            ],
        ),
        (
            "rfc5424_tls_port = 0",
            "rfc5424_tls_port = 0\ntcp_port = 601",
            [
                "sources.net.rfc5424_tcp_port: tcp://127.0.0.1:601 is already taken by "
                "sources.net.tcp_port (tcp://127.0.0.1:601); choose another one"
            ],
        ),
        (
            "unix:///run/log",
            "udp://:514",
            [
                "sources.other.listen: udp://:514 is already taken by sources.net.udp_port "
                "(udp://127.0.0.1:514); choose another one"
            ],
        ),
        (
            "[sources.other]",
            '[sources."net.udp"]',
            [
                "sources.\"net.udp\": a listener of the source 'net' has this id already; choose "
                "another one"
            ],
        ),
        (
            "rfc5424_tls_port = 0",
            "udp_port = 0\ntcp_port = 0\nrfc5424_tcp_port = 0\nrfc5424_tls_port = 0",
            [
                "sources.net.listen: every port of default-network is 0; open at least one of "
                "udp_port, tcp_port, rfc5424_tcp_port, rfc5424_tls_port"
            ],
        ),
        (
            "unix:///run/log",
            'unix:///run/log"\nallow = ["10.0.0.1/8"]\noversize = "cut',
            [
                "sources.other.allow: '10.0.0.1/8' has bits set after its prefix; write "
                "10.0.0.0/8 for the network or 10.0.0.1 for the one address",
                "sources.other.oversize: expected one of truncate, drop, split, quarantine; "
                "found 'cut'",
                "sources.other.allow: has no meaning for unix, only for udp and dtls and tcp "
                "and tls and relp and relp+tls and http and https and systemd; remove it or change "
                "the URL",
            ],
        ),
    ],
)
def test_problems_of_sets_and_limits(
    old: str, new: str, expected: list[str], tmp_path: Path
) -> None:
    assert problems(tmp_path, SET.replace(old, new)) == sorted(expected)


def test_a_wrong_certificate_is_not_reported_as_missing_too(tmp_path: Path) -> None:
    text = SMALL.replace('"udp://:514"', '"tls://:6514"\ncertificate = 5\npeer_verify = "none"')
    assert problems(tmp_path, text) == ["sources.in.certificate: expected a path, found 5"]


def test_certificate_files_are_looked_into(tmp_path: Path) -> None:
    text = SMALL.replace("tcp://far:514", "tls://far:6514") + 'trusted_ca = "ca.pem"'
    assert problems(tmp_path, text) == [
        f"destinations.out.trusted_ca: cannot read {tmp_path}/ca.pem: No such file or directory"
    ]


def test_a_start_waits_for_files_and_for_nothing_else(tmp_path: Path) -> None:
    text = """
        [sources.in]
        listen = "tls://:6514"
        certificate = "missing.pem"
        private_key = "missing-key.pem"
        peer_verify = "none"
        [destinations.out]
        connect = "tls://central:6514"
        trusted_ca = "missing-ca.pem"
        rewrite = { mode = "tag", tokens = [
            { match = { facility = "mail" }, token_env = "NOT_SET" }, { token_file = "none" } ] }
    """
    path = tmp_path / "relay.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(str(path), KINDS)
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [
        "sources.in.certificate",
        "sources.in.private_key",
        "destinations.out.trusted_ca",
        "destinations.out.rewrite.tokens[0].token_env",
        "destinations.out.rewrite.tokens[1].token_file",
    ]
    configuration = read_configuration(str(path), KINDS, to_start=True)
    (destination,) = configuration.destinations
    assert destination.tls.trusted_ca == str(tmp_path / "missing-ca.pem")
    token = destination.rewrite.token
    assert isinstance(token, UnreadToken)
    assert token.file == str(tmp_path / "none")
    assert destination.rewrite.known_tokens == []

    path.write_text(text.replace('peer_verify = "none"', ""))
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(str(path), KINDS, to_start=True)
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [
        "sources.in.trusted_ca"
    ]


def test_the_host_name_has_to_do_as_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "my host")
    assert problems(tmp_path, SMALL) == [
        "relay.name: is missing and the host's does not do: expected a name of 1 to 255 printable "
        "ASCII characters without spaces, found 'my host'"
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"[relay]\nname = \n", ":2:8: expected a value: put texts"),
        (b"[relay]\nname = 'x", ":2:10: the text that begins on line 2 has no"),
        (b"[relay]\nname = 5\nname = 6\n", ":3:9: relay.name is there twice, on lines 2 and 3"),
        (b"[relay]\nname = '\xff'\n", ":2:9: not UTF-8: found the byte 0xff"),
        (b"a = " + b"9" * 5000, ": not TOML: "),
    ],
)
def test_not_toml(data: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(str(path), KINDS)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"{path}{problem}")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(f"{tmp_path}/none.toml", KINDS)
    assert caught.value.problems == [
        f"{tmp_path}/none.toml: cannot read it: No such file or directory"
    ]


def test_the_quickstart_file() -> None:
    configuration = read_configuration(str(ROOT / "deploy/quickstart.toml"), KINDS)
    assert configuration.state_dir == str(ROOT / "var/state")
    assert [(one.id, str(one.listen)) for one in configuration.sources] == [
        ("udp", "udp://127.0.0.1:5514"),
        ("tcp", "tcp://127.0.0.1:5514"),
        ("local", f"unixgram://{ROOT}/var/log.sock"),
        ("received", "relp://127.0.0.1:20514"),
    ]
    assert [(one.id, str(one.connect), one.sources) for one in configuration.destinations] == [
        ("central", "relp://127.0.0.1:20514", ("udp", "tcp", "local")),
        ("file", f"file://{ROOT}/var/received.log", ("received",)),
    ]


@pytest.mark.parametrize("name", ["host.toml", "central.toml"])
def test_the_examples_are_right(name: str, tmp_path: Path) -> None:
    authority = make_authority("test")
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem())
    for purpose in ("server", "client"):
        leaf = make_leaf(authority, ["localhost"], purpose=purpose)
        (tmp_path / f"{purpose}.pem").write_bytes(leaf.certificate_pem())
        (tmp_path / f"{purpose}-key.pem").write_bytes(leaf.private_key_pem())
    (tmp_path / "token").write_text("secret-secret-secret\n")
    text = (ROOT / "deploy" / name).read_text().replace("/etc/syslogrelay", str(tmp_path))
    configuration = read(tmp_path, text)
    assert configuration.destinations
    # The numbers in comments are the defaults.
    with_numbers, count = re.subn(r'^# (\w+ = (?:\d|"\d+ \w+"))', r"\1", text, flags=re.MULTILINE)
    assert count
    assert read(tmp_path, with_numbers) == configuration


def test_the_journal(tmp_path: Path) -> None:
    text = SMALL.replace(
        '"udp://:514"',
        '"journald://"\nmatches = ["_PID=1", "+", "A=b c"]\nread_from = "beginning"\nfields = []',
    )
    (source,) = read(tmp_path, text).sources
    assert source.listen == Url("journald", is_bare=True)
    assert source.matches == ("_PID=1", "+", "A=b c")
    assert (source.read_from, source.fields) == ("beginning", ())
    assert problems(tmp_path, text.replace("_PID=1", "_pid")) == [
        "sources.in.matches: expected FIELD=value, with a field of systemd.journal-fields(7), or "
        "'+' between alternatives, found '_pid'"
    ]


def test_what_is_spoken_over_an_inherited_socket(tmp_path: Path) -> None:
    text = SMALL.replace('"udp://:514"', '"systemd://log.socket"\nprotocol = "{}"')
    for protocol, scheme, size in (("syslog", "systemd", 65536), ("relp", "relp", 262144)):
        (source,) = read(tmp_path, text.format(protocol)).sources
        assert source.listen == Url(scheme, inherited="log.socket")
        assert source.frame_bytes_max == size
    assert problems(tmp_path, text.format("relp+tls"))[0] == (
        "sources.in.certificate: is missing; a TLS listener needs certificate and private_key"
    )


def test_who_is_accepted_over_tls(tmp_path: Path) -> None:
    authority = make_authority("test")
    leaf = make_leaf(authority, ["localhost"], purpose="server")
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem())
    (tmp_path / "crl.pem").write_bytes(make_crl(authority))
    (tmp_path / "own.pem").write_bytes(leaf.certificate_pem())
    (tmp_path / "key.pem").write_bytes(
        leaf.private_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"geheim")
        )
    )
    (tmp_path / "phrase").write_bytes(b"geheim\n")
    keys = f"""
        trusted_ca = "ca.pem"
        crl = "crl.pem"
        certificate = "own.pem"
        private_key = "key.pem"
        private_key_passphrase_file = "phrase"
        peer_fingerprints = ["SHA1:{"AB:" * 19}CD"]
        tls_version_min = "1.3"
        tls_ciphers = "TLS_AES_256_GCM_SHA384"
    """
    text = f"""
        [sources.in]
        listen = "tls://:6514"
        peer_names = ["*.example.com", "10.0.0.5"]
        {keys}
        [destinations.out]
        connect = "relp+tls://far:2514"
        {keys}
    """
    configuration = read(tmp_path, text)
    expected = TlsConfiguration(
        trusted_ca=f"{tmp_path}/ca.pem",
        crl=f"{tmp_path}/crl.pem",
        certificate=f"{tmp_path}/own.pem",
        private_key=f"{tmp_path}/key.pem",
        private_key_passphrase_file=f"{tmp_path}/phrase",
        peer_fingerprints=(f"SHA1:{'AB:' * 19}CD",),
        tls_version_min="1.3",
        tls_ciphers="TLS_AES_256_GCM_SHA384",
    )
    names = ("*.example.com", "10.0.0.5")
    assert configuration.sources[0].tls == replace(expected, peer_names=names)
    assert configuration.destinations[0].tls == expected


def test_a_pasted_passphrase_is_not_shown(tmp_path: Path) -> None:
    text = SMALL.replace("tcp://far:514", "tls://far:514")
    text += "private_key_passphrase_file = 123456789123456789\n"
    assert "123456789123456789" not in "".join(problems(tmp_path, text))


def test_an_upstream_is_known_by_its_server_name(tmp_path: Path) -> None:
    text = SMALL.replace("tcp://far:514", "tls://far:514") + 'peer_names = ["a"]\n'
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("destinations.out.peer_names: unknown key")


def test_a_protocol_without_an_inherited_socket(tmp_path: Path) -> None:
    text = SMALL.replace('"udp://:514"', '"tcp://:514"\nprotocol = "relp"')
    assert problems(tmp_path, text) == [
        "sources.in.protocol: has no meaning for tcp, only for systemd; remove it or change the URL"
    ]


def test_an_inherited_socket_has_no_mode_of_ours(tmp_path: Path) -> None:
    text = SMALL.replace('"udp://:514"', '"systemd://log.socket"\nsocket_mode = 0o600')
    assert problems(tmp_path, text)[0].startswith("sources.in.socket_mode: has no meaning for")


def test_an_inherited_socket_is_used_once(tmp_path: Path) -> None:
    text = '[sources.b]\nlisten = "systemd://log"\n' + SMALL.replace("udp://:514", "systemd://log")
    assert "sources.in.listen: systemd://log is already taken by" in problems(tmp_path, text)[0]


def test_only_known_proxies_are_believed(tmp_path: Path) -> None:
    text = SMALL.replace('"udp://:514"', '"tcp://:514"\nproxy_protocol = true{}')
    assert problems(tmp_path, text.format("")) == [
        "sources.in.proxy_protocol: anybody could send in the name of any address; write the "
        "addresses of the proxies into allow"
    ]
    (source,) = read(tmp_path, text.format('\nallow = ["10.0.0.0/8"]')).sources
    assert source.peers.proxy_protocol


def test_one_message_has_room_in_the_memory_for_unfinished_ones(tmp_path: Path) -> None:
    text = SMALL.replace('"udp://:514"', '"{}://:514"\nunfinished_bytes_max = "128 KiB"')
    (source,) = read(tmp_path, text.format("tcp")).sources
    assert source.connections.unfinished_bytes_max == 128 * 1024
    assert problems(tmp_path, text.format("relp")) == [
        "sources.in.unfinished_bytes_max: 128 KiB is less than one message may have, "
        "frame_bytes_max = 256 KiB; write more, or 0 for no limit"
    ]
    (source,) = read(tmp_path, text.format("relp").replace('"128 KiB"', "0")).sources
    assert source.connections.unfinished_bytes_max == 0
    assert "has no meaning for udp" in problems(tmp_path, text.format("udp"))[0]


def test_there_are_no_proxies_for_datagrams(tmp_path: Path) -> None:
    text = SMALL.replace('"udp://:514"', '"udp://:514"\nproxy_protocol = false')
    assert problems(tmp_path, text)[0].startswith("sources.in.proxy_protocol: has no meaning for")


def test_files_are_looked_at_even_where_the_url_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(
        '[sources.a]\nlisten = "tls://:x"\ncertificate = "no.pem"\nprivate_key = "no.key"\n'
        '[destinations.b]\nconnect = "relp+tls://central"\ntrusted_ca = "none.pem"\n'
    )
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(str(path), KINDS)
    text = "\n".join(caught.value.problems)
    for key in ("sources.a.listen", "sources.a.certificate", "destinations.b.connect"):
        assert key in text
    assert "destinations.b.trusted_ca" in text


FILES = """
[sources.app]
listen = "file:logs/*.log"
tag = "shop"
facility = "local0"
severity = "err"
multi_line = '^\\S'
multi_line_seconds_max = 2
read_from = "end"
files_max = 7
[destinations.out]
connect = "tcp://far:514"
"""


def test_files_as_a_source(tmp_path: Path) -> None:
    (source,) = read(tmp_path, FILES).sources
    assert source == new_source(
        "app",
        Url("file", path=f"{tmp_path}/logs/*.log"),
        tag="shop",
        facility=16,
        severity=3,
        joining=MultiLine(r"^\S", 2.0),
        read_from="end",
        files_max=7,
    )


def test_keys_of_files_that_make_no_sense(tmp_path: Path) -> None:
    text = FILES.replace("multi_line =", 'format = "syslog"\nallow = ["::1"]\nmulti_line =')
    assert problems(tmp_path, text) == [
        "sources.app.allow: has no meaning for file, only for udp and dtls and tcp and "
        "tls and relp and relp+tls and http and https and systemd; remove it or change the URL",
        *(
            f"sources.app.{key}: has no meaning where format is 'syslog': the lines say it "
            "themselves; remove one of them"
            for key in ("facility", "severity", "tag")
        ),
    ]
    assert problems(tmp_path, SMALL.replace("[dest", 'tag = "x"\n[dest')) == [
        "sources.in.tag: has no meaning for udp, only for file; remove it or change the URL"
    ]


def test_limits_of_the_queue(tmp_path: Path) -> None:
    configuration = read(
        tmp_path,
        """
        [relay]
        queue_bytes_max = "1 GiB"
        min_free_bytes = 0
        local_block_seconds_max = 0.25
        [sources.net]
        listen = "udp://:515"
        [sources.local]
        listen = "unix:///run/x/log"
        [sources.meek]
        listen = "unixgram:///run/x/meek"
        reserved = false
        [sources.lines]
        listen = "file:logs/*.log"
        [destinations.out]
        connect = "relp://far:1"
        queue_bytes_max = "100 MiB"
        queue_seconds_max = 86400
        when_full = "drop-by-severity"
        """,
    )
    assert (configuration.min_free_bytes, configuration.local_block_seconds_max) == (0, 0.25)
    assert configuration.reserve == 2**30 // 20
    assert [source.reserved for source in configuration.sources] == [False, True, False, True]
    (out,) = configuration.destinations
    assert out.limits == DestinationLimits(100 * 2**20, 86400.0, "drop-by-severity")


@pytest.mark.parametrize("value", ["true", "false", '"yes"'])
def test_a_key_that_has_no_effect_any_more_is_a_warning(tmp_path: Path, value: str) -> None:
    configuration = read(tmp_path, f"[relay]\ndrain_process = {value}\n" + SMALL)
    (warning,) = configuration.warnings
    assert warning.startswith("relay.drain_process: has no effect any more")
    assert warning.endswith("remove it")
    assert replace(configuration, warnings=()) == read(tmp_path, SMALL)


def test_limits_that_do_not_fit_together_are_found(tmp_path: Path) -> None:
    text = SMALL + 'when_full = "drop-oldest"\n'
    (problem,) = problems(tmp_path, text)
    assert ".when_full: has no meaning without a limit" in problem


def test_a_history_of_deliveries(tmp_path: Path) -> None:
    text = SMALL + 'history = "6h"\nhistory_bytes_max = "100 MiB"\n'
    (out,) = read(tmp_path, text).destinations
    assert out.kept == History(21600.0, 100 * 2**20)
    (out,) = read(tmp_path, SMALL).destinations
    assert out.kept == History(0.0, None)
    (problem,) = problems(tmp_path, SMALL + 'history = "for ever"\n')
    assert ".history: expected a time from 0 to " in problem


def test_what_is_sent_first(tmp_path: Path) -> None:
    for text, percent in (
        ("", 0),
        ('order = "oldest-first"\n', 0),
        ('order = "live-first"\n', 25),
        ('order = "live-first"\nbacklog_share = 40\n', 40),
    ):
        (out,) = read(tmp_path, SMALL + text).destinations
        assert out.backlog_percent == percent


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('order = "newest"\n', "destinations.out.order: "),
        ('order = "live-first"\nbacklog_share = 100\n', "destinations.out.backlog_share: "),
        ("backlog_share = 40\n", 'has no effect with order = "oldest-first"'),
    ],
)
def test_orders_and_shares_that_do_not_work(tmp_path: Path, text: str, message: str) -> None:
    (problem,) = problems(tmp_path, SMALL + text)
    assert message in problem


@pytest.mark.parametrize(
    "listen",
    ["tcp://:514", "unix:log.sock", "default-network://", "sematext-receiver://"],
)
def test_a_stream_that_cannot_be_cut_before_it_is_converted(tmp_path: Path, listen: str) -> None:
    text = """
[sources.in]
listen = "LISTEN"
parse = { encoding = "ENCODING" }
[destinations.out]
connect = "tcp://far:514"
""".replace("LISTEN", listen)
    if "//:" not in listen and "unix" not in listen:
        files = make_certificate_files(tmp_path)
        keys = f'certificate = "{files.server_certificate}"\nprivate_key = "{files.server_key}"\n'
        text = text.replace("parse", f'{keys}trusted_ca = "{files.ca}"\nparse')
    (problem,) = problems(tmp_path, text.replace("ENCODING", "utf-16le"))
    assert problem.startswith(
        "sources.in.parse.encoding: 'utf-16le' is no superset of US-ASCII, and messages over "
    )
    assert problem.endswith("send UTF-8, or use udp, unixgram or relp")
    assert read(tmp_path, text.replace("ENCODING", "cp1252")).sources


def test_facility_and_severity_of_files_by_name_and_by_number(tmp_path: Path) -> None:
    text = SMALL.replace("udp://:514", "file:*.log")

    def with_keys(facility: str, severity: str) -> str:
        keys = f"facility = {facility}\nseverity = {severity}\n"
        return text.replace("[destinations.out]", keys + "[destinations.out]")

    for facility, severity in (('"local0"', '"err"'), ("16", "3"), ('"LOCAL0"', '"error"')):
        (source,) = read(tmp_path, with_keys(facility, severity)).sources
        assert (source.facility, source.severity) == (16, 3)
    found = problems(tmp_path, with_keys("24", '"erorr"'))
    assert [problem[:60] for problem in found] == [
        "sources.in.facility: found 24; allowed are 0 to 23 and kern, "[:60],
        "sources.in.severity: found 'erorr', did you mean 'error'? allowed"[:60],
    ]


def test_every_problem_has_the_line_of_its_key(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(
        '[relay]\nstatistics_seconds = -1\n[sources.in]\nlisten = "tcp://:514"\n'
        'allow = [\n "10.0.0.1/8",\n "nope",\n "::1",\n "300.1.1.1",\n]\n'
        "[destinations.out]\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(str(path), KINDS)
    lines = [problem.removeprefix(f"{path}:") for problem in caught.value.problems]
    assert lines[0] == (
        "2: relay.statistics_seconds: expected seconds, a number from 0 to 31,536,000, found -1"
    )
    assert lines[1].startswith("5: sources.in.allow: '10.0.0.1/8' has bits set after its prefix")
    assert lines[1].count("; expected an address or a network") == 2
    assert "found 'nope'" in lines[1]
    assert "found '300.1.1.1'" in lines[1]
    assert lines[2].startswith("11: destinations.out.connect: is missing")


def test_what_a_broken_file_says_of_the_state_directory(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    for text, state_dir in (
        (SMALL, DEFAULT_STATE_DIR),
        ('[relay]\nstate_dir = "here"\ntypo = 1\n' + SMALL, f"{tmp_path}/here"),
        ('[relay]\nstate_dir = "here"\nhalf =\n' + SMALL, f"{tmp_path}/here"),
        ("[relay]\nstate_dir = 1\n" + SMALL, ""),
        ("[relay]\nstate_dir = \n" + SMALL, ""),
    ):
        path.write_text(text)
        assert examine_file(str(path), KINDS).state_dir == state_dir


def test_the_unit_and_the_commands_agree_where_the_file_is() -> None:
    unit = (Path(__file__).parents[3] / "deploy" / "syslogrelay.service").read_text()
    assert f"syslogrelay reload --config {DEFAULT_PATH}\n" in unit
    assert f"syslogrelay --config {DEFAULT_PATH}\n" in unit


SEVERAL = """
[relay]
name = "web-1"
[sources.in]
listen = "tcp://:514"
[destinations.out]
connect = {}
"""


def test_several_targets(tmp_path: Path) -> None:
    text = SEVERAL.format('["relp://a:1", "relp://b:2"]\npolicy = "balance"')
    (destination,) = read(tmp_path, text).destinations
    assert destination.targets == (
        Url("relp", host="a", port=1),
        Url("relp", host="b", port=2),
    )
    assert destination.several.policy == "balance"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            '["relp://a:1", "tcp://b:2"]',
            "connect: tcp://b:2 is not of the same kind as relp://a:1; write relp:// for all "
            "targets, or another destination",
        ),
        (
            '["relp://a:1", "relp://A:1"]',
            "connect: relp://a:1 is in the list twice; remove one of them",
        ),
        (
            '["file:///a", "file:///b"]',
            "connect: file has one target only; a list is for tcp, tls, relp, relp+tls, http, "
            "https: write one URL",
        ),
        (
            '["tcp://127.0.0.1:1", "tcp://127.0.0.1:514"]',
            "connect: tcp://127.0.0.1:514 is this relay itself and messages would go round for "
            "ever (source 'in' feeds 'out'); give the sources of 'out' without 'in'",
        ),
        (
            '"relp://a:1"\nprobe_seconds = 5',
            "probe_seconds: has no effect with one target; write a list in connect, or remove it",
        ),
        (
            '"relp://a:1"\nconnections = 3',
            "connections: 3 connections do not keep the order of messages; write ordered = false, "
            "or connections = 1",
        ),
        (
            '"relp://a:1"\nordered = false',
            "ordered: one connection keeps the order; write connections = 2 or more, or remove it",
        ),
        (
            '["relp://a:1", "relp://b:1"]\nrebalance_seconds = 5',
            'rebalance_seconds: has no effect with policy = "failover"; write policy = "balance", '
            "or remove it",
        ),
    ],
)
def test_targets_that_do_not_fit_together(tmp_path: Path, value: str, problem: str) -> None:
    assert problems(tmp_path, SEVERAL.format(value)) == [f"destinations.out.{problem}"]


def test_a_service_has_no_port(tmp_path: Path) -> None:
    (destination,) = read(
        tmp_path, SEVERAL.format('"relp://_syslog._tcp.example.org"')
    ).destinations
    assert destination.connect.service_domain == "example.org"
    assert str(destination.connect) == "relp://_syslog._tcp.example.org"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ('"udp://_syslog._udp.example.org"', "connect: the port is missing"),
        ('"relp://_syslog.example.org"', "connect: the port is missing"),
        ('"relp://a:1"\nbind = "eth0"', "bind: expected an address, such as"),
    ],
)
def test_what_is_no_service_and_no_address(tmp_path: Path, value: str, problem: str) -> None:
    (found,) = problems(tmp_path, SEVERAL.format(value))
    assert found.startswith(f"destinations.out.{problem}")


WEB = SMALL + "[web]\n"


def test_the_web_server_is_there_on_request_and_local(tmp_path: Path) -> None:
    assert read(tmp_path, SMALL).web is None
    web = read(tmp_path, WEB).web
    assert web is not None
    assert (str(web.listen), web.token_file, web.is_encrypted) == (
        "http://127.0.0.1:8514",
        "",
        False,
    )


@pytest.mark.parametrize("host", ["localhost", "127.1.2.3", "[::1]"])
def test_a_local_web_server_needs_neither_tls_nor_a_token(host: str, tmp_path: Path) -> None:
    web = read(tmp_path, WEB + f'listen = "http://{host}:1"').web
    assert web is not None and str(web.listen) == f"http://{host}:1"


@pytest.mark.parametrize("host", ["", "0.0.0.0", "[::]", "192.0.2.1", "relay.example.com"])
def test_a_web_server_for_others_needs_tls_and_a_token(host: str, tmp_path: Path) -> None:
    found = problems(tmp_path, WEB + f'listen = "http://{host}:1"')
    listen, token = found
    assert f"web.listen: http://{host}:1 can be reached from other hosts, so it needs TLS" in listen
    assert "web.token_file: is missing" in token


def test_a_web_server_for_others(tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path)
    (tmp_path / "token").write_text("secret\n")
    text = (
        WEB
        + f"""
listen = "https://:8514"
host_names = ["relay.example.com"]
token_file = "token"
certificate = "{files.server_certificate}"
private_key = "{files.server_key}"
peer_verify = "none"
"""
    )
    web = read(tmp_path, text).web
    assert web is not None and web.is_encrypted
    assert (web.token_file, web.host_names) == (str(tmp_path / "token"), ("relay.example.com",))
    (tmp_path / "token").unlink()
    (problem,) = problems(tmp_path, text)
    assert "web.token_file: cannot read the token file" in problem
    assert read_configuration(str(tmp_path / "relay.toml"), KINDS, to_start=True).web is not None


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('listen = "tcp://:1"', "web.listen: expected a URL such as http://127.0.0.1:8514"),
        ('listen = "http://localhost"', "web.listen: the port is missing"),
        ("listen = 8514", "web.listen: expected a URL"),
        ('crl = "x"', "web.crl: has no effect without TLS"),
        ('listen = "https://localhost:1"', "web.certificate: is missing"),
        ('tokens = "x"', "web.tokens: unknown key"),
    ],
)
def test_problems_of_the_web_server(keys: str, problem: str, tmp_path: Path) -> None:
    assert any(problem in each for each in problems(tmp_path, WEB + keys))


def test_the_web_table_is_a_table(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "web = 1\n" + SMALL)
    assert "web: expected a table, found 1" in problem


def test_the_web_server_and_a_source_need_two_ports(tmp_path: Path) -> None:
    text = SMALL.replace("udp://:514", "tcp://:8514") + "[web]\n"
    assert problems(tmp_path, text) == [
        "web.listen: http://127.0.0.1:8514 is already taken by sources.in.listen (tcp://:8514); "
        "choose another port"
    ]
    assert read(tmp_path, text.replace("tcp:", "udp:")).web is not None


def test_rules_of_what_messages_count_as(tmp_path: Path) -> None:
    text = (
        SET
        + """
[filters.login]
app_name = "sshd"
[[watch]]
id = "logins"
match = { filter = "login", msg = "Failed" }
counts_as = "error"
sources = ["net", "other"]
per_second_max = 2
[[watch]]
id = "all"
counts_as = "ignore"
[alerts]
"""
    )
    logins, every = read(tmp_path, text).watch
    assert (logins.id, logins.counts_as, logins.per_second_max) == ("logins", "error", 2.0)
    assert logins.match is not None
    assert logins.sources == ("net.udp", "net.tcp", "net.rfc5424-tcp", "other")
    assert (every.match, every.sources, every.per_second_max) == (None, (), 0.0)


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("[watch]\nid = 1", "watch: expected tables [[watch]], found a table"),
        ('[[watch]]\ncounts_as = "error"', "watch[0].id: is missing"),
        ('[[watch]]\nid = "a"', "watch[0].counts_as: is missing"),
        (
            '[[watch]]\nid = "a"\ncounts_as = "eror"',
            "watch[0].counts_as: expected one of warning, error, ignore; found 'eror', did",
        ),
        (
            '[[watch]]\nid = "a"\ncounts_as = "error"\nsources = ["inn"]',
            "watch[0].sources: there is no source 'inn', did you mean 'in'?",
        ),
        (
            '[[watch]]\nid = "a"\ncounts_as = "error"\nmatch = { app = "x" }',
            "watch[0].match.app: unknown key",
        ),
        (
            '[[watch]]\nid = "a"\ncounts_as = "error"\n' * 2,
            "watch[1].id: 'a' is the id of an earlier rule (",
        ),
        (
            '[[watch]]\nid = "a"\ncounts_as = "error"\nper_second_max = 1',
            "watch[0].per_second_max: has no effect without alerts; write a table [alerts]",
        ),
    ],
)
def test_problems_of_rules(rules: str, problem: str, tmp_path: Path) -> None:
    assert any(problem in each for each in problems(tmp_path, SMALL + rules))


def test_alerts_are_there_on_request(tmp_path: Path) -> None:
    assert read(tmp_path, SMALL).alerts is None
    alerts = read(tmp_path, SMALL + "[alerts]\n").alerts
    assert alerts is not None
    assert (alerts.webhook, alerts.program, alerts.webhook_token_file) == (None, (), "")
    limits = alerts.limits
    assert (limits.increase, limits.increase_per_second_min, limits.silent_after) == (5, 10, 86400)
    assert (limits.errors_per_second_max, limits.full_within) == (10, 3600)
    assert (limits.expires_within, limits.down_after, limits.drops) == (14 * 86400, 300, True)


def test_every_key_of_alerts(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "token").chmod(0o600)
    text = (
        SMALL
        + """
[alerts]
increase = 0
increase_per_second_min = 1.5
silent_after = "30m"
errors_per_second_max = 2
full_within = "2h"
expires_within = "7d"
down_after = 10
drops = false
webhook = "https://alerts.example.com/hook?x=1"
webhook_token_file = "token"
webhook_seconds_max = 3
program = ["/bin/sh", "-c", "true", "true"]
program_seconds_max = 4
server_name = "other.example.com"
"""
    )
    configuration = read(tmp_path, text)
    alerts = configuration.alerts
    assert alerts is not None and alerts.is_encrypted
    assert alerts.limits == AlertLimits(0, 1.5, 1800.0, 2.0, 7200.0, 7 * 86400.0, 10.0, False)
    assert str(alerts.webhook) == "https://alerts.example.com:443/hook?x=1"
    assert alerts.webhook_token_file == str(tmp_path / "token")
    assert alerts.program == ("/bin/sh", "-c", "true", "true")
    assert (alerts.webhook_seconds_max, alerts.program_seconds_max) == (3.0, 4.0)
    assert alerts.tls.server_name == "other.example.com"
    assert configuration.warnings == ()


@pytest.mark.parametrize(
    ("webhook", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("https://[::1]/x", "https://[::1]:443/x"),
        ("http://localhost/", "http://localhost:80/"),
    ],
)
def test_a_webhook_has_a_port_and_a_path(webhook: str, url: str, tmp_path: Path) -> None:
    alerts = read(tmp_path, SMALL + f'[alerts]\nwebhook = "{webhook}"').alerts
    assert alerts is not None and str(alerts.webhook) == url


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("increase = 1", "alerts.increase: expected more than 1, or 0 for no such alert, found 1"),
        ('webhook = "ftp://x"', "alerts.webhook: expected a URL such as https://"),
        ('webhook = "https://bob:secret@host/"', "alerts.webhook: a user name or password"),
        ('webhook_token_file = "x"', "webhook_token_file: has no effect without webhook"),
        ("webhook_seconds_max = 5", "webhook_seconds_max: has no effect without webhook"),
        ("program_seconds_max = 5", "program_seconds_max: has no effect without program"),
        ('trusted_ca = "x"', "alerts.trusted_ca: has no effect without TLS"),
        ('webhook = "http://a/"\ncrl = "x"', "alerts.crl: has no effect without TLS"),
        ('webhook = "https://a/"\ntrusted_ca = "x"', "alerts.trusted_ca: cannot read"),
        (
            'webhook = "https://a/"\nwebhook_token_file = "x"',
            "alerts.webhook_token_file: cannot read the token file",
        ),
        ("program = []", "alerts.program: expected a list of a program's path and its arguments"),
        ("silent = 5", "alerts.silent: unknown key, did you mean 'silent_after'?"),
    ],
)
def test_problems_of_alerts(keys: str, problem: str, tmp_path: Path) -> None:
    found = problems(tmp_path, SMALL + "[alerts]\n" + keys)
    assert any(problem in each for each in found), found
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("keys", "warning"),
    [
        ('webhook = "http://192.0.2.1/"', "alerts.webhook: alerts are sent unencrypted"),
        ('program = ["nothing"]', "/nothing is not a program that may be run"),
    ],
)
def test_warnings_of_alerts(keys: str, warning: str, tmp_path: Path) -> None:
    (found,) = read(tmp_path, SMALL + "[alerts]\n" + keys).warnings
    assert warning in found
