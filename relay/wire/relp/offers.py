"""The offers of the two ends of a RELP session in ``open``.

An offer is ``name=value[,value…]`` on a line of its own.  librelp reads a name up
to the ``=``, so one without it would swallow the next line: none is ever sent.
"""

from __future__ import annotations

import re

OFFERS_MAX = 64
"""Offers beyond this many are ignored."""

_VERSION = re.compile(rb"[0-9]{1,9}\Z")


def parse_offers(block: bytes) -> dict[bytes, list[bytes]]:
    """The offers in `block`; unknown ones are the caller's to ignore.

    LF before, between and after offers is fine; lines without ``=`` say nothing.
    """
    offers: dict[bytes, list[bytes]] = {}
    for line in block.split(b"\n")[: 4 * OFFERS_MAX]:
        name, equals, values = line.partition(b"=")
        if equals and len(offers) < OFFERS_MAX:
            offers[name] = values.split(b",")
    return offers


def format_offers(software: bytes, more: bytes = b"") -> bytes:
    """Our offers.  Version 0 is the one that every librelp speaks.

    Args:
        software: ``name,version,url``.
        more: More lines, or nothing.
    """
    offers = b"relp_version=0\nrelp_software=%s\ncommands=syslog" % software
    return offers + b"\n" + more if more else offers


def refusal_of(offers: dict[bytes, list[bytes]]) -> bytes | None:
    """Why a server cannot work with a client that sent `offers`, or None if it can.

    The client's version does not matter as long as it is a number (the lower one
    is spoken, and that is ours), and librelp lets it be missing.
    """
    version = offers.get(b"relp_version")
    if version is not None and not _VERSION.match(b",".join(version)):
        return b"relp_version is not a number"
    if b"syslog" not in offers.get(b"commands", ()):
        return b"required command not supported by client"
    return None
