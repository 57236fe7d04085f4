"""What a kind of destination declares, what it works with, and what it makes of a configuration.

A kind is a module here that declares a `DestinationKind`, and a line in `relay/service/kinds.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from relay.flow.publishing import Publisher, PublisherEvents
from relay.model.clock import Reactor, WallClock
from relay.model.hops import NO_HOP, OwnHop
from relay.service.configuration.kinds import UrlKind
from relay.service.configuration.model import DestinationConfiguration
from relay.service.destinations.link import Link, Outlet
from relay.service.prerequisite import Prerequisite
from relay.service.probes.probe import Probe
from relay.service.tls.certificate_watch import CertificateWatch
from relay.transport.notices import Notices
from relay.wire.relp.fleet import FleetReport

T = TypeVar("T")
C = TypeVar("C", bound=DestinationConfiguration)


def in_thread(reactor: Reactor, call: Callable[[], T]) -> Deferred[T]:
    """Run what may wait in one of the reactor's threads."""
    return deferToThreadPool(reactor, reactor.getThreadPool(), call)  # type: ignore[arg-type]  # zope


@dataclass(frozen=True, slots=True)
class DestinationParts:
    """What all destinations are made with."""

    certificates: CertificateWatch
    notices: Notices
    wall: WallClock
    reactor: Reactor
    """Provides IReactorTime, IReactorThreads and IReactorTCP."""
    hop: OwnHop = NO_HOP
    """This relay, in the hops of messages."""
    fleet_offer: bytes = b""
    """What it says of itself to other relays; empty = nothing."""
    fleet_report: Callable[[], FleetReport] | None = None
    """What it reports to them."""

    def run_in_thread(self, call: Callable[[], T]) -> Deferred[T]:
        """What may wait for a disk or a name server; fires with its result."""
        return in_thread(self.reactor, call)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How the records of one destination are delivered."""

    new_link: Callable[[Outlet], Link]
    """Makes what connects one lane.

    A link may have several connections and several targets, also of other kinds: each gets an
    outlet of its own, whose drain hands on to that of the lane.
    """
    target: str = ""
    """The name of the upstream, for people; empty = what the URL says."""
    is_confirmed: bool = False
    """The receiver has a record for certain when it is acknowledged."""
    taken: str = "handed to the kernel"
    """What else is known of an acknowledged record, in words."""
    prerequisites: Sequence[Prerequisite] = ()
    """What has to be there before the first session."""
    details: Callable[[], Sequence[str]] = tuple
    """Lines for `status`, beyond the state of the lanes."""
    new_publisher: Callable[[PublisherEvents], Publisher] | None = None
    """Makes what sources in direct mode put their records in with, after the fork; None = the kind
    is no log that acknowledges records of many senders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationKind(UrlKind[C]):
    """One kind of destination."""

    make: Callable[[C, DestinationParts], Delivery]
    publishes: bool = False
    """Its deliveries have `new_publisher`, so sources may be answered by it."""
    probe: Callable[[C, Probe], None] | None = None
    """What `check --connect` does: tells what it finds, in a thread, where it may wait."""
