"""Commands of the control socket about sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from relay.model.errors import RelayError
from relay.model.text import Document
from relay.observe.control import Asked, Command
from relay.service.sources.service import SourceService


class WantedPeers(msgspec.Struct):
    """Arguments of ``peers``.

    Attributes:
        source: Id of one source; empty = all.
        count: How many peers of each, those first that have sent most; 0 = all.
    """

    source: str = ""
    count: int = 0


class SourceTools:
    """Answers questions about sources.

    Args:
        elapsed: Seconds on a clock that is never set.
    """

    def __init__(self, sources: Sequence[SourceService], *, elapsed: Callable[[], float]) -> None:
        self._sources = {each.id: each for each in sources}
        self._elapsed = elapsed

    def commands(self) -> dict[str, Command]:
        """By name."""
        return {"peers": Asked(WantedPeers, self.peers)}

    def peers(self, wanted: WantedPeers) -> dict[str, Document]:
        """The counters of peers by source, and of those that are not counted apart as `others`.

        Raises:
            RelayError: There is no such source.
        """
        if wanted.source and wanted.source not in self._sources:
            known = ", ".join(sorted(self._sources))
            raise RelayError(f"no source {wanted.source}; sources: {known}")
        chosen = [wanted.source] if wanted.source else list(self._sources)
        return {id: self._of(self._sources[id], wanted.count) for id in chosen}

    def _of(self, source: SourceService, count: int) -> Document:
        now, table = self._elapsed(), source.counters.peers
        ranked = sorted(table, key=lambda item: item[1].records, reverse=True)
        return {
            "peers": {name: peer.report(now) for name, peer in ranked[: count or None]},
            "count": len(table),
            "others": table.others.report(now),
        }
