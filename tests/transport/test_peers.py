from __future__ import annotations

import ipaddress

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from relay.transport.peers import GateFactory, PeerRates, PermittedPeers


def peers(allow: str = "", deny: str = "") -> PermittedPeers:
    return PermittedPeers(
        allow=[ipaddress.ip_network(text) for text in allow.split()],
        deny=[ipaddress.ip_network(text) for text in deny.split()],
    )


@pytest.mark.parametrize(
    ("allow", "deny", "host", "permitted"),
    [
        ("", "", "192.0.2.1", True),
        ("10.0.0.0/8", "", "10.255.255.255", True),
        ("10.0.0.0/8", "", "11.0.0.0", False),
        ("10.0.0.0/8", "", "2001:db8::1", False),
        ("10.0.0.0/8 ::1/128", "", "::1", True),
        ("", "10.0.0.1/32", "10.0.0.1", False),
        ("", "10.0.0.1/32", "10.0.0.2", True),
        ("10.0.0.0/8", "10.0.0.0/24", "10.0.0.9", False),
        ("10.0.0.9/32", "10.0.0.0/24", "10.0.0.9", False),
        ("fe80::/10", "", "fe80::1%eth0", True),
    ],
)
def test_deny_wins_and_an_empty_allow_list_allows_all(
    allow: str, deny: str, host: str, permitted: bool
) -> None:
    permissions = peers(allow, deny)
    assert permissions.permits(host) is permitted
    assert permissions.permits(host) is permitted  # what was decided is kept
    assert permissions.is_limited == bool(allow or deny)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rates(clock: Clock, rate_max: int = 10, peers_max: int = 10_000) -> PeerRates:
    return PeerRates(rate_max=rate_max, now=clock.seconds, peers_max=peers_max)


def test_who_cannot_wait_gets_what_there_is(clock: Clock) -> None:
    limits = rates(clock)
    assert limits.grant("a", 7) == 7
    assert limits.grant("a", 7) == 3
    assert limits.grant("a", 7) == 0
    clock.advance(0.55)
    assert limits.grant("a", 7) == 5
    assert limits.grant("b", 7) == 7  # of nobody else's business


def test_a_bucket_holds_one_second(clock: Clock) -> None:
    limits = rates(clock)
    limits.grant("a", 10)
    clock.advance(3600)
    assert limits.grant("a", 100) == 10


def test_who_can_wait_waits_until_the_debt_is_paid(clock: Clock) -> None:
    limits = rates(clock)
    assert limits.charge("a", 10) == 0
    assert limits.charge("a", 25) == 2.5
    clock.advance(2)
    assert limits.charge("a", 0) == 0.5
    assert limits.charge("b", 1) == 0
    clock.advance(0.5)
    assert limits.charge("a", 0) == 0


def test_nobody_waits_longer_than_a_relp_client_would(clock: Clock) -> None:
    limits = rates(clock)
    assert limits.charge("a", 100_000) == 30
    clock.advance(30)
    assert limits.charge("a", 0) == 0


def test_a_rate_over_time(clock: Clock) -> None:
    limits = rates(clock, rate_max=100)
    taken = 0
    while clock.seconds() < 60:
        taken += 600
        clock.advance(limits.charge("a", 600))
    assert taken == pytest.approx(6000, rel=0.12)


def test_the_table_keeps_those_who_came_last(clock: Clock) -> None:
    limits = rates(clock, peers_max=2)
    for host in ("a", "b", "a", "c"):
        limits.grant(host, 5)
    assert len(limits) == 2
    assert limits.grant("a", 10) == 0
    assert limits.grant("b", 10) == 10


def test_no_limit(clock: Clock) -> None:
    assert not rates(clock, rate_max=0).is_limited
    assert rates(clock).is_limited


class Inner(Factory):
    def buildProtocol(self, addr: object) -> object:  # type: ignore[override]
        return ("protocol for", addr)


def test_the_gate_stands_before_a_factory() -> None:
    inner = Inner()
    gate = GateFactory(inner, admits=lambda address: address.host == "10.0.0.1")
    friend, stranger = (IPv4Address("TCP", host, 1) for host in ("10.0.0.1", "10.0.0.2"))
    assert gate.buildProtocol(friend) == ("protocol for", friend)
    assert gate.buildProtocol(stranger) is None
    gate.doStart()
    assert inner.numPorts == 1
    gate.doStop()
    assert inner.numPorts == 0
