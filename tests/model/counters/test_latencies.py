from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.model.counters.histogram import Histogram
from relay.model.counters.latencies import Latencies, PositionTimes, latencies_report


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_stage_is_timed() -> None:
    time = Time()
    latencies = Latencies(5, seconds=time)
    latencies.stored(8)
    time.now += 1
    latencies.session_begins(5)
    latencies.sent(8)
    time.now += 2
    latencies.acknowledged(7)
    found = [
        (each.total, each.sum)
        for each in (
            latencies.stored_to_sent,
            latencies.sent_to_acknowledged,
            latencies.stored_to_acknowledged,
        )
    ]
    assert found == [(3, 3.0), (2, 4.0), (2, 6.0)]
    twice = latencies_report([latencies, latencies])
    assert [twice[stage]["count"] for stage in sorted(twice)] == [4, 4, 6]
    assert latencies_report([])["stored_to_sent"]["count"] == 0


def test_a_lost_session_is_timed_anew_and_its_records_from_the_disk_on() -> None:
    time = Time()
    latencies = Latencies(0, seconds=time)
    latencies.stored(2)
    latencies.session_begins(0)
    latencies.sent(2)
    time.now += 60
    latencies.session_begins(0)
    latencies.sent(2)
    time.now += 1
    latencies.acknowledged(2)
    assert (latencies.stored_to_sent.total, latencies.stored_to_sent.sum) == (2, 0.0)
    assert latencies.sent_to_acknowledged.sum == 2 * 1.0
    assert latencies.stored_to_acknowledged.sum == 2 * 61.0


def test_records_of_an_earlier_process_are_timed_from_being_sent_on() -> None:
    time = Time()
    latencies = Latencies(9, seconds=time)
    latencies.session_begins(4)
    latencies.sent(9)
    time.now += 1
    latencies.acknowledged(9)
    assert latencies.stored_to_acknowledged.total == 0
    assert (latencies.sent_to_acknowledged.total, latencies.sent_to_acknowledged.sum) == (5, 5.0)


def test_what_leaves_undelivered_is_not_timed() -> None:
    time = Time()
    latencies = Latencies(0, seconds=time)
    latencies.stored(4)
    latencies.left(3)
    latencies.session_begins(3)
    latencies.sent(4)
    latencies.acknowledged(4)
    assert latencies.stored_to_sent.total == latencies.stored_to_acknowledged.total == 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.sampled_from("nrs"))))
def test_records_are_timed_once_at_most(steps: list[tuple[int, int, str]]) -> None:
    times, histogram = PositionTimes(10), Histogram()
    stored = reached = skipped = 10
    for now, (add, catch_up, step) in enumerate(steps):
        if step == "n":
            stored += add
            times.note(stored, float(now))
        else:
            position = min(stored, reached + catch_up)
            if step == "r":
                times.reached(position, float(now), histogram)
            else:
                times.skip(position)
                skipped += position - reached
            reached = position
    assert histogram.total == reached - skipped


def test_marks_are_bounded_and_times_become_earlier() -> None:
    times, histogram = PositionTimes(0), Histogram()
    for number in range(100_000):
        times.note(number + 1, float(number))
        assert len(times) <= 1024
    times.reached(100_000, 100_000.0, histogram)
    exact = sum(100_000.0 - number for number in range(100_000))
    assert histogram.total == 100_000
    assert histogram.sum >= exact
