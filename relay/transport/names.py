"""Names of upstreams: addresses, and how long they hold.

DNS is asked first, because only it tells how long an answer holds; the hosts file comes before it.
What it does not know (search domains, mDNS, other sources of nsswitch.conf), the operating system
is asked for.  While nobody answers, the last addresses that were found serve.
"""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from itertools import chain
from typing import Protocol, TypeVar

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectBindError, ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IProtocol,
    IReactorPluggableNameResolver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
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

from relay.model.clock import Clock, Reactor
from relay.model.errors import UpstreamError
from relay.transport.sockets import bind_failure_text

_QUERY_SECONDS = (1, 2)  # for the first and for the second name server, or the same one again
_TCP_SECONDS = 2  # where an answer over UDP was cut
_ANSWER_SECONDS_MAX = 8.0  # of all that
_TTL_SECONDS_MIN, _TTL_SECONDS_MAX = 5.0, 86400.0
_TTL_LIMIT = 2**31  # RFC 2181 section 8: from there on it counts as 0
_ADDRESSES_MAX = 64  # that are used of an answer
_SERVERS_MAX = 16  # likewise, of SRV records

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")

T = TypeVar("T")
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
        clock: Ends questions that the name servers keep open.
    """

    def __init__(
        self,
        *,
        run_in_thread: Callable[[Callable[[], Sequence[Place]]], Awaitable[Sequence[Place]]],
        warn: Callable[[str], None],
        new_dns: Callable[[], ResolverChain],
        clock: Clock,
    ) -> None:
        self._run_in_thread = run_in_thread
        self._warn = warn
        self._new_dns = new_dns
        self._clock = clock
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
        servers = [
            (record.target.name.decode("ascii", "replace"), record.port) for record in records
        ]
        # "." = the service is not there (RFC 2782)
        servers = [each for each in servers if _HOST.fullmatch(each[0]) and each[1]]
        lookups = [self._hosts(*each, None) for each in servers[:_SERVERS_MAX]]
        found, errors = await _all(lookups)
        places = [*dict.fromkeys(chain.from_iterable(each.places for each in found))]
        if errors and not places:
            raise errors[0]
        if not places:
            raise UpstreamError(f"the SRV records of {name} name no server")
        ttls = [each.ttl_seconds for each in found if each.ttl_seconds is not None]
        return Found(tuple(places[:_ADDRESSES_MAX]), min([_ttl_seconds(answers), *ttls]))

    async def _hosts(self, host: str, port: int, last: Found | None) -> Found:
        queries = [self._query(each, host) for each in ("lookupAddress", "lookupIPV6Address")]
        of_both, errors = await _all(queries)
        answers = [*chain.from_iterable(of_both)]
        addresses = [address for each in answers if (address := _address(each.payload))]
        if addresses:  # some name servers leave questions for IPv6 without an answer
            places = tuple((address, port) for address in dict.fromkeys(addresses))
            return Found(places[:_ADDRESSES_MAX], _ttl_seconds(answers))
        if errors and last is not None:
            raise errors[0]  # the operating system would ask the same name servers, for longer
        return Found(await self._asked_system(host, port))

    async def _query(self, kind: str, name: str) -> list[dns.RRHeader]:
        """The records of the answer; none if DNS does not know the name."""
        try:
            asking = getattr(self._dns, kind)(name, timeout=_QUERY_SECONDS)
            answers, _, _ = await asking.addTimeout(_ANSWER_SECONDS_MAX, self._clock)
        except (DNSNameError, AuthoritativeDomainError):
            return []
        except UnicodeError:
            return []  # DNS has no such names
        except (DomainError, ResolverError, TimeoutError, ConnectError, OSError) as error:
            reason = f"no answer from DNS for {name} ({type(error).__name__})"
            raise UpstreamError(reason) from None
        return _of_name(name, answers)

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


class DnsResolver(client.Resolver):
    """Asks name servers, by TCP what they cut; Twisted's asks for ever what is cut there, too."""

    def __init__(self, *, reactor: Reactor, **servers: object) -> None:
        super().__init__(reactor=reactor, **servers)  # type: ignore[no-untyped-call]
        self.factory = _DnsFactory(self, reactor)

    def filterAnswers(self, message: dns.Message) -> object:
        if not message.trunc:
            return super().filterAnswers(message)  # type: ignore[no-untyped-call]
        asking = self.queryTCP(message.queries, _TCP_SECONDS)  # type: ignore[no-untyped-call]
        return asking.addCallbacks(self._whole, self._disconnect)

    def _whole(self, message: dns.Message) -> object:
        message.trunc = 0  # there is no more to be had
        return self.filterAnswers(message)

    def _disconnect(self, failure: Failure) -> Failure:
        """What does not answer in one connection may in another."""
        for connection in self.connections:
            connection.transport.abortConnection()
        return failure


class _DnsFactory(client.DNSClientFactory):
    """Makes connections to name servers; Twisted's take their time from the global reactor."""

    def __init__(self, resolver: DnsResolver, reactor: Reactor) -> None:
        super().__init__(resolver)  # type: ignore[no-untyped-call]
        self._reactor = reactor

    def buildProtocol(self, addr: object) -> dns.DNSProtocol:
        return dns.DNSProtocol(self.controller, self._reactor)


def new_dns(reactor: Reactor) -> ResolverChain:
    """The hosts file, and the name servers of resolv.conf."""
    return ResolverChain([HostsFile(), DnsResolver(resolv="/etc/resolv.conf", reactor=reactor)])


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
        self.host, self._port = host, port
        self._arrange = arrange
        self.found: Found | None = None
        self.tried: Sequence[Place] | None = None
        """What the endpoint has got last."""

    async def look_up(self) -> Found:
        self.found = await self._names.look_up(self.host, self._port)
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
            self.tried = self._arrange(found.places)
            for host, port in self.tried:
                kind = IPv6Address if ":" in host else IPv4Address
                resolutionReceiver.addressResolved(kind("TCP", host, port))

        def failed(failure: Failure) -> None:
            failure.trap(UpstreamError)  # without addresses the endpoint says so itself

        def complete(result: Failure | None) -> Failure | None:
            resolutionReceiver.resolutionComplete()
            return result

        resolutionReceiver.resolutionBegan(self)
        looking: Deferred[None] = ensureDeferred(self.look_up()).addCallback(tell)
        looking.addErrback(failed)
        looking.addBoth(complete)  # or the endpoint would wait for ever
        return self


@implementer(IStreamClientEndpoint)
class BoundEndpoint:
    """Connects through `wrapped` from the address `bind`, and says so if that is at fault."""

    def __init__(self, wrapped: HostnameEndpoint, resolver: HostResolver, bind: str) -> None:
        self._wrapped = wrapped
        self._resolver = resolver
        self._bind = bind

    def connect(self, protocolFactory: Factory) -> Deferred[IProtocol]:
        self._resolver.tried = None
        connecting: Deferred[IProtocol] = self._wrapped.connect(protocolFactory)  # type: ignore[arg-type]  # zope
        return connecting.addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, ConnectBindError):
            return Failure(UpstreamError(bind_failure_text(self._bind, error.osError or 0)))
        if isinstance(error, DNSLookupError) and self._resolver.tried == []:
            host = self._resolver.host
            text = f"no address of {host} can be reached from {self._bind}; correct bind"
            return Failure(UpstreamError(text))
        return failure


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


async def _all(
    coroutines: Iterable[Coroutine[Deferred[object], object, T]],
) -> tuple[list[T], list[UpstreamError]]:
    """What has come of all of them, which work at the same time: results, and errors."""
    results, errors = list[T](), list[UpstreamError]()
    for working in [ensureDeferred(each) for each in coroutines]:
        try:
            results.append(await working)
        except UpstreamError as error:
            errors.append(error)
    return results, errors


def _of_name(name: str, answers: Sequence[dns.RRHeader]) -> list[dns.RRHeader]:
    """The records of `name`, and of what its aliases lead to."""
    names, new = set[bytes](), {name.rstrip(".").lower().encode("idna")}
    while new:
        names |= new
        aliases = [
            each.payload.name.name.rstrip(b".").lower()
            for each in answers
            if isinstance(each.payload, dns.Record_CNAME) and _owner(each) in names
        ]
        new = {*aliases} - names
    return [each for each in answers if _owner(each) in names]


def _owner(record: dns.RRHeader) -> bytes:
    name: bytes = record.name.name
    return name.rstrip(b".").lower()


def _ttl_seconds(answers: Sequence[dns.RRHeader]) -> float:
    """How long an answer holds."""
    seconds = min(each.ttl if each.ttl < _TTL_LIMIT else 0 for each in answers)
    return min(max(float(seconds), _TTL_SECONDS_MIN), _TTL_SECONDS_MAX)


def _drawn(weight: int) -> float:
    """A key that sorts records by chance, those with more weight more often first."""
    return -float(random.random() ** (1 / max(weight, 0.01)))
