from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred

from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.cursor import Batch
from relay.queue.lineage import Lineage
from relay.service.drain_messages import (
    Acknowledged,
    AcknowledgedLate,
    Heard,
    KeepLineage,
    SetAside,
    Task,
)
from relay.service.remote_queue import RemoteQueue
from tests.connections import fired


class Store:
    """A queue of three records."""

    def __init__(self, map_bytes: int) -> None:
        self.map_bytes = map_bytes
        self.closed = False

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        assert not self.closed
        return [b"%d" % seq for seq in range(start, 8)]

    def close(self) -> None:
        self.closed = True


class Setup:
    def __init__(self) -> None:
        self.stores: list[Store] = []
        self.said: list[Any] = []
        self.reading: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.queue = RemoteQueue(
            open_store=self.open, tell=self.said.append, run_in_thread=self.run_in_thread
        )
        self.lineage = Lineage.new(1)
        self.queue.give(Task(b"", 5, 8, self.lineage.encode(), [], None), "out")
        self.queue.take_up(1000)

    def open(self, map_bytes: int) -> Store:
        self.stores.append(Store(map_bytes))
        return self.stores[-1]

    def run_in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.reading.append((call, done))
        return done

    def end_read(self) -> None:
        call, done = self.reading.pop(0)
        done.callback(call())

    def take(self) -> Deferred[Batch]:
        return ensureDeferred(self.queue.cursor("out").take(records_max=9, bytes_max=999))


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_what_is_read(setup: Setup) -> None:
    taken = setup.take()
    setup.end_read()
    assert fired(taken) == [Batch(SeqRange(5, 8), [b"5", b"6", b"7"])]
    ledger = setup.queue.ledger("out")
    assert (ledger.acknowledged_seq, ledger.next_seq) == (5, 8)
    assert setup.queue.lineage("out") == setup.lineage


def test_what_is_asked_for(setup: Setup) -> None:
    setup.queue.acknowledge("out", 6)
    setup.queue.acknowledge_late("out", 3, "too-old")
    setup.queue.set_aside("out", SeqRange(6, 7), "refused")
    assert setup.said == [
        Acknowledged("out", 6),
        AcknowledgedLate("out", 3, "too-old"),
        SetAside("out", 6, 7, "refused"),
    ]


def test_what_it_is_told(setup: Setup) -> None:
    heard: list[Any] = []
    setup.queue.subscribe("out", heard.append, lambda *left: heard.append(left))
    setup.queue.stored("out", 9)
    setup.queue.evicted("out", 7, "too-old")
    assert heard == [9, (7, "too-old")]
    assert setup.said == [Heard("out", 7)]


def test_a_lineage_is_kept_when_the_main_process_says_so(setup: Setup) -> None:
    kept = setup.queue.keep_lineage("out", setup.lineage)
    assert setup.said == [KeepLineage("out", setup.lineage.encode())]
    assert not kept.called
    setup.queue.lineage_kept("out", "")
    assert kept.called
    failing = setup.queue.keep_lineage("out", setup.lineage)
    setup.queue.lineage_kept("out", "the queue is closed")
    failing.addErrback(lambda failure: failure.trap(QueueError))
    assert failing.called


def test_the_queue_is_let_go_when_nothing_is_read(setup: Setup) -> None:
    first = setup.take()
    closed = setup.queue.let_go()
    second = setup.take()
    assert not closed.called
    setup.end_read()
    assert first.called
    assert closed.called
    assert setup.stores[0].closed
    assert setup.reading == []
    setup.queue.take_up(2000)
    assert [store.map_bytes for store in setup.stores] == [1000, 2000]
    setup.end_read()
    assert fired(second)[0].payloads == [b"5", b"6", b"7"]
    assert not setup.stores[1].closed


def test_the_queue_is_let_go_at_once_when_nobody_reads(setup: Setup) -> None:
    assert setup.queue.let_go().called
    assert setup.stores[0].closed
