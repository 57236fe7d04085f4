"""The counters of sources, kept in the queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from twisted.python.failure import Failure

from relay.model.clock import Clock, Now, WallClock
from relay.model.counters.kept import COUNTED, KeptCounters, decode_counts
from relay.model.errors import QueueError
from relay.queue.transaction import Counted
from relay.service.periodic import PeriodicService
from relay.service.queue.service import QueueService
from relay.service.sources.service import SourceService

GONE_SECONDS_MAX = 30 * 86400.0
"""How long the counters of a source are kept that is not configured any more."""
GONE_MAX = 1000
"""How many of those are kept."""


@dataclass(eq=False, repr=False, kw_only=True)
class CounterKeeper(PeriodicService):
    """Reads the counters at the start, and stores what no message took along."""

    name = "counters"
    looks_at_once = False

    sources: Sequence[SourceService]
    """The present ones."""
    queue: QueueService
    now: Now
    interval_seconds: float = 2.0
    _gone: dict[str, bytes] = field(default_factory=dict, init=False)
    """What is on disk of other sources, until the first look."""
    _begun: dict[str, KeptCounters] = field(default_factory=dict, init=False)
    """Counters that go on from those on disk, by position."""
    _underway: set[KeptCounters] = field(default_factory=set, init=False)

    def startService(self) -> None:
        self._gone = self._begin()
        super().startService()

    def begin(self, kept: KeptCounters) -> None:
        """A source is about to be added: it goes on with what is on disk of it."""
        on_disk = self.queue.view.positions(COUNTED)
        kept.begin(on_disk.get(kept.position.removeprefix(f"{COUNTED}/"), b""), self.now())
        self._begun[kept.position] = kept

    def follow(self) -> None:
        """There are other sources."""
        gone = self._begin()
        before, self._begun = self._begun, {kept.position: kept for kept in self.kept}
        for position, kept in before.items():
            if position not in self._begun:
                self._store_one(kept)  # the last of it
        # What was just stored is not on disk yet: those are gone for the next look.
        gone = {id: value for id, value in gone.items() if f"{COUNTED}/{id}" not in before}
        if changed := _without_source(gone, self.now()):
            positions = {f"{COUNTED}/{id}": value for id, value in changed.items()}
            self.queue.committer.append({}, positions=positions).addErrback(_not_stored)

    @property
    def kept(self) -> list[KeptCounters]:
        """The counters of the sources."""
        return [each.kept for each in self.sources if each.kept is not None]

    def _begin(self) -> dict[str, bytes]:
        """Let the counters go on that are new; returns what is on disk of sources that are gone."""
        on_disk = self.queue.view.positions(COUNTED)
        now = self.now()
        for kept in self.kept:
            value = on_disk.pop(kept.position.removeprefix(f"{COUNTED}/"), b"")
            if kept.position not in self._begun:
                self._begun[kept.position] = kept
                kept.begin(value, now)
        return on_disk

    def stopService(self) -> None:
        # After the sources; the queue commits this before it closes.
        super().stopService()
        self._store()

    def look(self) -> None:
        # Not at the start: where that is refused, no reactor would let a commit end.
        gone, self._gone = self._gone, {}
        if changed := _without_source(gone, self.now()):
            positions = {f"{COUNTED}/{id}": value for id, value in changed.items()}
            self.queue.committer.append({}, positions=positions).addErrback(_not_stored)
        self._store()

    def _store(self) -> None:
        """Store the counters that have changed."""
        for kept in self.kept:
            self._store_one(kept)

    def _store_one(self, kept: KeptCounters) -> None:
        kept.refresh()
        if kept not in self._underway and kept.has_changed:
            self._underway.add(kept)
            stored = self.queue.committer.append({}, counted=Counted(kept, 0, 0))
            stored.addErrback(_not_stored).addCallback(self._ended, kept)

    def _ended(self, _: None, kept: KeptCounters) -> None:
        self._underway.discard(kept)


def new_counter_keeper(
    sources: Sequence[SourceService], queue: QueueService, wall: WallClock, clock: Clock
) -> CounterKeeper:
    """The keeper of the counters of `sources`."""
    return CounterKeeper(sources=sources, queue=queue, now=wall.now, clock=clock)


def _without_source(on_disk: dict[str, bytes], now: float) -> dict[str, bytes]:
    """What changes of the counters of sources that are not configured: empty = forgotten."""
    changed: dict[str, bytes] = {}
    gone: dict[str, float] = {}
    for id, value in on_disk.items():
        counts = decode_counts(value)
        if counts is None:
            changed[id] = b""
            continue
        if counts.gone_since is None:
            counts.gone_since = now
            changed[id] = msgspec.json.encode(counts)
        gone[id] = counts.gone_since
    newest = sorted(gone, key=lambda id: -gone[id])
    old = [id for id, at in gone.items() if now - at > GONE_SECONDS_MAX]
    return {**changed, **dict.fromkeys([*old, *newest[GONE_MAX:]], b"")}


def _not_stored(failure: Failure) -> None:
    failure.trap(QueueError)  # the queue says so itself
