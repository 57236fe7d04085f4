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
from collections.abc import Sequence
from typing import NamedTuple

from relay.codec import IS_COMPILED, native
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


class Judged(NamedTuple):
    """The records of a batch by the rule of the reader, see `judge_numbers`."""

    taken: list[int]
    """Indexes of the records to take, ascending."""
    moved: dict[str, int]
    """The last seq taken of each lineage of which one was taken."""
    unknown: list[str]
    """Lineages that `have` did not know; the first record of each is taken, whatever it is."""
    duplicates: int
    held: int
    """Records that are not taken because one before them is missing."""
    first_held: int
    """Index of the first of them; -1 = there is none."""
    malformed: int
    """Records whose number cannot be read; they are taken, as those without one are."""


def format_record_numbers_in_python(lineage: str, seqs: Sequence[int], prev: int) -> list[bytes]:
    """The values of the header for consecutive records of one session and partition.

    Args:
        seqs: Their numbers, ascending.
        prev: The number before the first of them, 0 = it begins the session.
    """
    start = lineage.encode("ascii")
    befores = (prev, *seqs)
    return [b"%b,%d,%d" % (start, seq, before) for seq, before in zip(seqs, befores, strict=False)]


def judge_numbers_in_python(numbers: Sequence[bytes | None], have: dict[str, int]) -> Judged:
    """Apply the rule of the reader to consecutive records of one partition.

    Args:
        numbers: The header of each record; None = it has none.
        have: The last seq taken of each lineage; moved by this call.
    """
    taken: list[int] = []
    moved: dict[str, int] = {}
    unknown: list[str] = []
    duplicates = held = malformed = 0
    first_held = -1
    for index, value in enumerate(numbers):
        number = None if value is None else parse_record_number(value)
        if number is None:
            malformed += value is not None
            taken.append(index)
            continue
        lineage, seq, prev = number
        last = have.get(lineage)
        if last is None:
            unknown.append(lineage)
        elif seq <= last:
            duplicates += 1
            continue
        elif last < prev:
            held += 1
            first_held = index if first_held < 0 else first_held
            continue
        have[lineage] = moved[lineage] = seq
        taken.append(index)
    return Judged(taken, moved, unknown, duplicates, held, first_held, malformed)


def _judge_numbers_compiled(numbers: Sequence[bytes | None], have: dict[str, int]) -> Judged:
    return Judged(*native.numbers.judge_numbers(numbers, have))


format_record_numbers = (
    native.numbers.format_record_numbers if IS_COMPILED else format_record_numbers_in_python
)
judge_numbers = _judge_numbers_compiled if IS_COMPILED else judge_numbers_in_python
