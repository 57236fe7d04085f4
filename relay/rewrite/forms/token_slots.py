"""Payloads whose token is not known yet: they are queued with a slot for it.

    NUL TOKEN SP key SP offset LF payload

The token belongs at `offset`, a decimal number of bytes, of the payload behind LF.
`key` says which of a destination's tokens it is.  What a form with a token writes
begins with ``<``, so nothing that it has written looks like this.

The writers are not told: they write a placeholder that nobody outside can know, and
`with_slots` looks for it.  A message that carries a token of its own has no placeholder,
and is complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from relay.codec import beginning_with

__all__ = ["fill_slots", "with_slots"]

_NUL = 0
_SLOT = re.compile(rb"\0TOKEN ([!-~]{1,64}) ([0-9]{1,9})\n")


def with_slots(payloads: list[bytes], placeholders: Mapping[bytes, bytes]) -> list[bytes]:
    """`payloads`, with a slot where one of `placeholders` stands in them.

    Args:
        placeholders: What was written in place of a token; the values are the keys of slots,
            1 to 64 printable characters without space.
    """
    for placeholder, key in placeholders.items():
        for index, payload in enumerate(payloads):
            offset = payload.find(placeholder)
            if offset >= 0:
                rest = payload[offset + len(placeholder) :]
                payloads[index] = b"\0TOKEN %b %d\n%b%b" % (key, offset, payload[:offset], rest)
    return payloads


def fill_slots(payloads: Sequence[bytes], token_of: Callable[[bytes], bytes]) -> Sequence[bytes]:
    """`payloads` as they are sent: with a token in every slot.

    Args:
        payloads: None of them empty.
        token_of: The text for the slots with a key; what it raises is passed on.
    """
    slots = beginning_with(payloads, _NUL)
    if not slots:
        return payloads
    filled = list(payloads)
    for index in slots:
        found = _SLOT.match(filled[index])
        if found is not None:
            offset = found.end() + int(found[2])
            payload = filled[index]
            filled[index] = payload[found.end() : offset] + token_of(found[1]) + payload[offset:]
    return filled
