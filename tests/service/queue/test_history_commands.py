from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from relay.model.errors import QueueError, RelayError
from relay.queue.admission.backpressure import Admission
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from relay.service.queue.commands import QueueTools
from tests.connections import fired
from tests.queue_files import append, kept, opened, remove
from tests.queue_roles import AllRoles


class Queue(AllRoles):
    """A store whose operations take `seconds` each."""

    def __init__(self, store: QueueStore, clock: Clock) -> None:
        self.store, self.clock, self.seconds = store, clock, 0.0

    @property
    def ledgers(self) -> dict[str, Ledger]:
        return self.store.ledgers

    def operate(self, operation: Any) -> Deferred[Any]:
        self.clock.advance(self.seconds)
        try:
            return succeed(self.store.operate(operation, at=50.0)[1])
        except QueueError as error:
            return fail(error)


@dataclass
class Destination:
    id: str


class Setup:
    """Destinations a and b; a was sent five records of 1.5 MB, three to a step."""

    def __init__(self, store: QueueStore) -> None:
        self.clock = Clock()
        self.store = store
        for number in range(1, 6):
            append(store, a=[b"%d" % number + b"x" * 1_500_000])
            remove(store, "a", number + 1, at=10.0 * number)
        self.queue = Queue(store, self.clock)
        self.admission = Admission(pending_bytes_max=100, queue_bytes_max=100)
        self.room: Any = 4 * 1024 * 1024
        self.tools = QueueTools(
            queue=self.queue,
            destinations=[Destination("a"), Destination("b")],
            admission=self.admission,
            clock=self.clock,
            limits={},
        )
        self.tools.step_bytes = self.step_bytes  # type: ignore[method-assign, assignment]

    def step_bytes(self, id: str) -> int:
        if isinstance(self.room, Exception):
            raise self.room
        return int(self.room)

    def ask(self, **arguments: Any) -> Any:
        asked = self.tools.commands()["history-replay"]
        given = {"queue": "a", "to": "b", "period": {}, **arguments}
        (answer,) = fired(asked.answer(msgspec.convert(given, type=asked.arguments)))
        return answer

    def waiting(self, id: str) -> list[bytes]:
        ledger = self.store.ledgers[id]
        start = ledger.acknowledged_seq
        found = self.store.read(id, start=start, records_max=99, bytes_max=10**8)
        return [payload[:1] for payload in found]


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    monkeypatch.setattr("tests.queue_files.MAP_BYTES", 2**26)
    with opened(tmp_path, histories=kept("a")) as store:
        yield Setup(store)


def test_a_period_is_put_at_the_end_of_another_queue(setup: Setup) -> None:
    done = setup.ask(period={"since": 20.0, "to": 41.0})
    assert (done.records, done.next_seq, done.begins_at, done.waits) == (3, 0, 10.0, "")
    assert setup.waiting("b") == [b"2", b"3", b"4"]


def test_what_is_delivered_meanwhile_is_not_replayed_for_ever(setup: Setup) -> None:
    setup.queue.seconds = 3.0
    records = start = upto = 0
    for _ in range(9):
        done = setup.ask(to="a", start=start, upto=upto)
        remove(setup.store, "a", setup.store.ledgers["a"].next_seq, at=60.0)
        records, start, upto = records + done.records, done.next_seq, done.upto
        if not start:
            break
    assert (records, upto) == (5, 6)


def test_while_the_queue_takes_nothing_it_waits(setup: Setup) -> None:
    setup.admission.set_queue_bytes(100)
    done = setup.ask()
    assert done.waits.startswith("the queue takes nothing now: the queue holds 100 B")
    assert (done.records, done.next_seq, done.upto, setup.waiting("b")) == (0, 0, 6, [])
    done = setup.ask(start=3, upto=5)
    assert (done.next_seq, done.upto) == (3, 5)
    setup.admission.set_queue_bytes(0)
    assert setup.ask(start=3, upto=5).records == 2


def test_it_stops_in_the_middle_when_the_queue_is_full(setup: Setup) -> None:
    step = setup.queue.operate

    def operate(operation: Any) -> Deferred[Any]:
        setup.admission.set_queue_bytes(100)
        return step(operation)

    setup.queue.operate = operate  # type: ignore[method-assign]
    done = setup.ask()
    assert (done.records, bool(done.waits)) == (3, True)
    setup.admission.set_queue_bytes(0)
    setup.queue.operate = step  # type: ignore[method-assign]
    assert setup.ask(start=done.next_seq, upto=done.upto).records == 2
    assert setup.waiting("b") == [b"1", b"2", b"3", b"4", b"5"]


def test_it_keeps_the_limit_of_the_queue_that_it_goes_to(setup: Setup) -> None:
    setup.room = QueueError("the queue of b has room for 5 bytes")
    done = setup.ask()
    assert (done.records, done.waits) == (0, "the queue of b has room for 5 bytes")
    setup.queue.seconds, setup.room = 3.0, 1
    assert setup.ask().records == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"to": "c"}, "there is no destination 'c'; there is: a, b"),
        ({"queue": "b"}, "there is no history of 'b'; there is: a"),
        ({"queue": "c"}, "there is no history of 'c'; there is: a"),
    ],
)
def test_what_cannot_be_replayed(setup: Setup, arguments: dict[str, str], text: str) -> None:
    failures: list[Any] = []
    asked = setup.tools.commands()["history-replay"]
    given = {"queue": "a", "to": "b", "period": {}, **arguments}
    asked.answer(msgspec.convert(given, type=asked.arguments)).addErrback(failures.append)
    assert isinstance(failures[0].value, RelayError)
    assert text in str(failures[0].value)
