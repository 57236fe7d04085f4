from __future__ import annotations

from relay.flow.routing import Route
from relay.flow.shedding import indexes_let_in, let_in, severities_let_in
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit


class Central:
    """A route into a queue with a limit of 1000 bytes."""

    def __init__(self, when_full: str, used: int, *, reserved: bool = False) -> None:
        self.dropped: list[tuple[int, str]] = []
        limit = QueueLimit(
            destination="central",
            bytes_max=1000,
            when_full=when_full,
            reserve_bytes=50,
            on_drop=lambda count, reason: self.dropped.append((count, reason)),
        )
        limit.settle(0, used)
        self.route = Route("central", None, limit=limit, reserved=reserved)


def test_only_those_that_do_not_take_everything_are_found() -> None:
    routes = [
        Route("free", None),
        Central("drop-by-severity", 799).route,
        Central("drop-newest", 949).route,
        Central("drop-newest", 950, reserved=True).route,
    ]
    assert severities_let_in(routes) == {}
    assert severities_let_in([Central("drop-by-severity", 800).route]) == {"central": 6}
    assert severities_let_in([Central("drop-newest", 950).route]) == {"central": 2}
    assert severities_let_in([Central("drop-newest", 1000, reserved=True).route]) == {"central": -1}


def test_what_is_dropped_has_one_reason() -> None:
    central = Central("drop-newest", 1000)
    assert let_in(central.route, [7, 0, 3], -1) == ([], {"queue-full": 3})
    assert central.dropped == [(3, "queue-full")]


def test_urgent_messages_get_in_a_little_longer() -> None:
    central = Central("drop-newest", 950)
    assert let_in(central.route, [7, 2, 3, 0], 2) == ([1, 3], {"queue-full": 2})


def test_what_is_dropped_by_severity_has_it_in_the_reason() -> None:
    central = Central("drop-by-severity", 870)
    drops = {"queue-full-debug": 2, "queue-full-info": 1}
    assert let_in(central.route, [7, 5, 6, 7, 0], 5) == ([1, 4], drops)
    assert sorted(central.dropped) == [(1, "queue-full-info"), (2, "queue-full-debug")]


def test_where_all_get_in_nothing_is_said() -> None:
    central = Central("drop-by-severity", 870)
    assert let_in(central.route, [5, 0], 5) == ([0, 1], {})
    assert central.dropped == []


def test_what_cannot_wait_is_let_in_by_its_severity() -> None:
    admission = Admission(pending_bytes_max=100, queue_bytes_max=1000, reserve_bytes=100)
    frames = [*(b"<%d>x" % severity for severity in (7, 2, 3, 0)), b"no PRI"]
    assert list(indexes_let_in(admission, frames)) == [0, 1, 2, 3, 4]
    admission.set_queue_bytes(900)
    assert indexes_let_in(admission, frames) == [1, 3]
    admission.set_queue_bytes(1000)
    assert indexes_let_in(admission, frames) == []
