"""The quarantine: how an entry is stored.

An entry is a line of JSON, LF and bytes, as `store.py` says.  A damaged block is one
entry for all of its records; their number is in its label.

The line begins with ``"crc"``: CRC-32 of all the rest, as eight hexadecimal digits, the rest
being the entry without that member.  Entries of earlier versions have none.  One that
does not fit is shown as damaged, and is not sent.
"""

from __future__ import annotations

import re

import msgspec

from relay.queue.block import crc32

DAMAGED = "damaged"
"""The kind of an entry that a disk has changed; its bytes were never sent by anybody."""
_CRC = re.compile(rb'\{"crc":"([0-9a-f]{8})",')


class Label(msgspec.Struct, omit_defaults=True):
    """What is known of an entry beside its bytes."""

    reason: str
    at: float
    """When it was set aside, in seconds since 1970-01-01 UTC."""
    kind: str
    """record, block, frame or `DAMAGED`; empty if the label cannot be read."""
    peer: str = ""
    records: int = 1
    """How many records it stands for: more than one for a damaged block only."""
    original_bytes: int = 0
    """Bytes that it had before it was cut; 0 = it was not."""


def write_entry(label: Label, payload: bytes) -> bytes:
    """What `read_entry` reads."""
    rest = msgspec.json.encode(label)[1:] + b"\n" + payload
    return b'{"crc":"%08x",%b' % (crc32(rest), rest)


def read_entry(value: bytes) -> tuple[Label, bytes]:
    """Label and bytes of an entry.  Total: one that cannot be read, or is damaged, says so."""
    line, _, payload = value.partition(b"\n")
    try:
        label = msgspec.json.decode(line, type=Label)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Label("its label cannot be read", 0.0, ""), value
    crc = _CRC.match(value)
    if crc is None or int(crc[1], 16) == crc32(value[crc.end() :]):
        return label, payload
    label.reason = f"its checksum is wrong; it was set aside for: {label.reason}"
    label.kind = DAMAGED
    return label, payload
