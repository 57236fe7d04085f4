"""The number of a record in a distributed log: its lineage, its seq, and the seq before it.

A log that many relays write, and others read, gives each record an offset of its own; a record that
was sent twice has two of them.  So each record carries the number that its sender gave it, in one
header of Kafka or NATS:

    syslogrelay: <lineage>,<seq>,<prev>

The lineage is the UUID of `relay/wire/relp/lineage.py`.  `prev` is the seq of the record that the
same session put into the same partition before this one, and 0 for the first of a session.  It is
not simply seq - 1: a filter, a drop or a quarantine leaves holes.  A session begins with the oldest
record that nobody has acknowledged.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from relay.wire.relp.lineage import SEQ_MAX

NUMBER_HEADER = "syslogrelay"
"""Name of the header."""

_NUMBER = re.compile(
    rb"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}),([1-9][0-9]{0,15}),(0|[1-9][0-9]{0,15})\Z"
)


class RecordNumber(NamedTuple):
    """The number of one record."""

    lineage: str
    """A UUID, in lower case."""
    seq: int
    """From 1 to `SEQ_MAX`."""
    prev: int
    """The seq before it in its session and partition, always smaller; 0 = it is the first."""


def format_record_number(number: RecordNumber) -> bytes:
    """The value of the header."""
    return b"%s,%d,%d" % (number.lineage.encode("ascii"), number.seq, number.prev)


def parse_record_number(value: bytes) -> RecordNumber | None:
    """The number in the value of a header; None = it is malformed, as good as none."""
    found = _NUMBER.match(value)
    if found is None:
        return None
    seq, prev = int(found[2]), int(found[3])
    if seq > SEQ_MAX or prev >= seq:
        return None
    return RecordNumber(found[1].decode("ascii"), seq, prev)
