"""What one commit changes, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from relay.model.seq import SeqRange

__all__ = ["Refusal", "Removal", "SetAside", "Transaction", "account_of_source", "is_of_source"]

_SOURCE_ACCOUNT = "source/"


def account_of_source(source: str) -> str:
    """Id of the ledger and quarantine of a source; no destination can have it."""
    return _SOURCE_ACCOUNT + source


def is_of_source(account: str) -> bool:
    """Whether a ledger is that of a source, not of a destination."""
    return account.startswith(_SOURCE_ACCOUNT)


@dataclass(frozen=True, slots=True)
class SetAside:
    """Move records to the quarantine.

    `seqs` is one record, or exactly what is left of one block (when damaged).
    """

    seqs: SeqRange
    reason: str


@dataclass(slots=True)
class Removal:
    """Let the records before `upto` leave: delivered, but for those set aside."""

    upto: int
    set_aside: list[SetAside] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Frames that a source sets aside instead of queueing them."""

    source: str
    reason: str
    peer: str
    frames: Sequence[bytes]
    quarantine_bytes_max: int
    """What the quarantine of this source may hold; the rest is dropped and counted."""
    original_bytes: Sequence[int] = ()
    """How long each of `frames` was before it was cut; none = they were not cut."""


@dataclass(slots=True)
class Transaction:
    """All that one commit changes."""

    received_at: float
    """Seconds since 1970-01-01 UTC, for the blocks made of `appends`."""
    appends: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    """Payloads by destination, oldest first."""
    removals: Mapping[str, Removal] = field(default_factory=dict)
    drops: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Records that a rewrite dropped: number by reason, by destination."""
    refusals: Sequence[Refusal] = ()
    positions: Mapping[str, bytes] = field(default_factory=dict)
    """New positions by ``source/name``; an empty one is forgotten."""
