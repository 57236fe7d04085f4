"""Targets of one destination, with connections in memory; `tests/end_to_end` tries real ones."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.service.configuration.model import Url
from relay.service.destinations.targets import Target, TargetKeys, TargetLink, Targets
from relay.transport.names import Found
from relay.transport.upstream import Timeouts, UpstreamProtocol, UpstreamState
from tests.connections import Wire, fired, lose


class Protocol(UpstreamProtocol):
    in_flight = 0

    def started(self) -> str:
        return f"connected to {self.state.target}"

    @property
    def is_idle(self) -> bool:
        return not self.in_flight


class Endpoint:
    """One target's TCP: accepts or refuses at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.accepts = True
        self.attempts = 0
        self.open: list[tuple[Any, Wire]] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        self.attempts += 1
        connecting: Deferred[Any] = Deferred()
        if not self.accepts:
            connecting.errback(Failure(ConnectionRefusedError()))
            return connecting
        lowest, wire = factory.buildProtocol(None), Wire(lenient=True)
        lowest.makeConnection(wire)
        self.open.append((lowest, wire))
        connecting.callback(lowest)
        return connecting

    def go_away(self) -> None:
        self.accepts = False
        while self.open:
            lose(self.open.pop(0)[0])

    def close_asked(self) -> int:
        """Let go what the relay wants to close.  Returns how many."""
        closing = [each for each in self.open if each[1].disconnecting]
        self.open = [each for each in self.open if not each[1].disconnecting]
        for lowest, _ in closing:
            lose(lowest)
        return len(closing)


class Destination:
    def __init__(self, *names: str, links: int = 1, **keys: Any) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.endpoints = {name: Endpoint(name) for name in names}
        self.protocols: list[Protocol] = []
        self.targets = Targets(
            [Target(Url("relp", host=name, port=1), self.endpoints[name]) for name in names],
            TargetKeys(**keys),
            new_protocol=self._new_protocol,
            clock=self.clock,
            say=self.said.append,
            jitter=lambda: 0.5,
        )
        self.states = [self._new_state() for _ in range(links)]
        self.links = [TargetLink(self._outlet(state), self.targets) for state in self.states]
        for link in self.links:
            link.start()

    def _outlet(self, state: UpstreamState) -> Any:
        return SimpleNamespace(drain=None, state=state, numbering=None)

    def _new_state(self) -> UpstreamState:
        return UpstreamState(
            target="",
            clock=self.clock,
            on_ready=self.said.append,
            on_failure=self.said.append,
            retry_seconds_min=1,
            retry_seconds_max=60,
            jitter=lambda: 0.0,
        )

    def _new_protocol(self, outlet: Any) -> Protocol:
        protocol = Protocol(
            state=outlet.state, clock=self.clock, secure=False, timeouts=Timeouts(30, 60)
        )
        self.protocols.append(protocol)
        return protocol

    @property
    def text(self) -> str:
        return self.states[0].text

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.settle()

    def settle(self) -> None:
        """Let connections close that are to."""
        for _ in range(9):
            if not sum(each.close_asked() for each in self.endpoints.values()):
                break
            self.clock.advance(0)

    def spread(self) -> list[int]:
        return [len(target.users) for target in self.targets.all]


def test_the_first_target_is_preferred() -> None:
    there = Destination("a", "b")
    assert there.text == "connected to a:1"
    assert there.endpoints["b"].attempts == 0
    assert list(there.targets.details()) == [
        "target a:1: active, 1 connection",
        "target b:1: not used yet",
    ]


def test_the_next_one_takes_over_without_a_pause() -> None:
    there = Destination("a", "b")
    there.endpoints["a"].go_away()
    there.advance(0)
    assert there.text == "connected to b:1"
    assert list(there.targets.details()) == [
        "target a:1: not used: a:1: the connection ended (closed)",
        "target b:1: active, 1 connection",
    ]


def test_a_target_that_refuses_is_passed_over() -> None:
    there = Destination("a", "b", "c")
    for name in "ab":
        there.endpoints[name].accepts = False
    there.endpoints["a"].go_away()
    there.advance(0)
    there.advance(0)
    assert there.text == "connected to c:1"


def test_while_all_are_away_each_is_tried_in_turn_with_pauses() -> None:
    there = Destination("a", "b")
    there.endpoints["b"].go_away()
    there.endpoints["a"].go_away()
    there.advance(0)
    assert (there.endpoints["a"].attempts, there.endpoints["b"].attempts) == (1, 1)
    assert there.text == "refused by b:1, next try in 2 s"
    there.advance(2)
    assert (there.endpoints["a"].attempts, there.endpoints["b"].attempts) == (2, 1)
    there.advance(4)
    assert (there.endpoints["a"].attempts, there.endpoints["b"].attempts) == (2, 2)
    there.endpoints["a"].accepts = True
    there.advance(8)
    assert there.text == "connected to a:1"


def test_a_target_that_is_back_is_used_after_some_good_probes() -> None:
    there = Destination("a", "b", failback_probes=2, probe_seconds=10)
    there.endpoints["a"].go_away()
    there.advance(0)
    there.advance(10)
    assert next(there.targets.details()) == (
        "target a:1: not used: refused by a:1; last probe 0 s ago: refused by a:1"
    )
    there.endpoints["a"].accepts = True
    there.advance(10)
    assert next(there.targets.details()) == (
        "target a:1: not used: refused by a:1, 1 of 2 probes have succeeded; "
        "last probe 0 s ago: a session was opened"
    )
    there.endpoints["a"].accepts = False
    there.advance(10)  # it begins anew
    there.endpoints["a"].accepts = True
    there.advance(10)
    assert there.text == "connected to b:1"
    there.advance(10)
    assert "a:1 is used again: 2 probes succeeded" in there.said
    assert there.text == "connected to a:1"
    assert there.spread() == [1, 0]
    assert there.states[0].failures == 1  # the way back is none
    attempts = there.endpoints["b"].attempts
    there.advance(100)
    assert there.endpoints["b"].attempts == attempts  # nothing is to be probed


def test_nothing_moves_before_what_was_sent_is_answered() -> None:
    there = Destination("a", "b", failback_probes=1, probe_seconds=10)
    there.endpoints["a"].go_away()
    there.advance(0)
    sending = there.protocols[-1]
    sending.in_flight = 1
    there.endpoints["a"].accepts = True
    there.advance(10)
    assert there.text == "connected to b:1"
    sending.in_flight = 0
    sending.retire_if_idle()
    there.settle()
    there.advance(0)
    assert there.text == "connected to a:1"


def test_an_upstream_that_does_not_close_cannot_hold_the_way_back_up() -> None:
    there = Destination("a", "b", failback_probes=1, probe_seconds=10)
    there.endpoints["a"].go_away()
    there.advance(0)
    there.endpoints["a"].accepts = True
    there.clock.advance(10)
    ((held, wire),) = there.endpoints["b"].open
    assert (wire.disconnecting, wire.disconnected) == (True, False)
    there.clock.advance(2)
    assert wire.disconnected
    lose(held)
    there.clock.advance(0)
    assert there.text == "connected to a:1"


def test_balance_spreads_connections_and_renews_them() -> None:
    there = Destination("a", "b", links=4, policy="balance", rebalance_seconds=100)
    assert there.spread() == [2, 2]
    attempts = [each.attempts for each in there.endpoints.values()]
    there.advance(100)  # the stand-in for chance is the middle of the range
    there.advance(0)
    assert there.spread() == [2, 2]
    assert [each.attempts for each in there.endpoints.values()] != attempts
    assert {state.failures for state in there.states} == {0}


def test_balance_takes_a_target_back() -> None:
    there = Destination(
        "a", "b", links=4, policy="balance", rebalance_seconds=1e6, probe_seconds=10
    )
    there.endpoints["a"].go_away()
    there.advance(0)
    assert there.spread() == [0, 4]
    there.endpoints["a"].accepts = True
    there.advance(10)
    there.advance(10)
    there.advance(10)
    there.advance(0)
    assert there.spread() == [2, 2]


@pytest.mark.parametrize("lose_first", [True, False])
def test_a_stop_leaves_nothing_behind(lose_first: bool) -> None:
    there = Destination("a", "b", policy="balance")
    if lose_first:
        there.endpoints["a"].go_away()
        there.advance(0)
    stopped: list[Callable[[], object]] = [
        fired(ensureDeferred(link.stop())) for link in there.links
    ]  # type: ignore[misc]
    there.settle()
    assert stopped == [[None]]
    assert there.clock.getDelayedCalls() == []
    assert there.spread() == [0, 0]


PEER_PORT = 54321  # of the stand-in for a transport


class Resolver:
    """What a name stands for, as the test says."""

    def __init__(self, *hosts: str) -> None:
        self.now = self.found = Found(tuple((host, PEER_PORT) for host in hosts), 30)
        self.lookups = 0

    async def look_up(self) -> Found:
        self.lookups += 1
        self.found = self.now
        return self.found


def test_a_connection_follows_its_name_when_the_ttl_has_ended() -> None:
    there = Destination("a")
    there.endpoints["a"].go_away()
    resolver: Any = Resolver("192.168.1.1")  # where the stand-in for a transport is connected
    there.targets.all[0].resolver = resolver
    there.endpoints["a"].accepts = True
    there.advance(1)
    there.advance(29)
    assert resolver.lookups == 0
    there.advance(1)
    assert (resolver.lookups, there.states[0].connects) == (1, 2)
    resolver.now = Found((("10.0.0.1", 1),), 30, is_fresh=False)
    there.advance(30)
    assert (resolver.lookups, there.states[0].connects) == (2, 2)  # DNS was down
    resolver.now = Found((("10.0.0.1", 1),), 30)
    there.advance(30)
    assert (resolver.lookups, there.states[0].connects) == (3, 3)
    assert there.states[0].failures == 1
    ensureDeferred(there.links[0].stop())
    there.settle()
    assert there.clock.getDelayedCalls() == []


def test_a_target_that_is_not_to_blame_is_used_again_after_the_usual_pause() -> None:
    there = Destination("a", "b")
    there.protocols[-1].give_up("the numbers begin again", blameless=True)
    lose(there.endpoints["a"].open.pop()[0])
    assert there.text == "a:1: the numbers begin again, next try in 1 s"
    there.advance(1)
    assert there.text == "connected to a:1"
    assert there.endpoints["b"].attempts == 0
