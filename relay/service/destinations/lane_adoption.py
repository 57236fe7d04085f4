"""Moves leftovers of the second lane back once `live-first` is off."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.application.service import Service
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from relay.model.errors import QueueError
from relay.model.text import counted
from relay.queue.inspect.commands import Adopt
from relay.queue.transaction import account_of_lane
from relay.service.queue.service import QueueService
from relay.transport.notices import Notices

__all__ = ["LaneAdoption"]


class LaneAdoption(Service):
    """Appends what is left in second queues to the queues of their destinations.

    It begins with the start and goes step by step, so that nothing waits for it.

    Args:
        destinations: Ids of those with one lane.
    """

    name = "lane-adoption"
    _log = Logger(namespace="relay")

    def __init__(
        self, destinations: Iterable[str], *, queue: QueueService, notices: Notices
    ) -> None:
        self._destinations = tuple(destinations)
        self._queue = queue
        self._notices = notices

    def startService(self) -> None:
        Service.startService(self)
        for destination in self._destinations:
            lane = self._queue.view.ledgers.get(account_of_lane(destination))
            if lane is not None and lane.queued:
                self._log.info(
                    "destination {id}: {count} of its second lane go to the end of its queue",
                    id=destination,
                    count=counted(lane.queued, "message"),
                )
                ensureDeferred(self._adopt(destination))

    async def _adopt(self, destination: str) -> None:
        lane = account_of_lane(destination)
        try:
            while self.running and self._queue.view.ledgers[lane].queued:
                await self._queue.committer.operate(Adopt(lane, destination))
        except QueueError as error:
            self._notices.warn(
                f"destination {destination}",
                "lanes",
                f"until the next start the queue {lane} keeps "
                f"{counted(self._queue.view.ledgers[lane].queued, 'message')}, or until "
                f"`queue adopt {lane} {destination}`: {error}",
            )
