"""What the next transaction removes, while another one may be on its way."""

from __future__ import annotations

from collections.abc import Mapping

from relay.queue.transaction import Removal

__all__ = ["Removals"]


class Removals:
    """Removals by destination, each put together from many acknowledgements."""

    def __init__(self) -> None:
        self._removals: dict[str, Removal] = {}

    def __bool__(self) -> bool:
        return bool(self._removals)

    def of(self, destination: str, upto: int = 0) -> Removal:
        """What is removed from `destination`, the records before `upto` included."""
        removal = self._removals.setdefault(destination, Removal(upto))
        removal.upto = max(removal.upto, upto)
        return removal

    def take(self) -> dict[str, Removal]:
        """All of it, for a transaction."""
        removals, self._removals = self._removals, {}
        return removals

    def take_back(self, removals: Mapping[str, Removal]) -> None:
        """The transaction failed: what has come meanwhile comes after `removals`."""
        newer, self._removals = self._removals, dict(removals)
        for destination, removal in newer.items():
            earlier = self.of(destination, removal.upto)
            earlier.set_aside += removal.set_aside
            earlier.late += removal.late

    def evicted(self, destination: str, start: int, stop: int, reason: str) -> None:
        """The records from `start` to `stop` were dropped while their answers came."""
        removal = self._removals.get(destination)
        if removal is not None and removal.upto > start:
            gone = [aside for aside in removal.set_aside if aside.seqs.stop <= stop]
            removal.set_aside = [aside for aside in removal.set_aside if aside not in gone]
            late = min(removal.upto, stop) - start - sum(len(aside.seqs) for aside in gone)
            removal.late[reason] += late
