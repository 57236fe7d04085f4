from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.rewrite.forms.masked import masked

TOKEN = b"0d3f1f60-aaaa-bbbb-cccc-123456789abc"
SHORT = "0d3f…9abc".encode()
STAMP = b"<13>Oct 11 22:14:15 web-1 "


@pytest.mark.parametrize(
    "payload",
    [
        STAMP + b'prog: @cee: {"logsene-app-token": "%s", "message": "x"}',
        STAMP + b'prog: {"a": 1, "logsene-app-token":"%s"}',
        STAMP + b'prog: {"logsene-app-token": "%s", "cut": "of',
        STAMP + b'prog: text and {"logsene-app-token" : "%s"} more',
        STAMP + b'prog: {"inner": "{\\"logsene-app-token\\": \\"%s\\"}"}',
        STAMP + b'prog: {"\\u006cogsene-app-token": "%s"}',
        STAMP + b"%s: hello",
        STAMP + b"%s[7]: hello",
        b"web-1 %s:hello",
        b"<13>1 2026-10-11T22:14:15Z web-1 %s 1 - - hello",
    ],
)
def test_a_token_is_not_shown_where_tokens_stand(payload: bytes) -> None:
    assert masked(payload % TOKEN) == payload % SHORT


def test_an_id_in_a_text_is_no_token() -> None:
    payload = STAMP + b"prog: request " + TOKEN
    assert masked(payload) == payload


def test_what_is_known_is_masked_wherever_it_stands() -> None:
    payload = STAMP + b"prog: key=secret-of-ours-123 and secret-of-ours-1234"
    shown = masked(payload, [b"secret-of-ours-123", b"secret-of-ours-1234", b""])
    assert shown == STAMP + "prog: key=secr…-123 and secr…1234".encode()


@given(st.binary())
def test_any_octets_will_do(payload: bytes) -> None:
    assert isinstance(masked(payload), bytes)
