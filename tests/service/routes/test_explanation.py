from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.flow.routing import Routes
from relay.model.origin import Arrival, Origin, Transport
from relay.service.configuration.file import read_configuration
from relay.service.kinds import KINDS
from relay.service.routes.explanation import Explainer, described
from relay.service.routes.lookup_file import LookupFile
from relay.service.routes.rewriting import Rewriting
from relay.wire.parse import parse, read_lines

SECRET = "0f8fad5b-d9cb-469f-a165-70867728950e"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()

RELAY = """
[relay]
name = "here"
[filters.shop]
apps = "shop"
[apps.shop]
token_file = "token"
networks = ["10.0.0.0/8"]
[sources.open]
listen = "tcp://127.0.0.1:5514"
parse = { tags = ["in"] }
[sources.closed]
listen = "udp://127.0.0.1:5514"
authorise = ["token", "network"]
[destinations.cloud]
connect = "tcp://127.0.0.1:5515"
rewrite = { mode = "cee", token_file = "token" }
[destinations.errors]
connect = "file:///var/log/errors"
match = { severity = "..err", hostname = "web*" }
[destinations.either]
connect = "file:///var/log/either"
match = [{ severity = "..err" }, { hostname = "db" }]
[destinations.shop]
connect = "file:///var/log/shop"
apps = ["shop"]
[destinations.few]
connect = "file:///var/log/few"
rewrite = [{ drop = "noise", match = { msg = "hi" } }, { sample = 2 }]
"""


@pytest.fixture
def explainer(tmp_path: Path) -> Explainer:
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "relay.toml").write_text(RELAY)
    return Explainer(read_configuration(str(tmp_path / "relay.toml"), KINDS), now=NOW, zone=UTC)


def test_each_destination_says_what_it_does_and_why(explainer: Explainer) -> None:
    explanation = explainer.explain(b"<13>Oct 11 22:14:15 db su: hi")
    assert explanation.message.tags == (b"in",)
    outcomes = {outcome.destination: outcome for outcome in explanation.outcomes}
    assert {id: (outcome.taken, outcome.why) for id, outcome in outcomes.items()} == {
        "cloud": (True, "takes everything"),
        "errors": (False, "match does not fit: severity, hostname"),
        "either": (True, "match fits"),
        "shop": (False, "takes the apps shop only"),
        "few": (False, "dropped by its rewrite: noise"),
    }
    assert outcomes["either"].payload == b"<13>Oct 11 22:14:15 db su: hi"
    assert outcomes["errors"].payload is None


def test_a_list_that_does_not_fit_has_no_key_to_name(explainer: Explainer) -> None:
    explanation = explainer.explain(b"<13>Oct 11 22:14:15 web su: ho")
    assert explanation.outcomes[2].why == "no table of match fits"


def test_tokens_are_masked(explainer: Explainer) -> None:
    payload = explainer.explain(b"<13>su: hi").outcomes[0].payload
    assert payload is not None
    assert SECRET.encode() not in payload
    assert "0f8f…950e".encode() in payload
    own = "99999999-8888-7777-6666-555555555555"
    payload = explainer.explain(b"<13>Oct 11 22:14:15 h %s: hi" % own.encode()).outcomes[0].payload
    assert payload is not None
    assert own.encode() not in payload
    assert "9999…5555".encode() in payload


def test_every_message_is_the_first(explainer: Explainer) -> None:
    for _ in range(3):
        assert explainer.explain(b"<13>su: ho").outcomes[4].taken


def test_authorisation_is_explained(explainer: Explainer) -> None:
    refused = explainer.explain(b"<13>su: hi", source="closed", peer_host="192.0.2.1")
    assert (refused.refused, refused.outcomes) == ("unauthorised", [])
    taken = explainer.explain(b"<13>su: hi", source="closed", peer_host="10.1.1.1")
    assert taken.message.app == "shop"
    assert taken.outcomes[3].taken


def test_a_source_that_is_not_there_is_said(explainer: Explainer) -> None:
    with pytest.raises(ValueError, match="there is no source 'x'; the sources are: open, closed"):
        explainer.explain(b"x", source="x")


def test_fields_are_described_without_losing_an_octet() -> None:
    message = parse(b'<165>1 2003-10-11T22:14:15.003Z h a p m [x@1 a="1" a="2" b="\xff"] \xe9')
    assert described(message, now=NOW, zone=UTC) == {
        "facility": 20,
        "severity": 5,
        "timestamp": "2003-10-11T22:14:15.003Z",
        "hostname": "h",
        "app_name": "a",
        "procid": "p",
        "msgid": "m",
        "structured_data": {"x@1": {"a": ["1", "2"], "b": ["ÿ"]}},
        "msg": "é",
        "tags": [],
        "pairs": {},
        "error": None,
    }


def test_what_cannot_be_parsed_says_why() -> None:
    fields = described(parse(b"<13>1 2003-10-11T22:14:15Z h a - - [] m"), now=NOW, zone=UTC)
    assert fields["error"] == "syslog.rfc5424_invalid_sdata"
    assert (fields["hostname"], fields["app_name"], fields["msg"]) == ("h", "a", "[] m")


@pytest.mark.parametrize(
    ("listen", "peer", "hostname"),
    [
        ("unixgram:///run/log", "", None),
        ("systemd://syslog.socket", "", None),
        ("systemd://syslog.socket", "192.0.2.1", b"web"),
        ("udp://127.0.0.1:514", "", b"web"),
    ],
)
def test_a_line_is_read_as_its_source_reads_it(
    tmp_path: Path, listen: str, peer: str, hostname: bytes | None
) -> None:
    (tmp_path / "relay.toml").write_text(
        f'[sources.s]\nlisten = "{listen}"\n[destinations.d]\nconnect = "file:///var/log/d"\n'
    )
    explainer = Explainer(
        read_configuration(str(tmp_path / "relay.toml"), KINDS), now=NOW, zone=UTC
    )
    explained = explainer.explain(b"<13>Oct 11 22:14:15 web su: hi", peer_host=peer)
    assert explained.message.hostname == hostname


ROUTING = """
[sources.a]
listen = "tcp://127.0.0.1:5514"
[sources.b]
listen = "udp://127.0.0.1:5514"
[destinations.rest]
connect = "file:///var/log/rest"
fallback = true
[destinations.early]
connect = "file:///var/log/early"
sources = ["a"]
match = { severity = "..err" }
[destinations.login]
connect = "file:///var/log/login"
sources = ["a"]
match = { app_name = "su" }
rewrite = [{ drop = "noise", match = { msg = "ping" } }]
final = true
[destinations.late]
connect = "file:///var/log/late"
sources = ["a"]
match = { severity = "..notice" }
"""


@pytest.mark.parametrize(
    ("frame", "source", "expected"),
    [
        (
            b"<11>su: x",
            "a",
            {
                "rest": "✗ login comes before it, takes it and is final",
                "early": "→ match fits",
                "login": "→ match fits; final: later destinations do not get it",
                "late": "✗ login comes before it, takes it and is final",
            },
        ),
        (
            b"<13>su: ping",
            "a",
            {
                "rest": "✗ login comes before it, takes it and is final",
                "early": "✗ match does not fit: severity",
                "login": "✗ dropped by its rewrite: noise; final: later destinations do not get it",
                "late": "✗ login comes before it, takes it and is final",
            },
        ),
        (
            b"<13>cron: x",
            "a",
            {
                "rest": "✗ is a fallback, and late takes it",
                "early": "✗ match does not fit: severity",
                "login": "✗ match does not fit: app_name",
                "late": "→ match fits",
            },
        ),
        (
            b"<13>cron: x",
            "b",
            {
                "rest": "→ takes everything, and is a fallback: no other destination takes it",
                "early": "✗ is not fed by the source b",
                "login": "✗ is not fed by the source b",
                "late": "✗ is not fed by the source b",
            },
        ),
    ],
)
def test_routing_is_explained(
    tmp_path: Path, frame: bytes, source: str, expected: dict[str, str]
) -> None:
    (tmp_path / "relay.toml").write_text(ROUTING)
    configuration = read_configuration(str(tmp_path / "relay.toml"), KINDS)
    explanation = Explainer(configuration, now=NOW, zone=UTC).explain(frame, source=source)
    assert {
        outcome.destination: f"{'→' if outcome.taken else '✗'} {outcome.why}"
        for outcome in explanation.outcomes
    } == expected


some_destinations = st.lists(
    st.tuples(
        st.sampled_from(["", 'match = { severity = "err" }', 'match = { severity = "..notice" }']),
        st.sampled_from(["", 'sources = ["a"]', 'sources = ["b"]', "catch_all = true"]),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@given(some_destinations)
def test_explained_is_what_is_done_and_warned_of_is_what_never_happens(
    destinations: list[tuple[str, str, bool, bool]],
) -> None:
    text = 'sources.a.listen = "tcp://:1"\nsources.b.listen = "udp://:1"\n'
    # Both sources feed something, and it takes nothing that could go elsewhere.
    text += '[destinations.none]\nconnect = "file:///tmp/none"\nmatch = { severity = "debug" }\n'
    for index, (match, sources, final, fallback) in enumerate(destinations):
        text += f'[destinations.d{index}]\nconnect = "file:///tmp/{index}"\n{match}\n{sources}\n'
        text += f"final = {final}\nfallback = {fallback}\n".lower()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "relay.toml"
        path.write_text(text)
        configuration = read_configuration(str(path), KINDS)
    explainer = Explainer(configuration, now=NOW, zone=UTC)
    rewriting = Rewriting(configuration, zone=UTC, now=lambda: NOW, lookup=LookupFile)
    reached = set()
    for source in "ab":
        fed = [each for each in configuration.destinations if source in each.sources]
        routes = Routes([rewriting.route(each) for each in fed])
        for severity in (3, 4, 5, 6):
            frame = b"<%d>app: x" % (8 + severity)
            outcomes = explainer.explain(frame, source=source).outcomes
            arrival = Arrival.of_one(1, Origin(source, Transport.TCP))
            routed = routes.route(read_lines([frame]), arrival)
            assert {each.destination for each in outcomes if each.taken} == set(routed.payloads)
            reached |= set(routed.payloads)
    warned = {
        warning.split(".")[1]
        for warning in configuration.warnings
        if "no message reaches this destination" in warning
    }
    assert not warned & reached


SEED = [
    b'my-host my-process:@cee: {"logsene-app-token": "%s", "message": "hello world!"}',
    b"my-host %s:hello world!",
]
"""Lines that Sematext documents for netcat."""
IN_EVERY_WAY = """
[sources.net]
listen = "tcp://127.0.0.1:5514"
[destinations.json]
connect = "file:///var/log/json"
format = { name = "json", pair = { h = "$HOST", p = "$PROGRAM", m = "$MSG" }, scope = "none" }
[destinations.rfc5424]
connect = "file:///var/log/5424"
format = "rfc5424"
[destinations.rfc3164]
connect = "file:///var/log/3164"
format = "rfc3164"
[destinations.ewmm]
connect = "file:///var/log/ewmm"
rewrite = { mode = "ewmm" }
[destinations.template]
connect = "file:///var/log/template"
template = "$HOST|$PROGRAM|$MSG"
[destinations.filter]
connect = "file:///var/log/filter"
match = { hostname = "my-host", msg = "hello" }
"""


@pytest.mark.parametrize("line", SEED)
def test_lines_of_netcat_are_read_in_one_way_everywhere(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "relay.toml").write_text(IN_EVERY_WAY)
    explainer = Explainer(
        read_configuration(str(tmp_path / "relay.toml"), KINDS), now=NOW, zone=UTC
    )
    line = line % b"LOGS_APP_TOKEN_GOES_HERE"
    explanation = explainer.explain(line, peer_host="192.0.2.1")
    message = explanation.message
    host, program, msg = b"my-host", line.partition(b" ")[2].partition(b":")[0], message.msg
    assert (message.hostname, message.app_name) == (host, program)
    assert msg == line.partition(b":")[2]
    payloads = {each.destination: each.payload or b"" for each in explanation.outcomes}
    msg = msg.replace(b"LOGS_APP_TOKEN_GOES_HERE", b"LOGS\xe2\x80\xa6HERE")  # masked
    assert payloads["template"] == b"%s|%s|%s" % (host, program, msg)
    assert payloads["rfc5424"].endswith(b" my-host %s - - - %s" % (program, msg))
    assert payloads["rfc3164"].endswith(b" my-host %s:%s" % (program, msg))
    assert json.loads(payloads["json"]) == {
        "h": "my-host",
        "p": program.decode(),
        "m": msg.decode(),
    }
    enveloped = json.loads(payloads["ewmm"].partition(b" - - - ")[2])
    assert (enveloped["HOST"], enveloped["PROGRAM"]) == ("my-host", program.decode())
    assert enveloped["MESSAGE"] == msg.decode()
    assert explanation.outcomes[-1].taken


@pytest.mark.parametrize("policy", ["truncate", "split", "drop", "quarantine"])
def test_a_message_above_a_limit_is_explained(tmp_path: Path, policy: str) -> None:
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "relay.toml").write_text(
        '[sources.net]\nlisten = "tcp://127.0.0.1:5514"\n[destinations.s]\n'
        f'connect = "sematext://eu"\ntoken_file = "token"\noversize = "{policy}"\n'
    )
    explainer = Explainer(
        read_configuration(str(tmp_path / "relay.toml"), KINDS), now=NOW, zone=UTC
    )
    (outcome,) = explainer.explain(b"<13>Oct 11 22:14:15 web su: " + b"x" * 300_000).outcomes
    assert outcome.taken == (policy != "drop")
    if policy == "drop":
        assert outcome.why == "dropped by its rewrite: too-long"
    else:
        assert outcome.payload is not None
        assert (len(outcome.payload) > 64_000) == (policy == "quarantine")


def test_the_key_of_a_record_is_apart_from_its_payload(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text(
        """
[sources.in]
listen = "udp://127.0.0.1:5514"
[destinations.files]
connect = "file:///srv/logs/${HOST}/${R_YEAR}.log"
format = "rfc3164"
"""
    )
    configuration = read_configuration(str(tmp_path / "relay.toml"), KINDS)
    frame = b"<13>Oct 11 22:14:15 a/../b su: hi"
    explanation = Explainer(configuration, now=NOW, zone=UTC).explain(frame, peer_host="192.0.2.1")
    (outcome,) = explanation.outcomes
    assert outcome.key == b"192.0.2.1 a_.._b/2026.log"
    assert outcome.payload == frame
