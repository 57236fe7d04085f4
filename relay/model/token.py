"""An app token: a secret that must not show up in logs, errors or dumps."""

from __future__ import annotations

import re
from collections.abc import Mapping

HEADERS = ("rsyslog", "rfc3164", "rfc5424")
HEADERS_OF: Mapping[str, tuple[str, ...]] = {
    "cee": HEADERS,
    "json": ("rfc5424", "rsyslog", "rfc3164"),
    "tag": ("rsyslog", "rfc3164"),
    "app-name": ("rfc5424",),
}
"""Headers that messages may have, by the form that gives a token its place; the first one is the
default."""

SECRET_BYTES_MAX = 255
"""Of a token."""
_APP_NAME_BYTES_MAX = 48  # RFC 5424 §6
_FORM = re.compile(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_SECRET = re.compile(rb"[!-~]{1,%d}" % SECRET_BYTES_MAX)


class Token:
    """A secret text.  `str` and `repr` show its first and last four characters at most.

    Args:
        secret: 1 to 255 bytes of printable US-ASCII without space.

    Raises:
        ValueError: `secret` is empty, too long or has other characters.  The
            message does not contain it.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if not 1 <= len(secret) <= SECRET_BYTES_MAX:
            raise ValueError(
                f"a token has 1 to {SECRET_BYTES_MAX} characters, this one {len(secret)}"
            )
        if not is_secret(secret):
            raise ValueError("a token is printable ASCII without spaces, this one is not")
        self._secret = secret

    def reveal(self) -> bytes:
        """The secret itself, for the wire."""
        return self._secret

    def __str__(self) -> str:
        return redacted_secret(self._secret)

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and other._secret == self._secret

    def __hash__(self) -> int:
        return hash(self._secret)


def check_place(mode: str, token: Token) -> None:
    """Check that `token` fits its place in the form `mode`.

    Args:
        mode: One of `HEADERS_OF`.

    Raises:
        ValueError: It cannot; the message does not contain it.
    """
    secret = token.reveal()
    if mode == "tag" and any(byte in secret for byte in b":[]"):
        raise ValueError("a token that is sent as a tag cannot contain a colon or a bracket")
    if mode == "app-name" and len(secret) > _APP_NAME_BYTES_MAX:
        raise ValueError(f"a token that is sent as APP-NAME has {_APP_NAME_BYTES_MAX} characters")


def is_secret(text: bytes) -> bool:
    """Whether `text` can be a token: 1 to 255 bytes of printable US-ASCII without space."""
    return _SECRET.fullmatch(text) is not None


def has_token_form(text: bytes) -> bool:
    """Whether `text` is a UUID, as Sematext's tokens are."""
    return _FORM.fullmatch(text) is not None


def redacted_secret(secret: bytes) -> str:
    """At most the first and last four characters of a possible secret; accepts any bytes."""
    ends = secret[:4] + secret[-4:]
    if len(secret) < 16 or not all(0x21 <= byte <= 0x7E for byte in ends):
        return "****"  # too short to show any of it, or no token at all
    return f"{ends[:4].decode('ascii')}…{ends[4:].decode('ascii')}"
