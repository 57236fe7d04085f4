"""Targets over HTTP, whose servers are stand-ins that the test answers for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.service.configuration.model import Url
from relay.service.destinations.nodes import Node, Nodes, ProbeProtocol
from relay.service.destinations.targets import Target, TargetPolicy, Targets
from relay.transport.http.requests import RequestFailed
from relay.transport.names import Found
from relay.transport.upstream import Timeouts, UpstreamState
from relay.wire.http.answers import Answer
from tests.connections import Wire, fired
from tests.service.destinations.test_targets import Endpoint, Resolver


class Requests:
    """Those to one server."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Answer]] = []
        self.renewals = 0
        self.is_closed = False

    def post(self, body: bytes, headers: Mapping[str, str]) -> Deferred[Answer]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def renew(self) -> None:
        self.renewals += 1

    def close(self) -> None:
        self.is_closed = True


class Session:
    def __init__(self, *names: str, **keys: Any) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.endpoints = {name: Endpoint(name) for name in names}
        self.requests: dict[str, Any] = {name: Requests() for name in names}
        self.targets = Targets(
            [
                Target(Url("http", host=name, port=80), self.endpoints[name], shown=name)
                for name in names
            ],
            TargetPolicy(**keys),
            new_protocol=lambda outlet: ProbeProtocol(
                state=outlet.state, clock=self.clock, secure=False, timeouts=Timeouts(30, 60)
            ),
            clock=self.clock,
            say=self.said.append,
            jitter=lambda: 0.5,
        )
        self.nodes = self.new_nodes()

    def new_nodes(self) -> Nodes:
        return Nodes(
            [Node(each, self.requests[each.name], self.targets) for each in self.targets.all],
            self.targets,
        )

    def post(self) -> Node:
        """One request.  Returns where it goes."""
        node = self.nodes.choose()
        node.post(b"", {}).addErrback(lambda failure: failure.trap(RequestFailed, CancelledError))
        return node

    def answer(self, name: str, status: int = 200) -> None:
        self.requests[name].waiting.pop(0).callback(Answer(status))

    def fail(self, name: str, error: Exception | None = None) -> None:
        failure = Failure(error or RequestFailed("connection", "the connection ended"))
        self.requests[name].waiting.pop(0).errback(failure)


def test_the_first_target_is_preferred() -> None:
    session = Session("a", "b")
    assert [session.post().name for _ in range(3)] == ["a", "a", "a"]
    assert next(session.targets.details()) == "target a: tried now, 3 requests"
    session.answer("a")
    assert list(session.targets.details()) == [
        "target a: active, 2 requests",
        "target b: not used yet",
    ]


def test_a_failure_moves_the_next_request_until_all_have_failed() -> None:
    session = Session("a", "b")
    first = session.post()
    session.fail("a")
    assert first.has_others
    second = session.post()
    assert second.name == "b"
    session.answer("b", 503)
    assert not second.has_others
    assert list(session.targets.details()) == [
        "target a: not used: the connection ended",
        "target b: not used: status 503",
    ]
    tried = []
    for _ in range(4):
        tried.append(session.post().name)
        session.fail(tried[-1])
    assert tried == ["a", "b", "a", "b"]
    session.post()
    session.answer("a")
    assert session.post().name == "a"


def test_only_a_server_that_fails_is_in_trouble() -> None:
    session = Session("a", "b")
    for status in (200, 400, 401, 413, 429):
        session.post()
        session.answer("a", status)
    session.post()
    session.fail("a", CancelledError())
    assert session.post().name == "a"


def test_one_target_has_no_others() -> None:
    session = Session("a")
    node = session.post()
    session.fail("a")
    assert not node.has_others
    assert session.post().name == "a"
    assert list(session.targets.details()) == []


def test_balance_chooses_the_target_with_the_fewest_requests() -> None:
    session = Session("a", "b", policy="balance")
    assert sorted(session.post().name for _ in range(4)) == ["a", "a", "b", "b"]
    session.answer("b")
    session.answer("b")
    assert [session.post().name for _ in range(2)] == ["b", "b"]


def test_a_target_that_is_back_is_used_after_some_good_probes() -> None:
    session = Session("a", "b", probe_seconds=10, failback_probes=2)
    session.endpoints["a"].accepts = False
    session.post()
    session.fail("a")
    assert session.post().name == "b"
    session.answer("b")
    session.clock.advance(10)
    assert session.post().name == "b"
    session.answer("b")
    session.endpoints["a"].accepts = True
    session.clock.advance(10)
    session.clock.advance(10)
    assert session.said == ["a is used again: 2 probes succeeded"]
    assert session.post().name == "a"
    session.answer("a")
    assert session.requests["b"].renewals == 1  # its connections are let go
    assert list(session.targets.details())[1] == "target b: not used: another one is preferred"


def test_connections_are_renewed_to_balance_them() -> None:
    session = Session("a", policy="balance", rebalance_seconds=100)
    for seconds, renewals in ((0, 0), (99, 0), (1, 1), (99, 1), (1, 2)):
        session.clock.advance(seconds)
        session.post()
        assert session.requests["a"].renewals == renewals


def test_connections_follow_their_name_when_the_ttl_has_ended() -> None:
    session = Session("a")
    resolver: Any = Resolver("192.0.2.1")
    session.targets.all[0].resolver = resolver
    requests = session.requests["a"]
    for seconds, lookups in ((0, 0), (29, 0), (1, 1), (0, 1)):
        session.clock.advance(seconds)
        session.post()
        assert (resolver.lookups, requests.renewals) == (lookups, 0)
    resolver.now = Found((("192.0.2.2", 80),), 30, is_fresh=False)
    session.clock.advance(30)
    session.post()
    assert (resolver.lookups, requests.renewals) == (2, 0)  # DNS was down
    session.post()
    resolver.now = Found((("192.0.2.3", 80),), 30)
    session.clock.advance(30)
    session.post()
    assert (resolver.lookups, requests.renewals) == (3, 1)


def test_a_session_that_ends_leaves_nothing_behind() -> None:
    session = Session("a", "b")
    session.post()
    session.fail("a")
    session.post()
    session.answer("b")
    session.post()
    assert session.clock.getDelayedCalls()  # a probe of a
    session.nodes.close()
    session.answer("b")  # it was on its way
    assert session.clock.getDelayedCalls() == []
    assert all(each.is_closed for each in session.requests.values())
    assert [target.links for target in session.targets.all] == [[], []]


def test_a_probe_is_a_connection_that_says_nothing() -> None:
    state = UpstreamState(
        target="a",
        clock=Clock(),
        on_ready=lambda text: None,
        on_failure=lambda text: None,
        retry_seconds_min=1,
        retry_seconds_max=60,
    )
    protocol = ProbeProtocol(state=state, clock=Clock(), secure=False, timeouts=Timeouts(30, 60))
    wire = Wire()
    protocol.makeConnection(wire)
    assert fired(protocol.ready) == [None] and wire.value() == b""
