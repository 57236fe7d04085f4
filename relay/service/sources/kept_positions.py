"""Positions of sources that are gone: perhaps one has another name now."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.application.service import Service
from twisted.logger import Logger

from relay.service.queue.service import QueueService

__all__ = ["KeptPositions"]


class KeptPositions(Service):
    """Says at the start which sources are gone and how far they have read is still kept.

    A source whose id was changed begins anew, as one that was never there: its files may be
    read a second time.

    Args:
        sources: Ids of the configured ones.

    Attributes:
        gone: Ids of those that are gone; known from the start on.
    """

    name = "kept-positions"
    _log = Logger(namespace="relay")

    def __init__(self, sources: Iterable[str], *, queue: QueueService) -> None:
        self.gone: list[str] = []
        self._sources = set(sources)
        self._queue = queue

    def startService(self) -> None:
        Service.startService(self)
        known = self._queue.view.sources_with_positions()
        self.gone = [id for id in known if id not in self._sources]
        for id in self.gone:
            self._log.warn(
                "source {id} is gone; how far it has read its files or journal is kept under that "
                "name: if it has another name now, give it the old one back, or it reads them anew",
                id=id,
            )
