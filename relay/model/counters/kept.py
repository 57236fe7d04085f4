"""The counters of a source as they are kept in the queue, so that they go on after a restart.

They are encoded once for each commit, and stored in the transaction that holds the messages: what
is counted as stored there is what that transaction and those before it have stored.  The rest is
as of the moment before the commit: what has come by then and is not stored yet counts as received,
so after a kill `received_records` is larger by what was lost or comes again.

Severities are those of the last `refresh`, because adding up all peers for a commit would cost too
much.  Peers, samples and histograms are not kept.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from operator import attrgetter

import msgspec

from relay.model.counters.peers import SEVERITIES
from relay.model.counters.source import SourceCounters
from relay.model.text import Document

COUNTED = "/counted"
"""Where the positions are; no source's id contains a slash."""

_GAUGES = ("connections_open", "waiting_lines")
_EMPTY = SourceCounters()
_NUMBERS = tuple(
    each.name
    for each in fields(SourceCounters)
    if type(getattr(_EMPTY, each.name)) is int and each.name not in _GAUGES
)
_BY_NAME = tuple(
    each.name for each in fields(SourceCounters) if isinstance(getattr(_EMPTY, each.name), Counter)
)
_numbers_of = attrgetter(*_NUMBERS)
_by_name_of = attrgetter(*_BY_NAME)


class CountsOnDisk(msgspec.Struct, omit_defaults=True):
    """What is stored.  JSON, so that people can read it."""

    since: float
    """When counting began, in seconds since 1970-01-01 UTC."""
    numbers: dict[str, int]
    by_name: dict[str, dict[str, int]]
    severities: list[int]
    gone_since: float | None = None
    """When the source was first missing from the configuration; None = it is there."""


def decode_counts(value: bytes) -> CountsOnDisk | None:
    """What is stored as `value`; None if it cannot be read."""
    try:
        return msgspec.json.decode(value, type=CountsOnDisk)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class KeptCounters:
    """The counters of one source, those in memory and those on disk.

    Attributes:
        position: The name of the position.
        counters: Those in memory.
    """

    def __init__(self, source: str, counters: SourceCounters) -> None:
        self.position = f"{COUNTED}/{source}"
        self.counters = counters
        self._stored = self._aside = 0  # as of the last commit
        self._severities = [0] * len(SEVERITIES)
        self._on_disk = self._encoded = b""
        self._shown: Document = {}

    def begin(self, value: bytes, now: float) -> None:
        """Go on with what is on disk; begin anew at `now` if that is nothing, or damaged."""
        kept, counters = decode_counts(value), self.counters
        counters.since = now
        if kept is None:
            self._on_disk = self._value(0, 0)  # nothing needs to be written before something comes
            return
        self._on_disk = value
        counters.since = kept.since
        for name in kept.numbers.keys() & {*_NUMBERS}:
            setattr(counters, name, getattr(counters, name) + kept.numbers[name])
        for name in kept.by_name.keys() & {*_BY_NAME}:
            getattr(counters, name).update(kept.by_name[name])
        if len(kept.severities) == len(SEVERITIES):
            self._severities = counters.earlier_severities = kept.severities
        self._stored, self._aside = counters.stored_records, counters.quarantined_records

    def refresh(self) -> None:
        """Add up the severities; to be called now and then, and at the stop."""
        self._severities = self.counters.severities()

    @property
    def has_changed(self) -> bool:
        """Whether memory says something else than the disk."""
        return self._value(0, 0) != self._on_disk

    def encode(self, stored: int, aside: int) -> bytes:
        """What to store in a transaction that stores and sets aside so many messages more."""
        self._encoded = self._value(stored, aside)
        return self._encoded

    def _value(self, stored: int, aside: int) -> bytes:
        numbers = dict(zip(_NUMBERS, _numbers_of(self.counters), strict=True))
        numbers["stored_records"] = self._stored + stored
        numbers["quarantined_records"] = self._aside + aside
        by_name = dict(zip(_BY_NAME, _by_name_of(self.counters), strict=True))
        on_disk = CountsOnDisk(self.counters.since, numbers, by_name, self._severities)
        return msgspec.json.encode(on_disk)

    def committed(self, stored: int, aside: int) -> None:
        """What was encoded last is on disk, for so many messages more."""
        self._stored += stored
        self._aside += aside
        self._on_disk = self._encoded

    def answered(self, stored: int) -> None:
        """So many messages more are with a log that has acknowledged them: no commit has any part
        in that, and the next one stores it."""
        self._stored += stored

    def shown(self, *, live: bool) -> Document:
        """The counters for Prometheus, which takes one that falls for a restart.

        Those on disk: others could be smaller after a kill.

        Args:
            live: Those in memory instead, because nothing can be stored now.
        """
        kept = decode_counts(self._value(0, 0) if live else self._on_disk)
        if kept is not None:
            severities = dict(zip(SEVERITIES, kept.severities, strict=True))
            found = {**kept.numbers, **kept.by_name, "severities": severities}
            found["dropped_records"] = found.pop("dropped")
            self._shown = _not_less(self._shown, found)
        return self._shown


def _not_less(before: Document, now: Document) -> Document:
    """The counters `now`, and of each that is smaller the one `before`."""
    return {
        name: _not_less(before.get(name, {}), value)
        if isinstance(value, dict)
        else max(before.get(name, 0), value)
        for name, value in {**before, **now}.items()
    }
