"""A loop in a thread of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from relay.transport.nats.loop_thread import LoopThread

_SECONDS_MAX = 10.0


class FakeReactor:
    """Calls from threads wait until the test runs them."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], object]] = queue.Queue()
        self.turns = 0

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        self.calls.put(lambda: call(*arguments))

    def run_until(self, done: Callable[[], object]) -> None:
        while not done():
            self.calls.get(timeout=_SECONDS_MAX)()
            self.turns += 1


def started() -> tuple[LoopThread, FakeReactor]:
    reactor = FakeReactor()
    thread = LoopThread("nats-test", reactor=reactor)  # type: ignore[arg-type]
    thread.start()
    return thread, reactor


async def nothing() -> None:
    pass


def end(thread: LoopThread, reactor: FakeReactor) -> None:
    ended: list[object] = []
    thread.close(nothing).addCallback(ended.append)
    reactor.run_until(lambda: ended)
    assert "nats-test" not in [each.name for each in threading.enumerate()]


def test_results_and_errors_come_back() -> None:
    thread, reactor = started()
    results: list[object] = []

    async def works() -> str:
        return threading.current_thread().name

    async def fails() -> str:
        raise ValueError("no")

    thread.ask(works).addCallback(results.append)
    thread.ask(fails).addErrback(lambda failure: results.append(str(failure.value)))
    reactor.run_until(lambda: len(results) == 2)
    assert results == ["nats-test", "no"]
    end(thread, reactor)


def test_one_turn_of_the_loop_is_one_call_of_the_reactor() -> None:
    thread, reactor = started()
    come: list[int] = []

    def many() -> None:
        for number in range(100):
            thread.post(come.append, number)

    thread.tell(many)
    reactor.run_until(lambda: come)
    assert come == [*range(100)]
    assert reactor.turns == 1
    end(thread, reactor)


def test_closing_ends_what_hangs() -> None:
    thread, reactor = started()
    begun: list[object] = []
    hanging: Deferred[None]

    async def hang() -> None:
        thread.post(begun.append, True)
        await asyncio.Event().wait()

    hanging = thread.ask(hang)
    reactor.run_until(lambda: begun)
    ended: list[object] = []
    thread.close(hang).addCallback(ended.append)  # even what is to be done last
    reactor.run_until(lambda: ended)
    assert not hanging.called
    thread.tell(pytest.fail, "closed")


def test_what_is_on_its_way_to_the_reactor_does_not_come_after_the_end() -> None:
    thread, reactor = started()
    thread.tell(thread.post, pytest.fail, "closed")
    end(thread, reactor)
