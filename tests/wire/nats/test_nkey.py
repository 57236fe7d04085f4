"""NKeys and files with credentials."""

from __future__ import annotations

import base64
import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.nats.nkey import UserKey, public_key_text, read_credentials


def seed_text(seed: bytes, first: int = (18 << 3) | (20 << 3 >> 5)) -> bytes:
    raw = bytes((first, (20 << 3 & 31) << 3)) + seed
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).rstrip(b"=")


SEED = bytes(range(32))


def test_a_seed_alone() -> None:
    text = seed_text(SEED)
    assert text.startswith(b"SU")
    assert read_credentials(text + b"\n") == UserKey(SEED, b"")


def test_a_file_with_a_token() -> None:
    text = (
        b"-----BEGIN NATS USER JWT-----\neyJ0.eyJq.c2ln\n------END NATS USER JWT------\n\n"
        b"-----BEGIN USER NKEY SEED-----\n"
        + seed_text(SEED)
        + b"\n------END USER NKEY SEED------\n"
    )
    assert read_credentials(text) == UserKey(SEED, b"eyJ0.eyJq.c2ln")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "found 0"),
        (seed_text(SEED) + b"\n" + seed_text(SEED), "found 2"),
        (b"hello " + seed_text(SEED), "expected a JWT"),
        (seed_text(SEED)[:-1] + b"A", "checksum"),
        (seed_text(SEED, first=18 << 3), "not that of a user"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(text: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        read_credentials(text)
    assert "SUA" not in str(caught.value)


@given(st.binary(max_size=100))
def test_any_file_is_read_or_refused(data: bytes) -> None:
    try:
        read_credentials(data)
    except ValueError as error:
        assert str(error)


def test_a_public_key_begins_with_u() -> None:
    text = public_key_text(SEED)
    assert text.startswith("U")
    assert len(text) == 56
