"""What the relay's main process and its drain process tell each other.

The main process owns the queue and is the only one that writes to it.  The drain
process reads it, talks to upstreams, and says what may leave.  Each says things in
their order, and the other takes them in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import msgspec

from relay.service.configuration import DestinationConfiguration, RewriteConfiguration
from relay.transport.tls_context import TlsMaterial

__all__ = [
    "Acknowledged",
    "AcknowledgedLate",
    "Alive",
    "Answer",
    "Began",
    "Begin",
    "BreakLink",
    "Evicted",
    "Heard",
    "Hold",
    "KeepLineage",
    "LetGo",
    "LetItGo",
    "LineageKept",
    "Order",
    "Release",
    "Renew",
    "Reopen",
    "Report",
    "Said",
    "SetAside",
    "Skip",
    "State",
    "Stop",
    "Stored",
    "TakeUp",
    "Task",
    "configuration_of",
    "decode_orders",
    "decode_reports",
    "encode",
    "task_configuration",
]


class Task(msgspec.Struct, array_like=True):
    """One destination, as it is when the drain process begins."""

    configuration: bytes
    """See `task_configuration`."""
    acknowledged: int
    stored: int
    lineage: bytes | None
    held: list[str]
    """By whom its drain is held."""
    material: TlsMaterial | None


# From the main process.


class Begin(msgspec.Struct, tag=True, array_like=True):
    path: str
    """Of the queue."""
    map_bytes: int
    tasks: list[Task]


class Stored(msgspec.Struct, tag=True, array_like=True):
    id: str
    upto: int


class Evicted(msgspec.Struct, tag=True, array_like=True):
    id: str
    upto: int
    reason: str


class Hold(msgspec.Struct, tag=True, array_like=True):
    id: str
    by: str


class Release(msgspec.Struct, tag=True, array_like=True):
    id: str
    by: str


class Skip(msgspec.Struct, tag=True, array_like=True):
    id: str
    upto: int


class BreakLink(msgspec.Struct, tag=True, array_like=True):
    id: str
    why: str


class Reopen(msgspec.Struct, tag=True, array_like=True):
    """Something that the destination writes to may have been rotated."""

    id: str


class Renew(msgspec.Struct, tag=True, array_like=True):
    id: str
    material: TlsMaterial


class LineageKept(msgspec.Struct, tag=True, array_like=True):
    id: str
    error: str
    """Empty if it is on disk."""


class LetGo(msgspec.Struct, tag=True, array_like=True):
    """Close the queue: its file is about to be replaced."""


class TakeUp(msgspec.Struct, tag=True, array_like=True):
    """Open the queue again."""

    map_bytes: int


class Answer(msgspec.Struct, tag=True, array_like=True):
    """Say that you are `Alive`."""


class Stop(msgspec.Struct, tag=True, array_like=True):
    pass


Order: TypeAlias = (
    Begin
    | Stored
    | Evicted
    | Hold
    | Release
    | Skip
    | BreakLink
    | Reopen
    | Renew
    | LineageKept
    | LetGo
    | TakeUp
    | Answer
    | Stop
)


# From the drain process.


class Began(msgspec.Struct, tag=True, array_like=True):
    error: str
    """Empty if it has."""


class Acknowledged(msgspec.Struct, tag=True, array_like=True):
    id: str
    upto: int


class AcknowledgedLate(msgspec.Struct, tag=True, array_like=True):
    id: str
    count: int
    reason: str


class SetAside(msgspec.Struct, tag=True, array_like=True):
    id: str
    start: int
    stop: int
    reason: str


class Heard(msgspec.Struct, tag=True, array_like=True):
    """The drain knows that the records before `upto` have left."""

    id: str
    upto: int


class KeepLineage(msgspec.Struct, tag=True, array_like=True):
    id: str
    lineage: bytes


class State(msgspec.Struct, tag=True, array_like=True):
    """A destination's state and counters, for status and for purges."""

    id: str
    words: str = "not started"
    ready: bool = False
    exactly_once: bool = False
    connects: int = 0
    failures: int = 0
    truncated_records: int = 0
    answers: int = 0
    in_flight: int = 0
    could_send: bool = False
    sent_records: int = 0
    resent_records: int = 0
    holds: int = 0
    """How often it was told to hold."""


class Said(msgspec.Struct, tag=True, array_like=True):
    """Something for the log."""

    namespace: str
    level: str
    text: str


class LetItGo(msgspec.Struct, tag=True, array_like=True):
    """The queue is closed, as it was told to."""


class Alive(msgspec.Struct, tag=True, array_like=True):
    pass


Report: TypeAlias = (
    Began
    | Acknowledged
    | AcknowledgedLate
    | SetAside
    | Heard
    | KeepLineage
    | State
    | Said
    | LetItGo
    | Alive
)

_ENCODER = msgspec.msgpack.Encoder()
_ORDERS = msgspec.msgpack.Decoder(list[Order])
_CONFIGURATION = msgspec.msgpack.Decoder(DestinationConfiguration)
_REPORTS = msgspec.msgpack.Decoder(list[Report])


def encode(messages: Sequence[Order | Report]) -> bytes:
    """One frame, of one side's messages."""
    return _ENCODER.encode(messages)


def decode_orders(octets: bytes) -> list[Order]:
    """What `encode` made of orders.

    Raises:
        msgspec.MsgspecError: It did not make this.
    """
    return _ORDERS.decode(octets)


def decode_reports(octets: bytes) -> list[Report]:
    """What `encode` made of reports.

    Raises:
        msgspec.MsgspecError: It did not make this.
    """
    return _REPORTS.decode(octets)


def task_configuration(configuration: DestinationConfiguration) -> bytes:
    """`configuration` for the drain process, without what is done before the queue.

    Tokens stay here.
    """
    bare = replace(configuration, match=None, rewrite=RewriteConfiguration(), format=None)
    return _ENCODER.encode(bare)


def configuration_of(task: Task) -> DestinationConfiguration:
    """What was given to `task_configuration`, without what it left out."""
    return _CONFIGURATION.decode(task.configuration)
