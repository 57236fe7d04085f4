"""Hide personal data in values: mask it, or replace it by a keyed hash.

A hash lets those who read the messages see that two are about the same person
without seeing who it is.  Keyed (HMAC-SHA-256), because there are so few addresses
that plain hashes of all of them are made in minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

from relay.model.expression import Expression
from relay.rewrite.steps.changes import each_value
from relay.rewrite.steps.pipeline import Change

HASH_DIGITS = 16
"""Hexadecimal digits of a hash that are kept: 64 bits."""

_BYTE = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
KINDS: Mapping[str, re.Pattern[bytes]] = {
    "ipv4": re.compile(rb"(?<![0-9.])%s(?:\.%s){3}(?![0-9]|\.[0-9])" % (_BYTE, _BYTE)),
    "ipv6": re.compile(
        rb"(?<![0-9A-Fa-f:])(?:(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}"
        rb"|(?=[0-9A-Fa-f:]*::)(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})?::"
        rb"(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})?)(?![0-9A-Fa-f:])"
    ),
    "email": re.compile(rb"[0-9A-Za-z._%+-]{1,64}+@[0-9A-Za-z-]{1,63}(?:\.[0-9A-Za-z-]{1,63})+"),
    "card": re.compile(rb"(?<![0-9])(?:[0-9][ -]?){12,18}[0-9](?![0-9])"),
    "token": re.compile(
        rb'(?:(?<=logsene-app-token":")|(?<=logsene-app-token": "))[^"\\]++'
        rb"|\A[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z"
    ),
}
"""Kinds of data by name, each found in linear time.  A card number counts only if its check
digit is right, a UUID as a token only where it is the whole value, as of a program."""


Finder = Expression | re.Pattern[bytes]
"""What finds personal data: one of `KINDS`, or an expression of a configuration."""


def mask(
    patterns: Sequence[Finder], names: Sequence[str], *, replacement: bytes = b"***"
) -> Change:
    """Write `replacement` for everything that `patterns` find in the values of `names`."""
    return _each_found(patterns, names, lambda found: replacement)


def hash_found(patterns: Sequence[Finder], names: Sequence[str], key: bytes) -> Change:
    """Write a hash for everything that `patterns` find in the values of `names`."""
    return _each_found(patterns, names, lambda found: _digest(found, key))


def hash_values(names: Sequence[str], key: bytes) -> Change:
    """Replace whole values by their hashes; an empty one stays."""
    return each_value(names, lambda value: _digest(value, key))


def _each_found(
    patterns: Sequence[Finder], names: Sequence[str], replace: Callable[[bytes], bytes]
) -> Change:
    def replaced(pattern: Finder, value: bytes) -> bytes:
        if isinstance(pattern, Expression):
            try:
                return pattern.sub(replace, value)
            except TimeoutError:  # what cannot be searched may be personal all over
                return replace(value)
        is_right = _is_card if pattern is KINDS["card"] else bool
        return pattern.sub(lambda m: replace(m[0]) if is_right(m[0]) else m[0], value)

    return each_value(
        names, lambda value: reduce(lambda text, each: replaced(each, text), patterns, value)
    )


def _digest(text: bytes, key: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:HASH_DIGITS].encode("ascii")


def _is_card(text: bytes) -> bool:
    """Whether the check digit is right (ISO/IEC 7812-1, annex B)."""
    digits = [byte - 0x30 for byte in text if 0x30 <= byte <= 0x39]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
