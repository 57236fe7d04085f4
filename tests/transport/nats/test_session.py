"""A queue's session with a stream."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.flow.exactly_once.numbering import Numbering
from relay.flow.publishing import PublisherEvents
from relay.model.errors import UpstreamError
from relay.queue.lineage import Lineage
from relay.transport.nats.publisher import NatsPublisher
from relay.transport.nats.senders import PublishingPlan
from relay.transport.nats.session import WINDOW_RECORDS, NatsSession, begin
from relay.transport.nats.stream import Demands
from relay.wire.nats.messages import Message
from tests.transport.nats.fake_stream import FakeClient, FakeStream

PLAN = PublishingPlan("LOGS", "logs.$LINEAGE", Demands(("logs.*",), 2, True, True))


class FakeDrain:
    """Records from 1 to `stored_seq` - 1; what a session does with them."""

    def __init__(self, stored_seq: int) -> None:
        self.acknowledged_seq = self.sent_seq = 1
        self.stored_seq = stored_seq
        self.refusals: list[str] = []
        self.sets_aside = True
        self.detached = 0

    def attach(self, session: NatsSession) -> None:
        self.sent_seq = self.acknowledged_seq
        if waiting := self.stored_seq - self.sent_seq:
            self.send(session, waiting)

    def send(self, session: NatsSession, count: int, size: int = 1) -> None:
        payloads = [b"x" * size] * count
        self.sent_seq += count
        session.send(payloads)

    def detach(self, session: object) -> None:
        self.detached += 1

    def pump(self) -> None:
        pass

    def skip_to(self, upto: int) -> None:
        self.acknowledged_seq = self.sent_seq = upto

    def acknowledged(self, session: object, count: int) -> bool:
        self.acknowledged_seq += count
        return True

    def refused(
        self, session: object, reason: str, *, in_row: int = 1, others_taken: bool = False
    ) -> bool:
        assert others_taken
        self.refusals.append(reason)
        self.acknowledged_seq += self.sets_aside
        return self.sets_aside


class Bench:
    def __init__(self, stream: FakeStream, lineage: Lineage, *, waiting: int) -> None:
        self.stream = stream
        self.drain = FakeDrain(waiting + 1)
        self.troubles: list[str] = []
        self.saved: list[Lineage] = []
        self.numbering = Numbering(
            lineage,
            drain=self.drain,  # type: ignore[arg-type]
            save=self._save,
            on_trouble=self.troubles.append,
        )
        self.ends: list[str] = []
        self.clock = Clock()

    def _save(self, lineage: Lineage) -> Deferred[None]:
        self.saved.append(lineage)
        return succeed(None)

    def begin(self) -> NatsSession:
        self.publisher = NatsPublisher(
            PLAN,
            new_client=self._connect,
            clock=self.clock,
            events=PublisherEvents(lambda text, well: None, lambda text: None),
        )
        Deferred.fromCoroutine(self.publisher.open())
        begun: list[str] = []
        failed: list[Failure] = []
        beginning = Deferred.fromCoroutine(begin(self.publisher, self.numbering))
        beginning.addCallbacks(begun.append, failed.append)
        if failed:
            failed[0].raiseException()
        session = NatsSession(self.drain, self.publisher, begun[0], self.ends.append)
        self.drain.attach(session)
        return session

    def _connect(self, on_lost: object) -> FakeClient:
        self.client = FakeClient(self.stream, on_lost)  # type: ignore[arg-type]
        return self.client


def test_a_queue_is_published_and_acknowledged() -> None:
    bench = Bench(FakeStream(), Lineage.new(1), waiting=5)
    session = bench.begin()
    assert bench.drain.acknowledged_seq == 6
    assert len(bench.stream.kept) == 5
    assert session.room == WINDOW_RECORDS


def test_a_new_session_skips_what_the_stream_has() -> None:
    lineage, stream = Lineage.new(1), FakeStream()
    Bench(stream, lineage, waiting=3).begin()
    bench = Bench(stream, lineage, waiting=5)
    bench.begin()
    assert bench.drain.acknowledged_seq == 6
    assert len(stream.kept) == 5


def test_a_queue_that_was_restored_from_an_older_copy_is_introduced_anew() -> None:
    lineage, stream = Lineage.new(1), FakeStream()
    Bench(stream, lineage, waiting=9).begin()
    bench = Bench(stream, lineage, waiting=5)
    bench.begin()
    assert "restored from an older copy" in bench.troubles[0]
    assert len(bench.saved) == 1
    assert len({each.subject for each in stream.kept}) == 2
    assert bench.drain.acknowledged_seq == 6


def test_a_subject_that_somebody_else_writes_is_an_error() -> None:
    lineage = Lineage.new(1)
    stream = FakeStream()
    stream.kept.append(Message(f"logs.{lineage.id}".encode(), b"", b"foreign"))
    with pytest.raises(UpstreamError, match="somebody else writes"):
        Bench(stream, lineage, waiting=1).begin()


def test_a_record_that_is_too_large_is_set_aside_and_the_others_go_on() -> None:
    stream = FakeStream()
    stream.config["max_msg_size"] = 1000
    bench = Bench(stream, Lineage.new(1), waiting=0)
    session = bench.begin()
    payloads = [b"a", b"b" * 2000, b"c", b"d"]
    bench.drain.sent_seq += len(payloads)
    session.send(payloads)
    assert [each.data for each in stream.kept] == [b"a", b"c", b"d"]
    assert "too-long" in bench.drain.refusals[0]
    assert bench.drain.acknowledged_seq == 5
    assert not bench.ends


def test_a_record_that_the_drain_keeps_ends_the_session() -> None:
    stream = FakeStream()
    stream.config["max_msg_size"] = 1000
    bench = Bench(stream, Lineage.new(1), waiting=0)
    session = bench.begin()
    bench.drain.sets_aside = False
    bench.drain.send(session, 1, size=2000)
    assert "too-long" in bench.ends[0]
    assert bench.client.closed == 1
    assert bench.drain.detached == 1
    assert session.room == 0


def test_a_lost_connection_ends_it_once() -> None:
    bench = Bench(FakeStream(["lost"]), Lineage.new(1), waiting=3)
    bench.begin()
    bench.client.lose("the connection ended")
    assert bench.ends == ["the connection ended"]
    assert bench.drain.acknowledged_seq == 1


def test_a_stall_can_cut_it() -> None:
    bench = Bench(FakeStream(), Lineage.new(1), waiting=0)
    bench.begin().cut("nothing acknowledged")
    assert bench.ends == ["nothing acknowledged"]


def test_without_numbers_it_is_at_least_once() -> None:
    bench = Bench(FakeStream(), Lineage.new(1), waiting=2)
    bench.numbering = None  # type: ignore[assignment]
    bench.begin()
    assert {each.subject for each in bench.stream.kept} == {b"logs.unnumbered"}
    assert bench.drain.acknowledged_seq == 3
