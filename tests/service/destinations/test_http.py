from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.errors import ConfigurationError, UpstreamError
from relay.model.origin import Origin, Transport
from relay.queue.lineage import Lineage
from relay.rewrite.forms.record_key import split_key, with_key
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import (
    Configuration,
    FormatConfiguration,
    TlsConfiguration,
    Url,
)
from relay.service.destinations import http, streams
from relay.service.destinations.http import HttpBatches, HttpCredentials
from relay.service.kinds import KINDS
from relay.service.routes.rewriting import Rewriting
from relay.transport.http.batches import Batches
from relay.wire.http.bodies import Record
from tests.configurations import new_destination
from tests.destination_setup import Setup
from tests.lines import write_frames

URL = Url("http", host="es.example", port=9200)
FRAME = b"<13>Oct 11 22:14:15 Web su[12]: it is 'so'"


def read_url(text: str) -> str:
    return str(KINDS.url(text, "connect", base_dir="/"))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://es", "http://es:80"),
        ("https://es", "https://es:443"),
        ("https://es/", "https://es:443"),
        ("HTTPS://ES:9200/a/_bulk?x=1", "https://es:9200/a/_bulk?x=1"),
        ("https://[::1]/x", "https://[::1]:443/x"),
        ("https://[::1]:9200", "https://[::1]:9200"),
    ],
)
def test_urls(text: str, url: str) -> None:
    assert read_url(text) == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http:es", "two slashes"),
        ("http://", "host is missing"),
        ("http://a:b@es/", "'@' has no meaning"),
        ("http://es:0/", "expected a port"),
        ("http://es/a b", "percent-encoded"),
        ("http://es/ü", "percent-encoded"),
        ("http://es?x", "no meaning here"),
    ],
)
def test_wrong_urls(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_url(text)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("bulk", "/_bulk"),
        ("ndjson", "/"),
        ("array", "/"),
        ("splunk-hec", "/services/collector/event"),
        ("loki", "/loki/api/v1/push"),
    ],
)
def test_each_protocol_has_its_path_unless_there_is_one(body: str, path: str) -> None:
    assert new_destination("es", URL, body=body).urls == [f"http://es.example:9200{path}"]
    url = Url("http", host="es.example", port=9200, path="/x")
    assert new_destination("es", url, body=body).urls == ["http://es.example:9200/x"]


def configured(tmp_path: Path, text: str, scheme: str = "http") -> Any:
    path = tmp_path / "relay.toml"
    path.write_text(
        '[sources.in]\nlisten = "udp://127.0.0.1:5514"\n[destinations.es]\n'
        f'connect = "{scheme}://es:9200"\n{text}\n'
    )
    return read_configuration(str(path), KINDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'index: is missing; write index = "logs"'),
        ('index = "Logs"', "index: found 'Logs'; an index is lower case"),
        ('index = "a"\nlabels = { a = "b" }', 'labels: has no meaning with body = "bulk"'),
        (
            'body = "loki"\nindex = "a"',
            'index: has no meaning with body = "loki", only with "bulk"',
        ),
        ('body = "loki"\nlabels = { "a-b" = "c" }', "labels: 'a-b' cannot be written here"),
        ('body = "loki"\nlabels = { a = 1 }', "labels: 'a': expected a text"),
        ('body = "loki"\nlabels = 1', "labels: expected a table"),
        ('index = "a"\nheaders = { Host = "c" }', "headers: 'Host' cannot be written here"),
        ('index = "a"\nheaders = { A = "b\\r\\nc" }', "headers: 'A': expected a text of printable"),
        ('index = "a"\nuser = "u"', "password_file: is missing"),
        ('index = "a"\npassword_file = "p"', "user: is missing"),
        (
            'index = "a"\napi_key_file = "p"\ntoken_file = "q"',
            "token_file: a request has one authorization; remove api_key_file",
        ),
        ('index = "a"\nindex_file = "b"', "index_file: a document has one index; remove index"),
        ('index = "a"\nordered = true\nrequests_max = 4', "requests_max: has no effect"),
    ],
)
def test_keys_that_do_not_fit_together(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        configured(tmp_path, text)
    (problem,) = [each for each in raised.value.problems if "es." in each]
    assert f"destinations.es.{message}" in problem


def test_a_secret_over_plain_http_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("secret-token")
    (tmp_path / "t").chmod(0o600)
    text = 'index = "a"\ntoken_file = "t"'
    (warning,) = configured(tmp_path, text).warnings
    assert warning.startswith("destinations.es.connect: token_file is sent unencrypted")
    assert configured(tmp_path, text, "https").warnings == ()


TOKEN = "01234567-89ab-cdef-0123-456789abcdef"


def test_an_index_that_is_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(TOKEN)
    (tmp_path / "t").chmod(0o600)
    (destination,) = configured(tmp_path, 'index_file = "t"', "https").destinations
    found = destination.read_credentials()
    assert (found.index, found.secrets, found.headers) == (TOKEN.encode(), (TOKEN.encode(),), {})
    (warning,) = configured(tmp_path, 'index_file = "t"').warnings
    assert "index_file is sent unencrypted" in warning


def test_a_token_in_the_path_is_masked_and_warned_of() -> None:
    url = replace(URL, scheme="https", path=f"/{TOKEN}/_bulk")
    destination = new_destination("es", url)
    assert destination.target == "es.example:9200/****/_bulk"
    (warning,) = destination.warnings(lambda key: key)
    assert warning.startswith("connect: the path holds a token") and TOKEN not in warning


def sent(frame: bytes, **keys: Any) -> tuple[bytes | None, bytes]:
    """The key and the payload of what is queued of `frame`."""
    destination = new_destination("es", URL, ("in",), **keys)
    configuration = Configuration("web-1", "/var", destinations=(destination,))
    rewriting = Rewriting(configuration, zone=UTC, now=lambda: 0.0, lookup=lambda path: {})
    rewrite = rewriting.route(destination).rewrite
    assert rewrite is not None and rewriting.problems == []
    origin = Origin("in", Transport.UDP, "192.0.2.1", received_at=1_791_756_855.0)
    (record,) = write_frames(rewrite, [frame], origin)
    return split_key(record)


def test_a_document_has_the_fields_that_sematext_names() -> None:
    key, payload = sent(FRAME, index="logs")
    assert key is None
    assert json.loads(payload) == {
        "@timestamp": "2026-10-11T22:14:15+00:00",
        "message": "it is 'so'",
        "host": "Web",
        "severity": "notice",
        "facility": "user",
        "syslog-tag": "su[12]:",
        "source": "su",
    }


def test_an_empty_field_is_left_out_and_another_format_may_be_chosen() -> None:
    assert "source" not in json.loads(sent(b"<13>Oct 11 22:14:15 web : x", index="a")[1])
    form = FormatConfiguration("template", template="$HOST")
    assert sent(FRAME, index="a", format=form) == (None, b"Web")


@pytest.mark.parametrize(
    ("index", "host", "key"),
    [
        ("logs-$HOST", b"Web", b"logs-web"),
        ("logs-$HOST", b"..", b"logs-.."),
        ("$HOST", b"-_+Web", b"web"),
        ("$HOST", b"..", b"unnamed"),
        ("$HOST", b".security", b"security"),
        ("$HOST", b"_.-.kibana", b"kibana"),
        (".logs-$HOST", b"web", b".logs-web"),
        ("$HOST", b"___", b"unnamed"),
        ("$HOST", b"a/b,c*", b"a_b_c_"),
        ("$HOST", b"x" * 255, b"x" * 255),
        ("x$HOST", b"x" * 255, b"x" * 255),
    ],
)
def test_an_index_may_depend_on_the_message_and_is_one(index: str, host: bytes, key: bytes) -> None:
    found, _ = sent(b"<13>1 - " + host + b" app - - - x", index=index)
    assert found == key


@given(value=st.binary(max_size=300))
def test_whatever_a_sender_writes_an_index_is_one(value: bytes) -> None:
    template = new_destination("es", URL, index="$HOST").record_key
    index = template.finish(template.escape(value))
    assert re.fullmatch(
        rb"[^\x00-\x20A-Z\x7f-\xff\\\\/*?\"<>|,#:_+-][^\x00-\x20A-Z\x7f-\xff"
        rb"\\\\/*?\"<>|,#:]{0,254}",
        index,
    )
    assert index not in (b".", b"..")


def test_records_without_a_key_have_an_index_too() -> None:
    assert new_destination("es", URL, index="logs-${HOST}-x").constant_index == "logs-_-x"
    assert new_destination("es", URL, index="$HOST").constant_index == "unnamed"
    assert new_destination("es", URL, index="logs").constant_index == "logs"


def test_credentials_are_read_when_they_are_needed(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("swordfish-swordfish\n")
    path = str(file)
    for keys, value in (
        ({"user": "me", "password_file": path}, "Basic bWU6c3dvcmRmaXNoLXN3b3JkZmlzaA=="),
        ({"api_key_file": path}, "ApiKey swordfish-swordfish"),
        ({"token_file": path}, "Splunk swordfish-swordfish"),
    ):
        found = HttpCredentials(**keys).read("Splunk")
        assert found.headers == {"Authorization": value}
        assert b"swordfish-swordfish" in found.secrets
    assert HttpCredentials().read("Bearer").headers == {}
    file.unlink()
    with pytest.raises(UpstreamError, match="cannot read the token file"):
        HttpCredentials(token_file=path).read("Bearer")


class Made:
    """What a destination makes, instead of the things themselves."""

    def __init__(self, setup: Setup, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> None:
        self.arguments: dict[str, Any] = {}
        monkeypatch.setattr(streams, "HostnameEndpoint", self._recorder("HostnameEndpoint"))
        for name in ("Requests", "Uploads", "HttpSession"):
            monkeypatch.setattr(http, name, self._recorder(name))
        self.service = setup.build(URL, **keys)
        self.service.startService()
        setup.run()

    def _recorder(self, name: str) -> Any:
        made = self

        class Recorder:
            room = 0

            def __init__(self, *positional: Any, **keywords: Any) -> None:
                made.arguments[name] = (positional, keywords)
                made.session = self
                self.calls: list[str] = []

            def close(self) -> None:
                self.calls.append("close")

            def hurry(self) -> None:
                self.calls.append("hurry")

        return Recorder


def test_every_key_arrives(setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("secret-token")
    made = Made(
        setup,
        monkeypatch,
        index="logs",
        operation="create",
        answer_seconds_max=7.0,
        connect_seconds_max=3.0,
        bind="192.0.2.7",
        headers=(("X-A", "b"),),
        token_file=str(tmp_path / "t"),
        batch_records=9,
        batch_bytes=99,
        batch_seconds=0.5,
        compress="zstd",
        requests_max=3,
        failing_seconds=30.0,
    )
    (_, _, port), endpoint = made.arguments["HostnameEndpoint"]
    assert (port, endpoint) == (9200, {"timeout": 3.0, "bindAddress": "192.0.2.7"})
    (url, _), requests = made.arguments["Requests"]
    assert url == "http://es.example:9200/_bulk"
    assert (requests["seconds_max"], requests["connections_max"]) == (7.0, 3)
    _, uploads = made.arguments["Uploads"]
    assert uploads["compress"] == "zstd" and uploads["headers"]["X-A"] == "b"
    assert uploads["headers"]["Content-Type"] == "application/x-ndjson"
    assert uploads["credentials"]().headers == {"Authorization": "Bearer secret-token"}
    body = uploads["encode"]([Record(b"{}", "e-1")], 0.0)
    assert body == b'{"create":{"_index":"logs","_id":"e-1"}}\n{}\n'
    (_, _, batches), _ = made.arguments["HttpSession"]
    assert batches == Batches(9, 99, 0.5, 3, 30.0)


def test_each_target_has_its_own_requests(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Recorder:
        def __init__(self, url: str, endpoint: object, **keywords: Any) -> None:
            made.append((url, keywords["target"]))

    monkeypatch.setattr(http, "Requests", Recorder)
    others = (replace(URL, host="other.example", path=f"/{TOKEN}/_bulk"),)
    service = setup.build(URL, index="logs", others=others)
    service.startService()
    setup.run()
    assert made == [
        ("http://es.example:9200/_bulk", "es.example:9200/_bulk"),
        (f"http://other.example:9200/{TOKEN}/_bulk", "other.example:9200/****/_bulk"),
    ]
    assert service.state_text.startswith("sending to es.example:9200/_bulk and 1 other, ")
    assert list(service._delivery.details()) == [
        "target es.example:9200/_bulk: not used yet",
        "target other.example:9200/****/_bulk: not used yet",
    ]


@pytest.mark.parametrize(
    ("connect", "text", "message"),
    [
        ('["http://a", "http://b"]', "", ""),
        ('["http://a", "http://b/x/_bulk"]', "policy = 'balance'", ""),
        ('["http://a/x/_bulk", "http://b"]', "index = ''", "index: is missing"),
        ('["http://a", "https://b"]', "", "https://b:443 is not of the same kind as http://a:80"),
        ('"http://a"', "probe_seconds = 3", "probe_seconds: has no effect with one target"),
        ('"http://a"', "policy = 'balance'", ""),
        ('"http://a"', "rebalance_seconds = 3", "rebalance_seconds: has no effect with policy"),
        ('"http://a"', "connections = 3", "connections: "),
    ],
)
def test_lists_of_targets(tmp_path: Path, connect: str, text: str, message: str) -> None:
    path = tmp_path / "relay.toml"
    index = "" if "index" in text else 'index = "logs"'
    path.write_text(
        '[sources.in]\nlisten = "udp://127.0.0.1:5514"\n'
        f"[destinations.es]\nconnect = {connect}\n{text}\n{index}\n"
    )
    if not message:
        read_configuration(str(path), KINDS)
        return
    with pytest.raises(ConfigurationError) as raised:
        read_configuration(str(path), KINDS)
    assert any(message in each for each in raised.value.problems), raised.value.problems


def test_in_order_there_is_one_request_at_a_time() -> None:
    assert HttpBatches(ordered=True).batches.requests_max == 1


@pytest.mark.parametrize(
    ("body", "keys", "expected"),
    [
        ("ndjson", {}, b"{}\n"),
        ("array", {}, b"[{}]"),
        ("splunk-hec", {}, b'{"event":{}}'),
        (
            "loki",
            {"labels": (("a", "b"),)},
            b'{"streams":[{"stream":{"a":"b"},"values":[["1000000000","{}"]]}]}',
        ),
    ],
)
def test_bodies(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, body: str, keys: Any, expected: bytes
) -> None:
    made = Made(setup, monkeypatch, body=body, **keys)
    _, uploads = made.arguments["Uploads"]
    assert uploads["encode"]([Record(b"{}", "e-1")], 1.0) == expected


def test_records_are_named_by_the_lineage_and_split_from_their_keys(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineage = Lineage("id", [("first", 1), ("second", 10)])
    setup.queue.lineage = lambda queue: lineage
    made = Made(setup, monkeypatch, index="$HOST")
    (parts, *_), _ = made.arguments["HttpSession"]
    assert parts.to_record(9, with_key(b"web", b"{}")) == Record(b"{}", "first-9", b"web")
    assert parts.to_record(10, b"{}") == Record(b"{}", "second-10")


def test_connecting_by_hand_and_cutting(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(setup, monkeypatch, index="a")
    first: Any = made.session
    monkeypatch.setattr(http, "HttpSession", type(first))
    made.service.connect()
    made.service.break_link("stalled")
    assert first.calls == ["hurry", "close"]
    assert made.service.state_text.startswith("stalled, next try in")
    setup.reactor.advance(2)
    assert made.session is not first


def test_status_says_what_requests_did_not_deliver(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(setup, monkeypatch, index="a")
    (parts, *_), _ = made.arguments["HttpSession"]
    assert list(made.service._delivery.details()) == []
    parts.causes.update({"timeout": 2000, "item 400": 1})
    message = "not delivered by a request: timeout 2,000, item 400 1"
    assert list(made.service._delivery.details()) == [message]


def test_tls_is_that_of_all_upstreams(setup: Setup) -> None:
    setup.build(replace(URL, scheme="https"), index="a", tls=TlsConfiguration())
    assert [each.subject for each in setup.certificates._watched] == ["destination out"]


@pytest.mark.parametrize(
    ("body", "path", "health"),
    [
        ("bulk", "/_bulk", ""),
        ("splunk-hec", "/services/collector/event", "/services/collector/health"),
        ("splunk-hec", "/a/services/collector/event?x=1", "/a/services/collector/health"),
        ("loki", "/loki/api/v1/push", "/ready"),
        ("loki", "/elsewhere", ""),
    ],
)
def test_where_a_server_says_how_it_is(body: str, path: str, health: str) -> None:
    assert http._BODIES[body].health_path(path) == health
