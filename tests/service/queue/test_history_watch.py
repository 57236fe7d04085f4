from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from relay.model.errors import QueueFull
from relay.queue.history.keep import Histories, HistoryLimit
from relay.queue.inspect.queries import Read, read_history
from relay.queue.store import QueueStore
from relay.service.queue.watches import HistoryWatch
from tests.clocks import wall_of
from tests.connections import RecordingNotices
from tests.queue_files import append, opened, remove
from tests.queue_roles import AllRoles

MiB = 2**20


class Queue(AllRoles):
    """A store whose operations are done at once, fail, or wait."""

    def __init__(self, store: QueueStore, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.asked = 0
        self.error: Exception | None = None
        self.room: Any = 1000 * MiB

    @property
    def histories(self) -> Histories:
        return self.store.histories

    @property
    def free_bytes(self) -> int:
        if isinstance(self.room, Exception):
            raise self.room
        return int(self.room)

    def operate(self, operation: Any) -> Deferred[Any]:
        self.asked += 1
        if self.error is not None:
            return fail(self.error)
        return succeed(self.store.operate(operation, at=self.clock.seconds())[1])


class Setup:
    """Histories: a for ten seconds, long for a hundred, plain none any more, gone an orphan's;
    one record in each, delivered at 5 s."""

    def __init__(self, store: QueueStore) -> None:
        self.clock = Clock()
        self.clock.advance(5)
        self.store = store
        for id in ("a", "long", "plain", "gone"):
            append(store, **{id: [b"x" * 5000]})
            remove(store, id, 2, at=5.0)
        store.histories.limits.pop("plain")
        store.histories.limits.pop("gone")
        self.queue = Queue(store, self.clock)
        self.notices: Any = RecordingNotices()
        self.watch = HistoryWatch(
            queue=self.queue,
            destinations=("a", "long", "plain"),
            free_bytes_min=100 * MiB,
            notices=self.notices,
            wall=wall_of(self.clock),
            clock=self.clock,
        )

    def advance(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)

    def filled(self) -> list[str]:
        return [id for id in ("a", "long", "plain", "gone") if self.records(id)]

    def filled_bytes(self) -> int:
        return self.store.histories.used_bytes

    def records(self, id: str) -> int:
        wanted = Read(id)
        return len(self.store.look(lambda view: read_history(view, wanted)).records)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    limits = {id: HistoryLimit(100.0, MiB) for id in ("long", "plain", "gone")}
    histories = Histories({"a": HistoryLimit(10.0, MiB), **limits})
    with opened(tmp_path, "a", "long", "plain", "gone", histories=histories) as store:
        yield Setup(store)


def test_each_is_kept_for_its_time(setup: Setup) -> None:
    setup.watch.startService()
    assert setup.filled() == ["a", "long", "gone"]  # plain has no history any more
    setup.advance(10)
    assert setup.filled() == ["a", "long", "gone"]
    setup.advance(3)
    assert setup.filled() == ["long", "gone"]
    setup.advance(80)
    assert setup.filled() == ["long", "gone"]  # an orphan's stays as long as any
    setup.advance(20)
    assert (setup.filled(), setup.notices.said) == ([], [])
    setup.watch.stopService()
    assert setup.clock.getDelayedCalls() == []


def test_what_a_second_lane_delivered_stays_when_there_is_one_lane_again(setup: Setup) -> None:
    histories = setup.store.histories
    histories.databases["lane/a"] = histories.databases.pop("plain")
    setup.watch.startService()
    assert "plain" not in histories.databases
    assert histories.used_bytes == 4 * 12288
    setup.advance(13)  # as long as what the first one delivered
    assert setup.filled_bytes() == 2 * 12288
    setup.watch.stopService()


def test_without_any_history_in_the_configuration_all_leaves(setup: Setup) -> None:
    setup.store.histories.limits.clear()
    setup.watch.startService()
    assert setup.filled() == []
    asked = setup.queue.asked
    setup.advance(10)
    assert setup.queue.asked == asked  # there is nothing to look after any more
    setup.watch.stopService()


def test_a_relay_that_never_had_one_is_left_alone(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path) as store:
        queue = Queue(store, clock)
        queue.room = OSError("nobody asks")
        watch = HistoryWatch(
            queue=queue,
            destinations=(),
            free_bytes_min=MiB,
            notices=RecordingNotices(),  # type: ignore[arg-type]
            wall=wall_of(clock),
            clock=clock,
        )
        watch.startService()
        clock.advance(2)
        assert queue.asked == 0
        watch.stopService()


def test_what_is_missing_on_the_disk_leaves_the_histories(setup: Setup) -> None:
    setup.watch.startService()
    used = setup.store.histories.used_bytes
    setup.queue.room = 100 * MiB + used - 9000  # the histories count as free
    setup.advance(2)
    assert len(setup.filled()) == 2
    setup.advance(2)
    assert setup.notices.kinds == ["history"]
    assert "had to go: there is too little room" in setup.notices.said[0][2]
    setup.queue.room = 0
    setup.advance(2)
    assert setup.filled() == []
    setup.watch.stopService()


def test_after_a_full_disk_it_begins_again_when_there_is_room(setup: Setup) -> None:
    setup.watch.startService()
    setup.store.histories.disk_full = True
    setup.queue.room = 110 * MiB
    setup.advance(2)
    assert setup.store.histories.disk_full
    assert setup.filled() == ["a", "long", "gone"]  # the queue makes room when it needs some
    setup.queue.room = 117 * MiB
    setup.advance(2)
    assert not setup.store.histories.disk_full
    setup.watch.stopService()


def test_a_disk_that_cannot_be_asked_is_no_full_one(setup: Setup) -> None:
    setup.queue.room = OSError("no such file system")
    setup.watch.startService()
    assert setup.filled() == ["a", "long", "gone"]
    setup.watch.stopService()


def test_what_could_not_be_done_is_done_next_time(setup: Setup) -> None:
    setup.queue.error = QueueFull("no space")
    setup.watch.startService()
    assert setup.filled() == ["a", "long", "plain", "gone"]
    setup.queue.error = None
    setup.advance(2)
    assert setup.filled() == ["a", "long", "gone"]
    setup.watch.stopService()


def test_much_takes_several_steps(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.queue.inspect.commands.ENTRIES_PER_STEP_MAX", 1)
    setup.store.histories.limits.clear()
    setup.watch.startService()
    assert setup.filled() == []
    assert setup.queue.asked == 5
    setup.watch.stopService()


def test_one_step_at_a_time(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[Deferred[bool]] = []
    done: Deferred[bool] = Deferred()

    def operate(operation: Any) -> Deferred[bool]:
        waiting.append(done)
        return done

    monkeypatch.setattr(setup.queue, "operate", operate)
    setup.watch.startService()
    setup.advance(10)
    assert len(waiting) == 1
    setup.watch.stopService()
    done.callback(True)  # and after the stop there is no other
    assert len(waiting) == 1
