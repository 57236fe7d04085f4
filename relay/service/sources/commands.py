"""Commands of the control socket about sources."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from relay.model.counters.samples import Sample, Samples
from relay.model.errors import RelayError
from relay.model.text import Document, printable
from relay.model.token import SECRET_BYTES_MAX
from relay.observe.control import Asked, Command
from relay.rewrite.forms.token import redacted
from relay.service.sources.service import SourceService


class WantedPeers(msgspec.Struct):
    """Arguments of ``peers``.

    Attributes:
        source: Id of one source; empty = all.
        count: How many peers of each, those first that have sent most; 0 = all.
    """

    source: str = ""
    count: int = 0


class WantedSamples(msgspec.Struct):
    """Arguments of ``samples``.

    Attributes:
        source: Id of one source; empty = all.
    """

    source: str = ""


class SourceTools:
    """Answers questions about sources.

    Args:
        elapsed: Seconds on a clock that is never set.
        secrets: Returns the known tokens, which are masked.
        shed: Samples of what was dropped on the way into a queue, by destination.
    """

    def __init__(
        self,
        sources: Sequence[SourceService],
        *,
        elapsed: Callable[[], float],
        secrets: Callable[[], Collection[bytes]],
        shed: Mapping[str, Samples] | None = None,
    ) -> None:
        self._all = sources
        self._elapsed = elapsed
        self._secrets = secrets
        self._shed: Mapping[str, Samples] = {} if shed is None else shed

    @property
    def _sources(self) -> dict[str, SourceService]:
        return {each.id: each for each in self._all}

    @property
    def _samples(self) -> dict[str, Samples]:
        of_sources = {each.id: each.counters.samples for each in self._all}
        return of_sources | {f"destination {id}": each for id, each in self._shed.items()}

    def commands(self) -> dict[str, Command]:
        """By name."""
        return {
            "peers": Asked(WantedPeers, self.peers),
            "samples": Asked(WantedSamples, self.samples),
        }

    def peers(self, wanted: WantedPeers) -> dict[str, Document]:
        """The counters of peers by source, and of those that are not counted apart as `others`.

        Raises:
            RelayError: There is no such source.
        """
        chosen = self._chosen(wanted.source)
        return {id: self._of(self._sources[id], wanted.count) for id in chosen}

    def samples(self, wanted: WantedSamples) -> dict[str, Document]:
        """The last messages that were dropped or could not be parsed, by source and reason; those
        that were dropped on the way into a queue by ``destination ID``.

        Raises:
            RelayError: There is no such source.
        """
        secrets = self._secrets()
        return {
            id: {
                reason: [self._shown(sample, secrets) for sample in kept]
                for reason, kept in self._samples[id]
            }
            for id in (self._chosen(wanted.source) if wanted.source else self._samples)
        }

    def _shown(self, sample: Sample, secrets: Collection[bytes]) -> Document:
        text = printable(redacted(sample.start, secrets), length_max=None)
        if sample.size > len(sample.start):
            # Its end may be a part of a token, which nothing can find.
            text = text[:-SECRET_BYTES_MAX] + "…"
        return {"at": sample.at, "peer": printable(sample.peer), "size": sample.size, "text": text}

    def _chosen(self, source: str) -> list[str]:
        if source and source not in self._sources:
            known = ", ".join(sorted(self._sources))
            raise RelayError(f"no source {source}; sources: {known}")
        return [source] if source else list(self._sources)

    def _of(self, source: SourceService, count: int) -> Document:
        now, table = self._elapsed(), source.counters.peers
        ranked = sorted(table, key=lambda item: item[1].records, reverse=True)
        return {
            "peers": {name: peer.report(now) for name, peer in ranked[: count or None]},
            "count": len(table),
            "others": table.others.report(now),
        }
