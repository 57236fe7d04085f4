"""The destinations of the configuration in use, and how they change to those of another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from relay import __version__
from relay.flow.publishing import Publisher, PublisherEvents
from relay.model.errors import QueueError, UpstreamError
from relay.service.configuration.model import Configuration, DestinationConfiguration
from relay.service.destinations.kind import Delivery, DestinationParts
from relay.service.destinations.service import (
    DestinationService,
    DestinationStatus,
    fleet_report_of,
)
from relay.service.relay_service import ConcurrentService
from relay.service.reloading.routes import RouteTable
from relay.service.reloading.shared import Shared
from relay.wire.relp.fleet import format_fleet

_RETRY_SECONDS = 1.0  # while nothing can be stored


@dataclass(slots=True)
class _Destination:
    """One destination in use."""

    configuration: DestinationConfiguration
    service: DestinationService
    delivery: Delivery


class Destinations:
    """All destinations.

    Attributes:
        all: Their services, in the order of the file.  Everybody who shows or asks them has this
            list, which a reload changes in place.
        accounts: What these tell of themselves; also changed in place.
        service: Runs them.
    """

    def __init__(self, configuration: Configuration, shared: Shared, routes: RouteTable) -> None:
        self._shared, self._routes = shared, routes
        self._parts = DestinationParts(
            *(shared.certificates, shared.notices, shared.wall, shared.reactor, shared.queue.hop),
            fleet_offer=format_fleet(configuration.name, __version__),
            fleet_report=lambda: fleet_report_of(self.all),
        )
        self._used = {each.id: self._new(each) for each in configuration.destinations}
        self.all = [each.service for each in self._used.values()]
        self.accounts: list[DestinationStatus] = [each.status for each in self.all]
        self.service = ConcurrentService(self.all)

    @property
    def configurations(self) -> dict[str, DestinationConfiguration]:
        """The configurations in use, by id."""
        return {id: each.configuration for id, each in self._used.items()}

    def flows(self) -> dict[str, Sequence[str]]:
        """The sources of each destination, by their ids."""
        return {id: each.configuration.sources for id, each in self._used.items()}

    async def remove(self, id: str) -> None:
        """Stop a destination; what is in its queue stays there."""
        used = self._used.pop(id)
        self.all.remove(used.service)
        self.accounts.remove(used.service.status)
        await self._stop(used.service)

    async def replace(self, configuration: DestinationConfiguration) -> None:
        """Put a destination in the place of the one with its id, which finishes its answers first.

        It goes on with the queue where the one before has stopped.
        """
        old = self._used[configuration.id].service
        released = self._shared.certificates.release(f"destination {old.id}")
        try:
            used = self._new(configuration)
        except BaseException:
            self._shared.certificates.restore(released)
            raise
        new = used.service
        await self._stop(old, has_next=True)
        new.status.continue_from(old.status)
        self.all[self.all.index(old)] = new
        self.accounts[self.accounts.index(old.status)] = new.status
        self._used[configuration.id] = used
        self.service.take_in(new)
        if (since := old.status.paused_since) is not None:
            new.pause(since)  # in the same turn, so no session has begun

    def adapt(self, configuration: DestinationConfiguration) -> None:
        """Only the way into its queue has changed, or nothing: its sessions stay."""
        used = self._used[configuration.id]
        used.configuration = configuration
        used.service.configuration = used.service.status.configuration = configuration

    def add(self, configuration: DestinationConfiguration) -> DestinationService:
        """Begin a destination; the queue of its id may hold records already."""
        used = self._used[configuration.id] = self._new(configuration)
        service = used.service
        self.all.append(service)
        self.accounts.append(service.status)
        self.service.take_in(service)
        return service

    def sort(self, ids: Iterable[str]) -> None:
        """Have them in this order."""
        order = {id: at for at, id in enumerate(ids)}
        self.all.sort(key=lambda each: order.get(each.id, len(order)))
        self.accounts[:] = [each.status for each in self.all]

    def service_of(self, id: str) -> DestinationService:
        return self._used[id].service

    def new_publisher(self, id: str, events: PublisherEvents) -> Publisher:
        """What puts records into the log of a destination, for a source that it answers.

        Raises:
            UpstreamError: The destination is gone, or something is missing that it needs.
        """
        delivery = self._used[id].delivery if id in self._used else None
        if delivery is None or delivery.new_publisher is None:
            raise UpstreamError(f"there is no destination {id} that can answer")
        for each in delivery.prerequisites:
            if each.trouble:
                raise UpstreamError(f"destination {id}: {each.trouble}")
        return delivery.new_publisher(events)

    def _new(self, configuration: DestinationConfiguration) -> _Destination:
        kind = self._shared.kinds.destination(configuration.connect.scheme)
        id, delivery = configuration.id, kind.make(configuration, self._parts)
        service = DestinationService(
            *(configuration, self._shared.queue, self._parts, delivery),
            self._routes.tokens[id],
            self._routes.sized(id),
        )
        return _Destination(configuration, service, delivery)

    async def _stop(self, service: DestinationService, *, has_next: bool = False) -> None:
        queue, lanes = self._shared.queue, service.lanes
        await self.service.let_go(service)
        for lane in lanes:
            queue.unsubscribe(lane.queue)
            await self._settle(lane.queue, lane.drain.acknowledged_seq)
        queue.undirect(service.id)
        if not has_next:
            self._shared.certificates.release(f"destination {service.id}")

    async def _settle(self, queue: str, start: int) -> None:
        """Wait until what was acknowledged has left the queue: the next drain would send it again.

        While the disk takes nothing, that lasts.
        """
        while self.service.running:
            try:
                await self._shared.queue.lane_queues.settle(queue, start=start)
                return
            except QueueError:
                pause: Deferred[None] = Deferred()
                self._shared.reactor.callLater(_RETRY_SECONDS, pause.callback, None)
                await pause
