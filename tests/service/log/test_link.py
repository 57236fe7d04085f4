"""Links to a log, with a publisher that does what the test says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from relay.flow.publishing import PublisherEvents, PublisherFailed
from relay.model.errors import QueueError, UpstreamError
from relay.service.log.link import PublisherLink
from relay.transport.upstream import UpstreamState


class FakePublisher:
    def __init__(self, events: PublisherEvents) -> None:
        self.events = events
        self.opened: Deferred[None] = Deferred()
        self.is_closed = False

    def close(self) -> Deferred[None]:
        self.is_closed = True
        return succeed(None)


class FakeSession:
    def __init__(self, fail: Any) -> None:
        self.fail = fail
        self.told: list[tuple[str, bool]] = []
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Bench(PublisherLink[Any]):
    """A link, and what it works with."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.publishers: list[FakePublisher] = []
        self.attached: list[Any] = []
        self.remarks: list[str] = []
        self.state = UpstreamState(
            target="k1:9092/logs",
            clock=self.clock,
            on_ready=lambda text: None,
            on_failure=lambda text: None,
            on_remark=self.remarks.append,
            retry_seconds_min=1.0,
            retry_seconds_max=1.0,
        )
        drain = SimpleNamespace(attach=self.attached.append)
        outlet: Any = SimpleNamespace(drain=drain, state=self.state, numbering=None)
        super().__init__(outlet, self._new, how="sending", clock=self.clock)
        self.state.started()
        self.start()

    def _new(self, events: PublisherEvents) -> FakePublisher:
        self.publishers.append(FakePublisher(events))
        return self.publishers[-1]

    async def _begin(self, publisher: Any, on_failure: Any) -> tuple[Any, bool]:
        await publisher.opened
        return FakeSession(on_failure), True

    def _follow(self, session: Any, text: str, is_well: bool) -> None:
        session.told.append((text, is_well))
        if is_well:
            self.state.became_ready("sending again")
        else:
            self.state.held_up(text, cause="log")


def test_a_session_begins_when_the_log_has_answered() -> None:
    link = Bench()
    (publisher,) = link.publishers
    publisher.events.on_state("away", False)
    publisher.events.on_remark("a warning")
    assert (link.attached, link.state.exactly_once) == ([], False)
    assert link.remarks == ["k1:9092/logs: a warning"]
    publisher.opened.callback(None)
    (session,) = link.attached
    assert session.told == []
    assert (link.state.ready, link.state.exactly_once) == (True, True)


def test_exactly_once_is_told_of_times_in_which_all_is_well() -> None:
    link = Bench()
    (publisher,) = link.publishers
    publisher.opened.callback(None)
    publisher.events.on_state("full", False)
    assert (link.state.text, link.state.exactly_once) == ("full", False)
    publisher.events.on_state("", True)
    assert (link.state.ready, link.state.exactly_once) == (True, True)
    assert link.attached[0].told == [("full", False), ("", True)]


@pytest.mark.parametrize("error", [UpstreamError("no"), PublisherFailed("no"), QueueError("no")])
def test_a_log_that_gives_no_session_is_asked_again(error: Exception) -> None:
    link = Bench()
    link.publishers[0].opened.errback(error)
    assert link.publishers[0].is_closed
    assert "k1:9092/logs: no" in link.state.text
    link.clock.advance(2.0)
    assert len(link.publishers) == 2


def test_a_session_that_fails_names_its_target() -> None:
    link = Bench()
    link.publishers[0].opened.callback(None)
    link.attached[0].fail("lost")
    assert "k1:9092/logs: lost" in link.state.text


def test_a_stop_closes_the_publisher_that_opens() -> None:
    link = Bench()
    stopped = Deferred.fromCoroutine(link.stop())
    assert link.publishers[0].is_closed
    assert stopped.called
    link.publishers[0].opened.errback(PublisherFailed("closed"))
    link.clock.advance(10)
    assert len(link.publishers) == 1
