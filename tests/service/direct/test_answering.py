from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock

from relay.flow.direct.runs import memory_of
from relay.flow.direct.sessions import DirectSession
from relay.flow.publishing import PublisherEvents
from relay.model.counters.kept import KeptCounters
from relay.model.counters.source import SourceCounters
from relay.model.errors import UpstreamError
from relay.queue.transaction import Counted, Refusal
from relay.rewrite.forms.record_key import with_key
from relay.service.configuration.model import Retry, Url
from relay.service.direct.answering import Answering, AnsweringParts, DirectLimits
from tests.connections import RecordingNotices, fired
from tests.fake_log import FakePublisher
from tests.log_kind import LogConfiguration

LINEAGE = "00000000-0000-0000-0000-00000000000a"
BUS = LogConfiguration("bus", Url("log", host="paper"), retry=Retry(1.0, 4.0))


class Source:
    def __init__(self) -> None:
        self.clock = Clock()
        self.notices: Any = RecordingNotices()
        self.publishers: list[FakePublisher] = []
        self.events: list[PublisherEvents] = []
        self.missing = ""
        self.refusals: list[Refusal] = []
        self.counted: list[Counted | None] = []
        kept = KeptCounters("net", SourceCounters())
        parts = AnsweringParts(self.publisher, self.store, kept, self.notices, self.clock)
        self.answering = Answering("net", BUS, parts, DirectLimits(4000, 99))
        self.session = DirectSession(LINEAGE, 1, "192.0.2.1:5")

    def publisher(self, events: PublisherEvents) -> FakePublisher:
        if self.missing:
            raise UpstreamError(self.missing)
        self.events.append(events)
        self.publishers.append(FakePublisher())
        return self.publishers[-1]

    def store(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        refusals: Sequence[Refusal] = (),
        positions: Mapping[str, bytes] | None = None,
        drops: Mapping[str, Mapping[str, int]] | None = None,
        senders: Collection[Hashable] = (),
        counted: Counted | None = None,
    ) -> Deferred[None]:
        self.refusals += refusals
        self.counted.append(counted)
        return succeed(None)

    def publish(self, payload: bytes) -> list[Any]:
        seqs = self.session.numbered(1).seqs
        return fired(self.answering._runs.publish(self.session, [payload], seqs))

    def started(self) -> Source:
        self.answering.start()
        return self


@pytest.fixture
def source() -> Source:
    return Source().started()


def test_no_publisher_is_made_before_the_start() -> None:
    assert Source().publishers == []


def test_it_is_ready_when_the_publisher_says_so(source: Source) -> None:
    assert not source.answering.is_ready
    assert source.answering.state_text == "connecting to bus (log://paper:0)"
    source.events[0].on_state("3 brokers", True)
    assert source.answering.is_ready
    assert source.answering.state_text == "3 brokers"


def test_it_is_ready_as_well_when_something_was_acknowledged(source: Source) -> None:
    source.publish(b"x")
    source.publishers[0].store()
    assert source.answering.is_ready


def test_a_log_that_is_away_is_never_well(source: Source) -> None:
    source.events[0].on_state("3 brokers", True)
    source.events[0].on_state("brokers away: k1, k2", False)
    assert not source.answering.is_ready
    assert source.answering.state_text == "brokers away: k1, k2"
    assert ("source net", "publisher", "brokers away: k1, k2") in source.notices.said


def test_the_next_publisher_comes_after_a_pause_and_sends_again(source: Source) -> None:
    answer = source.publish(b"x")
    source.publishers[0].fail("fenced")
    assert source.publishers[0].closed
    assert not source.answering.is_ready
    assert "fenced, next try in" in source.answering.state_text
    source.clock.advance(1.3)
    source.publishers[1].store()
    assert answer == [0]
    assert source.answering.report()["resent_records"] == 1


def test_pauses_become_longer_and_have_a_limit(source: Source) -> None:
    for number, pause in enumerate((1.25, 2.5, 4, 4)):
        source.publish(b"x")
        source.publishers[number].fail()
        source.clock.advance(pause + 0.01)
        assert len(source.publishers) == number + 2


def test_one_that_is_over_says_nothing_more(source: Source) -> None:
    source.publish(b"x")
    source.publishers[0].fail("fenced")
    source.events[0].on_state("3 brokers", True)
    source.clock.advance(2)
    source.events[0].on_state("away", False)
    assert source.answering.state_text == "connecting to bus (log://paper:0) (before: fenced)"


def test_a_publisher_that_cannot_be_made_is_tried_again() -> None:
    source = Source()
    source.missing = "destination bus: no certificate"
    source.answering.start()
    assert source.answering.state_text.startswith("destination bus: no certificate, next try in")
    source.missing = ""
    source.clock.advance(2)
    assert len(source.publishers) == 1


def test_trouble_with_nothing_in_flight_makes_another_publisher_after_a_while(
    source: Source,
) -> None:
    source.events[0].on_state("topic logs is missing", False)
    source.clock.advance(10)
    assert source.publishers[0].closed
    assert "topic logs is missing, next try in" in source.answering.state_text
    source.clock.advance(2)
    source.events[1].on_state("3 brokers", True)
    assert source.answering.is_ready


def test_trouble_that_is_over_ends_no_publisher(source: Source) -> None:
    source.events[0].on_state("brokers away", False)
    source.events[0].on_state("3 brokers", True)
    source.clock.advance(11)
    assert not source.publishers[0].closed


def test_trouble_while_records_wait_is_for_the_publisher_to_retry(source: Source) -> None:
    source.events[0].on_state("brokers away", False)
    source.publish(b"x")
    source.clock.advance(11)
    assert not source.publishers[0].closed


def test_a_record_that_waits_for_long_is_not_well(source: Source) -> None:
    source.events[0].on_state("3 brokers", True)
    source.publish(b"x")
    source.clock.advance(9)
    assert source.answering.is_ready
    source.clock.advance(1)
    assert not source.answering.is_ready
    assert source.answering.state_text == "a record waits for 10 s; 3 brokers"


def test_a_stall_ends_the_publisher(source: Source) -> None:
    answer = source.publish(b"x")
    assert source.answering.standing().in_flight == 1
    source.answering.break_link("nothing acknowledged in 120 s")
    source.clock.advance(2)
    source.publishers[1].store()
    assert answer == [0]


def test_a_stall_is_not_well(source: Source) -> None:
    source.events[0].on_state("3 brokers", True)
    source.publish(b"x")
    seconds = source.answering.progress.seconds_max
    for step in range(5):
        source.answering.progress.look(step * seconds / 2, source.answering.standing())
    assert not source.answering.is_ready
    assert "nothing acknowledged for" in source.answering.state_text


def test_the_source_pauses_at_its_limit_and_goes_on_at_half(source: Source) -> None:
    watermark = source.answering.watermark
    for _ in range(3):
        source.publish(b"x" * 500)
    assert watermark.full
    assert "wait for bus" in watermark.text
    source.publishers[0].store()
    assert watermark.full
    source.publishers[0].store()
    assert not watermark.full


def test_incomplete_messages_count_as_well_up_to_a_quarter(source: Source) -> None:
    source.answering.unfinished_bytes = lambda: 10**9
    source.publish(b"x" * 500)
    assert source.answering.watermark.size == memory_of([b"x" * 500]) + 1000
    source.publishers[0].store()
    assert source.answering.watermark.size == 1000


def test_what_the_log_refuses_goes_into_the_quarantine_of_the_source(source: Source) -> None:
    record = with_key(b"topic", b"long")
    source.publishers[0].refuses.add(record)
    assert source.publish(record) == []
    source.publishers[0].store()
    (refusal,) = source.refusals
    assert refusal == Refusal("net", "too large", "192.0.2.1:5", [b"long"], 99)
    assert source.counted[0] is not None and source.counted[0][1:] == (0, 1)
    assert source.answering.report()["refused_records"] == 1


def test_a_stop_ends_the_publisher_and_leaves_the_rest_unanswered(source: Source) -> None:
    answer = source.publish(b"x")
    stopped = fired(ensureDeferred(source.answering.stop()))
    assert stopped == [None]
    assert source.publishers[0].closed
    assert len(answer) == 1 and isinstance(answer[0], Exception)
    assert source.clock.getDelayedCalls() == []


def test_a_stop_does_not_wait_for_a_publisher_that_hangs(source: Source) -> None:
    hanging: Deferred[None] = Deferred()
    source.publishers[0].close = lambda: hanging  # type: ignore[method-assign]
    stopped = fired(ensureDeferred(source.answering.stop()))
    assert stopped == []
    source.clock.advance(1)
    assert stopped == [None]


def test_limits_may_change(source: Source) -> None:
    source.publish(b"x" * 1000)
    source.answering.use(DirectLimits(1000, 7), one_by_one=True)
    assert source.answering.watermark.full
    assert source.answering.intake.one_by_one
