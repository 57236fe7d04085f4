"""The reading half of exactly once over a distributed log: the last seq taken of each lineage.

`relay/wire/record_number.py` is the header that each record carries.  A record is sent again when
its answer was lost, by another receiver perhaps, and cut into other batches, so a log may hold it
several times.  Of each lineage the reader knows the last seq that it took (`have`):

    seq ≤ have          dropped, a duplicate
    prev ≤ have < seq   taken, have = seq
    unknown lineage     taken, whatever it is, have = seq: the log keeps records for some time only,
                        and a reader may be new
    have < prev         held back: not taken.  A record before it failed for good, so nothing from
                        there on is acknowledged, and its sender comes again with all of it.  To
                        take it would drop what is missing when that comes.

It holds because all records of a lineage are in one partition, a session's are there in its order,
and a session begins with the oldest record that nobody has acknowledged.

`have` is a position of the source, "have/<partition>/<lineage>", stored in the transaction of the
messages.  A lineage of which nothing was taken for longest is forgotten beyond a limit, in the
same transaction as the one that takes its place; then it is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from relay.flow.exactly_once.lineages import FORGOTTEN_AT_ONCE, LINEAGES_MAX
from relay.model.clock import Now
from relay.wire.record_number import judge_numbers

_NAME = re.compile(r"have/([0-9]{1,9})/([0-9a-f-]{36})")
_POSITION = re.compile(rb"([0-9]{1,16}),([0-9]{1,12})")


class Sifted(NamedTuple):
    """The judgement over the records of a batch."""

    taken: Sequence[int]
    """Indexes of the records to take, ascending."""
    positions: Mapping[str, bytes]
    """To be stored in the transaction of the records taken, by whole name."""
    duplicates: int
    """Records that were taken before."""
    held: int
    """Records that are not taken because one before them is missing in the log."""
    first_held: int | None
    """Index of the first of them."""
    unknown: Sequence[str]
    """Lineages that were not known; their first record here is taken."""
    malformed: int = 0
    """Records whose number cannot be read; they are taken, and may come twice."""
    forgotten: int = 0
    """Lineages that made room for others; their next record is one of an unknown lineage."""


class ReadLineages:
    """The lineages that one source has read.

    Batches are stored in the order in which they were sifted.  When one of them could not be
    stored, the source calls `rewind` and reads again from its last stored offset.

    Args:
        source_id: Without a slash.
        load: The stored positions of the source, by their name below its id; others than those
            of lineages may be among them.  Called when something is sifted for the first time,
            and after `rewind`.
        now: Seconds since 1970-01-01 UTC.
        lineages_max: Most lineages to know, of all partitions; asked for each batch.
    """

    def __init__(
        self,
        source_id: str,
        *,
        load: Callable[[], Mapping[str, bytes]],
        now: Now,
        lineages_max: Callable[[], int] = lambda: LINEAGES_MAX,
    ) -> None:
        self._lineages_max = lineages_max
        self._source_id = source_id
        self._load = load
        self._now = now
        self._loaded = False
        self._have: dict[int, dict[str, int]] = {}  # by partition
        self._used: dict[tuple[int, str], None] = {}  # the lineage used last at the end
        self._removed: dict[str, bytes] = {}  # positions to remove with the next batch

    def sift(self, numbers: Sequence[bytes | None], partition: int) -> Sifted:
        """Judge consecutive records of a partition, and take note of those to be taken.

        Args:
            numbers: The header of each record, None = it has none: taken.
        """
        self._know()
        judged = judge_numbers(numbers, self._have.setdefault(partition, {}))
        positions, self._removed = self._removed, {}
        if judged.moved:
            used, now = self._used, int(self._now())
            start = f"{self._source_id}/have/{partition}/"
            for lineage, have in judged.moved.items():
                key = (partition, lineage)
                used.pop(key, None)
                used[key] = None
                positions[start + lineage] = b"%d,%d" % (have, now)
        forgotten = self._make_room(positions, FORGOTTEN_AT_ONCE + len(judged.unknown))
        everything = len(judged.taken) == len(numbers)
        return Sifted(
            range(len(numbers)) if everything else judged.taken,
            positions,
            judged.duplicates,
            judged.held,
            judged.first_held if judged.held else None,
            judged.unknown,
            judged.malformed,
            forgotten,
        )

    def forget(self, partition: int) -> int:
        """Forget the lineages of a partition, because records between were not read.

        To be called when an offset was out of range, and wherever reading begins somewhere else
        than at the offset stored with the positions: at a partition that another member of the
        group has read meanwhile, or at a topic made anew.  Otherwise what comes would be held
        back.  The positions are removed with the next batch.

        Returns:
            How many they were.
        """
        self._know()
        lineages = self._have.pop(partition, {})
        for lineage in lineages:
            del self._used[partition, lineage]
            self._removed[f"{self._source_id}/have/{partition}/{lineage}"] = b""
        return len(lineages)

    def rewind(self) -> None:
        """Go back to what is stored.

        To be called after a batch could not be stored, and when all others that were sifted are
        either stored or given up.  `forget` has to be called again.
        """
        self._loaded = False
        self._have, self._used, self._removed = {}, {}, {}

    def __len__(self) -> int:
        """How many lineages are known."""
        self._know()
        return len(self._used)

    def _make_room(self, positions: dict[str, bytes], most: int) -> int:
        """Forget lineages beyond the limit, `most` at once; adds what to store for that."""
        more = max(0, min(len(self._used) - self._lineages_max(), most))
        for _ in range(more):
            partition, lineage = next(iter(self._used))
            del self._used[partition, lineage]
            del self._have[partition][lineage]
            positions[f"{self._source_id}/have/{partition}/{lineage}"] = b""
        return more

    def _know(self) -> None:
        """Load what is stored, unless it is known."""
        if self._loaded:
            return
        stored: list[tuple[int, int, str, int]] = []
        for name, value in self._load().items():
            found, position = _NAME.fullmatch(name), _POSITION.fullmatch(value)
            if found is not None and position is not None:
                stored.append((int(position[2]), int(found[1]), found[2], int(position[1])))
        for _, partition, lineage, have in sorted(stored):
            self._have.setdefault(partition, {})[lineage] = have
            self._used[partition, lineage] = None
        self._loaded = True
