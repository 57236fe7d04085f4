from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.model.errors import UpstreamError
from relay.service.alerts.outlets import TRIES_MAX, WAITING_MAX, Outlet


class Receiver:
    """An outlet, and a receiver that answers when the test says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.bodies: list[Any] = []
        self.answers: list[Deferred[None]] = []
        self.warnings: list[str] = []
        self.cancelled: list[Any] = []
        self.outlet = Outlet("webhook x:1", self.send, clock=self.clock, warn=self.warnings.append)
        self.outlet.start()

    def send(self, body: bytes) -> Deferred[None]:
        self.bodies.append(json.loads(body)["n"])
        self.answers.append(Deferred(lambda _: self.cancelled.append(self.bodies[-1])))
        return self.answers[-1]

    def tell(self, *numbers: int) -> None:
        for number in numbers:
            self.outlet.tell({"n": number, "rule": "down", "subject": "destination out"})

    def take(self) -> None:
        self.answers[-1].callback(None)
        self.clock.advance(0)

    def refuse(self, seconds: float = 0.0) -> None:
        self.answers[-1].errback(UpstreamError("answers 500"))
        self.clock.advance(seconds)

    def counts(self) -> tuple[int, ...]:
        report = self.outlet.report()
        names = ("told", "waiting", "failures", "given_up", "dropped")
        return tuple(report[name] for name in names)


def test_messages_are_told_in_order_and_one_at_a_time() -> None:
    receiver = Receiver()
    receiver.tell(1, 2, 3)
    assert receiver.bodies == [1]
    receiver.take()
    assert receiver.bodies == [1, 2]
    receiver.take()
    receiver.take()
    assert receiver.bodies == [1, 2, 3]
    assert receiver.counts() == (3, 0, 0, 0, 0)
    assert receiver.warnings == [] and receiver.clock.getDelayedCalls() == []


def test_what_fails_is_told_again_after_pauses_that_grow() -> None:
    receiver = Receiver()
    receiver.tell(1)
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        receiver.refuse(pause - 0.1)
        tries = len(receiver.bodies)
        receiver.clock.advance(0.2)
        assert receiver.bodies == [1] * (tries + 1)
    receiver.take()
    assert receiver.counts() == (1, 0, 8, 0, 0)
    assert receiver.warnings[0] == "webhook x:1: answers 500; next try in 1 s"
    assert receiver.outlet.last_error == ""


def test_after_some_tries_it_is_given_up_and_the_next_one_told() -> None:
    receiver = Receiver()
    receiver.tell(1, 2)
    for _ in range(TRIES_MAX):
        receiver.refuse(1000)
    assert receiver.bodies == [1] * TRIES_MAX + [2]
    assert receiver.counts() == (0, 1, TRIES_MAX, 1, 0)
    assert receiver.warnings[-1] == (
        "webhook x:1: answers 500; the alert is given up: down, destination out"
    )
    receiver.take()
    assert receiver.counts() == (1, 0, TRIES_MAX, 1, 0)


@pytest.mark.parametrize("is_pausing", [False, True])
def test_while_the_receiver_is_slow_the_oldest_give_way(is_pausing: bool) -> None:
    receiver = Receiver()
    receiver.tell(0)
    if is_pausing:
        receiver.refuse()
    receiver.tell(*range(1, WAITING_MAX + 3))
    assert receiver.counts()[1] == WAITING_MAX
    assert receiver.counts()[4] == 3
    waiting = [message["n"] for message in receiver.outlet.waiting]
    first = 3 if is_pausing else 0  # what is being told is not taken back
    assert waiting == [first, *range(4, WAITING_MAX + 3)]
    assert "100 alerts wait, so older ones are dropped" in receiver.warnings[-1]


def test_a_stop_ends_what_is_being_told_and_it_is_told_by_the_next_process() -> None:
    receiver = Receiver()
    receiver.tell(1, 2)
    receiver.outlet.stop()
    assert receiver.cancelled == [1]
    receiver.tell(3)
    assert receiver.bodies == [1]
    receiver.outlet._waiting.pop()
    assert receiver.outlet.waiting[0]["n"] == 1
    assert receiver.warnings == [] and receiver.counts()[2] == 0
    assert receiver.clock.getDelayedCalls() == []
    after = Receiver()
    after.outlet.start(receiver.outlet.waiting)
    after.take()
    after.take()
    assert after.bodies == [1, 2]


def test_a_stop_during_a_pause_leaves_nothing_running() -> None:
    receiver = Receiver()
    receiver.tell(1)
    receiver.refuse()
    receiver.outlet.stop()
    assert receiver.clock.getDelayedCalls() == []
    assert [message["n"] for message in receiver.outlet.waiting] == [1]


def test_the_tries_of_a_message_that_gave_way_do_not_count_for_the_next_one() -> None:
    receiver = Receiver()
    receiver.tell(0)
    for _ in range(TRIES_MAX - 1):
        receiver.clock.advance(100)
        receiver.refuse()
    receiver.tell(*range(1, WAITING_MAX + 1))  # while it pauses
    assert receiver.counts() == (0, WAITING_MAX, TRIES_MAX - 1, 0, 1)
    for _ in range(TRIES_MAX - 1):
        receiver.clock.advance(100)
        receiver.refuse()
    assert receiver.counts()[3] == 0
    receiver.clock.advance(100)
    receiver.refuse()
    assert receiver.counts()[3] == 1
    assert receiver.bodies.count(1) == TRIES_MAX


def test_a_defect_is_logged_and_does_not_stop_the_rest(logged: list[str]) -> None:
    receiver = Receiver()
    receiver.tell(1)
    receiver.answers[-1].errback(KeyError("x"))
    assert any("alerts: webhook x:1 failed" in line for line in logged)
    receiver.clock.advance(2)
    receiver.take()
    assert receiver.counts() == (1, 0, 1, 0, 0)


def test_an_error_is_kept_short_and_harmless() -> None:
    receiver = Receiver()
    receiver.tell(1)
    receiver.answers[-1].errback(UpstreamError("\x1b[2J" + "x" * 5000))
    assert receiver.outlet.last_error.startswith("\\x1b[2J")
    assert len(receiver.outlet.last_error) <= 300
