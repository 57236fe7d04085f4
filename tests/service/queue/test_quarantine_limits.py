from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from relay.model.errors import QueueFull
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from relay.service.queue.watches import QuarantineLimits
from tests.clocks import wall_of
from tests.connections import RecordingNotices
from tests.queue_files import append, opened, set_aside
from tests.queue_roles import AllRoles


class Queue(AllRoles):
    """A store whose operations are done at once, or fail."""

    def __init__(self, store: QueueStore, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.asked = 0
        self.error: Exception | None = None

    @property
    def ledgers(self) -> dict[str, Ledger]:
        return self.store.ledgers

    def operate(self, operation: Any) -> Deferred[Any]:
        self.asked += 1
        if self.error is not None:
            return fail(self.error)
        return succeed(self.store.operate(operation, at=self.clock.seconds())[1])


class Setup:
    """Five entries in the quarantine of a, set aside at 9 s; it is 10 s now."""

    def __init__(self, store: QueueStore) -> None:
        self.clock = Clock()
        self.clock.advance(10)
        append(store, a=[b"%d" % number for number in range(5)])
        set_aside(store, "a", 5)
        self.queue = Queue(store, self.clock)
        self.notices: Any = RecordingNotices()

    @property
    def account(self) -> Ledger:
        return self.queue.ledgers["a"]

    def service(self, bytes_max: int = 10**6, seconds_max: float = 0) -> QuarantineLimits:
        return QuarantineLimits(
            queue=self.queue,
            bytes_max=bytes_max,
            seconds_max=seconds_max,
            notices=self.notices,
            wall=wall_of(self.clock),
            clock=self.clock,
        )


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    with opened(tmp_path) as store:
        yield Setup(store)


def test_within_the_limits_nothing_is_done(setup: Setup) -> None:
    service = setup.service(bytes_max=setup.account.quarantine_bytes)
    service.startService()
    setup.clock.advance(1000)
    assert (setup.queue.asked, setup.account.quarantined, setup.notices.said) == (0, 5, [])
    service.stopService()
    assert setup.clock.getDelayedCalls() == []


def test_too_much_is_dropped_oldest_first_and_said(setup: Setup) -> None:
    service = setup.service(bytes_max=setup.account.quarantine_bytes // 2)
    service.startService()
    assert (setup.account.quarantined, setup.account.dropped) == (2, {"quarantine-full": 3})
    ((subject, kind, text),) = setup.notices.said
    assert (subject, kind) == ("quarantine of a", "quarantine-full")
    assert text.startswith("3 records dropped, its oldest; more than quarantine_bytes_max = ")
    service.stopService()


def test_what_is_too_old_is_dropped_and_said(setup: Setup) -> None:
    service = setup.service(seconds_max=100)
    service.startService()
    for _ in range(9):
        setup.clock.advance(10)
    assert (setup.account.quarantined, setup.notices.said) == (5, [])
    setup.clock.advance(10)
    assert (setup.account.quarantined, setup.account.dropped) == (0, {"quarantine-aged": 5})
    asked = setup.queue.asked
    setup.clock.advance(10)
    assert (setup.queue.asked, setup.notices.kinds) == (asked, ["quarantine-aged"])
    service.stopService()


def test_a_failing_queue_is_tried_again(setup: Setup) -> None:
    setup.queue.error = QueueFull("no space")
    service = setup.service(bytes_max=0)
    service.startService()
    assert (setup.account.quarantined, setup.notices.said) == (5, [])
    setup.queue.error = None
    setup.clock.advance(10)
    assert setup.account.quarantined == 0
    service.stopService()
