from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from relay.model.clock import WallClock
from relay.model.errors import QueueError
from relay.queue.positions import CLOCK
from relay.service.clock_watch import ClockWatch
from tests.queue_roles import AllRoles

YEAR = 365 * 86400.0


class Queue(AllRoles):
    """Keeps positions."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.fails = False

    def positions(self, source: str) -> dict[str, bytes]:
        assert source == CLOCK
        return {name.removeprefix(f"{CLOCK}/"): data for name, data in self.kept.items()}

    def append(
        self, payloads: Mapping[str, Any], *, positions: Mapping[str, bytes]
    ) -> Deferred[None]:
        assert not payloads
        if self.fails:
            return fail(QueueError("full"))
        self.kept.update(positions)
        return succeed(None)


class Setup:
    def __init__(self, queue: Queue, offset: float = 1e9) -> None:
        self.clock = Clock()
        self.offset = offset
        self.wall = WallClock(
            now=lambda: self.clock.seconds() + self.offset, elapsed=self.clock.seconds
        )
        self.watch = ClockWatch(wall=self.wall, queue=queue, clock=self.clock)
        self.watch.startService()


def test_a_step_is_noticed_within_two_seconds_and_known_to_the_next_start() -> None:
    setup = Setup(queue := Queue())
    stamp = setup.wall.now()
    setup.offset += YEAR
    setup.clock.advance(2)
    later = Setup(queue, setup.offset + 10)
    assert later.wall.steps == setup.wall.steps != ()
    assert later.wall.before(60.0) < stamp


def test_a_queue_that_fails_is_somebody_elses_trouble() -> None:
    setup = Setup(queue := Queue())
    queue.fails = True
    setup.offset += YEAR
    setup.clock.advance(2)
    assert len(setup.wall.steps) == 1
    setup.watch.stopService()
    assert setup.clock.getDelayedCalls() == []
