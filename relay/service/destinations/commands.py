"""What the control socket can do with destinations, and the pauses that outlive a restart."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger

from relay.model.clock import Now, in_utc
from relay.model.errors import QueueError
from relay.model.text import counted
from relay.observe.control import Asked
from relay.queue.inspect.commands import Adopt
from relay.queue.inspect.queries import known
from relay.queue.transaction import account_of_lane
from relay.service.destinations.service import DestinationService
from relay.service.queue.service import QueueService

PAUSED = "/paused"
"""Where the positions of pauses are; no source's id contains a slash."""


class SomeDestination(msgspec.Struct, forbid_unknown_fields=True):
    destination: str


class SomeDestinations(msgspec.Struct, forbid_unknown_fields=True):
    destination: str = ""
    """Empty = all of them."""


class DestinationTools(Service):
    """Pauses destinations, has them connect, and empties second queues that none uses any more.

    As a service it starts after the destinations, in the same turn of the reactor: no
    session can have begun by then.
    """

    name = "destination-tools"
    _log = Logger(namespace="relay")

    def __init__(
        self, destinations: Sequence[DestinationService], *, queue: QueueService, now: Now
    ) -> None:
        self._all = destinations
        self._queue = queue
        self._now = now

    @property
    def _destinations(self) -> dict[str, DestinationService]:
        return {destination.id: destination for destination in self._all}

    def commands(self) -> dict[str, Asked]:
        """Commands of the control socket, by name."""
        return {
            "connect": Asked(SomeDestinations, self.connect),
            "pause": Asked(SomeDestination, self.pause),
            "resume": Asked(SomeDestination, self.resume),
            "requeue": Asked(SomeDestination, self.requeue),
        }

    def startService(self) -> None:
        """Pause what was paused when the relay stopped, and adopt what lies in second queues."""
        Service.startService(self)
        for destination in self._all:
            self.begin(destination)

    def begin(self, destination: DestinationService) -> None:
        """Adopt what lies in the second queue of a destination that has just been started, and
        pause it if it was paused."""
        id, view = destination.id, self._queue.view
        lane = view.ledgers.get(account_of_lane(id))
        if lane is not None and lane.queued and len(destination.lanes) == 1:
            self._log.info(
                "destination {id}: {count} of its second lane go to the end of its queue",
                id=id,
                count=counted(lane.queued, "message"),
            )
            ensureDeferred(self._adopt(destination))
        if (data := view.positions(PAUSED).get(id)) is not None:
            since = _decoded(data)
            destination.pause(since)
            self._log.warn(
                "destination {id}: paused by hand since {since}; `syslogrelay resume {id}` "
                "ends that",
                id=id,
                since=in_utc(since),
            )

    def connect(self, wanted: SomeDestinations) -> dict[str, str]:
        """Have destinations try now.  Returns: their states, by id."""
        chosen = list(self._destinations.values())
        if wanted.destination:
            chosen = [self._destination(wanted.destination)]
        for destination in chosen:
            destination.connect()
        return {destination.id: destination.state_text for destination in chosen}

    def pause(self, wanted: SomeDestination) -> Deferred[None]:
        """Stop sending to a destination until `resume`.  Fires when a restart keeps to it."""
        destination = self._destination(wanted.destination)
        now = self._now()
        destination.pause(now)
        return self._keep(destination.id, msgspec.json.encode(now))

    def resume(self, wanted: SomeDestination) -> Deferred[None]:
        """Send again, and connect at once.  Fires when a restart keeps to it."""
        destination = self._destination(wanted.destination)
        destination.resume()
        return self._keep(destination.id, b"")

    def requeue(self, wanted: SomeDestination) -> int:
        """Send again what is in flight, through a new session.  Returns: how many records."""
        destination = self._destination(wanted.destination)
        queues = (destination.id, account_of_lane(destination.id))
        drains = [drain for id in queues if (drain := destination.drain_of(id)) is not None]
        in_flight = sum(drain.in_flight for drain in drains)
        if in_flight:
            destination.break_link("somebody wants what is in flight to be sent again")
        destination.connect()
        return in_flight

    async def _adopt(self, destination: DestinationService) -> None:
        """Append what is left in the second queue, step by step, so that nothing waits for it."""
        lane, view = account_of_lane(destination.id), self._queue.view
        try:
            while self.running and view.ledgers[lane].queued:
                await self._queue.committer.operate(Adopt(lane, destination.id))
        except QueueError as error:
            destination.warn(
                "lanes",
                f"until the next start the queue {lane} keeps "
                f"{counted(view.ledgers[lane].queued, 'message')}, or until "
                f"`queue adopt {lane} {destination.id}`: {error}",
            )

    def _keep(self, id: str, data: bytes) -> Deferred[None]:
        return self._queue.committer.append({}, positions={f"{PAUSED}/{id}": data})

    def _destination(self, id: str) -> DestinationService:
        return known("destination", id, self._destinations)


def _decoded(data: bytes) -> float:
    """When the pause began; 0 where that is damaged."""
    try:
        return msgspec.json.decode(data, type=float)
    except msgspec.DecodeError:
        return 0.0
