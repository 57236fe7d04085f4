from __future__ import annotations

from typing import Any

import pytest

from relay.queue.history.keep import HistoryLimit
from relay.service.configuration.model import Configuration, Url
from relay.service.queue.limits import limit_problems, new_histories, new_limits
from tests.configurations import new_destination
from tests.connections import RecordingNotices

MiB = 2**20


def configuration(relay: dict[str, Any] | None = None, **keys: Any) -> Configuration:
    destination = new_destination("central", Url("relp"), ("in",), **keys)
    return Configuration("web-1", "/x", destinations=(destination,), **(relay or {}))


def test_a_destination_has_the_limits_that_it_is_given() -> None:
    notices: Any = RecordingNotices()
    limits = new_limits(
        configuration(queue_bytes_max=5 * MiB, queue_seconds_max=60.0, when_full="drop-oldest"),
        notices,
    )
    limit = limits["central"]
    assert (limit.bytes_max, limit.seconds_max, limit.when_full) == (5 * MiB, 60.0, "drop-oldest")


def test_of_a_queue_s_limit_too_a_part_is_kept_for_those_who_may_use_the_reserve() -> None:
    notices: Any = RecordingNotices()
    relay = {"reserve_bytes": MiB, "pending_bytes_max": MiB}
    limit = new_limits(configuration(relay, queue_bytes_max=100 * MiB), notices)["central"]
    assert limit.watermark is not None
    limit.watermark.set(99 * MiB - 1)
    assert (limit.watermark.full, limit.watermark.reserve_full) == (False, False)
    limit.watermark.set(99 * MiB)
    assert (limit.watermark.full, limit.watermark.reserve_full) == (True, False)


def test_drops_are_warned_of_with_the_key_to_change() -> None:
    notices: Any = RecordingNotices()
    keys = {"queue_bytes_max": 5 * MiB, "queue_seconds_max": 60.0, "when_full": "drop-newest"}
    limit = new_limits(configuration(**keys), notices)["central"]
    limit.dropped(1200, "queue-full")
    limit.dropped(3, "too-old")
    assert notices.said == [
        (
            *("destination central", "queue-full"),
            "1,200 messages dropped (queue-full): destinations.central.queue_bytes_max is 5 MiB "
            'and when_full "drop-newest": raise it, or bring the upstream back',
        ),
        (
            *("destination central", "too-old"),
            "3 messages dropped (too-old): destinations.central.queue_seconds_max is 60: raise "
            "it, or bring the upstream back",
        ),
    ]


def test_limits_that_fit_together() -> None:
    assert limit_problems(configuration()) == []
    assert limit_problems(configuration(queue_bytes_max=MiB, when_full="drop-newest")) == []
    assert (
        limit_problems(configuration({"reserve_bytes": 2 * MiB, "queue_bytes_max": 4 * MiB})) == []
    )


def test_limits_that_just_fit() -> None:
    relay = {"queue_bytes_max": 4 * MiB, "reserve_bytes": 2 * MiB, "pending_bytes_max": 2 * MiB}
    assert limit_problems(configuration(relay, queue_bytes_max=4 * MiB)) == []
    assert limit_problems(configuration({"reserve_bytes": 1, "pending_bytes_max": 1})) == []
    history = {"history": 60.0, "history_bytes_max": 2 * MiB}
    assert limit_problems(configuration(relay, **history)) == []
    history["history_bytes_max"] = 0
    assert limit_problems(configuration(relay, **history)) == []


def test_all_that_does_not_fit_is_said_at_once() -> None:
    one = new_destination("a", Url("relp"), ("in",), queue_bytes_max=1)
    other = new_destination("b", Url("relp"), ("in",), when_full="drop-newest")
    third = new_destination("c", Url("relp"), ("in",), history_bytes_max=MiB)
    relay = {"queue_bytes_max": 4 * MiB, "reserve_bytes": 3 * MiB, "pending_bytes_max": 4 * MiB}
    problems = limit_problems(
        Configuration("web-1", "/x", destinations=(one, other, third), **relay)
    )  # type: ignore[arg-type]
    assert [problem.partition(":")[0] for problem in problems] == [
        "relay.reserve_bytes",
        "relay.reserve_bytes",
        "destinations.a.queue_bytes_max",
        "destinations.b.when_full",
        "destinations.c.history_bytes_max",
    ]


def test_each_destination_has_its_own_limit_and_history() -> None:
    notices: Any = RecordingNotices()
    one = new_destination("a", Url("relp"), ("in",), queue_bytes_max=5 * MiB)
    other = new_destination("b", Url("relp"), ("in",), history=60.0)
    third = new_destination("c", Url("relp"), ("in",), history=7.0)
    made = Configuration("web-1", "/x", destinations=(one, other, third))
    limits = new_limits(made, notices)
    assert {id: limit.destination for id, limit in limits.items()} == {"a": "a", "b": "b", "c": "c"}
    assert {*new_histories(made).limits} == {"b", "c"}


def test_limits_that_do_not() -> None:
    small = {"queue_bytes_max": 4 * MiB}
    assert limit_problems(configuration({**small, "reserve_bytes": 3 * MiB})) == [
        "relay.reserve_bytes: 3 MiB is more than half of queue_bytes_max, 4 MiB; change one of them"
    ]
    assert limit_problems(configuration(small, queue_bytes_max=5 * MiB)) == [
        "destinations.central.queue_bytes_max: 5 MiB is more than relay.queue_bytes_max, 4 MiB; "
        "change one of them"
    ]
    assert limit_problems(configuration(queue_bytes_max=1024)) == [
        "destinations.central.queue_bytes_max: 1 KiB is less than 1 MiB, the least that makes "
        "sense; 0 is no limit"
    ]
    assert limit_problems(configuration(when_full="drop-oldest")) == [
        "destinations.central.when_full: has no meaning without a limit; set queue_bytes_max for "
        "this destination too"
    ]


@pytest.mark.parametrize(
    ("relay", "reserve", "pending"),
    [
        ({}, 4096 * MiB // 20, 32 * MiB),
        ({"queue_bytes_max": 640 * MiB}, 32 * MiB, 32 * MiB),
        ({"queue_bytes_max": 100 * MiB}, 5 * MiB, 5 * MiB),
        ({"queue_bytes_max": 1 * MiB}, MiB // 20, MiB // 20),
        ({"queue_bytes_max": 100 * MiB, "pending_bytes_max": 8 * MiB}, 8 * MiB, 8 * MiB),
        ({"queue_bytes_max": 100 * MiB, "pending_bytes_max": MiB}, 5 * MiB, MiB),
        ({"reserve_bytes": 2 * MiB}, 2 * MiB, 2 * MiB),
        ({"reserve_bytes": 50 * MiB}, 50 * MiB, 32 * MiB),
        ({"reserve_bytes": 0}, 0, 32 * MiB),
        ({"reserve_bytes": 0, "pending_bytes_max": MiB}, 0, MiB),
        ({"reserve_bytes": MiB, "pending_bytes_max": MiB}, MiB, MiB),
    ],
)
def test_what_waits_for_the_disk_never_takes_more_than_the_reserve(
    relay: dict[str, int], reserve: int, pending: int
) -> None:
    made = configuration(relay)
    assert (made.reserve, made.pending_max) == (reserve, pending)
    assert limit_problems(made) == []


def test_a_reserve_that_one_burst_can_take_is_refused() -> None:
    assert limit_problems(configuration({"reserve_bytes": MiB, "pending_bytes_max": 4 * MiB})) == [
        "relay.reserve_bytes: 1 MiB is less than pending_bytes_max, 4 MiB, so one burst can take "
        "all of it; raise reserve_bytes to 4 MiB or more, lower pending_bytes_max to 1 MiB or "
        "less, or set reserve_bytes to 0 for no reserve"
    ]
    (problem,) = limit_problems(configuration({"reserve_bytes": 1, "pending_bytes_max": 2}))
    assert problem.startswith("relay.reserve_bytes: ")
    relay = {"queue_bytes_max": 10 * MiB, "pending_bytes_max": 6 * MiB}
    assert limit_problems(configuration(relay)) == [
        "relay.pending_bytes_max: 6 MiB is more than half of queue_bytes_max, 10 MiB; change one "
        "of them"
    ]


def test_a_history_has_a_size_whatever_is_said() -> None:
    assert new_histories(configuration()).limits == {}
    assert new_histories(configuration(history=60.0)).limits == {
        "central": HistoryLimit(60.0, 1024 * MiB)
    }
    keys = {"history": 60.0, "history_bytes_max": 6 * MiB}
    assert new_histories(configuration(**keys)).limits == {"central": HistoryLimit(60.0, 6 * MiB)}
    assert new_histories(configuration(**keys, order="live-first")).limits == {
        "central": HistoryLimit(60.0, 3 * MiB),
        "lane/central": HistoryLimit(60.0, 3 * MiB),
    }


def test_queues_and_histories_together_stay_below_where_sources_wait() -> None:
    relay = {"queue_bytes_max": 10 * MiB, "reserve_bytes": 2 * MiB}
    histories = new_histories(configuration(relay, history=60.0))
    assert histories._room_bytes == 8 * MiB


def test_sizes_of_histories_that_make_no_sense() -> None:
    assert limit_problems(configuration(history=60.0, history_bytes_max=MiB)) == []
    assert limit_problems(configuration(history_bytes_max=MiB)) == [
        "destinations.central.history_bytes_max: has no meaning without a history; set history for "
        'this destination too, for example history = "6h"'
    ]
    relay = {"queue_bytes_max": 10 * MiB, "reserve_bytes": 2 * MiB}
    keys = {"history": 60.0, "history_bytes_max": 9 * MiB}
    assert limit_problems(configuration(relay, **keys)) == [
        "destinations.central.history_bytes_max: 9 MiB is more than there can ever be room for: "
        "relay.queue_bytes_max without reserve_bytes is 8 MiB; change one of them"
    ]
