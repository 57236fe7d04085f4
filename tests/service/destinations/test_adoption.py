from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.model.errors import QueueError
from relay.queue.changes import Command
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction
from relay.service.destinations.commands import DestinationTools
from tests.connections import RecordingNotices
from tests.queue_roles import AllRoles


class Queue(AllRoles):
    """A real store; operations are done when told."""

    def __init__(self, directory: Path) -> None:
        self.store = QueueStore.open(
            str(directory), destinations=["d", "lane/d", "e"], map_bytes=2**26
        )
        self.waiting: list[tuple[Command, Deferred[Any]]] = []

    @property
    def ledgers(self) -> dict[str, Ledger]:
        return self.store.ledgers

    def positions(self, source: str) -> dict[str, bytes]:
        return {}

    def operate(self, operation: Command) -> Deferred[Any]:
        self.waiting.append((operation, Deferred()))
        return self.waiting[-1][1]

    def step(self) -> None:
        operation, done = self.waiting.pop(0)
        done.callback(self.store.operate(operation, at=0.0)[1])

    def queued(self) -> tuple[int, int]:
        return self.ledgers["d"].queued, self.ledgers["lane/d"].queued


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path / "queue")
    yield queue
    queue.store.close()


class Destination:
    def __init__(self, id: str, lanes: int, notices: RecordingNotices) -> None:
        self.id = id
        self.lanes = [object()] * lanes
        self.warn = partial(notices.warn, f"destination {id}")


def started(queue: Queue, **lanes: int) -> tuple[DestinationTools, RecordingNotices]:
    """With destinations that have so many lanes."""
    notices = RecordingNotices()
    destinations: Any = [Destination(id, count, notices) for id, count in lanes.items()]
    tools = DestinationTools(destinations, queue=queue, now=float)  # type: ignore[arg-type]
    tools.startService()
    return tools, notices


def fill(queue: Queue) -> None:
    big = [b"x" * 2**20] * 6
    queue.store.commit(Transaction(0.0, {"d": [b"1"], "lane/d": big}))


def test_what_is_left_goes_behind_the_others_step_by_step(queue: Queue) -> None:
    fill(queue)
    _, notices = started(queue, d=1, e=1)
    queue.step()
    assert queue.queued() == (5, 2)
    queue.step()
    assert (queue.queued(), queue.waiting) == ((7, 0), [])
    assert queue.store.read("d", start=1, records_max=1, bytes_max=1) == [b"1"]
    assert notices.said == []


def test_a_destination_with_two_lanes_keeps_them(queue: Queue) -> None:
    fill(queue)
    started(queue, d=2, e=1)
    assert queue.waiting == []


def test_nothing_is_done_where_nothing_is_left(queue: Queue) -> None:
    started(queue, d=1, e=1)
    assert queue.waiting == []


def test_a_stop_ends_it(queue: Queue) -> None:
    fill(queue)
    adoption, _ = started(queue, d=1)
    adoption.stopService()
    queue.step()
    assert queue.waiting == []


def test_a_failure_is_said(queue: Queue) -> None:
    fill(queue)
    _, notices = started(queue, d=1)
    queue.waiting.pop()[1].errback(QueueError("the disk is full"))
    ((subject, _, text),) = notices.said
    assert subject == "destination d"
    assert "until the next start the queue lane/d keeps 6 messages" in text
    assert "`queue adopt lane/d d`: the disk is full" in text
