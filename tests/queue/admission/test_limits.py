from __future__ import annotations

from typing import Any

import pytest

from relay.model.policy import POLICIES
from relay.queue.admission.limits import QueueLimit, QueueLimits, queue_full_reason


def limit(when_full: str, **keywords: Any) -> QueueLimit:
    return QueueLimit(
        **{"destination": "central", "bytes_max": 1000, "when_full": when_full, **keywords}
    )


@pytest.mark.parametrize("when_full", POLICIES)
def test_without_a_size_nothing_is_limited(when_full: str) -> None:
    free = limit(when_full, bytes_max=0)
    free.settle(0, 10**12)
    assert (free.watermark, free.sheds, free.has_to_evict) == (None, False, False)
    assert free.report()["fill_percent"] is None


def test_what_waits_for_the_disk_counts_like_what_is_on_it() -> None:
    newest = limit("drop-newest")
    newest.settle(0, 500)
    pending = newest.add_pending([b"x" * 96, b"y" * 196])
    assert (pending, newest.size) == (300, 800)
    newest.settle(pending, 4096)
    assert newest.size == 4096


def test_a_block_closes_for_everybody_before_it_closes_for_the_reserve() -> None:
    block = limit("block", reserve_bytes=10**9)
    watermark = block.watermark
    assert watermark is not None
    found = []
    for used in (949, 950, 999, 1000):
        block.settle(0, used)
        found.append((watermark.full, watermark.reserve_full))
    assert found == [(False, False), (True, False), (True, False), (True, True)]
    assert watermark.text == (
        "the queue of central holds 1,000 B (queue_bytes_max of destinations.central is 1,000 B)"
    )
    assert block.report()["blocks_sources"]


def test_the_reserve_is_a_twentieth_or_less() -> None:
    block = limit("block", reserve_bytes=20)
    block.settle(0, 979)
    assert block.watermark is not None and not block.watermark.full
    block.settle(0, 980)
    assert block.watermark.full


def test_the_newest_are_dropped_at_the_limit_and_urgent_ones_last() -> None:
    newest = limit("drop-newest", reserve_bytes=50)
    found = []
    for used in (949, 950, 999, 1000):
        newest.settle(0, used)
        found.append([newest.severity_max(reserved=reserved) for reserved in (False, True)])
    assert found == [[7, 7], [2, 7], [2, 7], [-1, -1]]
    assert newest.sheds


def test_the_least_severe_are_dropped_first() -> None:
    by_severity = limit("drop-by-severity")
    found = []
    for used in (0, 799, 800, 850, 900, 950, 975, 999, 1000, 2000):
        by_severity.settle(0, used)
        found.append(by_severity.severity_max(reserved=True))
    assert found == [7, 7, 6, 5, 4, 3, 2, 2, -1, -1]
    assert queue_full_reason(7) == "queue-full-debug"


def test_the_oldest_leave_above_the_limit() -> None:
    oldest = limit("drop-oldest")
    oldest.settle(0, 1000)
    assert (oldest.has_to_evict, oldest.sheds, oldest.watermark) == (False, False, None)
    oldest.add_pending([b"x"])
    assert oldest.has_to_evict


@pytest.mark.parametrize(
    ("when_full", "rooms"),
    [
        ("block", [950, 1, 0, 0]),
        ("drop-newest", [950, 1, 0, 0]),
        ("drop-by-severity", [800, 0, 0, 0]),  # or what comes by itself would be dropped for it
        ("drop-oldest", [None, None, None, None]),
    ],
)
def test_what_people_may_add_ends_where_others_would_have_to_pay_for_it(
    when_full: str, rooms: list[int | None]
) -> None:
    full = limit(when_full, reserve_bytes=10**9)
    found = []
    for used in (0, 949, 950, 2000):
        full.settle(0, used)
        found.append(full.room_by_hand)
    assert found == rooms
    assert limit(when_full, bytes_max=0).room_by_hand is None


def test_the_report() -> None:
    oldest = limit("drop-oldest", seconds_max=60.0)
    oldest.settle(0, 500)
    oldest.forecast.note(0.0, queued=100, delivered={"d": 10}, size=400)
    oldest.forecast.note(10.0, queued=110, delivered={"d": 50}, size=500)
    assert oldest.report(backlog_records=30, drains=True) == {
        "queue_bytes_max": 1000,
        "queue_seconds_max": 60.0,
        "when_full": "drop-oldest",
        "used_bytes": 500,
        "fill_percent": 50,
        "seconds_to_full": 50.0,
        "seconds_to_empty": 10.0,
        "blocks_sources": False,
    }
    report = oldest.report(backlog_records=0, drains=True)
    assert (report["seconds_to_full"], report["seconds_to_empty"]) == (None, None)
    assert oldest.report(backlog_records=30)["seconds_to_empty"] is None


@pytest.mark.parametrize(
    ("bytes_max", "relay", "expected"),
    [(1000, None, 50.0), (1000, 60.0, 50.0), (1000, 40.0, 40.0), (0, 40.0, 40.0), (0, None, None)],
)
def test_a_queue_is_full_when_it_or_all_together_are(
    bytes_max: int, relay: float | None, expected: float | None
) -> None:
    own = limit("block", bytes_max=bytes_max)
    own.settle(0, 500)
    own.forecast.note(0.0, queued=0, delivered={}, size=400)
    own.forecast.note(10.0, queued=0, delivered={}, size=500)
    report = own.report(backlog_records=1, relay_seconds_to_full=relay)
    assert report["seconds_to_full"] == expected


def test_a_queue_that_does_not_grow_is_not_what_fills_the_relay() -> None:
    own = limit("block", bytes_max=0)
    for second in (0.0, 10.0):
        own.forecast.note(second, queued=0, delivered={}, size=500)
    assert own.report(backlog_records=1, relay_seconds_to_full=40.0)["seconds_to_full"] is None


def test_of_two_queues_the_older_one_makes_room() -> None:
    limit = QueueLimit(destination="d", bytes_max=100, when_full="drop-oldest")
    assert limit.bytes_max_of_queues({"d": 120}) == {"d": 100}
    limit.queues = ("old", "new")
    assert limit.bytes_max_of_queues({"old": 80, "new": 30}) == {"old": 70, "new": 100}
    limit.add_pending([b"123456"])
    assert limit.bytes_max_of_queues({"old": 80, "new": 30}) == {"old": 60, "new": 100}
    assert limit.bytes_max_of_queues({"old": 8, "new": 130}) == {"old": 0, "new": 100}


def test_a_limit_changes_while_records_wait() -> None:
    changing = limit("block")
    changing.add_pending([b"x" * 96])
    before = changing.watermark
    dropped: list[int] = []
    keys: dict[str, Any] = {"seconds_max": 0.0, "reserve_bytes": 0}
    changing.change(
        bytes_max=100,
        when_full="block",
        on_drop=lambda count, reason: dropped.append(count),
        **keys,
    )
    assert changing.watermark is not before
    assert changing.watermark is not None
    assert changing.watermark.full
    changing.dropped(3, "queue-full")
    changing.change(bytes_max=0, when_full="block", on_drop=lambda *_: None, **keys)
    assert (changing.watermark, changing.pending_bytes, dropped) == (None, 0, [3])
    changing.settle(100, 5)  # what was added while there was a limit
    assert changing.size == 5


def test_the_limits_of_other_destinations_hold_from_the_next_commit_on() -> None:
    one = QueueLimit(destination="one", bytes_max=100, when_full="drop-oldest")
    used = {"one": 0, "two": 150}
    limits = QueueLimits([one])
    limits.start(lambda: used)
    assert limits.add_pending({"one": [b"x"], "two": [b"x"]}).keys() == {"one"}
    two = QueueLimit(destination="two", bytes_max=100, when_full="drop-oldest")
    limits.use([two])
    assert limits.have_evictions
    assert limits.take_evictions(used).keys() == {"two"}
    assert limits.add_pending({"one": [b"x"], "two": [b"x"]}).keys() == {"two"}
    two.change(
        bytes_max=0, seconds_max=0, when_full="block", reserve_bytes=0, on_drop=lambda *_: None
    )
    limits.use([two])
    assert (limits.are_bounded, two.size) == (False, 150)
