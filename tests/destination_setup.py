"""Destinations of any kind, with a queue of two records."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, execute

from relay.queue.cursor import Cursor
from relay.queue.ledger import Ledger
from relay.queue.lineage import Lineage
from relay.service.configuration.model import (
    RewriteConfiguration,
    Url,
)
from relay.service.destinations.kind import DestinationParts
from relay.service.destinations.lane import Lane
from relay.service.destinations.link import StreamLink
from relay.service.destinations.service import DestinationService
from relay.service.kinds import KINDS
from relay.service.routes.late_tokens import LateTokens
from relay.service.tls.certificate_watch import CertificateWatch
from tests.clocks import wall_of
from tests.configurations import new_destination
from tests.connections import RecordingNotices
from tests.queue_roles import AllRoles
from tests.threads import Reactor


class Queue(AllRoles):
    """Two records, and up to where they were acknowledged."""

    def __init__(self) -> None:
        self.upto = 1

    def ledger(self, destination: str) -> Ledger:
        return Ledger(next_seq=3)

    def cursor(self, destination: str) -> Cursor:
        return Cursor(self, destination, position=1, run_in_thread=execute)  # type: ignore[arg-type]

    def read(self, destination: str, *, start: int, **_: int) -> list[bytes]:
        return [b"one", b"two"][start - 1 :]

    def lineage(self, destination: str) -> None:
        return None

    def keep_lineage(self, destination: str, lineage: Lineage) -> Deferred[None]:
        raise NotImplementedError

    def subscribe(self, destination: str, stored: Any, evicted: Any) -> None:
        pass

    def acknowledge(self, destination: str, upto: int) -> None:
        self.upto = upto

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        raise NotImplementedError


def no_form(rewrite: RewriteConfiguration) -> Any:
    raise AssertionError("it has no token")


class Setup:
    def __init__(self) -> None:
        self.reactor = Reactor()
        self.queue: Any = Queue()
        self.notices: Any = RecordingNotices()

    def build(self, url: Url, **keywords: Any) -> Any:
        configuration = new_destination("out", url, ("in",), **keywords)
        self.certificates = CertificateWatch(
            notices=self.notices, now=self.reactor.seconds, clock=self.reactor
        )
        parts = DestinationParts(
            self.certificates, self.notices, wall_of(self.reactor), self.reactor
        )
        tokens = LateTokens(configuration.rewrite, no_form)
        delivery = KINDS.destination(url.scheme).make(configuration, parts)
        return DestinationService(configuration, self.queue, parts, delivery, tokens)

    def run(self) -> None:
        self.reactor.run_handed_over()
        self.reactor.advance(0)
        self.reactor.run_handed_over()


def lane_of(service: DestinationService) -> Lane:
    """What its start would make, and connect."""
    return service._new_lane("out", None)


def link_of(service: DestinationService) -> Any:
    link = lane_of(service).link
    assert isinstance(link, StreamLink)
    return link


def target_of(service: DestinationService) -> Any:
    """Its only target."""
    (target,) = link_of(service)._targets.all
    return target


def protocol_of(service: DestinationService) -> Any:
    return link_of(service).buildProtocol(None)
