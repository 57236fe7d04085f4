from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent, Logger, formatEvent

from relay.model.errors import QueueError
from relay.service.destinations.commands import PAUSED, DestinationTools
from tests.connections import fired
from tests.queue_roles import AllRoles

NOON = 1_764_504_000.0  # 2025-11-30 12:00:00 UTC


class Queue(AllRoles):
    """Keeps positions, at once or when it is told to."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.commits: list[Deferred[None]] = []
        self.waits = False
        self.ledgers: dict[str, Any] = {}  # no second queues

    def positions(self, source: str) -> dict[str, bytes]:
        assert source == PAUSED
        kept = {name.removeprefix(f"{PAUSED}/"): value for name, value in self.kept.items()}
        return {name: value for name, value in kept.items() if value}

    def append(
        self, payloads: Mapping[str, Any], *, positions: Mapping[str, bytes]
    ) -> Deferred[None]:
        assert not payloads
        self.kept.update(positions)
        if not self.waits:
            return succeed(None)
        self.commits.append(Deferred())
        return self.commits[-1]


class SomeDrain:
    def __init__(self, in_flight: int) -> None:
        self.in_flight = in_flight


class Destination:
    """Notes what is done with it."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.done: list[Any] = []
        self.drains: dict[str, SomeDrain] = {id: SomeDrain(0)}

    @property
    def state_text(self) -> str:
        return f"{self.id} is connecting" if "connect" in self.done else f"{self.id} waits"

    def drain_of(self, queue: str) -> Any:
        return self.drains.get(queue)

    def connect(self) -> None:
        self.done.append("connect")

    def pause(self, since: float) -> None:
        self.done.append(("pause", since))

    def resume(self) -> None:
        self.done.append("resume")

    def break_link(self, why: str) -> None:
        self.done.append(why)


class Setup:
    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.a, self.b = Destination("a"), Destination("b")
        self.tools = DestinationTools([self.a, self.b], queue=queue, now=lambda: NOON)
        self.lines: list[str] = []
        self.tools._log = Logger(namespace="test", observer=self._note)
        self.tools.startService()

    def _note(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))

    def ask(self, name: str, **arguments: Any) -> Any:
        command = self.tools.commands()[name]
        return command.answer(msgspec.convert(arguments, type=command.arguments))


@pytest.fixture
def setup() -> Setup:
    return Setup(Queue())


def test_a_pause_is_answered_when_a_restart_keeps_to_it(setup: Setup) -> None:
    setup.queue.waits = True
    answered = fired(setup.ask("pause", destination="a"))
    assert (setup.a.done, answered) == ([("pause", NOON)], [])
    setup.queue.commits[0].callback(None)
    assert answered == [None]


def test_a_pause_outlives_a_restart_until_it_is_resumed(setup: Setup) -> None:
    setup.ask("pause", destination="a")
    again = Setup(setup.queue)
    assert (again.a.done, again.b.done) == ([("pause", NOON)], [])
    assert again.lines == [
        "destination a: paused by hand since 2025-11-30 12:00:00 UTC; `syslogrelay resume a` "
        "ends that"
    ]
    again.ask("resume", destination="a")
    assert again.a.done[1:] == ["resume"]
    assert Setup(setup.queue).a.done == []


def test_a_pause_of_nobody_or_with_a_damaged_time_is_no_trouble(setup: Setup) -> None:
    setup.queue.kept = {f"{PAUSED}/gone": b"1.0", f"{PAUSED}/b": b"\xff"}
    again = Setup(setup.queue)
    assert (again.a.done, again.b.done) == ([], [("pause", 0.0)])


def test_one_destination_or_all_of_them_connect_now(setup: Setup) -> None:
    assert setup.ask("connect", destination="a") == {"a": "a is connecting"}
    assert (setup.a.done, setup.b.done) == (["connect"], [])
    assert setup.ask("connect") == {"a": "a is connecting", "b": "b is connecting"}
    assert (setup.a.done, setup.b.done) == (["connect", "connect"], ["connect"])


def test_what_is_in_flight_in_both_lanes_is_sent_again_through_a_new_connection(
    setup: Setup,
) -> None:
    setup.a.drains = {"a": SomeDrain(2), "lane/a": SomeDrain(3)}
    assert setup.ask("requeue", destination="a") == 5
    assert setup.a.done == ["somebody wants what is in flight to be sent again", "connect"]


def test_a_connection_that_waits_for_work_is_not_cut(setup: Setup) -> None:
    assert setup.ask("requeue", destination="a") == 0
    assert setup.a.done == ["connect"]


@pytest.mark.parametrize("command", ["connect", "pause", "resume", "requeue"])
def test_a_destination_that_is_not_there(setup: Setup, command: str) -> None:
    with pytest.raises(QueueError, match="there is no destination 'old'; there is: a, b"):
        setup.ask(command, destination="old")
