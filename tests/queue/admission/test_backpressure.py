from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from relay.queue.admission.backpressure import Admission, SourceAdmission
from relay.queue.admission.watermark import Level, Watermark


class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.on_call: Callable[[], object] = lambda: None

    def pause_reading(self) -> None:
        self.calls.append("pause")
        self.on_call()

    def resume_reading(self) -> None:
        self.calls.append("resume")
        self.on_call()


def for_source(
    admission: Admission, watermarks: Iterable[Watermark], *, reserved: bool = False
) -> SourceAdmission:
    return SourceAdmission(admission.shared_with(watermarks), reserved=reserved)


@pytest.fixture
def admission() -> Admission:
    return Admission(pending_bytes_max=100, queue_bytes_max=1000)


@pytest.fixture
def producer(admission: Admission) -> Producer:
    producer = Producer()
    admission.register(producer)
    return producer


def test_it_is_open_at_first(admission: Admission, producer: Producer) -> None:
    assert (admission.closed, admission.reason, producer.calls) == (False, "", [])


def test_pending_bytes_close_above_the_limit_and_open_at_half(
    admission: Admission, producer: Producer
) -> None:
    closed = []
    for size in (100, 101, 100, 51, 50, 100, 101):
        admission.set_pending_bytes(size)
        closed.append(admission.closed)
    assert closed == [False, True, True, True, False, False, True]
    assert producer.calls == ["pause", "resume", "pause"]
    assert admission.pending_bytes == 101


def test_queued_bytes_close_at_the_limit_and_open_below_95_percent(
    admission: Admission, producer: Producer
) -> None:
    closed = []
    for size in (999, 1000, 999, 950, 949, 999, 1000):
        admission.set_queue_bytes(size)
        closed.append(admission.closed)
    assert closed == [False, True, True, True, False, False, True]
    assert producer.calls == ["pause", "resume", "pause"]
    assert admission.queue_bytes == 1000


def test_both_gauges_have_to_be_low(admission: Admission, producer: Producer) -> None:
    admission.set_queue_bytes(1000)
    admission.set_pending_bytes(200)
    admission.set_queue_bytes(0)
    assert (admission.closed, producer.calls) == (True, ["pause"])
    admission.set_pending_bytes(0)
    assert (admission.closed, producer.calls) == (False, ["pause", "resume"])


def test_the_reason_names_the_gauge(admission: Admission) -> None:
    admission.set_pending_bytes(1234)
    assert admission.reason == "1.2 KiB wait for the disk"
    admission.set_queue_bytes(5000)
    assert "queue_bytes_max is 1,000 B" in admission.reason
    admission.set_queue_bytes(0)
    admission.set_pending_bytes(0)
    assert admission.reason == ""


def test_who_comes_late_is_paused_at_once_and_resumed_with_the_others(
    admission: Admission, producer: Producer
) -> None:
    admission.set_pending_bytes(101)
    late = Producer()
    admission.register(late)
    admission.register(late)
    admission.set_pending_bytes(0)
    assert producer.calls == ["pause", "resume"]
    assert late.calls == ["pause", "pause", "resume"]


def test_who_is_gone_is_not_called(admission: Admission, producer: Producer) -> None:
    admission.unregister(producer)
    admission.unregister(producer)
    admission.set_pending_bytes(101)
    assert producer.calls == []


def test_who_goes_while_the_others_are_told_is_not_called(admission: Admission) -> None:
    one, other = Producer(), Producer()
    one.on_call = lambda: admission.unregister(other)
    other.on_call = lambda: admission.unregister(one)
    admission.register(one)
    admission.register(other)
    admission.set_pending_bytes(101)
    assert one.calls + other.calls == ["pause"]


def test_what_a_resumed_producer_brings_can_close_again(admission: Admission) -> None:
    greedy, others = Producer(), [Producer() for _ in range(9)]
    for producer in (greedy, *others):
        admission.register(producer)
    admission.set_pending_bytes(101)
    greedy.on_call = lambda: greedy.calls[-1] == "resume" and admission.set_pending_bytes(101)
    admission.set_pending_bytes(0)
    assert admission.closed
    assert {producer.calls[-1] for producer in (greedy, *others)} == {"pause"}


# One source, and the reserve.


@pytest.fixture
def relay() -> Admission:
    return Admission(
        pending_bytes_max=100, queue_bytes_max=1000, reserve_bytes=100, free_bytes_min=800
    )


def test_a_full_destination_closes_for_those_who_feed_it_and_nobody_else(relay: Admission) -> None:
    watermark = Watermark(Level(10, 10), describe="{} in central".format)
    feeding, other = for_source(relay, [watermark]), for_source(relay, [])
    producers = [Producer(), Producer()]
    feeding.register(producers[0])
    other.register(producers[1])
    watermark.set(10)
    assert (feeding.closed, other.closed, relay.closed) == (True, False, False)
    assert (feeding.reason, other.reason) == ("10 in central", "")
    watermark.set(9)
    assert [producer.calls for producer in producers] == [["pause", "resume"], []]


def test_what_concerns_the_relay_closes_for_every_source(relay: Admission) -> None:
    source = for_source(relay, [])
    relay.set_pending_bytes(101)
    assert (source.closed, source.reason) == (True, "101 B wait for the disk")


def test_the_reserve_is_for_those_who_may_use_it(relay: Admission) -> None:
    reserved, other = for_source(relay, [], reserved=True), for_source(relay, [])
    found = []
    for size in (899, 900, 999, 1000):
        relay.set_queue_bytes(size)
        found.append((other.closed, reserved.closed))
    assert found == [(False, False), (True, False), (True, False), (True, True)]
    assert "queue_bytes_max is 1,000 B, reserve_bytes 100 B" in relay.reason


def test_the_reserve_of_memory_is_nobodys(relay: Admission) -> None:
    reserved = for_source(relay, [], reserved=True)
    relay.set_pending_bytes(101)
    assert reserved.closed


def test_a_disk_without_room_closes_and_opens_again_with_some_to_spare(relay: Admission) -> None:
    reserved, other = for_source(relay, [], reserved=True), for_source(relay, [])
    found = []
    for free in (800, 799, 899, 400, 399, 499, 500, 900):
        relay.set_free_bytes(free)
        found.append((other.closed, reserved.closed))
    assert found == [
        *((False, False), (True, False), (True, False), (True, False)),
        *((True, True), (True, True), (True, False), (False, False)),
    ]
    relay.set_free_bytes(700)
    assert other.reason == "the disk has room for 700 B (min_free_bytes is 800 B)"
    assert relay.free_bytes == 700


def test_a_disk_that_nobody_cares_for_never_closes(admission: Admission) -> None:
    admission.set_free_bytes(0)
    assert not admission.closed


def test_what_cannot_wait_comes_in_if_it_may(relay: Admission) -> None:
    reserved, other = for_source(relay, [], reserved=True), for_source(relay, [])
    assert other.severity_max == 7
    relay.set_queue_bytes(900)
    assert (other.severity_max, reserved.severity_max) == (2, 7)
    relay.set_queue_bytes(1000)
    assert (other.severity_max, reserved.severity_max) == (-1, -1)


def test_what_cannot_be_stored_is_not_let_in_not_even_into_the_reserve() -> None:
    admission = Admission(pending_bytes_max=100, queue_bytes_max=1000, reserve_bytes=100)
    reserved = for_source(admission, [], reserved=True)
    admission.set_queue_bytes(950)
    assert not reserved.closed
    admission.set_failure("nothing can be stored: Read-only file system", 7.0)
    assert reserved.closed and reserved.severity_max == -1
    assert admission.reason == "nothing can be stored: Read-only file system"
    admission.clear_failure()
    assert not reserved.closed


def test_a_burst_is_no_fault_and_anything_else_is() -> None:
    admission = Admission(pending_bytes_max=100, queue_bytes_max=1000)
    assert not admission.is_busy
    admission.set_pending_bytes(101)
    assert (admission.closed, admission.is_busy) == (True, True)
    admission.set_failure("nothing can be stored", 1.0)
    assert (admission.closed, admission.is_busy) == (True, False)
    admission.clear_failure()
    admission.set_queue_bytes(1000)
    assert (admission.closed, admission.is_busy) == (True, False)


def test_a_source_may_look_at_other_watermarks(admission: Admission) -> None:
    one, two = (Watermark(Level(10, 10), describe=lambda size: f"{size} there") for _ in "ab")
    source, producer = for_source(admission, [one]), Producer()
    source.register(producer)
    one.set(10)
    source.use(admission.shared_with([two]))
    assert (producer.calls, source.closed) == (["pause", "resume"], False)
    one.set(0)
    one.set(10)
    assert not source.closed
    two.set(10)
    assert (source.reason, producer.calls[2:]) == ("10 there", ["pause"])
    admission.set_queue_bytes(1000)
    source.use(admission.shared_with([]))
    assert source.closed  # those of all sources stay


def test_other_limits_hold_at_once(admission: Admission, producer: Producer) -> None:
    admission.set_queue_bytes(900)
    admission.set_free_bytes(500)
    admission.change(
        pending_bytes_max=50, queue_bytes_max=800, reserve_bytes=100, free_bytes_min=400
    )
    assert producer.calls == ["pause"]
    assert admission.reason.endswith("(queue_bytes_max is 800 B, reserve_bytes 100 B)")
    admission.change(pending_bytes_max=50, queue_bytes_max=2000, free_bytes_min=600)
    assert admission.reason == "the disk has room for 500 B (min_free_bytes is 600 B)"
    admission.change(pending_bytes_max=50, queue_bytes_max=2000)
    assert (producer.calls[-1], admission.closed) == ("resume", False)
    admission.set_pending_bytes(51)
    assert admission.is_busy
