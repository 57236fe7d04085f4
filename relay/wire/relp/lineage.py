"""Exactly once between two relays: their offers in RELP's ``open``.

A *lineage* is the history of one queue's numbers: every record of a destination has
a seq that is never used again, and a lineage's id stands for all of them.  Whoever
knows "lineage X up to seq 57" knows which records these are.

    1 open … syslogrelay_lineage=<id>,<epoch>,<first>,<end>
             syslogrelay_pass=1
    1 rsp  … syslogrelay_have=<have>,<epoch of have>       or  syslogrelay_have=no
                                                           or  syslogrelay_have=pass

The client says its oldest record that is not acknowledged (`first`) and the seq
after its newest (`end`).  The server says the highest seq that it has stored
(`have`, 0 = it does not know the lineage), which it keeps in the same transaction as
the messages, and in which epoch of the client that was.  From then on txnr 2, 3, 4…
of the session *are* seq s, s+1, s+2… with s = max(first, have + 1).  No message and
no frame looks any different, and librelp ignores offers that it does not know.

An epoch is one start of the client.  The client keeps where each epoch began for as
long as records from before are queued, and so can tell whether the `have` of an epoch
is part of its own past.  With the ids and epochs being random, these are all cases:

    what the client gets               what it means             what happens
    ---------------------------------  ------------------------  ---------------------------
    no answer, or not one of these     rsyslog, or an older      at least once, byte for
                                       relay                     byte as without the offer
    no                                 the lineage belongs to    client: new lineage (once),
                                       another TLS identity      until then at least once;
                                                                 server: warns, counts
    0                                  the server does not know  sends from first on
                                       the lineage (any more)
    have + 1 = first                   nothing was lost          sends from first on
    have + 1 < first                   the server was restored   sends from first on; both
                                       from an older copy; or    warn, with the numbers,
                                       records were set aside or and the server counts them
                                       dropped here, or went     as missing
                                       elsewhere
    have ≥ first, and the epoch ended  answers were lost         first…have count as
    after have, or is the present one                            acknowledged and are not
    and have < end                                               sent; the server counts
                                                                 them as duplicates
    have ≥ first, but the epoch is     the client was restored   client: warns, takes a new
    unknown, or ended before have,     from an older copy, or    lineage, connects again and
    or have ≥ end                      two work with copies of   sends from first on (at
                                       one queue                 least once, this time);
                                                                 have ≥ end: the server
                                                                 warns too
    pass                               the server stores         sends from first on, without a
                                       nothing: it puts the      gap; a gap needs another
                                       numbers into a log, and   session, as everywhere
                                       who reads that drops
                                       what comes twice

Without epochs the last case would be seen only as long as have ≥ end; a restored
client that has taken in more meanwhile would have its new records, which have old
numbers, swallowed as duplicates.

A client with several targets adds ``syslogrelay_elsewhere=1``: have + 1 < first then is no loss,
since other receivers may have what is missing, and neither end warns or counts.

``pass`` is for a client that has said ``syslogrelay_pass=1``.  An older one would take it for
malformed and send at least once; its txnr then say no seq, because records that leave its queue
unsent do not end a session without numbers.  So it gets no answer of these, and its messages have
no numbers.  A client that was restored from an older copy is not noticed by a server that passes.

Everything has a limit; an offer that breaks one is malformed and as good as none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LINEAGE = b"syslogrelay_lineage"
ELSEWHERE = b"syslogrelay_elsewhere"
PASS = b"syslogrelay_pass"
HAVE = b"syslogrelay_have"
NOT_BELIEVED = HAVE + b"=no"
"""The answer to a client whose lineage is known to be somebody else's."""
PASSED = HAVE + b"=pass"
"""The answer of a server that passes the numbers on, to a client that `knows_pass`."""

SEQ_MAX = 10**15
"""A million records a second for thirty years: what is more is no queue's."""

_ID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_EPOCH = re.compile(rb"[0-9a-f]{16}\Z")
_SEQ = re.compile(rb"[0-9]{1,19}\Z")


class LineageOffer(NamedTuple):
    """What a client says about the queue that it sends from."""

    id: str
    """A UUID, in lower case."""
    epoch: str
    """16 hexadecimal digits."""
    first: int
    """Its oldest record that is not acknowledged, or the next one if all are."""
    end: int
    """The seq after its newest record."""
    elsewhere: bool = False
    """Other receivers may have records of it, so numbers that are missing mean nothing."""
    knows_pass: bool = False
    """It understands `PASSED`."""


class HighWaterMark(NamedTuple):
    """How far a server has stored a lineage."""

    seq: int
    """Everything up to here; 0 = it does not know the lineage."""
    epoch: str


def format_lineage(offer: LineageOffer) -> bytes:
    """The client's lines in ``open``."""
    fields = f"{offer.id},{offer.epoch},{offer.first},{offer.end}"
    flags = [(ELSEWHERE, offer.elsewhere), (PASS, offer.knows_pass)]
    more = [b"\n" + name + b"=1" for name, is_set in flags if is_set]
    return LINEAGE + b"=" + fields.encode("ascii") + b"".join(more)


def parse_lineage(values: Sequence[bytes]) -> LineageOffer | None:
    """The values of the offer `LINEAGE`, or None if they are malformed."""
    if len(values) != 4 or not _ID.match(values[0]) or not _EPOCH.match(values[1]):
        return None
    first, end = _seq(values[2]), _seq(values[3])
    if first is None or end is None or not 1 <= first <= end:
        return None
    return LineageOffer(values[0].decode("ascii"), values[1].decode("ascii"), first, end)


def lineage_in(offers: Mapping[bytes, Sequence[bytes]]) -> LineageOffer | None:
    """What a client offers; None if it is malformed, or nothing."""
    offer = parse_lineage(offers.get(LINEAGE, ()))
    if offer is None:
        return None
    return offer._replace(elsewhere=ELSEWHERE in offers, knows_pass=PASS in offers)


def format_high_water_mark(have: HighWaterMark) -> bytes:
    """The server's line in its answer."""
    return HAVE + b"=%d,%s" % (have.seq, have.epoch.encode("ascii"))


def high_water_mark_in(offers: Mapping[bytes, Sequence[bytes]]) -> HighWaterMark | None:
    """How far the server is, or None if its offers say nothing that can be understood.

    That it does not believe us is said by `is_refused`.
    """
    values = offers.get(HAVE, ())
    if len(values) != 2 or not _EPOCH.match(values[1]):
        return None
    seq = _seq(values[0])
    return None if seq is None else HighWaterMark(seq, values[1].decode("ascii"))


def is_refused(offers: Mapping[bytes, Sequence[bytes]]) -> bool:
    """Whether the server takes the lineage for somebody else's."""
    return list(offers.get(HAVE, ())) == [b"no"]


def is_passed(offers: Mapping[bytes, Sequence[bytes]]) -> bool:
    """Whether the server passes the numbers on, and has none of its own."""
    return list(offers.get(HAVE, ())) == [b"pass"]


def _seq(digits: bytes) -> int | None:
    if not _SEQ.match(digits):
        return None
    seq = int(digits)
    return seq if seq <= SEQ_MAX else None
