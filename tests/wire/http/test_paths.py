from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.http.paths import read_target, secrets_of


@pytest.mark.parametrize(
    ("method", "target", "name", "index"),
    [
        ("POST", b"/", "ingest", ""),
        ("GET", b"/", "info", ""),
        ("POST", b"/ingest?x=1", "ingest", ""),
        ("POST", b"/_bulk/", "bulk", ""),
        ("PUT", b"/logs-1/_bulk?refresh", "bulk", "logs-1"),
        ("POST", b"/a%20b/_doc", "document", "a b"),
        ("PUT", b"/logs/_doc/7", "document", "logs"),
        ("POST", b"/_x/_bulk", None, ""),
        ("POST", b"/a/b/_bulk", None, ""),
    ],
)
def test_paths(method: str, target: bytes, name: str | None, index: str) -> None:
    endpoint, call = read_target(method, target, "Application/JSON; charset=utf-8")
    assert (endpoint.name if endpoint else None) == name
    assert call.index == index
    assert call.content_type == "application/json"


def test_tokens_in_paths_are_not_shown() -> None:
    token = "11111111-2222-3333-4444-555555555555"
    _, call = read_target("POST", f"/{token}/_bulk".encode(), "")
    assert (call.path, call.index) == ("/****/_bulk", token)


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("Splunk abc", [b"abc"]),
        ("bearer  abc ", [b"abc"]),
        ("Basic " + base64.b64encode(b"user:pass:word").decode(), [b"pass:word"]),
        ("Basic " + base64.b64encode(b"abc").decode(), [b"abc"]),
        ("ApiKey " + base64.b64encode(b"id:key").decode(), [b"key", b"aWQ6a2V5"]),
        ("ApiKey plain!", [b"plain!"]),
        ("Digest abc", []),
        ("Splunk", []),
        ("", []),
    ],
)
def test_where_a_token_may_stand(value: str, secrets: list[bytes]) -> None:
    assert secrets_of(value) == secrets


@given(st.binary(max_size=40), st.text(max_size=40))
def test_anything_is_read(target: bytes, value: str) -> None:
    read_target("POST", target, value)
    assert all(isinstance(secret, bytes) for secret in secrets_of(value))
