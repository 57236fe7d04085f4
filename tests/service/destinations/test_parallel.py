from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from relay.service.destinations.link import Link, Outlet
from relay.service.destinations.parallel import ParallelLink
from relay.transport.upstream import UpstreamState
from tests.connections import RecordingDrain, fired


class One(Link):
    """The link of one connection."""

    def __init__(self, outlet: Outlet) -> None:
        self.state = outlet.state
        self.events: list[str] = []

    def start(self) -> None:
        self.events.append("start")

    async def stop(self) -> None:
        self.events.append("stop")

    def connect(self) -> None:
        self.events.append("connect")

    def cut(self, why: str) -> None:
        self.events.append(why)


class Lane:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.state = self.new_state()
        self.links: list[One] = []
        self.link = ParallelLink(
            SimpleNamespace(drain=RecordingDrain(), state=self.state, numbering=None),  # type: ignore[arg-type]
            3,
            new_link=self._new_link,
            new_state=self.new_state,
        )

    def new_state(self) -> UpstreamState:
        return UpstreamState(
            target="up",
            clock=Clock(),
            on_ready=self.said.append,
            on_failure=self.said.append,
            on_remark=self.said.append,
            retry_seconds_min=1,
            retry_seconds_max=60,
        )

    def _new_link(self, outlet: Any) -> One:
        assert outlet.numbering is None
        self.links.append(One(outlet))
        return self.links[-1]

    def all_had(self, event: str) -> bool:
        return all(link.events[-1] == event for link in self.links)


def test_all_links_do_what_is_asked_for() -> None:
    lane = Lane()
    lane.link.start()
    assert len(lane.links) == 3 and lane.all_had("start")
    assert lane.state.text == "connecting to up"
    lane.link.connect()
    assert lane.all_had("connect")
    lane.link.cut("why")
    assert lane.all_had("why")
    assert fired(ensureDeferred(lane.link.stop())) == [None]
    assert lane.all_had("stop")


def test_it_is_connected_while_one_of_them_is() -> None:
    lane = Lane()
    lane.link.start()
    one, other, _ = [link.state for link in lane.links]
    one.became_ready("connected to up")
    assert lane.state.ready
    assert lane.state.text == "connected to up, by up to 3 connections"
    other.became_ready("connected to up")
    assert lane.state.connects == 1
    one.failed("up: gone")
    assert lane.state.ready and lane.state.failures == 1
    assert "up: gone" in lane.said
    other.unexpected(b"HTTP/1.1 400")
    assert lane.state.unexpected_bytes == 12
    other.failed("up: gone too")
    assert not lane.state.ready
    assert lane.state.text == "not connected (before: up: gone too)"
    one.became_ready("connected to up")
    one.renewed("balance")
    assert not lane.state.ready and lane.state.failures == 2
