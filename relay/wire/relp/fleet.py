"""What relays say of themselves to a relay that they send to: in ``open``, and once a minute.

    1 open … syslogrelay_fleet=<name>,<version>
    1 rsp  … syslogrelay_fleet=1
    0 syslogrelayfleet LENGTH SP queued_records=<n> LF oldest_seconds=<n> LF

A report is a hint, as ``serverclose`` is: its number is 0, which no message has, and it has no
answer.  So it changes nothing of numbers, windows, blocks and answers.  It stands between frames
and blocks.  Only a receiver that has answered the offer gets it, hence no librelp.

    name            1 to 64 of A-Z a-z 0-9 . _ : -      as in a hop
    version         1 to 32 of A-Z a-z 0-9 . + -
    queued_records  in all queues of the relay, at most 10^15
    oldest_seconds  how long the oldest of them waits, at most 10^10; missing = nobody knows, or
                    none waits

Members that are not known are ignored.  A report that breaks a rule is as good as none; it is no
reason to end the session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from relay.wire.relp.frame import encode_frame
from relay.wire.relp.offers import parse_offers

FLEET_OFFER = b"syslogrelay_fleet"
FLEET_COMMAND = b"syslogrelayfleet"
FLEET_ANSWER = FLEET_OFFER + b"=1"
"""The line of a server that takes reports."""
REPORT_BYTES_MAX = 1024
"""Longer ones are ignored."""

_NAME_BYTES_MAX, _VERSION_BYTES_MAX = 64, 32
_NAME = re.compile(rb"[A-Za-z0-9._:\-]{1,%d}\Z" % _NAME_BYTES_MAX)
_VERSION = re.compile(rb"[A-Za-z0-9.+\-]{1,%d}\Z" % _VERSION_BYTES_MAX)
_COUNT = re.compile(rb"[0-9]{1,15}\Z")
_SECONDS = re.compile(rb"[0-9]{1,10}\Z")


class FleetOffer(NamedTuple):
    """Who a client says it is; it may say anything."""

    name: str
    version: str


class FleetReport(NamedTuple):
    """What waits in the queues of a relay."""

    queued_records: int
    oldest_seconds: int | None


def format_fleet(name: str, version: str) -> bytes:
    """The client's line in ``open``; what does not belong in it becomes an underscore or dash."""
    shown = re.sub(r"[^A-Za-z0-9._:\-]", "_", name)[:_NAME_BYTES_MAX] or "relay"
    exact = re.sub(r"[^A-Za-z0-9.+\-]", "-", version)[:_VERSION_BYTES_MAX] or "0"
    return FLEET_OFFER + b"=" + f"{shown},{exact}".encode("ascii")


def fleet_in(offers: Mapping[bytes, Sequence[bytes]]) -> FleetOffer | None:
    """What a client offers; None if it is nothing, or malformed."""
    values = offers.get(FLEET_OFFER, ())
    if len(values) != 2 or not _NAME.match(values[0]) or not _VERSION.match(values[1]):
        return None
    return FleetOffer(values[0].decode("ascii"), values[1].decode("ascii"))


def takes_reports(offers: Mapping[bytes, Sequence[bytes]]) -> bool:
    """Whether a server takes reports."""
    return list(offers.get(FLEET_OFFER, ())) == [b"1"]


def format_report(report: FleetReport) -> bytes:
    """The frame of a report."""
    data = b"queued_records=%d\n" % min(report.queued_records, 10**15 - 1)
    if report.oldest_seconds is not None:
        data += b"oldest_seconds=%d\n" % min(report.oldest_seconds, 10**10 - 1)
    return encode_frame(0, FLEET_COMMAND, data)


def parse_report(data: bytes) -> FleetReport | None:
    """The report in the data of a frame; None if it is malformed."""
    if len(data) > REPORT_BYTES_MAX:
        return None
    members = parse_offers(data)
    queued = b",".join(members.get(b"queued_records", ()))
    oldest = b",".join(members.get(b"oldest_seconds", (b"0",)))
    if not _COUNT.match(queued) or not _SECONDS.match(oldest):
        return None
    return FleetReport(int(queued), int(oldest) if b"oldest_seconds" in members else None)
