from __future__ import annotations

from typing import Any

import pytest
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TimeoutError,
    UserError,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from relay.model.debug import SESSIONS
from relay.model.errors import UpstreamError
from relay.service.tls.certificates import make_authority, make_leaf
from relay.transport.tls.endpoints import TlsListener, TlsMaterial, TlsUpstream
from relay.transport.upstream import (
    SEND_BYTES_MAX,
    CountingEndpoint,
    CountingWrapper,
    PreparedEndpoint,
    Timeouts,
    UpstreamProtocol,
    UpstreamState,
    failure_text,
)
from tests.connections import Wire, fired, lose
from tests.details import details

TARGET = "10.0.0.5:20514"


class Session(UpstreamProtocol):
    """Ready when the upstream says so."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.events: list[str] = []

    def begin(self) -> None:
        self.events.append("begin")
        self.transport.registerProducer(self, True)

    def started(self) -> str:
        self.events.append("started")
        return f"connected to {TARGET}"

    def ended(self) -> None:
        self.events.append("ended")

    def dataReceived(self, data: bytes) -> None:
        self.become_ready()


class Endpoint:
    """TCP, without a network: the test connects and refuses."""

    def __init__(self) -> None:
        self.attempts: list[Deferred[Any]] = []
        self.factories: list[Any] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        self.factories.append(factory)
        self.attempts.append(Deferred())
        return self.attempts[-1]

    def accept(self) -> tuple[Any, Wire]:
        """Returns what lies right above TCP, and TCP."""
        wire = Wire(lenient=True)
        lowest = self.factories[-1].buildProtocol(None)
        lowest.makeConnection(wire)
        self.attempts[-1].callback(lowest)
        return lowest, wire

    def refuse(self, error: Exception) -> None:
        self.attempts[-1].errback(Failure(error))


class Link:
    """A ClientService that connects through a PreparedEndpoint."""

    def __init__(self, tls: Any | None = None, *, counts: bool = False) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.sessions: list[Session] = []
        self.endpoint = Endpoint()
        self.state = UpstreamState(
            target=TARGET,
            clock=self.clock,
            on_ready=self.said.append,
            on_failure=self.said.append,
            retry_seconds_min=1,
            retry_seconds_max=60,
            jitter=lambda: 0.0,
        )
        wrapped = CountingEndpoint(self.endpoint) if counts else self.endpoint
        prepared: Any = PreparedEndpoint(
            wrapped=wrapped, state=self.state, tls=tls, clock=self.clock
        )
        factory = Factory()
        factory.buildProtocol = lambda addr: self._new_session(tls)  # type: ignore[method-assign]
        self.client = ClientService(
            prepared,
            factory,
            retryPolicy=self.state.retry_policy,
            clock=self.clock,
            prepareConnection=lambda protocol: protocol.ready,
        )
        self.client.startService()

    def _new_session(self, tls: Any | None) -> Session:
        self.sessions.append(
            Session(
                state=self.state,
                clock=self.clock,
                secure=tls is not None,
                timeouts=Timeouts(30, 60),
            )
        )
        return self.sessions[-1]


@pytest.fixture
def link() -> Link:
    return Link()


def test_a_connection_counts_when_it_is_prepared(link: Link) -> None:
    assert link.state.text == f"connecting to {TARGET}"
    lowest, wire = link.endpoint.accept()
    assert wire.no_delay
    assert (link.sessions[0].events, link.state.ready) == (["begin"], False)
    assert link.state.text == f"connecting to {TARGET}"
    lowest.dataReceived(b"welcome")
    assert link.sessions[0].events == ["begin", "started"]
    assert (link.state.ready, link.state.text) == (True, f"connected to {TARGET}")
    assert link.state.connects == 1
    assert link.clock.getDelayedCalls() == []


def test_a_ready_connection_that_is_lost(link: Link) -> None:
    lowest, _ = link.endpoint.accept()
    lowest.dataReceived(b"welcome")
    lose(lowest)
    assert link.sessions[0].events == ["begin", "started", "ended"]
    assert not link.state.ready
    assert link.state.failures == 1
    assert link.state.text == (f"{TARGET}: the connection ended (closed), next try in 1 s")
    link.clock.advance(1)
    assert len(link.endpoint.attempts) == 2
    assert link.state.text.startswith(f"connecting to {TARGET} (before: ")


def test_a_connection_lost_while_it_is_prepared(link: Link) -> None:
    """ClientService alone would raise here and never try again."""
    lowest, _ = link.endpoint.accept()
    lose(lowest)
    assert link.sessions[0].events == ["begin", "ended"]
    assert (link.state.failures, link.state.connects) == (1, 0)
    link.clock.advance(1)
    assert len(link.endpoint.attempts) == 2
    lowest, _ = link.endpoint.accept()
    lowest.dataReceived(b"welcome")
    assert link.state.ready


def test_a_peer_that_says_nothing_is_given_up_and_backed_off(link: Link) -> None:
    lowest, wire = link.endpoint.accept()
    link.clock.advance(30)
    assert wire.disconnected
    lose(lowest)
    assert link.state.text == f"{TARGET}: opening took longer than 30 s, next try in 1 s"
    link.clock.advance(1)
    lowest, _ = link.endpoint.accept()
    lose(lowest)
    assert link.state.text.endswith("next try in 2 s")


def test_what_arrives_after_giving_up_does_not_make_it_ready(link: Link) -> None:
    lowest, _ = link.endpoint.accept()
    link.sessions[0].give_up("enough")
    lowest.dataReceived(b"welcome")
    assert link.sessions[0].events == ["begin"]
    assert not link.state.ready


@pytest.mark.parametrize(
    ("error", "text", "cause"),
    [
        (ConnectionRefusedError(), f"refused by {TARGET}", "refused"),
        (TimeoutError(), f"no answer from {TARGET}", "timeout"),
        (DNSLookupError("x"), f"the name in {TARGET} cannot be resolved", "dns"),
        (NoRouteError(), f"no route to {TARGET}", "unreachable"),
        (UserError(), f"cannot connect to {TARGET}: ", "other"),
        (ConnectError(99, "no address"), f"cannot connect to {TARGET}: ", "other"),
        (ValueError("no host: x"), f"cannot connect to {TARGET}: no host: x", "other"),
    ],
)
def test_why_there_is_no_connection(link: Link, error: Exception, text: str, cause: str) -> None:
    link.endpoint.refuse(error)
    assert (link.state.failures_by_cause, link.state.last_cause) == ({cause: 1}, cause)
    assert link.state.text.startswith(text)
    assert link.state.text.endswith(", next try in 1 s")
    assert link.said == [link.state.text.removesuffix(", next try in 1 s")]


def test_the_pause_doubles_up_to_its_limit_and_counts_down(link: Link) -> None:
    pauses = []
    for _ in range(8):
        link.endpoint.refuse(ConnectionRefusedError())
        pauses.append(link.state.text.rpartition("in ")[2])
        link.clock.advance(0.5)
        link.clock.advance(61)
    assert pauses == ["1 s", "2 s", "4 s", "8 s", "16 s", "32 s", "48 s", "48 s"]
    link.endpoint.refuse(ConnectionRefusedError())
    link.clock.advance(44)
    assert link.state.text == f"refused by {TARGET}, next try in 4 s"


def state_that_reports_to(said: list[str], clock: Clock) -> UpstreamState:
    return UpstreamState(
        target=TARGET,
        clock=clock,
        on_ready=said.append,
        on_failure=lambda text: None,
        retry_seconds_min=1,
        retry_seconds_max=60,
    )


def test_each_step_is_told_to_those_who_ask() -> None:
    state = UpstreamState(
        target=TARGET,
        clock=Clock(),
        on_ready=lambda text: None,
        on_failure=lambda text: None,
        retry_seconds_min=1,
        retry_seconds_max=60,
        jitter=lambda: 0.0,
    )
    with details(SESSIONS) as lines:
        state.connecting()
        state.failed("refused")
        state.retry_policy()
        state.became_ready("RELP 1")
    state.connecting()
    assert lines == [
        f"{TARGET}: connecting",
        f"{TARGET}: no session: refused",
        f"{TARGET}: next try in 1.0 s",
        f"{TARGET}: session: RELP 1",
    ]


def test_connections_that_are_of_no_use_are_not_reported_as_well_again_and_again() -> None:
    clock = Clock()
    said: list[str] = []
    state = state_that_reports_to(said, clock)

    def connect_and_lose() -> None:
        state.became_ready("connected")
        state.failed("refuses everything")

    for _ in range(5):
        connect_and_lose()
    assert said == ["connected"] * 2
    state.became_ready("connected")
    assert said == ["connected"] * 2
    state.progressed()
    state.progressed()
    assert said == ["connected"] * 3
    state.failed("closed")
    state.became_ready("connected")
    assert said == ["connected"] * 4


def test_a_connection_that_lasted_was_of_use() -> None:
    clock = Clock()
    said: list[str] = []
    state = state_that_reports_to(said, clock)
    for _ in range(5):
        state.became_ready("connected")
        clock.advance(60)
        state.failed("closed")
    assert said == ["connected"] * 5


def pauses_of(shortest: float, longest: float, jitter: float) -> list[float]:
    """The pauses after the first ten failures."""
    state = UpstreamState(
        target=TARGET,
        clock=Clock(),
        on_ready=print,
        on_failure=print,
        retry_seconds_min=shortest,
        retry_seconds_max=longest,
        jitter=lambda: jitter,
    )
    pauses = []
    for _ in range(10):
        state.failed("x")
        pauses.append(state.retry_policy())
    return pauses


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("bounds", [(1, 60), (0.1, 0.5), (5, 5), (3, 3.2), (60, 100)])
def test_the_pause_keeps_to_its_bounds_whatever_the_jitter(
    bounds: tuple[float, float], jitter: float
) -> None:
    pauses = pauses_of(*bounds, jitter)
    assert min(pauses) >= bounds[0]
    assert max(pauses) <= bounds[1]
    assert pauses == sorted(pauses)


def test_the_jitter_is_a_quarter_at_most() -> None:
    assert pauses_of(1, 60, 1.0)[:3] == [1.25, 2.5, 5.0]
    assert (pauses_of(1, 60, 0.0)[-1], pauses_of(1, 60, 1.0)[-1]) == (48.0, 60.0)


def connect_and_lose(link: Link, *, seconds: float = 0, progress: bool = False) -> str:
    lowest, _ = link.endpoint.accept()
    lowest.dataReceived(b"welcome")
    link.clock.advance(seconds)
    if progress:
        link.state.progressed()
    lose(lowest)
    text = link.state.text.rpartition("in ")[2]
    link.clock.advance(100)
    return text


def test_an_upstream_that_only_takes_connections_is_backed_off(link: Link) -> None:
    assert [connect_and_lose(link) for _ in range(3)] == ["1 s", "2 s", "4 s"]


def test_a_connection_of_use_ends_the_row_of_failures(link: Link) -> None:
    assert [connect_and_lose(link) for _ in range(2)] == ["1 s", "2 s"]
    assert connect_and_lose(link, progress=True) == "1 s"
    assert connect_and_lose(link) == "2 s"
    assert connect_and_lose(link, seconds=60) == "1 s"


# The end of the relay.


def test_a_stop_closes_although_there_is_a_producer(link: Link) -> None:
    lowest, wire = link.endpoint.accept()
    lowest.dataReceived(b"welcome")
    link.state.stopped()
    link.sessions[0].shut_down()
    assert wire.disconnecting
    stopped = fired(link.client.stopService())
    lose(lowest)
    assert (stopped, link.state.text, link.state.failures) == ([None], "stopped", 0)
    assert link.clock.getDelayedCalls() == []


def test_a_stop_while_a_connection_is_prepared(link: Link) -> None:
    lowest, wire = link.endpoint.accept()
    link.state.stopped()
    link.sessions[0].shut_down()
    assert fired(link.client.stopService()) == [None]
    assert wire.disconnecting
    lowest.dataReceived(b"welcome")
    lose(lowest)
    assert link.sessions[0].events == ["begin", "ended"]
    assert link.state.text == "stopped"
    assert link.clock.getDelayedCalls() == []


def test_a_stop_during_an_attempt_says_nothing(link: Link) -> None:
    link.state.stopped()
    assert fired(link.client.stopService()) == [None]
    assert (link.said, link.state.text) == ([], "stopped")


# TLS.


def secure_link() -> Link:
    authority = make_authority("Test authority", days=1)
    return Link(
        TlsUpstream(TlsMaterial(trusted_ca_pem=authority.certificate_pem()), server_name="central")
    )


def test_over_tls_nothing_begins_before_the_handshake() -> None:
    link = secure_link()
    _, wire = link.endpoint.accept()
    link.clock.advance(0)
    assert wire.value()[:1] == b"\x16"  # a handshake record: the ClientHello
    assert link.sessions[0].events == []


def test_an_upstream_that_does_not_speak_tls() -> None:
    link = secure_link()
    lowest, wire = link.endpoint.accept()
    lowest.dataReceived(b"220 smtp.example.com\r\n")
    assert wire.asked_to_close
    lose(lowest)
    assert link.state.text == (
        f"{TARGET}: the peer does not speak TLS: is this a plain-text port, for tcp:// or relp://?"
        ", next try in 1 s"
    )


def test_an_upstream_with_a_certificate_of_somebody_else() -> None:
    link = secure_link()
    lowest, wire = link.endpoint.accept()
    somebody = make_leaf(make_authority("Somebody", days=1), ["central"], purpose="server", days=1)
    material = TlsMaterial(
        certificate_pem=somebody.certificate_pem(), private_key_pem=somebody.private_key_pem()
    )
    listener = TlsListener(material, peer_verify="none")
    factory = TLSMemoryBIOFactory(listener, False, Factory.forProtocol(Protocol), clock=link.clock)
    server = factory.buildProtocol(None)
    server.makeConnection(answers := Wire())
    server.dataReceived(wire.value())
    lowest.dataReceived(answers.value())
    assert wire.asked_to_close
    lose(lowest)
    assert link.sessions[0].events == ["ended"]
    assert link.state.text == (
        f"{TARGET}: certificate 'CN=central' (for central) is not accepted: "
        "its issuer 'CN=Somebody' is not among the trusted CAs, next try in 1 s"
    )


def test_a_handshake_that_takes_too_long() -> None:
    link = secure_link()
    lowest, wire = link.endpoint.accept()
    link.clock.advance(30)
    assert wire.disconnected
    lose(lowest)
    assert "TLS handshake and opening took longer than 30 s" in link.state.text


# Texts and counts.


def test_our_own_errors_speak_for_themselves() -> None:
    assert failure_text(None, Failure(UpstreamError("it refused")), False) == "it refused"
    text = failure_text(None, Failure(ConnectionDone()), True)
    assert text == "the connection ended (closed)"
    text = failure_text(None, Failure(ConnectionLost()), False)
    assert text == "the connection ended (broken off)"


def test_the_bytes_handed_to_tcp_are_counted() -> None:
    wire = Wire()
    counting = CountingWrapper(WrappingFactory(Factory.forProtocol(Session)), Session)
    counting.transport = wire
    counting.write(b"abc")
    counting.writeSequence([b"de", b"f"])
    assert (counting.written_bytes, wire.value()) == (6, b"abcdef")


def test_only_where_it_is_asked_for(link: Link) -> None:
    lowest, wire = link.endpoint.accept()
    assert not isinstance(lowest, CountingWrapper)
    assert link.sessions[0].transport is wire
    endpoint = Endpoint()
    connecting = CountingEndpoint(endpoint).connect(Factory.forProtocol(Protocol))
    lowest, _ = endpoint.accept()
    assert isinstance(connecting.result, CountingWrapper)
    assert connecting.result is lowest


@pytest.mark.parametrize("counts", [False, True])
def test_a_turn_of_the_reactor_may_send_more_than_twisted_allows(counts: bool) -> None:
    link = Link(counts=counts)
    _, wire = link.endpoint.accept()
    assert vars(wire)["SEND_LIMIT"] == SEND_BYTES_MAX


def test_an_endpoint_that_connects_at_once() -> None:
    class AtOnce(Endpoint):
        def connect(self, factory: Any) -> Deferred[Any]:
            lowest = factory.buildProtocol(None)
            lowest.makeConnection(Wire())
            return succeed(lowest)

    link = Link()
    made: list[Any] = []
    prepared = PreparedEndpoint(wrapped=AtOnce(), state=link.state, tls=None, clock=link.clock)
    factory = Factory()
    factory.buildProtocol = lambda addr: link._new_session(None)  # type: ignore[method-assign]
    prepared.connect(factory).addCallback(made.append)
    assert made == [link.sessions[-1]]


def test_a_pause_is_as_long_as_the_upstream_wants() -> None:
    clock = Clock()
    state = UpstreamState(
        target="up",
        clock=clock,
        on_ready=print,
        on_failure=print,
        retry_seconds_min=1,
        retry_seconds_max=60,
    )
    state.failed("busy")
    assert state.retry_policy(seconds_min=100) == 100
    assert state.text == "busy, next try in 100 s"
