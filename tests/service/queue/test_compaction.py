from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from relay.model.errors import QueueError
from relay.service.queue.compaction import Compact, CompactionService
from tests.connections import RecordingNotices, fired
from tests.queue_roles import AllRoles

MiB = 2**20


class FakeQueue(AllRoles):
    """A queue and its compaction; what is to run in a thread waits for `run`."""

    def __init__(self) -> None:
        self.allocated_bytes = 0
        self.in_use_bytes = 0
        self.done: list[str] = []
        self.steps = 2
        self.switches = 1
        self.error: BaseException | None = None
        self.error_at = ""
        self.reported: list[BaseException] = []
        self._waiting: list[tuple[str, Callable[[], Any], Deferred[Any]]] = []

    def new_compaction(self) -> Any:
        return self

    def begin(self) -> None:
        self._did("begin")

    def step(self) -> bool:
        self._did("step")
        return self.done.count("step") >= self.steps

    def switch(self) -> bool:
        self._did("switch")
        if self.done.count("switch") < self.switches:
            return False
        self.allocated_bytes = self.in_use_bytes
        return True

    def abandon(self) -> None:
        self._did("abandon")

    def _did(self, what: str) -> None:
        self.done.append(what)
        if what == self.error_at and self.error is not None:
            raise self.error

    def in_writer(self, call: Callable[[], Any]) -> Deferred[Any]:
        return self._later("writer", call)

    def in_reader(self, call: Callable[[], Any]) -> Deferred[Any]:
        return self._later("reader", call)

    def failed(self, error: BaseException) -> None:
        self.reported.append(error)

    def _later(self, thread: str, call: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self._waiting.append((thread, call, done))
        return done

    def run(self, count: int = 1) -> None:
        """Let a thread do the next thing."""
        for _ in range(count):
            thread, call, done = self._waiting.pop(0)
            assert thread == ("writer" if call.__name__ in ("begin", "switch") else "reader")
            try:
                result = call()
            except BaseException as error:
                done.errback(error)
            else:
                done.callback(result)

    def run_all(self) -> None:
        while self._waiting:
            self.run()


class Setup:
    def __init__(self, free_percent: int = 50) -> None:
        self.queue = FakeQueue()
        self.clock = Clock()
        self.notices: Any = RecordingNotices()
        self.service = CompactionService(
            queue=self.queue,
            free_percent=free_percent,
            notices=self.notices,
            clock=self.clock,
        )
        self.service.startService()

    def look(self, *, allocated: int, used: int) -> None:
        self.queue.allocated_bytes, self.queue.in_use_bytes = allocated, used
        self.clock.advance(60.0)

    def began(self) -> bool:
        return bool(self.queue._waiting)


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_one_that_was_asked_for_is_over_when_the_file_was_replaced(setup: Setup) -> None:
    setup.queue.allocated_bytes, setup.queue.in_use_bytes = 5000, 1000
    answers = fired(setup.service.ask(Compact()))
    with capturedLogs() as logs:
        setup.queue.run(4)
        assert answers == []
        setup.queue.run_all()
    assert setup.queue.done == ["begin", "step", "step", "switch", "abandon"]
    (answer,) = answers
    assert (answer.is_over, answer.bytes_before, answer.bytes_after) == (True, 5000, 1000)
    assert [formatEvent(event) for event in logs] == [
        "the queue's file was compacted: 4.9 KiB before, 1,000 B now"
    ]
    assert len(setup.clock.getDelayedCalls()) == 1  # the next look


def test_who_asks_hears_after_a_while_how_it_goes(setup: Setup) -> None:
    answers = fired(setup.service.ask(Compact()))
    setup.clock.advance(5.0)
    (first,) = answers
    assert (first.number, first.is_over) == (1, False)
    again = fired(setup.service.ask(Compact(first.number)))
    setup.queue.run_all()
    assert [answer.is_over for answer in again] == [True]
    assert fired(setup.service.ask(Compact(first.number)))[0].is_over  # and not another one
    assert setup.queue.done.count("begin") == 1


def test_who_asks_after_one_of_another_life_is_told(setup: Setup) -> None:
    with pytest.raises(QueueError, match="started anew"):
        setup.service.ask(Compact(7))
    assert not setup.began()


def test_two_who_ask_get_one(setup: Setup) -> None:
    one, two = fired(setup.service.ask(Compact())), fired(setup.service.ask(Compact()))
    setup.queue.run_all()
    assert setup.queue.done.count("begin") == 1
    assert one == two != []


def test_too_much_that_is_left_takes_more_steps(setup: Setup) -> None:
    setup.queue.switches = 3
    setup.service.ask(Compact())
    setup.queue.run_all()
    assert setup.queue.done.count("switch") == 3


def test_a_queue_that_changes_too_fast_is_left(setup: Setup) -> None:
    setup.queue.switches = 1000
    answers = fired(setup.service.ask(Compact()))
    setup.queue.run_all()
    assert "changes faster than it can be copied" in answers[0].error
    assert setup.queue.done[-1] == "abandon"


@pytest.mark.parametrize("where", ["begin", "step", "switch"])
def test_a_failure_is_said_and_the_old_file_stays(setup: Setup, where: str) -> None:
    setup.queue.error, setup.queue.error_at = QueueError("the disk is full"), where
    answers = fired(setup.service.ask(Compact()))
    setup.queue.run_all()
    assert [answer.error for answer in answers] == ["the disk is full"]
    assert setup.queue.reported == []
    assert setup.notices.said == [
        ("queue", "compact", "its file was not compacted: the disk is full")
    ]
    assert setup.queue.done.count("abandon") == (where != "begin")
    setup.queue.error = None
    again = fired(setup.service.ask(Compact()))
    setup.queue.run_all()
    assert again[0].error == ""


def test_a_defect_is_the_queues_affair(setup: Setup) -> None:
    setup.queue.error, setup.queue.error_at = RuntimeError("spoilt"), "switch"
    setup.service.ask(Compact())
    setup.queue.run_all()
    assert setup.queue.reported == [setup.queue.error]


def test_a_stop_waits_for_the_step_and_gives_the_rest_up(setup: Setup) -> None:
    setup.queue.steps = 9
    answers = fired(setup.service.ask(Compact()))
    setup.queue.run(2)
    stopped = fired(setup.service.stopService())
    assert stopped == []
    setup.queue.run_all()
    assert stopped == [None]
    assert setup.queue.done == ["begin", "step", "step", "abandon"]
    assert answers[0].error == "the relay stops; its queue is as it was"
    assert setup.notices.said == []
    assert setup.clock.getDelayedCalls() == []


def test_a_stop_has_nothing_to_wait_for(setup: Setup) -> None:
    assert fired(setup.service.stopService()) == [None]
    assert setup.clock.getDelayedCalls() == []


def test_it_begins_by_itself_where_half_of_the_file_stays_free(setup: Setup) -> None:
    for _ in range(2):
        setup.look(allocated=130 * MiB, used=10 * MiB)
        assert not setup.began()
    setup.look(allocated=130 * MiB, used=60 * MiB)
    assert setup.began()
    setup.queue.run_all()
    for _ in range(5):
        setup.look(allocated=60 * MiB, used=60 * MiB)
    assert setup.queue.done.count("begin") == 1


@pytest.mark.parametrize(
    ("allocated", "used"),
    [
        (130 * MiB, 70 * MiB),  # less than half is free
        (64 * MiB - 1, 0),  # not worth it
        (0, 0),
        (100 * MiB, 200 * MiB),
    ],
)
def test_it_leaves_a_file_that_is_not_worth_it(setup: Setup, allocated: int, used: int) -> None:
    for _ in range(5):
        setup.look(allocated=allocated, used=used)
    assert not setup.began()


def test_a_backlog_that_drains_is_waited_for(setup: Setup) -> None:
    for used in (2000, 1600, 1200, 900, 600, 400, 200, 100, 70, 60, 50):
        setup.look(allocated=4000 * MiB, used=used * MiB)
        assert not setup.began()
    setup.look(allocated=4000 * MiB, used=40 * MiB)
    assert setup.began()


def test_a_burst_in_between_begins_the_count_anew(setup: Setup) -> None:
    for allocated in (200, 200, 10, 200, 200):
        setup.look(allocated=allocated * MiB, used=MiB)
        assert not setup.began()
    setup.look(allocated=200 * MiB, used=MiB)
    assert setup.began()


def test_it_can_be_switched_off() -> None:
    setup = Setup(free_percent=0)
    for _ in range(5):
        setup.look(allocated=2000 * MiB, used=0)
    assert not setup.began()
    assert fired(setup.service.ask(Compact())) == []
    assert setup.began()
