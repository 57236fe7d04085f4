"""A kind of destination that answers for senders: a log in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay.flow.publishing import PublisherEvents
from relay.service.configuration.model import DestinationConfiguration
from relay.service.configuration.url import Host
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.link import LocalLink, Outlet
from relay.service.kinds import KINDS
from relay.service.prerequisite import Prerequisite
from tests.fake_log import FakePublisher

__all__ = ["WITH_LOG", "Log", "logs"]


class Log:
    """What one destination has made."""

    def __init__(self) -> None:
        self.publishers: list[FakePublisher] = []
        self.events: list[PublisherEvents] = []
        self.needs = Prerequisite("it waits")

    def new_publisher(self, events: PublisherEvents) -> FakePublisher:
        self.events.append(events)
        self.publishers.append(FakePublisher())
        return self.publishers[-1]


logs: dict[str, Log] = {}
"""By the host of the URL."""


class _NeverReady:
    room = 0

    def send(self, payloads: Sequence[bytes]) -> None:
        raise AssertionError("the queue of a log in direct mode is empty")

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class LogConfiguration(DestinationConfiguration):
    pass


def _make(destination: LogConfiguration, parts: DestinationParts) -> Delivery:
    log = logs[destination.connect.host] = Log()

    async def session(outlet: Outlet, failed: object) -> _NeverReady:
        return _NeverReady()

    return Delivery(
        new_link=lambda outlet: LocalLink(outlet, session, how="ready", clock=parts.reactor),
        prerequisites=(log.needs,),
        new_publisher=log.new_publisher,
    )


LOG = DestinationKind(
    scheme="log",
    address=Host(),
    configuration=LogConfiguration,
    delivered="the log has it",
    medium="paper",
    make=_make,
    publishes=True,
)
WITH_LOG = replace(KINDS, destinations=(*KINDS.destinations, LOG))
