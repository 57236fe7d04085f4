"""Hops: the relays that a message has passed, oldest first.

    hops = hop *(SP hop)
    hop  = id "@" name      id: 16 hexadecimal digits, random, made at a relay's first start
                            name: 1 to 64 of A-Z a-z 0-9 . _ : -

No character of it has a meaning in JSON, in a parameter of structured data or in a RELP offer.
"""

from __future__ import annotations

import re

HOPS_MAX = 64
"""More are never believed."""

_HOP = rb"[0-9a-f]{16}@[A-Za-z0-9._:\-]{1,64}"
_HOPS = re.compile(rb"%b(?: %b){0,%d}" % (_HOP, _HOP, HOPS_MAX - 1))
_ID = re.compile(r"[0-9a-f]{16}")
_NAME_BYTES_MAX = 64


def are_hops(text: bytes) -> bool:
    """Whether `text` are hops, at least one."""
    return _HOPS.fullmatch(text) is not None


def is_relay_id(text: str) -> bool:
    """Whether `text` is the id of a relay."""
    return _ID.fullmatch(text) is not None


def joined_hops(*lists: bytes) -> bytes:
    """All hops of `lists`, each of which may be empty, in this order and none twice."""
    return b" ".join(dict.fromkeys(b" ".join(lists).split()))


def longer_hops(one: bytes, other: bytes) -> bytes:
    """The longer way: that of a message which was made of two, and has passed all relays of one.

    Both together would grow with each part.  In a ring the longer way grows with each round, so a
    message is noticed there all the same.
    """
    return other if other.count(b"@") > one.count(b"@") else one


def ring_of(hops: bytes, own: bytes) -> str:
    """The way from the first visit here to the second, for people."""
    way = hops.split()
    way = way[way.index(own) :] if own in way else way
    names = [f"{name} ({id})" for id, _, name in (hop.decode().partition("@") for hop in way)]
    return " → ".join([*names, names[0] if own in way else "here"])


class OwnHop:
    """This relay as a hop.  It has no id before its queue is open.

    Args:
        name: Name of the relay.

    Attributes:
        text: The hop; empty = the relay has no id, or is not to be known as a hop.
    """

    def __init__(self, name: str = "") -> None:
        cleaned = re.sub(r"[^A-Za-z0-9._:\-]", "_", name)[:_NAME_BYTES_MAX]
        self._name = cleaned or "relay"
        self.text = b""

    def begin(self, id: str) -> None:
        """The queue is open, and has the id of the relay."""
        self.text = f"{id}@{self._name}".encode("ascii")

    def after(self, hops: bytes) -> bytes:
        """`hops` with this relay as the last one; empty if it has no id."""
        return joined_hops(hops, self.text) if self.text else b""


NO_HOP = OwnHop()
"""A relay that is not known as a hop."""
