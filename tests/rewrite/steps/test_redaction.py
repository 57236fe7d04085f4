from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.origin import Origin, Transport
from relay.rewrite.steps.pipeline import Change
from relay.rewrite.steps.redaction import (
    HASH_DIGITS,
    KINDS,
    hash_found,
    hash_values,
    mask,
)
from relay.wire.parse import parse

KEY = b"0123456789abcdef"


def changed(change: Change, text: bytes) -> bytes:
    (message,) = change([parse(b"<13>1 - - - - - - " + text)], Origin("in", Transport.TCP))
    assert message is not None
    return message.msg


@pytest.mark.parametrize(
    ("kind", "text", "hidden"),
    [
        ("ipv4", b"from 192.0.2.1:80, 10.0.0.255.", b"from ***:80, ***."),
        (
            "ipv4",
            b"version 1.2.3.4.5 and 1.2.3.256 and 1.2.3",
            b"version 1.2.3.4.5 and 1.2.3.256 and 1.2.3",
        ),
        ("ipv6", b"from 2001:db8::1 to ::1 and fe80::1%eth0", b"from *** to *** and ***%eth0"),
        ("ipv6", b"1:2:3:4:5:6:7:8 at 12:34:56", b"*** at 12:34:56"),
        ("email", b"<bob.smith+x@mail.example.com>, a@b", b"<***>, a@b"),
        ("card", b"paid with 4111 1111 1111 1111.", b"paid with ***."),
        ("card", b"order 4111111111111112", b"order 4111111111111112"),
        (
            "token",
            b'@cee: {"logsene-app-token": "secret", "m": "x"}',
            b'@cee: {"logsene-app-token": "***", "m": "x"}',
        ),
        ("token", b'{"m":1,"logsene-app-token":"secret"}', b'{"m":1,"logsene-app-token":"***"}'),
        ("token", b"01234567-89ab-cdef-0123-456789abcdef", b"***"),
        (
            "token",
            b"request 01234567-89ab-cdef-0123-456789abcdef done",
            b"request 01234567-89ab-cdef-0123-456789abcdef done",
        ),
    ],
)
def test_what_is_known_by_name(kind: str, text: bytes, hidden: bytes) -> None:
    assert changed(mask([KINDS[kind]], ["MESSAGE"]), text) == hidden


def test_a_replacement_is_taken_literally() -> None:
    assert changed(mask([KINDS["ipv4"]], ["MESSAGE"], replacement=rb"\1"), b"10.0.0.1") == rb"\1"


def test_a_hash_is_the_same_for_the_same_text_and_needs_the_key() -> None:
    expected = hmac.new(KEY, b"10.0.0.1", hashlib.sha256).hexdigest()[:HASH_DIGITS].encode()
    text = b"10.0.0.1 and 10.0.0.1, 10.0.0.2"
    first, _, second = changed(hash_found([KINDS["ipv4"]], ["MESSAGE"], KEY), text).split()[:3]
    assert (first, second) == (expected, expected + b",")
    assert changed(hash_found([KINDS["ipv4"]], ["MESSAGE"], KEY * 2), b"10.0.0.1") != expected


def test_whole_values_are_hashed() -> None:
    expected = hmac.new(KEY, b"bob", hashlib.sha256).hexdigest()[:HASH_DIGITS].encode()
    assert changed(hash_values(["MESSAGE", "HOST"], KEY), b"bob") == expected
    assert changed(hash_values(["MESSAGE"], KEY), b"") == b""


@given(st.binary(max_size=80))
def test_any_bytes_pass(text: bytes) -> None:
    changed(mask(list(KINDS.values()), ["MESSAGE"]), text)
    changed(hash_found(list(KINDS.values()), ["MESSAGE"], KEY), text)
