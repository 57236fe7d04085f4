"""Whose turn it is to send: two lanes that share one session, each with a part of it.

Weighted fair queueing with two queues.  The lane that has had less of its share goes
next, a few records at a time.  A lane without anything to send loses what it might have
had, so a backlog gets everything while nothing is live, and no lane saves up for a burst.
A lane whose next records are being read keeps its claim: the other one may run ahead of
it, but by no more than `AHEAD_RECORDS_MAX`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["AHEAD_RECORDS_MAX", "RUN_RECORDS", "Supply", "Turn", "Turns"]

RUN_RECORDS = 32
"""Most records of one lane before it is looked again whose turn it is."""
AHEAD_RECORDS_MAX = 512
"""How many records a lane may send while the other one, whose turn it is, is being read."""


@dataclass(frozen=True, slots=True)
class Supply:
    """What a lane has to send."""

    records: int
    """At hand."""
    is_coming: bool
    """More of it is being read."""

    @property
    def is_over(self) -> bool:
        return not self.records and not self.is_coming


class Turn(NamedTuple):
    is_live: bool
    records: int


class Turns:
    """Keeps account of two lanes.

    Args:
        backlog_percent: What the backlog gets while both have something to send, 1 to 99;
            the live lane gets the rest.
    """

    def __init__(self, *, backlog_percent: int) -> None:
        assert 0 < backlog_percent < 100, backlog_percent
        self._backlog, self._live = backlog_percent, 100 - backlog_percent
        self._balance = 0  # above 0: the live lane has had more than its share

    def begin(self) -> None:
        """Nobody has had anything."""
        self._balance = 0

    def next(self, live: Supply, backlog: Supply) -> Turn | None:
        """Who sends next, and how much; None = nobody now.  It counts as sent."""
        if live.is_over or backlog.is_over:
            self._balance = 0
        is_live = self._balance <= 0
        if not (live if is_live else backlog).records:
            is_live = not is_live
            ahead = self._balance // self._backlog if is_live else -self._balance // self._live
            if ahead >= AHEAD_RECORDS_MAX:
                return None
        records = min((live if is_live else backlog).records, RUN_RECORDS)
        if not records:
            return None
        self._balance += records * self._backlog if is_live else -records * self._live
        return Turn(is_live, records)
