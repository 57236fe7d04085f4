from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.flow.intake import Intake
from relay.flow.routing import Route
from relay.model.counters import SourceCounters
from relay.model.errors import QueueError
from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from tests.connections import fired

ORIGIN = Origin("in", "tcp", "192.0.2.1", 40000)


class Queue:
    def __init__(self) -> None:
        self.appended: list[Mapping[str, Sequence[bytes]]] = []
        self.stored: list[Deferred[None]] = []

    def append(self, payloads: Mapping[str, Sequence[bytes]]) -> Deferred[None]:
        self.appended.append(payloads)
        self.stored.append(Deferred())
        return self.stored[-1]


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def counters() -> SourceCounters:
    return SourceCounters()


def intake(queue: Queue, counters: SourceCounters, *routes: Route) -> Intake:
    return Intake(routes=routes, append=queue.append, now=lambda: 1000.5, counters=counters)


def shout(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
    return [b"%s at %.1f" % (message.raw.upper(), origin.received_at) for message in messages]


def pending(counters: SourceCounters) -> int:
    return counters.received_records - counters.stored_records - sum(counters.dropped.values())


def test_every_destination_gets_its_own_form_in_one_append(
    queue: Queue, counters: SourceCounters
) -> None:
    both = intake(queue, counters, Route("raw", None), Route("loud", shout))
    both.accept([b"<13>a", b"<13>b"], ORIGIN)
    assert queue.appended == [
        {"raw": [b"<13>a", b"<13>b"], "loud": [b"<13>A at 1000.5", b"<13>B at 1000.5"]}
    ]


def test_it_fires_when_the_queue_has_stored_and_not_before(
    queue: Queue, counters: SourceCounters
) -> None:
    results = fired(intake(queue, counters, Route("raw", None)).accept([b"a", b"b"], ORIGIN))
    assert (results, counters.stored_records, pending(counters)) == ([], 0, 2)
    queue.stored[0].callback(None)
    assert (results, counters.stored_records, pending(counters)) == ([None], 2, 0)
    assert counters.received_bytes == 2


def test_empty_frames_are_counted_and_not_stored(queue: Queue, counters: SourceCounters) -> None:
    raw = intake(queue, counters, Route("raw", None))
    raw.accept([b"", b"a", b""], ORIGIN)
    queue.stored[0].callback(None)
    assert fired(raw.accept([b""], ORIGIN)) == [None]
    assert queue.appended == [{"raw": [b"a"]}]
    assert counters.dropped == {"empty": 3}
    assert pending(counters) == 0


def test_without_a_destination_frames_are_dropped_under_a_name(
    queue: Queue, counters: SourceCounters
) -> None:
    assert fired(intake(queue, counters).accept([b"a", b""], ORIGIN)) == [None]
    assert queue.appended == []
    assert counters.dropped == {"no-destination": 1, "empty": 1}
    assert pending(counters) == 0


def test_what_could_not_be_stored_is_counted_and_said(
    queue: Queue, counters: SourceCounters
) -> None:
    results = fired(intake(queue, counters, Route("raw", None)).accept([b"a", b"b"], ORIGIN))
    error = QueueError("stopped")
    queue.stored[0].errback(Failure(error))
    assert results == [error]
    assert (counters.dropped, pending(counters)) == ({"not-stored": 2}, 0)


def test_a_defect_is_not_a_loss_that_anybody_chose(queue: Queue, counters: SourceCounters) -> None:
    results = fired(intake(queue, counters, Route("raw", None)).accept([b"a"], ORIGIN))
    error = ZeroDivisionError()
    queue.stored[0].errback(Failure(error))
    assert results == [error]
    assert (counters.dropped, pending(counters)) == ({}, 1)
