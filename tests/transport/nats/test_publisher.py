"""Publishing to a stream that loses answers, is full, or refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.flow.publishing import PublisherEvents, PublisherFailed, RecordRefused, Run
from relay.model.errors import UpstreamError
from relay.rewrite.forms.record_key import with_key
from relay.transport.nats.publisher import DirectPublisher, NatsPublisher
from relay.transport.nats.sender import Encoding, number_in
from relay.transport.nats.senders import PublishingPlan
from relay.transport.nats.stream import Demands
from relay.wire.nats.messages import header_value
from relay.wire.nats.record_pack import PACK_HEADER, decode_pack
from tests.transport.nats.fake_stream import FakeClient, FakeStream

A = "aaaaaaaa-2222-4333-8444-555555555555"
B = "bbbbbbbb-2222-4333-8444-555555555555"
PLAN = PublishingPlan("LOGS", "logs.$LINEAGE", Demands(("logs.*",), 2, True, True))


class Bench:
    """A publisher with a stream in memory."""

    def __init__(
        self,
        stream: FakeStream,
        plan: PublishingPlan = PLAN,
        *,
        is_slow: bool = False,
        opens: bool = True,
    ) -> None:
        self.clock = Clock()
        self.states: list[tuple[str, bool]] = []
        self.remarks: list[str] = []
        self.stream = stream
        self.failures: list[BaseException] = []
        self.done: list[str] = []
        self.publisher = NatsPublisher(
            plan,
            new_client=lambda on_lost: self._connect(on_lost, is_slow),
            clock=self.clock,
            events=PublisherEvents(
                lambda text, well: self.states.append((text, well)), self.remarks.append
            ),
        )
        if opens:
            Deferred.fromCoroutine(self.publisher.open())

    def _connect(self, on_lost: object, is_slow: bool) -> FakeClient:
        self.client = FakeClient(self.stream, on_lost, is_slow=is_slow)  # type: ignore[arg-type]
        return self.client

    def publish(
        self, seqs: Sequence[int], prev: int = 0, lineage: str = A, size: int = 1, name: str = ""
    ) -> None:
        payloads = [b"%d" % seq * size for seq in seqs]
        done = self.publisher.publish(Run(payloads, lineage, seqs, prev))
        done.addCallbacks(lambda _: self.done.append(name), self._failed)

    def _failed(self, failure: Failure) -> None:
        self.failures.append(failure.value)

    def wait(self) -> None:
        """Let all pauses pass."""
        for _ in range(100):
            self.clock.advance(2.0)

    def numbers(self, lineage: str = A) -> list[tuple[int, int]]:
        """seq and prev of what the stream has of a lineage."""
        found = [number_in(b"NATS/1.0\r\n" + each.headers) for each in self.stream.kept]
        return [(each.seq, each.prev) for each in found if each and each.lineage == lineage]


def test_records_are_stored_in_order_with_their_numbers() -> None:
    bench = Bench(FakeStream())
    bench.publish([1, 2, 5], name="first")
    bench.publish([6, 7], prev=5, name="second")
    assert bench.done == ["first", "second"]
    assert bench.numbers() == [(1, 0), (2, 1), (5, 2), (6, 5), (7, 6)]


def test_numbers_are_in_the_text_as_well() -> None:
    plan = replace(PLAN, encoding=Encoding(has_numbers_in_text=True))
    bench = Bench(FakeStream(), plan)
    bench.publisher.publish(Run([b"<13>1 - - - - - - m"], A, [3]))
    (message,) = bench.stream.kept
    assert b'- [syslogrelay@32473 lineage="%b" seq="3"] m' % A.encode() in message.data


def test_one_batch_of_a_lineage_is_in_flight_and_lineages_share_batches() -> None:
    bench = Bench(FakeStream(), is_slow=True)
    bench.publish([1, 2])
    bench.publish([3], prev=2)
    bench.publish([4], prev=3)
    bench.publish([1], lineage=B)
    assert bench.client.in_flight == 2  # the first of A, and B
    bench.client.answer()
    bench.client.answer()
    bench.client.answer()
    assert bench.stream.batches == [2, 1, 2]
    assert bench.numbers() == [(1, 0), (2, 1), (3, 2), (4, 3)]


def test_a_lost_answer_is_looked_up() -> None:
    bench = Bench(FakeStream(["unanswered"]))
    bench.publish([1, 2], name="it")
    assert not bench.done
    assert bench.states[-1] == ("waiting: stream LOGS: no answer", False)
    bench.wait()
    assert bench.done == ["it"]
    assert bench.numbers() == [(1, 0), (2, 1)]


def test_what_another_relay_has_stored_of_a_lineage_is_not_stored_again() -> None:
    stream = FakeStream()
    Bench(stream).publish([1, 2, 3])
    bench = Bench(stream)
    bench.publish([2, 3, 4], name="again")
    assert bench.done == ["again"]
    assert bench.numbers() == [(1, 0), (2, 1), (3, 2), (4, 3)]


@pytest.mark.parametrize("error", [10077, 10047, 10008, 0])
def test_a_stream_that_is_full_or_has_no_leader_holds_back(error: int) -> None:
    bench = Bench(FakeStream([error] * 5))
    bench.publish([1], name="it")
    assert not bench.done
    assert bench.states[-1][1] is False
    bench.wait()
    assert bench.done == ["it"]
    assert bench.states[-1] == ("publishing to stream LOGS", True)
    assert bench.numbers() == [(1, 0)]


def test_what_somebody_has_to_change_ends_it() -> None:
    bench = Bench(FakeStream([10059]))
    bench.publish([1])
    (failure,) = bench.failures
    assert isinstance(failure, PublisherFailed)
    assert "stream LOGS: error 10059" in str(failure)
    bench.publish([2])
    assert len(bench.failures) == 2


def test_a_lost_connection_fails_all_runs() -> None:
    bench = Bench(FakeStream(), is_slow=True)
    bench.publish([1])
    bench.publish([2], prev=1)
    bench.client.lose("the connection ended")
    assert [str(each) for each in bench.failures] == ["the connection ended"] * 2
    bench.client.answer()  # late: nothing happens


def test_a_record_that_is_too_large_is_refused_and_the_rest_goes_on() -> None:
    plan = replace(PLAN, encoding=Encoding())
    stream = FakeStream()
    stream.config["max_msg_size"] = 1000
    bench = Bench(stream, plan)
    payloads = [b"a", b"b" * 1001, b"c"]
    refused: list[RecordRefused] = []
    done = bench.publisher.publish(Run(payloads, A, [1, 2, 3]))
    done.addErrback(lambda failure: refused.append(failure.value))
    bench.publish([4], prev=3, name="later")
    assert refused[0].index == 1
    assert "too-long" in refused[0].reason
    assert not bench.done  # it waits for what stands before it
    bench.publish([3], prev=1, name="rest")
    assert sorted(bench.done) == ["later", "rest"]
    assert bench.numbers() == [(1, 0), (3, 1), (4, 3)]


def test_the_last_record_of_a_run_that_is_refused_is_no_predecessor() -> None:
    stream = FakeStream()
    stream.config["max_msg_size"] = 1000
    bench = Bench(stream)
    bench.publish([1])
    bench.publish([2], prev=1, size=1001)
    bench.publish([3], prev=2, name="later")
    assert bench.done == ["", "later"]
    assert bench.numbers() == [(1, 0), (3, 1)]


def test_a_record_that_only_the_stream_finds_too_large_is_found_alone() -> None:
    bench = Bench(FakeStream([10054, "ok", 10054]))
    bench.publish([1, 2, 3])
    (failure,) = bench.failures
    assert isinstance(failure, RecordRefused)
    assert failure.index == 1
    assert bench.numbers() == [(1, 0)]


def test_subjects_of_records() -> None:
    plan = PublishingPlan(
        "LOGS", "logs.unnamed", Demands((), 2, True, False), Encoding(has_keys=True), True
    )
    bench = Bench(FakeStream(), plan)
    records = [with_key(b"logs.a", b"1"), with_key(b"logs.b", b"2"), b"3"]
    bench.publisher.publish(Run(records, A, [1, 2, 3]))
    assert [(each.subject, each.data) for each in bench.stream.kept] == [
        (b"logs.a", b"1"),
        (b"logs.b", b"2"),
        (b"logs.unnamed", b"3"),
    ]


def test_records_without_a_lineage_go_to_one_subject_without_numbers() -> None:
    bench = Bench(FakeStream())
    bench.publisher.publish(Run([b"1", b"2"], sender="peer"))
    assert [(each.subject, each.headers) for each in bench.stream.kept] == [
        (b"logs.unnumbered", b"")
    ] * 2
    assert not bench.stream.asked


def test_packed_records() -> None:
    plan = replace(PLAN, encoding=Encoding(is_packed=True, pack_octets_max=100))
    bench = Bench(FakeStream(["unanswered"]), plan)
    bench.publish(range(1, 41), name="it")
    bench.wait()
    assert bench.done == ["it"]
    name = b"\r\n%s: " % PACK_HEADER.encode()
    values = [header_value(b"\r\n" + each.headers, name) for each in bench.stream.kept]
    packs = [
        decode_pack(value or b"", each.data)
        for value, each in zip(values, bench.stream.kept, strict=True)
    ]
    assert len(packs) > 3
    assert [seq for pack in packs if pack for seq in pack.seqs] == [*range(1, 41)]
    assert [pack.prev for pack in packs if pack][:2] == [0, packs[0].seqs[-1] if packs[0] else -1]


def test_without_batches_each_message_goes_alone() -> None:
    plan = replace(PLAN, is_atomic=False)
    bench = Bench(FakeStream(), plan)
    bench.publish([1, 2, 3], name="it")
    assert bench.stream.batches == [1, 1, 1]
    assert bench.done == ["it"]


@given(
    st.lists(st.sampled_from(["ok", "ok", "lost", "unanswered", 10077, 10071, 10008]), max_size=30),
    st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 5)), max_size=15),
    st.booleans(),
    st.booleans(),
)
def test_nothing_is_lost_twice_or_out_of_order(
    faults: list[str | int], sizes: list[tuple[str, int]], packs: bool, atomic: bool
) -> None:
    encoding = Encoding(is_packed=packs, pack_octets_max=30)
    bench = Bench(FakeStream(faults), replace(PLAN, encoding=encoding, is_atomic=atomic))
    ends = {A: 0, B: 0}
    for lineage, count in sizes:
        first = ends[lineage] + 1
        bench.publish(range(first, first + count), prev=ends[lineage], lineage=lineage)
        ends[lineage] += count
    bench.wait()
    assert len(bench.done) == len(sizes)
    assert bench.publisher.state == ""
    for lineage, end in ends.items():
        subject = f"logs.{lineage}".encode()
        data = b"".join(each.data for each in bench.stream.kept if each.subject == subject)
        if packs:
            assert [seq for seq, _ in bench.numbers(lineage)] == sorted(
                {seq for seq, _ in bench.numbers(lineage)}
            )
            assert not end or bench.numbers(lineage)[-1][0] == end
        else:
            assert data == b"".join(b"%d" % seq for seq in range(1, end + 1))
            assert bench.numbers(lineage) == [(seq, seq - 1) for seq in range(1, end + 1)]


def test_a_stream_that_promises_too_little_is_refused() -> None:
    stream = FakeStream()
    stream.config["allow_atomic"] = False
    bench = Bench(stream, opens=False)
    opened = Deferred.fromCoroutine(bench.publisher.open())
    failures: list[Failure] = []
    opened.addErrback(failures.append)
    assert failures[0].check(UpstreamError)
    assert "pack = true" in str(failures[0].value)


def test_a_direct_publisher_fails_if_it_cannot_be_opened() -> None:
    stream = FakeStream()
    stream.config["num_replicas"] = 1
    states: list[tuple[str, bool]] = []
    publisher = DirectPublisher(
        PLAN,
        new_client=lambda on_lost: FakeClient(stream, on_lost),
        clock=Clock(),
        events=PublisherEvents(lambda text, well: states.append((text, well)), lambda text: None),
    )
    failures: list[Failure] = []
    publisher.publish(Run([b"1"], A, [1])).addErrback(failures.append)
    publisher.start()
    assert failures[0].check(PublisherFailed)
    assert "replicas_min" in states[-1][0]
    assert states[-1][1] is False


def test_closing_fails_what_is_in_flight_and_ends_the_client() -> None:
    bench = Bench(FakeStream(), is_slow=True)
    bench.publish([1])
    closed: list[object] = []
    bench.publisher.close().addCallback(closed.append)
    assert [str(each) for each in bench.failures] == ["closed"]
    assert bench.client.closed == 1
    assert closed
