"""Links by themselves; `test_service.py` tries them with a drain."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.service.destinations.link import Link, LocalLink, Outlet, StreamLink
from relay.transport.upstream import Timeouts, UpstreamProtocol, UpstreamState
from tests.connections import Wire, fired, lose


class Drain:
    def __init__(self) -> None:
        self.sessions: list[Any] = []

    def attach(self, session: Any) -> None:
        self.sessions.append(session)


class Session:
    closed = False

    def close(self) -> None:
        self.closed = True


def new_state(clock: Clock) -> UpstreamState:
    return UpstreamState(
        target="up",
        clock=clock,
        on_ready=lambda text: None,
        on_failure=lambda text: None,
        retry_seconds_min=1,
        retry_seconds_max=60,
    )


class Local:
    def __init__(self) -> None:
        self.clock = Clock()
        self.opening: list[Deferred[Any]] = []
        self.fail: list[Callable[[str], None]] = []
        drain: Any = Drain()
        self.drain = drain
        self.state = new_state(self.clock)
        self.link = LocalLink(
            self,
            self._new_session,
            how="appending",
            clock=self.clock,
        )

    def _new_session(self, outlet: Outlet, fail: Callable[[str], None]) -> Deferred[Any]:
        self.fail.append(fail)
        self.opening.append(Deferred())
        return self.opening[-1]

    def restart(self) -> None:
        assert fired(ensureDeferred(self.link.stop())) == [None]
        self.link.start()


def test_a_file_is_opened_again_after_a_stop() -> None:
    local = Local()
    local.link.start()
    first, second = Session(), Session()
    local.opening[0].callback(first)
    local.restart()
    local.opening[1].callback(second)
    assert (first.closed, second.closed) == (True, False)
    assert local.drain.sessions == [first, second]


def test_a_session_from_before_a_stop_is_not_used() -> None:
    local = Local()
    local.link.start()
    local.restart()
    first, second = Session(), Session()
    local.opening[0].callback(first)
    local.opening[1].callback(second)
    assert (first.closed, local.drain.sessions) == (True, [second])


def test_a_failure_from_before_a_stop_means_nothing() -> None:
    local = Local()
    local.link.start()
    local.restart()
    local.opening[0].errback(Failure(OSError("something")))
    local.fail[0]("something")
    assert (local.state.failures, local.clock.getDelayedCalls()) == (0, [])


def test_only_a_session_that_can_be_cut_is_cut() -> None:
    local = Local()
    local.link.start()
    local.opening[0].callback(Session())
    local.link.cut("it hangs")
    local.restart()
    text: list[str] = []
    hanging: Any = Session()
    hanging.cut = text.append
    local.opening[1].callback(hanging)
    local.link.cut("it hangs")
    assert text == ["it hangs"]


class Protocol(UpstreamProtocol):
    def started(self) -> str:
        return "connected"


class Endpoint:
    def __init__(self) -> None:
        self.attempts: list[tuple[Any, Deferred[Any]]] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        self.attempts.append((factory, Deferred()))
        return self.attempts[-1][1]

    def accept(self) -> tuple[Any, Wire]:
        factory, connected = self.attempts[-1]
        protocol, wire = factory.buildProtocol(None), Wire(lenient=True)
        protocol.makeConnection(wire)
        connected.callback(protocol)
        return protocol, wire


def test_a_stream_is_connected_again_after_a_stop() -> None:
    clock = Clock()
    endpoint: Any = Endpoint()
    state = new_state(clock)
    link = StreamLink(
        state,
        endpoint=endpoint,
        new_protocol=lambda: Protocol(
            state=state, clock=clock, secure=False, timeouts=Timeouts(30, 60)
        ),
        clock=clock,
    )
    link.start()
    first, wire = endpoint.accept()
    stopped = fired(ensureDeferred(link.stop()))
    assert (wire.disconnecting, stopped) == (True, [])
    lose(first)
    assert stopped == [None]
    link.start()
    _, wire = endpoint.accept()
    link.cut("why")
    assert wire.disconnected
    assert len(endpoint.attempts) == 2
    assert fired(ensureDeferred(link.stop())) == []  # until the transport has told


class Failover(Link):
    """Of two targets: the second one is used from the first failure on."""

    def __init__(self, outlet: Any, new_link: Callable[[Outlet], Link], clock: Clock) -> None:
        self.lane = outlet
        self.parts = [self._new_part(name, clock) for name in ("first", "second")]
        self.links = [new_link(part) for part in self.parts]

    def _new_part(self, target: str, clock: Clock) -> Any:
        state = UpstreamState(
            target=target,
            clock=clock,
            on_ready=self.lane.state.became_ready,
            on_failure=self._failed,
            retry_seconds_min=1,
            retry_seconds_max=60,
        )
        return SimpleNamespace(drain=self.lane.drain, state=state, numbering=None)

    def start(self) -> None:
        self.links[0].start()

    async def stop(self) -> None:
        for link in self.links:
            await link.stop()

    def _failed(self, text: str) -> None:
        self.lane.state.failed(text)
        ensureDeferred(self.links[0].stop())
        self.links[1].start()


def test_a_link_may_have_several_targets_each_with_an_outlet_of_its_own() -> None:
    local = Local()

    async def new_session(outlet: Outlet, fail: Callable[[str], None]) -> Any:
        if outlet.state.target == "first":
            raise OSError("away")
        return Session()

    link = Failover(
        local,
        lambda outlet: LocalLink(
            outlet, new_session, how=f"sending to {outlet.state.target}", clock=local.clock
        ),
        local.clock,
    )
    link.start()
    assert local.state.text == "sending to second"
    assert (len(local.drain.sessions), local.state.failures) == (1, 1)
    assert fired(ensureDeferred(link.stop())) == [None]
    assert local.drain.sessions[0].closed
    assert local.clock.getDelayedCalls() == []
