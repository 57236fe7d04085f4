from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent, globalLogPublisher

from relay.service.drain_messages import (
    Acknowledged,
    AcknowledgedLate,
    Alive,
    Answer,
    Began,
    Begin,
    Heard,
    KeepLineage,
    LetGo,
    LetItGo,
    LineageKept,
    Said,
    SetAside,
    State,
    Stop,
    Stored,
    TakeUp,
    Task,
)
from relay.service.drain_supervision import DrainSupervision
from tests.connections import RecordingNotices, fired


class Destination:
    """Writes down what it is told."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self.id = "out"
        self.tell = tell
        self.events: list[Any] = []
        self.drain = self.state = self

    def startService(self) -> None:
        self.events.append("start")

    async def _stop(self) -> None:
        self.events.append("stop")

    def stopService(self) -> Any:
        return self._stop()

    def begin(self) -> Task:
        return Task(b"", len(self.events), 9, None, [], None)

    def ended(self, words: str) -> None:
        self.events.append(words)

    def keep_lineage(self, report: KeepLineage, answer: Callable[[Any], None]) -> None:
        answer(LineageKept("out", report.lineage.decode()))

    def acknowledged(self, report: Any) -> None:
        self.events.append(report)

    acknowledged_late = set_aside = heard = acknowledged


class Queue:
    path = "/queue"
    map_bytes = 1000

    def __init__(self) -> None:
        self.forgotten = 0

    def forget_dead_readers(self) -> None:
        self.forgotten += 1


class Run:
    pid = 42

    def __init__(self, **callbacks: Callable[..., None]) -> None:
        self.report: Callable[[list[Any]], None] = callbacks["on_reports"]
        self.line, self.end = callbacks["on_line"], callbacks["on_ended"]
        self.orders: list[Any] = []
        self.killed = 0

    def send(self, order: Any) -> None:
        self.orders.append(order)

    def kill(self) -> None:
        self.killed += 1


class Setup:
    def __init__(self) -> None:
        self.clock = Clock()
        self.queue = Queue()
        self.runs: list[Run] = []
        self.notices: Any = RecordingNotices()
        self.trouble: OSError | None = None
        self.lines: list[str] = []

        def destinations(tell: Any) -> Any:
            self.destination = Destination(tell)
            return [self.destination]

        self.supervision = DrainSupervision(
            destinations,
            queue=self.queue,
            start_run=self.start_run,
            notices=self.notices,
            clock=self.clock,
        )
        self.supervision._log = Logger(namespace="relay", observer=self.note)

    def note(self, event: LogEvent) -> None:
        self.lines.append(f"{event['log_level'].name} {formatEvent(event)}")

    def start_run(self, **callbacks: Any) -> Run:
        if self.trouble is not None:
            raise self.trouble
        self.runs.append(Run(**callbacks))
        return self.runs[-1]


@pytest.fixture
def setup() -> Setup:
    setup = Setup()
    setup.supervision.startService()
    return setup


def test_the_process_is_told_where_to_begin(setup: Setup) -> None:
    assert setup.destination.events == ["start"]
    assert setup.runs[0].orders == [Begin("/queue", 1000, [Task(b"", 1, 9, None, [], None)])]
    setup.destination.tell(Stored("out", 10))
    assert setup.runs[0].orders[1:] == [Stored("out", 10)]
    setup.runs[0].report([Began("")])
    assert setup.lines == ["info drain process 42 runs"]


def test_what_it_says_of_a_destination(setup: Setup) -> None:
    reports = [
        Acknowledged("out", 3),
        AcknowledgedLate("out", 3, "too-old"),
        SetAside("out", 3, 4, "refused"),
        Heard("out", 7),
        State("out", "ready"),
    ]
    setup.runs[0].report([*reports, KeepLineage("out", b"history"), Alive()])
    assert setup.destination.events[1:] == reports
    assert setup.runs[0].orders[1:] == [LineageKept("out", "history")]


def test_what_it_says_for_the_log(setup: Setup) -> None:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    try:
        setup.runs[0].report([Said("relay", "warn", "a {text} with braces")])
    finally:
        globalLogPublisher.removeObserver(events.append)
    (event,) = events
    assert (event["log_level"].name, event["log_namespace"]) == ("warn", "relay")
    assert formatEvent(event) == "a {text} with braces"
    setup.runs[0].line("Traceback")
    assert setup.lines == ["error drain process: Traceback"]


def test_it_is_started_again(setup: Setup) -> None:
    pauses = []
    for pause in (0.5, 1, 2, 4, 8, 16, 30, 30):
        count = len(setup.runs)
        setup.runs[-1].end("ended by SIGKILL")
        words = f"its process ended by SIGKILL and is started again in {pause:g} s"
        assert setup.destination.events[-1] == words
        setup.destination.tell(Stored("out", 10))  # nobody hears it
        setup.clock.advance(pause - 0.01)
        pauses.append(len(setup.runs) - count)
        setup.clock.advance(0.02)
        assert len(setup.runs) == count + 1
    assert pauses == [0] * 8
    assert setup.queue.forgotten == 8
    assert setup.notices.said[0] == (
        "drain process",
        "ended",
        "ended by SIGKILL, next start in 0.5 s",
    )
    assert [type(order) for order in setup.runs[-1].orders] == [Begin]
    setup.clock.pump([10] * 7)
    setup.runs[-1].report([Alive()])
    setup.runs[-1].end("ended with status 1")
    assert setup.destination.events[-1].endswith("again in 0.5 s")


def test_it_cannot_be_started() -> None:
    setup = Setup()
    setup.trouble = OSError(11, "Resource temporarily unavailable")
    setup.supervision.startService()
    words = "its process cannot be started: Resource temporarily unavailable"
    assert setup.destination.events[-1] == f"{words} and is started again in 0.5 s"
    setup.trouble = None
    setup.clock.advance(0.5)
    assert len(setup.runs) == 1


def test_it_cannot_begin(setup: Setup) -> None:
    setup.runs[0].report([Began("the queue's storage failed")])
    assert setup.notices.said == [("drain process", "begin", "the queue's storage failed")]


def test_one_that_says_nothing_any_more_is_killed(setup: Setup) -> None:
    setup.clock.advance(10)
    assert setup.runs[0].orders[-1] == Answer()
    setup.clock.advance(10)
    setup.runs[0].report([Alive()])
    setup.clock.pump([10] * 3)
    assert setup.runs[0].killed == 0
    setup.clock.advance(10)
    assert setup.runs[0].killed == 1
    assert setup.lines == [
        "critical the drain process has said nothing for 30 s: it is killed and started again"
    ]


def test_the_end(setup: Setup) -> None:
    stopped = setup.supervision.stopService()
    assert setup.runs[0].orders[-1] == Stop()
    setup.runs[0].report([Acknowledged("out", 9)])
    assert fired(stopped) == []
    setup.runs[0].end("ended with status 0")
    assert fired(stopped) == [None]
    assert setup.destination.events[-3:] == [
        Acknowledged("out", 9),
        "its process ended with status 0",
        "stop",
    ]
    assert setup.clock.getDelayedCalls() == []
    assert setup.notices.said == []


def test_one_that_does_not_end_is_killed(setup: Setup) -> None:
    stopped = setup.supervision.stopService()
    setup.clock.advance(2.2)
    assert setup.runs[0].killed == 1
    setup.runs[0].end("ended by SIGKILL")
    assert fired(stopped) == [None]


def test_the_end_while_there_is_none(setup: Setup) -> None:
    setup.runs[0].end("ended by SIGKILL")
    assert fired(setup.supervision.stopService()) == [None]
    setup.clock.advance(100)
    assert len(setup.runs) == 1


def test_the_queue_is_let_go_and_taken_up(setup: Setup) -> None:
    closed = setup.supervision.let_go()
    assert setup.runs[0].orders[-1] == LetGo()
    assert fired(closed) == []
    setup.runs[0].report([LetItGo()])
    assert fired(closed) == [None]
    setup.queue.map_bytes = 2000
    setup.supervision.take_up()
    assert setup.runs[0].orders[-1] == TakeUp(2000)
    setup.clock.advance(9)
    assert setup.runs[0].killed == 0


def test_the_queue_is_let_go_where_there_is_no_process(setup: Setup) -> None:
    setup.runs[0].end("ended by SIGKILL")
    assert fired(setup.supervision.let_go()) == [None]
    setup.clock.advance(9)
    assert len(setup.runs) == 1  # it would open the queue
    setup.supervision.take_up()
    assert len(setup.runs) == 2


def test_one_that_does_not_let_the_queue_go_is_killed(setup: Setup) -> None:
    closed = setup.supervision.let_go()
    setup.clock.advance(5)
    assert setup.runs[0].killed == 1
    setup.runs[0].end("ended by SIGKILL")
    assert fired(closed) == [None]
    setup.clock.advance(5)
    assert len(setup.runs) == 1
    setup.supervision.take_up()
    assert len(setup.runs) == 2
