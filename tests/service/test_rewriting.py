from __future__ import annotations

from datetime import UTC

import pytest

from relay.model.origin import Origin
from relay.model.token import Token
from relay.service.configuration import RewriteConfiguration
from relay.service.rewriting import new_rewrite
from relay.wire.parse import parse_all

TOKEN = Token(b"01234567-89ab-cdef-0123-456789abcdef")
ORIGIN = Origin("in", "unixgram", received_at=1_800_000_000.0)


def test_none_passes_frames_as_they_are() -> None:
    assert new_rewrite(RewriteConfiguration("none"), relay_name=b"web-1", zone=UTC) is None


@pytest.mark.parametrize(
    ("mode", "mark"),
    [
        ("cee", b'@cee: {"logsene-app-token": "01234567-89ab-cdef-0123-456789abcdef"'),
        ("tag", b"01234567-89ab-cdef-0123-456789abcdef:"),
        ("app-name", b" 01234567-89ab-cdef-0123-456789abcdef "),
        ("ewmm", b"@syslog-ng"),
    ],
)
def test_each_mode_has_its_form_and_its_host(mode: str, mark: bytes) -> None:
    configuration = RewriteConfiguration(mode, None if mode == "ewmm" else TOKEN)
    rewrite = new_rewrite(configuration, relay_name=b"web-1", zone=UTC)
    assert rewrite is not None
    (payload,) = rewrite(parse_all([b"<13>su: hello"]), ORIGIN)
    assert mark in payload
    assert b"web-1" in payload
    assert b"hello" in payload


def test_a_mode_that_needs_a_token_has_one() -> None:
    with pytest.raises(AssertionError):
        new_rewrite(RewriteConfiguration("cee"), relay_name=b"web-1", zone=UTC)
