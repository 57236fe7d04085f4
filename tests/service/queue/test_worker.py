from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from relay.service.queue.worker import Worker
from tests.connections import fired
from tests.threads import Reactor


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def worker(reactor: Reactor) -> Iterator[Worker]:
    worker = Worker("test-worker", call_from_thread=reactor.callFromThread)
    worker.start()
    yield worker
    worker.stop()
    assert "test-worker" not in [thread.name for thread in threading.enumerate()]


def test_calls_are_done_in_order_in_one_thread(worker: Worker, reactor: Reactor) -> None:
    done: list[tuple[int, str]] = []

    def note(number: int) -> None:
        done.append((number, threading.current_thread().name))

    calls = [worker(partial(note, number)) for number in range(100)]
    reactor.settle(calls[-1])
    assert done == [(number, "test-worker") for number in range(100)]


def test_the_result_arrives_in_the_thread_of_the_reactor(worker: Worker, reactor: Reactor) -> None:
    result = worker(lambda: "result")
    heard: list[tuple[str, threading.Thread]] = []
    result.addCallback(lambda value: heard.append((value, threading.current_thread())))
    reactor.run_next()
    assert heard == [("result", threading.current_thread())]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_an_error_goes_to_who_asked_and_the_next_call_is_done(
    worker: Worker, reactor: Reactor, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    failing, next_one = worker(fail), worker(lambda: 5)
    failures = fired(failing)
    assert reactor.settle(next_one) == 5
    assert failures == [error]


def test_what_was_given_is_done_before_the_stop(reactor: Reactor) -> None:
    worker = Worker("test-worker", call_from_thread=reactor.callFromThread)
    worker.start()
    done: list[int] = []
    for number in range(50):
        worker(partial(done.append, number))
    worker.stop()
    worker.stop()  # does nothing
    assert done == list(range(50))


def test_nothing_is_taken_without_a_thread(reactor: Reactor) -> None:
    worker = Worker("test-worker", call_from_thread=reactor.callFromThread)
    with pytest.raises(AssertionError, match="test-worker does not run"):
        worker(lambda: None)
