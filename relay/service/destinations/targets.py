"""Several targets of one destination: where the next connection goes, and when it moves.

A target is in trouble from the end of a connection on, or from an attempt that fails, until it is
connected again or enough probes of it have succeeded.  Nothing new goes there meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.model.clock import Clock, DelayedCall
from relay.model.errors import UpstreamError
from relay.model.text import counted, printable
from relay.service.configuration.keys import key
from relay.service.configuration.model import YEAR_SECONDS, Url, Where
from relay.service.configuration.table import Choice, Flag, Seconds, Whole
from relay.service.destinations.link import Outlet, StreamLink
from relay.transport.connections import Timers
from relay.transport.names import HostResolver
from relay.transport.tls.endpoints import TlsUpstream
from relay.transport.upstream import PreparedEndpoint, UpstreamProtocol, UpstreamState

_SHOWN_ADDRESSES_MAX = 4
_JITTER = 0.25  # of the time after which a connection is renewed, either way


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """Which of several targets is used."""

    policy: str = key(
        Choice(("failover", "balance")),
        "failover",
        "with a list in `connect`: use the first target that works, or all of them",
    )
    failback_probes: int = key(
        Whole(1, 1000), 3, "successful probes in a row before a target in trouble is used again"
    )
    probe_seconds: float = key(
        Seconds(0.1, 86400),
        10.0,
        "interval of probes of a target in trouble; a probe connects and opens a session",
    )
    rebalance_seconds: float = key(
        Seconds(1, YEAR_SECONDS),
        600.0,
        'with `policy = "balance"`: time after which a connection is renewed, give or take a '
        "quarter",
    )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        if "rebalance_seconds" in given and self.policy != "balance":
            yield (
                f'{where("rebalance_seconds")}: has no effect with policy = "failover"; '
                'write policy = "balance", or remove it'
            )


@dataclass(frozen=True, slots=True)
class TargetKeys(TargetPolicy):
    """Which of several targets is used, and through how many connections."""

    connections: int = key(
        Whole(1, 64), 1, "connections at a time; more than one need `ordered = false`"
    )
    ordered: bool = key(
        Flag(), True, "whether messages have to arrive in their order, which takes one connection"
    )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        if self.connections > 1 and self.ordered:
            yield (
                f"{where('connections')}: {self.connections} connections do not keep the order of "
                "messages; write ordered = false, or connections = 1"
            )
        if "ordered" in given and not self.ordered and self.connections == 1:
            yield (
                f"{where('ordered')}: one connection keeps the order; write connections = 2 or "
                "more, or remove it"
            )
        yield from TargetPolicy.problems(self, where, given)


class User(Protocol):
    """What is connected to a target, or tries to be."""

    unit: str
    """What its load counts, for people."""
    is_connected: bool

    @property
    def load(self) -> int: ...

    def renew(self, why: str) -> None:
        """Connect anew, once all that was sent is answered."""


@dataclass(slots=True, eq=False)
class Target:
    """One upstream of a destination."""

    url: Url
    wrapped: object
    """The endpoint that connects to it, below TLS."""
    tls: TlsUpstream | None = None
    resolver: HostResolver | None = None
    """Looks its name up, for `wrapped` too."""
    shown: str = ""
    """Its name for people; empty = what the URL says."""
    trouble: str = ""
    """Why it is not used; empty = it may be."""
    links: list[User] = field(default_factory=list)
    """Those that are connected to it, or try to be."""
    tried: int = 0
    """Number of the last attempt; 0 = none yet."""
    good_probes: int = 0
    last_probe: str = ""
    probed_at: float = 0.0

    @property
    def name(self) -> str:
        return self.shown or str(self.url).partition("://")[2]

    @property
    def load(self) -> int:
        return sum(link.load for link in self.links)

    @property
    def users(self) -> list[User]:
        """The links that are connected to it."""
        return [link for link in self.links if link.is_connected]


class Targets:
    """The targets of one destination, first the one to prefer.

    Args:
        new_protocol: Makes a protocol for an outlet.
        say: Called with what has changed, for people.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        keys: TargetPolicy,
        *,
        new_protocol: Callable[[Outlet], UpstreamProtocol],
        clock: Clock,
        say: Callable[[str], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.all = targets
        self.new_protocol = new_protocol
        self.clock = clock
        self._keys = keys
        self._say = say
        self._jitter = jitter
        self._attempts = 0
        self._probe_call: DelayedCall | None = None
        self._probing: set[int] = set()

    @property
    def is_balanced(self) -> bool:
        return self._keys.policy == "balance"

    @property
    def untroubled(self) -> list[Target]:
        return [target for target in self.all if not target.trouble]

    @property
    def renew_seconds(self) -> float:
        """After how long a connection is to be renewed; 0 = never."""
        if not self.is_balanced:
            return 0.0
        return self._keys.rebalance_seconds * (1 + _JITTER * (2 * self._jitter() - 1))

    def choose(self) -> Target:
        """Where to connect now."""
        self._attempts += 1
        if not self.untroubled:  # each in turn
            chosen = min(self.all, key=lambda target: target.tried)
        elif self.is_balanced:
            chosen = min(self.untroubled, key=lambda target: (target.load, self._jitter()))
        else:
            chosen = self.untroubled[0]
        chosen.tried = self._attempts
        return chosen

    def connected(self, target: Target) -> None:
        target.trouble, target.good_probes = "", 0
        self._probe_later()

    def lost(self, target: Target, reason: str) -> None:
        """A connection to `target` has failed."""
        target.trouble, target.good_probes = reason, 0
        self._probe_later()

    def details(self) -> Iterator[str]:
        """A line for each target, if there are several."""
        for target in self.all if len(self.all) > 1 else ():
            line = f"target {target.name}: {self._role(target)}"
            if target.users and target.resolver is not None and target.resolver.found is not None:
                hosts = [host for host, _ in target.resolver.found.places]
                line += f", {', '.join(hosts[:_SHOWN_ADDRESSES_MAX])}"
            if target.last_probe:
                ago = self.clock.seconds() - target.probed_at
                line += f"; last probe {ago:.0f} s ago: {target.last_probe}"
            yield line

    def _role(self, target: Target) -> str:
        if users := target.users:
            return f"active, {counted(sum(user.load for user in users), users[0].unit)}"
        if target.trouble:
            good = f", {target.good_probes} of {self._keys.failback_probes} probes have succeeded"
            return f"not used: {target.trouble}" + (good if target.good_probes else "")
        if target.load:
            return f"tried now, {counted(target.load, target.links[0].unit)}"
        return "not used: another one is preferred" if target.tried else "not used yet"

    # Probes: while records can be sent to one target, others are tried.

    @property
    def _in_trouble(self) -> list[Target]:
        in_use = any(target.users for target in self.all)
        return [target for target in self.all if target.trouble] if in_use else []

    def _probe_later(self) -> None:
        if self._probe_call is None and self._in_trouble:
            self._probe_call = self.clock.callLater(self._keys.probe_seconds, self._probe_all)

    def stop_probes(self) -> None:
        """A link has stopped: without users there is nothing to come back from."""
        if self._probe_call is not None and not self._in_trouble:
            self._probe_call.cancel()
            self._probe_call = None

    def _probe_all(self) -> None:
        self._probe_call = None
        for target in self._in_trouble:
            if id(target) not in self._probing:
                self._probe(target)
        self._probe_later()

    def _probe(self, target: Target) -> None:
        self._probing.add(id(target))
        outlet = _ProbeOutlet(target.name, self.clock)
        factory = _ProbeFactory(partial(self.new_protocol, outlet))
        endpoint = PreparedEndpoint(
            wrapped=target.wrapped, state=outlet.state, tls=target.tls, clock=self.clock
        )
        connecting = endpoint.connect(factory)
        connecting.addCallback(_opened)
        connecting.addCallbacks(
            lambda _: self._probed(target, "", ""),
            lambda failure: self._probed(target, outlet.trouble, failure.getErrorMessage()),
        )

    def _probed(self, target: Target, trouble: str, otherwise: str) -> None:
        self._probing.discard(id(target))
        target.probed_at = self.clock.seconds()
        target.last_probe = printable(trouble or otherwise) or "a session was opened"
        if not target.trouble:
            return  # it was connected meanwhile
        if trouble or otherwise:
            target.trouble, target.good_probes = target.last_probe, 0
            return
        target.good_probes += 1
        if target.good_probes >= self._keys.failback_probes:
            target.trouble = ""
            self._say(
                f"{target.name} is used again: {counted(target.good_probes, 'probe')} succeeded"
            )
            self._move_to(target)

    def _move_to(self, returned: Target) -> None:
        """Have links connect anew that would choose `returned` now."""
        rank, why = self.all.index(returned), f"{returned.name} is back"
        if not self.is_balanced:
            for target in self.all[rank + 1 :]:
                for link in target.users:
                    link.renew(why)
            return
        links = [link for target in self.all for link in target.users]
        fair = -(-len(links) // len(self.untroubled))
        for target in self.all:
            for link in target.users[fair:]:
                link.renew(why)


@implementer(IStreamClientEndpoint)
class _Chosen:
    """The endpoint of a link: whichever target is chosen."""

    def __init__(self, link: TargetLink, state: UpstreamState) -> None:
        self._link = link
        self._state = state

    def __repr__(self) -> str:
        return self._state.target  # ClientService logs it

    def connect(self, protocolFactory: Factory) -> Deferred[UpstreamProtocol]:
        return self._link.connect_through(protocolFactory)


class TargetLink(StreamLink):
    """A link that connects to one target of several after the other."""

    unit, load = "connection", 1

    def __init__(self, outlet: Outlet, targets: Targets) -> None:
        state, clock = outlet.state, targets.clock
        StreamLink.__init__(
            self,
            state,
            endpoint=_Chosen(self, state),
            new_protocol=partial(targets.new_protocol, outlet),
            clock=clock,
        )
        self._targets = targets
        self._target: Target | None = None  # chosen last
        self.is_connected = False
        self._moves = False  # the last target was at fault
        self._timers = Timers(clock)
        state.watch(self._connected, self._lost)

    def connect_through(self, factory: Factory) -> Deferred[UpstreamProtocol]:
        target = self._target = self._targets.choose()
        target.links.append(self)
        if len(self._targets.all) > 1:
            self._state.target = target.name
        endpoint = PreparedEndpoint(
            wrapped=target.wrapped, state=self._state, tls=target.tls, clock=self._clock
        )
        return endpoint.connect(factory)

    def retry_seconds(self, attempt: int) -> float:
        if self._moves and len(self._targets.all) > 1 and self._targets.untroubled:
            return 0.0
        return self._state.retry_policy(attempt)

    def _connected(self) -> None:
        assert self._target is not None
        self.is_connected = True
        self._targets.connected(self._target)
        if seconds := self._targets.renew_seconds:
            why = "connections are renewed to balance them"
            self._timers.set("renew", seconds, self.renew, why)
        if self._target.resolver is not None:
            self._look_up_later(self._target.resolver)

    def _look_up_later(self, resolver: HostResolver) -> None:
        """Look the name up again when what DNS said does not hold any more."""
        found = resolver.found
        if found is not None and found.ttl_seconds is not None:
            self._timers.set(
                "name", found.ttl_seconds, lambda: ensureDeferred(self._look_up(resolver))
            )

    async def _look_up(self, resolver: HostResolver) -> None:
        connection = self._protocol
        with suppress(UpstreamError):
            await resolver.look_up()
        if not self.is_connected or connection is None or self._protocol is not connection:
            return
        found, peer = resolver.found, connection.transport.getPeer()
        if found is not None and found.is_fresh and (peer.host, peer.port) not in found.places:
            hosts = ", ".join(host for host, _ in found.places)
            self.renew(f"its name stands for {hosts} now, not for {peer.host}")
        else:
            self._look_up_later(resolver)

    def _lost(self, reason: str) -> None:
        """The connection has ended, or could not be made.

        Args:
            reason: Why; empty = the target is not to blame.
        """
        target, self.is_connected, self._moves = self._target, False, bool(reason)
        self._timers.cancel_all()
        if target is None:
            return
        if self in target.links:
            target.links.remove(self)
        if reason:
            self._targets.lost(target, reason)
        self._targets.stop_probes()


class _ProbeOutlet:
    """Where a probe's session would send, if it sent something."""

    numbering = None

    def __init__(self, name: str, clock: Clock) -> None:
        self.trouble = ""
        self.drain = _NoDrain()
        self.state = UpstreamState(
            target=name,
            clock=clock,
            on_ready=lambda reason: None,
            on_failure=self._failed,
            retry_seconds_min=1.0,
            retry_seconds_max=1.0,
        )

    def _failed(self, reason: str) -> None:
        self.trouble = self.trouble or reason


class _NoDrain:
    """A drain that has nothing to send."""

    sent_seq = 0

    def attach(self, session: object) -> None:
        pass

    detach = attach

    def pump(self) -> None:
        pass

    def acknowledged(self, session: object, count: int) -> bool:
        return True

    def refused(self, *_: object, **__: object) -> bool:
        return False


class _ProbeFactory(Factory):
    noisy = False

    def __init__(self, new_protocol: Callable[[], UpstreamProtocol]) -> None:
        self.buildProtocol = lambda addr: new_protocol()  # type: ignore[method-assign]


def _opened(protocol: UpstreamProtocol) -> Deferred[None]:
    """Fires when a probe's session was open; it is closed then."""

    def close(result: Failure | None) -> Failure | None:
        if not isinstance(result, Failure):
            protocol.shut_down()
        return result

    return protocol.ready.addBoth(close)
