"""The number of a record in its text: parameters of STRUCTURED-DATA of RFC 5424 (§6.3).

    [syslogrelay@32473 lineage="0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f10" seq="57"]

Programs that see no headers of a log tell a record by them that they have read before.  Other
parameters of the element stay; numbers that a message came with are replaced, so that nobody can
bring some of his own.
"""

from __future__ import annotations

import re

from relay.wire.headers.structured_data import element_at

SD_ID = b"syslogrelay@32473"
"""32473 is the enterprise number for documentation (RFC 5612): we have none."""

_NILVALUE = ord("-")
_HEADER = re.compile(rb"<[0-9]{1,3}+>1 (?:[!-~]++ ){5}(?=\[|-(?: |\Z))")
_NUMBERS = re.compile(rb' (?:lineage|seq)="[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def with_number(payload: bytes, lineage: bytes, seq: int) -> bytes:
    """A message of RFC 5424 with its number; others stay as they are.

    Args:
        lineage: A UUID.
    """
    header = _HEADER.match(payload)
    if header is None:
        return payload
    start = at = header.end()
    others: list[bytes] = []
    parameters: list[bytes] = []
    if payload[at] == _NILVALUE:
        at += 1
    while SD_ID in payload and (element := element_at(payload, at)) is not None:
        at = element.end()
        if element[1] == SD_ID:
            parameters.append(_NUMBERS.sub(b"", element[2]))
        else:
            others.append(element[0])
    return b'%b[%b%b lineage="%b" seq="%d"]%b%b' % (
        *(payload[:start], SD_ID, b"".join(parameters), lineage, seq),
        *(b"".join(others), payload[at:]),
    )
