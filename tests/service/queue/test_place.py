from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from relay.service.exit_status import ExitStatus
from relay.service.queue.place import QueuePlace
from relay.service.queue.watches import PlaceWatch
from tests.queue_files import append, opened
from tests.threads import Reactor


@pytest.fixture
def critical() -> Any:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield lambda: [str(event) for event in events if event.get("log_level").name == "critical"]
    globalLogPublisher.removeObserver(events.append)


class Queue:
    class place:
        trouble = ""
        probes = 0

        @classmethod
        def probe(cls) -> None:
            cls.probes += 1


def test_a_file_that_is_not_in_its_place_is_looked_for_and_said_each_minute(critical: Any) -> None:
    clock, queue = Clock(), Queue()
    watch = PlaceWatch(queue=queue, clock=clock)  # type: ignore[arg-type]
    watch.startService()
    clock.advance(1)
    assert queue.place.probes == 0
    queue.place.trouble = "data.mdb was removed"
    clock.pump([1.0] * 119)
    assert queue.place.probes == 119
    lines = critical()
    assert len(lines) == 2 and "data.mdb was removed" in lines[0]
    watch.stopService()
    assert clock.getDelayedCalls() == []


def at_once(call: Callable[[], Any]) -> Deferred[Any]:
    return succeed(None).addCallback(lambda _: call())


def test_at_the_end_the_file_is_brought_back_or_the_status_is_one(
    tmp_path: Path, critical: Any
) -> None:
    reactor = Reactor()
    path = tmp_path / "queue"
    for does_fit in (True, False):
        status = ExitStatus(reactor)
        with opened(path) as store:
            place = QueuePlace(store, str(path), lambda: None, reactor)
            append(store, a=[b"1"])
            (path / "data.mdb").unlink()
            if not does_fit:
                (path / "data.mdb").write_bytes(b"theirs")
            ensureDeferred(place.leave(at_once, status))
        assert status.has_failed is not does_fit
    assert any("the next start will not find it" in line for line in critical())
    (kept,) = path.glob("data.mdb.kept-*")
    kept.rename(path / "data.mdb")
    with opened(path) as store:
        assert store.ledgers["a"].queued == 2
