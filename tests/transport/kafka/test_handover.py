from __future__ import annotations

from collections.abc import Callable

from relay.transport.kafka.fetched import Fetched
from relay.transport.kafka.handover import WINDOW_OCTETS, Handover, Warned


class Calls:
    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []
        self.delivered = 0

    def deliver(self) -> None:
        self.delivered += 1

    def handover(self) -> Handover:
        return Handover({0: 5}, call_from_thread=self.waiting.append, deliver=self.deliver)


def test_the_reactor_is_called_once_for_all_that_is_there() -> None:
    calls = Calls()
    handover = calls.handover()
    handover.put(Warned("a", "b"))
    handover.put(Warned("a", "c"))
    assert len(calls.waiting) == 1
    calls.waiting.pop()()
    assert calls.delivered == 1
    handover.put(Warned("a", "d"))
    assert len(calls.waiting) == 1


def test_a_full_window_holds_the_thread_until_something_is_on_disk() -> None:
    handover = Calls().handover()
    run = Fetched(0, 1, [b"x" * WINDOW_OCTETS], [None])
    assert handover.is_settled
    handover.put(run)
    assert handover.is_held
    assert not handover.is_settled
    handover.done(run.octets)
    assert not handover.is_held
    assert handover.is_settled


def test_admission_holds_the_thread() -> None:
    handover = Calls().handover()
    handover.pause()
    assert handover.is_held
    handover.resume()
    assert not handover.is_held


def test_a_wait_ends_when_the_reactor_has_changed_something() -> None:
    handover = Calls().handover()
    for change in (handover.resume, handover.stop, lambda: handover.done(0)):
        change()
        handover.wait(3600)
