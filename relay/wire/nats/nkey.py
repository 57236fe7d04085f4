"""NKeys: Ed25519 keys as NATS writes them, and the files with credentials that hold them.

A seed is base32 of two octets (that it is a seed, and of what), 32 octets of the seed, and a CRC-16
of all before it, least significant octet first.  A file ``.creds`` holds a JWT and a seed, each
between lines of dashes.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

_SEED = re.compile(rb"S[A-Z2-7]{57}")
_JWT = re.compile(rb"-+BEGIN NATS USER JWT-+\s+([A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+)")
_SEED_PREFIX = 18 << 3
_USER_PREFIX = 20 << 3


class UserKey(NamedTuple):
    """Contents of a file with credentials."""

    seed: bytes
    """32 octets."""
    jwt: bytes
    """Empty = the server knows the public key."""


def read_credentials(data: bytes) -> UserKey:
    """The JWT and seed of a user, or a seed alone; ValueError says what is wrong."""
    seeds = _SEED.findall(data)
    jwt = _JWT.search(data)
    if len(seeds) != 1:
        raise ValueError(f"expected one seed of a user (SU…), found {len(seeds)}")
    if jwt is None and data.strip() != seeds[0]:
        raise ValueError("expected a JWT before the seed, as `nsc generate creds` writes it")
    return UserKey(_seed(seeds[0]), b"" if jwt is None else jwt[1])


def public_key_text(public: bytes) -> str:
    """The public key of a user (32 octets) as servers have it: ``U…``."""
    raw = bytes((_USER_PREFIX,)) + public
    return base64.b32encode(raw + _crc(raw).to_bytes(2, "little")).rstrip(b"=").decode("ascii")


def _seed(text: bytes) -> bytes:
    try:
        raw = base64.b32decode(text + b"=" * (-len(text) % 8))
    except binascii.Error:
        raise ValueError("the seed is no base32") from None
    if len(raw) != 36 or _crc(raw[:-2]) != int.from_bytes(raw[-2:], "little"):
        raise ValueError("the seed is damaged: its checksum is wrong")
    # The type is spread over both octets: five bits of the first, three of the second.
    kind = (raw[0] & 7) << 5 | raw[1] >> 3
    if raw[0] & 0xF8 != _SEED_PREFIX or kind != _USER_PREFIX:
        raise ValueError("the seed is not that of a user (SU…)")
    return raw[2:-2]


def _crc(data: bytes) -> int:
    """CRC-16 XMODEM."""
    return binascii.crc_hqx(data, 0)
