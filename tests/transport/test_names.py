"""Names by a stand-in for DNS; `tests/end_to_end/test_names.py` asks a name server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred, fail, succeed
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSServerError

from relay.model.errors import UpstreamError
from relay.transport.names import Found, HostResolver, Names, new_dns
from tests.connections import fired
from tests.threads import Reactor


class Dns:
    """Answers from tables: A, AAAA and SRV records, by name."""

    def __init__(self) -> None:
        self.a: dict[str, list[tuple[str, int]]] = {}
        self.aaaa: dict[str, list[tuple[str, int]]] = {}
        self.srv: dict[str, list[tuple[int, int, int, str | bytes]]] = {}
        self.aliases: dict[str, int] = {}
        self.error: Exception | None = None

    def lookupAddress(self, name: str, timeout: Any) -> Deferred[Any]:
        return self._answer(
            name, [(dns.A, dns.Record_A(address, ttl)) for address, ttl in self.a.get(name, [])]
        )

    def lookupIPV6Address(self, name: str, timeout: Any) -> Deferred[Any]:
        found = [(dns.AAAA, dns.Record_AAAA(each, ttl)) for each, ttl in self.aaaa.get(name, [])]
        return self._answer(name, found)

    def lookupService(self, name: str, timeout: Any) -> Deferred[Any]:
        found = [(dns.SRV, dns.Record_SRV(*each, ttl=30)) for each in self.srv.get(name, [])]
        return self._answer(name, found)

    def _answer(self, name: str, records: list[tuple[int, Any]]) -> Deferred[Any]:
        if self.error is not None:
            return fail(self.error)
        if not records:
            return fail(DNSNameError(name))
        headers = [
            dns.RRHeader(name, kind, ttl=record.ttl, payload=record) for kind, record in records
        ]
        if name in self.aliases:
            alias = dns.Record_CNAME("elsewhere", self.aliases[name])
            headers.insert(0, dns.RRHeader(name, dns.CNAME, ttl=alias.ttl, payload=alias))
        return succeed((headers, [], []))


class Lookups:
    def __init__(self, system: dict[str, list[str]] | None = None) -> None:
        self.dns = Dns()
        self.said: list[str] = []
        self.asked_system = 0
        self._system = system or {}
        self.names = Names(
            run_in_thread=self._run,
            warn=self.said.append,
            new_dns=lambda: self.dns,
            clock=Clock(),
        )

    def _run(self, call: Callable[[], Any]) -> Deferred[Any]:
        self.asked_system += 1
        host, port = call.args  # type: ignore[attr-defined]
        if host not in self._system:
            return fail(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
        return succeed([(address, port) for address in self._system[host]])

    def look_up(self, host: str, port: int) -> Found:
        (found,) = fired(ensureDeferred(self.names.look_up(host, port)))
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]


@pytest.fixture
def there() -> Lookups:
    return Lookups()


def test_an_address_needs_no_lookup(there: Lookups) -> None:
    there.dns.error = DNSServerError()
    for host in ("192.0.2.1", "2001:db8::1", "fe80::1%eth0"):
        assert there.look_up(host, 514) == Found(((host, 514),))


def test_all_addresses_and_the_shortest_life(there: Lookups) -> None:
    there.dns.a["up"] = [("192.0.2.1", 300), ("192.0.2.2", 300)]
    there.dns.aaaa["up"] = [("2001:db8::1", 60)]
    expected = (("192.0.2.1", 514), ("192.0.2.2", 514), ("2001:db8::1", 514))
    assert there.look_up("up", 514) == Found(expected, 60)
    there.dns.aliases["up"] = 20
    assert there.look_up("up", 514) == Found(expected, 20)
    assert there.asked_system == 0


@pytest.mark.parametrize(("ttl", "seconds"), [(0, 5), (10**6, 86400)])
def test_how_long_an_answer_holds_has_limits(there: Lookups, ttl: int, seconds: float) -> None:
    there.dns.a["up"] = [("192.0.2.1", ttl)]
    assert there.look_up("up", 514).ttl_seconds == seconds


@pytest.mark.parametrize("error", [None, DNSServerError(), TimeoutError()])
def test_what_dns_does_not_know_the_system_may(error: Exception | None) -> None:
    there = Lookups({"printer": ["192.0.2.7", "192.0.2.7"]})
    there.dns.error = error
    assert there.look_up("printer", 514) == Found((("192.0.2.7", 514),))


def test_a_name_that_nobody_knows(there: Lookups) -> None:
    with pytest.raises(UpstreamError):
        there.look_up("nobody", 514)
    assert there.said == ["nobody cannot be resolved: Name or service not known"]


@pytest.mark.parametrize("error", [DNSServerError(), TimeoutError(), OSError("no name server")])
def test_the_last_addresses_serve_while_dns_is_down(there: Lookups, error: Exception) -> None:
    there.dns.a["up"] = [("192.0.2.1", 300)]
    there.look_up("up", 514)
    there.dns.error = error
    assert there.look_up("up", 514) == Found((("192.0.2.1", 514),), 300, is_fresh=False)
    assert there.said == [
        f"no answer from DNS for up ({type(error).__name__}); using the last addresses: 192.0.2.1"
    ]
    assert there.asked_system == 0  # it would wait for the same servers
    there.dns.error = None
    there.dns.a["up"] = [("192.0.2.2", 300)]
    assert there.look_up("up", 514).places == (("192.0.2.2", 514),)


def test_a_service_by_priority(there: Lookups) -> None:
    name = "_syslog._tcp.example.org"
    there.dns.srv[name] = [
        (20, 0, 2000, "b"),
        (10, 0, 1000, "a"),
        (30, 0, 3000, b"."),
        (40, 0, 4000, b"b\x1b[31m"),
    ]
    there.dns.a = {"a": [("192.0.2.1", 20)], "b": [("192.0.2.2", 300)]}
    assert there.look_up(name, 0) == Found((("192.0.2.1", 1000), ("192.0.2.2", 2000)), 20)


def test_weights_decide_among_servers_of_one_priority(there: Lookups) -> None:
    name = "_syslog._tcp.example.org"
    there.dns.srv[name] = [(1, 0, 1000, "a"), (1, 60000, 2000, "b")]
    there.dns.a = {"a": [("192.0.2.1", 20)], "b": [("192.0.2.2", 20)]}
    first = [there.look_up(name, 0).places[0][1] for _ in range(50)]
    assert first.count(2000) > 40


def test_a_service_without_servers(there: Lookups) -> None:
    with pytest.raises(UpstreamError, match="name no server"):
        there.look_up("_syslog._tcp.example.org", 0)


class Receiver:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def resolutionBegan(self, resolution: Any) -> None:
        self.events.append("began")

    def addressResolved(self, address: Any) -> None:
        self.events.append(address)

    def resolutionComplete(self) -> None:
        self.events.append("complete")


def test_an_endpoint_gets_the_places_in_the_order_that_is_wanted(there: Lookups) -> None:
    there.dns.a["up"] = [("192.0.2.1", 300)]
    there.dns.aaaa["up"] = [("2001:db8::1", 300)]
    resolver = HostResolver(there.names, "up", 514, arrange=lambda places: list(reversed(places)))
    receiver = Receiver()
    resolver.resolveHostName(receiver, "any name", portNumber=9)
    assert receiver.events == [
        "began",
        IPv6Address("TCP", "2001:db8::1", 514),
        IPv4Address("TCP", "192.0.2.1", 514),
        "complete",
    ]


def test_an_endpoint_gets_nothing_of_a_name_that_nobody_knows(there: Lookups) -> None:
    receiver = Receiver()
    HostResolver(there.names, "up", 514).resolveHostName(receiver, "any name")
    assert receiver.events == ["began", "complete"]


def test_the_name_servers_are_those_of_this_host() -> None:
    hosts, servers = new_dns(Reactor()).resolvers
    assert hosts.file in ("/etc/hosts", b"/etc/hosts")
    assert servers.resolv == "/etc/resolv.conf"
