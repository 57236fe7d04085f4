from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from relay.flow.publishing import PublisherFailed, RecordRefused, Run
from relay.transport.kafka import session as session_module
from relay.transport.kafka.session import KafkaSession, SessionParts
from relay.transport.upstream import UpstreamState
from tests.connections import fired


class Publisher:
    failure = ""
    bytes_max = 100

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.published: list[Deferred[None]] = []
        self.closed = False

    def publish(self, run: Run) -> Deferred[None]:
        self.runs.append(run)
        self.published.append(Deferred())
        return self.published[-1]

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class Drain:
    """Sends, and notes what it is told."""

    def __init__(self) -> None:
        self.sent_seq = 11
        self.told: list[Any] = []
        self.goes_on = True

    def attach(self, session: object) -> None:
        self.told.append("attach")

    def detach(self, session: object) -> None:
        self.told.append("detach")

    def pump(self) -> None:
        pass

    def acknowledged(self, session: object, count: int) -> bool:
        self.told.append(count)
        return self.goes_on

    def refused(
        self, session: object, reason: str, *, in_row: int = 1, others_taken: bool = False
    ) -> bool:
        assert others_taken
        self.told.append(reason)
        return self.goes_on


class Setup:
    def __init__(self) -> None:
        self.clock = Clock()
        self.drain = Drain()
        self.publisher: Any = Publisher()
        self.failures: list[str] = []
        self.state = UpstreamState(
            target="k1:9092/logs",
            clock=self.clock,
            on_ready=lambda text: None,
            on_failure=lambda text: None,
            retry_seconds_min=1,
            retry_seconds_max=2,
        )
        parts = SessionParts(
            drain=self.drain,
            state=self.state,
            lineage="lineage",
            sender="bus",
            how="sending",
            trouble_seconds_max=60,
            on_failure=self.failures.append,
        )
        self.session = KafkaSession(self.publisher, parts, clock=self.clock)
        self.state.became_ready("sending")

    def send(self, *payloads: bytes, first: int | None = None) -> None:
        self.drain.sent_seq = (first or self.drain.sent_seq) + len(payloads)
        self.session.send(payloads)

    @property
    def runs(self) -> Sequence[Any]:
        return [([*run.payloads], [*run.seqs], run.prev) for run in self.publisher.runs]


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_numbers_follow_the_queue_and_its_holes(setup: Setup) -> None:
    setup.send(b"a", b"b")
    setup.send(b"c")
    setup.send(b"d", first=20)
    assert setup.runs == [
        ([b"a", b"b"], [11, 12], 0),
        ([b"c"], [13], 12),
        ([b"d"], [20], 13),
    ]
    assert setup.publisher.runs[0].lineage == "lineage"


def test_answers_are_a_prefix(setup: Setup) -> None:
    setup.send(b"a", b"b")
    setup.send(b"c")
    setup.publisher.published[1].callback(None)
    assert setup.drain.told == []
    setup.publisher.published[0].callback(None)
    assert setup.drain.told == [3]


def test_room_counts_records_and_bytes(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "RECORDS_MAX", 5)
    monkeypatch.setattr(session_module, "BYTES_MAX", 50)
    assert setup.session.room == 5
    setup.send(b"a", b"b")
    assert setup.session.room == 3
    setup.send(b"c" * 50)
    assert setup.session.room == 0
    setup.publisher.published[0].callback(None)
    setup.publisher.published[1].callback(None)
    assert setup.session.room == 5


def test_a_record_that_is_too_long_is_refused_and_the_rest_goes_on(setup: Setup) -> None:
    setup.send(b"a", b"x" * 101, b"c")
    assert setup.runs == [([b"a"], [11], 0), ([b"c"], [13], 11)]
    setup.publisher.published[1].callback(None)
    setup.publisher.published[0].callback(None)
    text = "too-long: 101 bytes, and the topic takes 100"
    assert setup.drain.told == [1, text, 1]
    assert setup.failures == []


def test_a_refused_record_is_told_behind_those_before_it(setup: Setup) -> None:
    setup.send(b"a", b"b", b"c")
    setup.publisher.published[0].errback(RecordRefused(1, "INVALID_RECORD"))
    assert setup.drain.told == [1, "INVALID_RECORD", "detach"]
    assert setup.failures == ["refused: INVALID_RECORD"]
    assert setup.publisher.closed


def test_a_publisher_that_fails_ends_the_session_once(setup: Setup) -> None:
    setup.send(b"a")
    setup.send(b"b")
    for published in setup.publisher.published:
        published.errback(PublisherFailed("fatal"))
    assert setup.failures == ["fatal"]
    assert setup.drain.told == ["detach"]
    assert setup.session.room == 0


def test_one_that_fails_while_nothing_is_in_flight_ends_it_too(setup: Setup) -> None:
    setup.publisher.failure = "fatal"
    setup.session.follow("fatal", False)
    assert setup.failures == ["fatal"]


def test_a_drain_that_wants_another_session_gets_it(setup: Setup) -> None:
    setup.drain.goes_on = False
    setup.send(b"a")
    setup.publisher.published[0].callback(None)
    assert setup.failures == ["sends again what was refused"]


def test_brokers_that_are_away_are_in_the_state_until_they_are_back(setup: Setup) -> None:
    setup.session.follow("brokers away: Connection refused", False)
    assert not setup.state.ready
    assert "brokers away: Connection refused" in setup.state.text
    setup.session.follow("topic logs: 4 partitions", True)
    assert setup.state.ready and setup.state.text == "sending"
    setup.clock.advance(100)
    assert setup.failures == []


def test_brokers_that_stay_away_get_a_new_producer(setup: Setup) -> None:
    setup.session.follow("brokers away: a", False)
    setup.clock.advance(59)
    setup.session.follow("brokers away: b", False)
    assert setup.failures == []
    setup.clock.advance(1)
    (text,) = setup.failures
    assert "a new producer is made after 60 s" in text
    assert setup.publisher.closed


def test_a_cut(setup: Setup) -> None:
    setup.send(b"a")
    setup.session.cut("stalled")
    assert setup.failures == ["stalled"]
    setup.session.cut("again")
    assert len(setup.failures) == 1


def test_a_close_does_not_wait_for_ever(setup: Setup) -> None:
    held: Deferred[None] = Deferred()
    setup.publisher.close = lambda: held
    closed = setup.session.close()
    setup.clock.advance(0.9)
    assert not closed.called
    setup.clock.advance(0.2)
    assert fired(closed) == [None]
    held.callback(None)  # late, and no error


def test_a_close_is_no_failure(setup: Setup) -> None:
    setup.session.follow("brokers away", False)
    setup.session.close()
    setup.clock.advance(100)
    assert setup.failures == [] and setup.publisher.closed
