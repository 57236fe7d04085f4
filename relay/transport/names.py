"""Names of upstreams: addresses, and how long they hold.

DNS is asked first, because only it tells how long an answer holds; the hosts file comes before it.
What it does not know (search domains, mDNS, other sources of nsswitch.conf), the operating system
is asked for.  While nobody answers, the last addresses that were found serve.
"""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from itertools import chain
from typing import Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, FirstError, TimeoutError, ensureDeferred, gatherResults
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.names import client, dns
from twisted.names.error import (
    AuthoritativeDomainError,
    DNSNameError,
    DomainError,
    ResolverError,
)
from twisted.names.hosts import Resolver as HostsFile
from twisted.names.resolve import ResolverChain
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.model.clock import Reactor
from relay.model.errors import UpstreamError

_QUERY_SECONDS = (1, 2)  # for the first and for the second name server, or the same one again
_TTL_SECONDS_MIN, _TTL_SECONDS_MAX = 5.0, 86400.0
_ADDRESSES_MAX = 64  # that are used of an answer

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")

Place = tuple[str, int]
"""An address and a port."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a name stands for."""

    places: tuple[Place, ...]
    ttl_seconds: float | None = None
    """How long that holds; None = nobody says."""
    is_fresh: bool = True
    """It was looked up now; otherwise it is what was found last."""


class Names:
    """Looks names up.

    Args:
        run_in_thread: Runs what asks the operating system.
        warn: Called with why a name could not be looked up.
        new_dns: Makes what asks the hosts file and DNS, at the first name.
    """

    def __init__(
        self,
        *,
        run_in_thread: Callable[[Callable[[], Sequence[Place]]], Awaitable[Sequence[Place]]],
        warn: Callable[[str], None],
        new_dns: Callable[[], ResolverChain],
    ) -> None:
        self._run_in_thread = run_in_thread
        self._warn = warn
        self._new_dns = new_dns
        self._dns: ResolverChain | None = None
        self._last: dict[Place, Found] = {}

    async def look_up(self, host: str, port: int) -> Found:
        """The addresses of `host`; port 0 = of the servers that its SRV records name.

        Raises:
            UpstreamError: It cannot be looked up now, and never was.
        """
        if is_address(host):
            return Found(((host, port),))
        if self._dns is None:
            self._dns = self._new_dns()
        last = self._last.get((host, port))
        try:
            found = await (self._hosts(host, port, last) if port else self._services(host))
        except UpstreamError as error:
            if last is None:
                self._warn(str(error))
                raise
            self._warn(f"{error}; using the last addresses: {_shown(last.places)}")
            return replace(last, is_fresh=False)
        self._last[host, port] = found
        return found

    async def _services(self, name: str) -> Found:
        """The servers of SRV records, by priority, those of one by weight (RFC 2782)."""
        answers = await self._query("lookupService", name)
        records = [each.payload for each in answers if isinstance(each.payload, dns.Record_SRV)]
        records.sort(key=lambda record: (record.priority, _drawn(record.weight)))
        places, ttls = list[Place](), [float(each.ttl) for each in answers]
        for record in records[:_ADDRESSES_MAX]:
            host, port = record.target.name.decode("ascii", "replace"), record.port
            if not _HOST.fullmatch(host) or not port:
                continue  # "." = the service is not there (RFC 2782)
            found = await self._hosts(host, port, None)
            places += found.places
            ttls += [] if found.ttl_seconds is None else [found.ttl_seconds]
        if not places:
            raise UpstreamError(f"the SRV records of {name} name no server")
        return Found(tuple(dict.fromkeys(places)), _within_limits(min(ttls)))

    async def _hosts(self, host: str, port: int, last: Found | None) -> Found:
        try:
            queries = [self._query(each, host) for each in ("lookupAddress", "lookupIPV6Address")]
            of_both = await gatherResults(map(ensureDeferred, queries), consumeErrors=True)
            answers = [*chain.from_iterable(of_both)]
        except FirstError as error:
            error.subFailure.trap(UpstreamError)
            if last is not None:
                # The operating system would ask the same name servers, for longer.
                error.subFailure.raiseException()
            answers = []
        addresses = [_address(each.payload) for each in answers]
        addresses = [address for address in addresses if address]
        if addresses:
            places = tuple((address, port) for address in dict.fromkeys(addresses))
            ttl_seconds = _within_limits(min(float(each.ttl) for each in answers))
            return Found(places[:_ADDRESSES_MAX], ttl_seconds)
        return Found(await self._asked_system(host, port))

    async def _query(self, kind: str, name: str) -> list[dns.RRHeader]:
        """The records of the answer; none if DNS does not know the name."""
        try:
            answers, _, _ = await getattr(self._dns, kind)(name, timeout=_QUERY_SECONDS)
        except (DNSNameError, AuthoritativeDomainError):
            return []
        except (DomainError, ResolverError, TimeoutError, OSError) as error:
            reason = f"no answer from DNS for {name} ({type(error).__name__})"
            raise UpstreamError(reason) from None
        return list(answers)

    async def _asked_system(self, host: str, port: int) -> tuple[Place, ...]:
        try:
            found = await self._run_in_thread(partial(_system_places, host, port))
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", "") or str(error)
            raise UpstreamError(f"{host} cannot be resolved: {reason}") from None
        return tuple(dict.fromkeys(found))[:_ADDRESSES_MAX]


def _system_places(host: str, port: int) -> list[Place]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(str(each[4][0]), port) for each in found]


def new_dns(reactor: Reactor) -> ResolverChain:
    """The hosts file, and the name servers of resolv.conf."""
    return ResolverChain([HostsFile(), client.Resolver(resolv="/etc/resolv.conf", reactor=reactor)])


def is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class _Receiver(Protocol):
    """Gets the addresses of a host (Twisted's IResolutionReceiver)."""

    def resolutionBegan(self, resolution: object) -> object: ...

    def addressResolved(self, address: object) -> object: ...

    def resolutionComplete(self) -> object: ...


@implementer(IHostnameResolver)
class HostResolver:
    """The places of one host, for the endpoint that connects to it.

    Args:
        arrange: Puts the places into the order in which they are tried.
    """

    def __init__(
        self,
        names: Names,
        host: str,
        port: int,
        *,
        arrange: Callable[[Sequence[Place]], Sequence[Place]] = list,
    ) -> None:
        self._names = names
        self._host, self._port = host, port
        self._arrange = arrange
        self.found: Found | None = None

    async def look_up(self) -> Found:
        self.found = await self._names.look_up(self._host, self._port)
        return self.found

    def resolveHostName(
        self,
        resolutionReceiver: _Receiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: object = None,
        transportSemantics: str = "TCP",
    ) -> object:
        def tell(found: Found) -> None:
            for host, port in self._arrange(found.places):
                kind = IPv6Address if ":" in host else IPv4Address
                resolutionReceiver.addressResolved(kind("TCP", host, port))

        def failed(failure: Failure) -> None:
            failure.trap(UpstreamError)  # without addresses the endpoint says so itself

        resolutionReceiver.resolutionBegan(self)
        looking: Deferred[None] = ensureDeferred(self.look_up()).addCallback(tell)
        looking.addErrback(failed)
        looking.addCallback(lambda _: resolutionReceiver.resolutionComplete())
        return self


@implementer(IReactorPluggableNameResolver)
class ReactorWithNames:
    """A reactor that resolves names by a `HostResolver`, and all names to the same host."""

    def __init__(self, reactor: Reactor, resolver: HostResolver) -> None:
        self._reactor = reactor
        self.nameResolver = resolver

    def __getattr__(self, name: str) -> object:
        return getattr(self._reactor, name)

    def installNameResolver(self, resolver: object) -> object:
        raise NotImplementedError


def _shown(places: Sequence[Place]) -> str:
    return ", ".join(host for host, _ in places)


def _address(record: object) -> str:
    """The address in a record; empty = it has none."""
    if isinstance(record, dns.Record_A):
        return str(record.dottedQuad())
    if isinstance(record, dns.Record_AAAA):
        return socket.inet_ntop(socket.AF_INET6, record.address)
    return ""


def _within_limits(ttl_seconds: float) -> float:
    return min(max(ttl_seconds, _TTL_SECONDS_MIN), _TTL_SECONDS_MAX)


def _drawn(weight: int) -> float:
    """A key that sorts records by chance, those with more weight more often first."""
    return -float(random.random() ** (1 / max(weight, 0.01)))
