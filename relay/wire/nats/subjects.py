"""Subjects: tokens with dots between; in filters ``*`` is one token and ``>`` the rest."""

from __future__ import annotations

import re

SUBJECT_OCTETS_MAX = 512
"""Far below what nats-server takes in a line of its protocol."""

_TOKEN = re.compile(r"[^\s.*>\x00-\x1f\x7f]+")
_NOT_IN_VALUE = re.compile(rb"[\x00-\x20.*>\x7f-\xff]")
_ODD_DOTS = re.compile(rb"\.{2,}")


def is_subject(text: str) -> bool:
    """Whether messages can be published to it."""
    return len(text) <= SUBJECT_OCTETS_MAX and all(map(_TOKEN.fullmatch, text.split(".")))


def is_filter(text: str) -> bool:
    """Whether messages can be chosen by it."""
    *tokens, last = text.split(".")
    return len(text) <= SUBJECT_OCTETS_MAX and all(
        token == "*" or _TOKEN.fullmatch(token) for token in (*tokens, "*" if last == ">" else last)
    )


def is_covered(subject: str, filters: list[str]) -> bool:
    """Whether all that one filter or subject matches is matched by one of `filters`."""
    return any(_covers(each.split("."), subject.split(".")) for each in filters)


def _covers(wide: list[str], narrow: list[str]) -> bool:
    for index, token in enumerate(wide):
        if index >= len(narrow):
            return False
        if token == ">":
            return True
        if narrow[index] == ">" or (token != "*" and token != narrow[index]):
            return False
    return len(wide) == len(narrow)


def clean_value(value: bytes) -> bytes:
    """The value of a macro as a part of a token: what is illegal there becomes ``_``."""
    return _NOT_IN_VALUE.sub(b"_", value)


def clean_subject(text: bytes) -> bytes:
    """A legal subject of a rendered template, whose values were cleaned."""
    joined = _ODD_DOTS.sub(b"._.", text[:SUBJECT_OCTETS_MAX])
    return b".".join(token or b"_" for token in joined.split(b"."))
