"""A reactor for unit tests of what works with threads: no loop, and no real time."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from relay.model.errors import QueueError
from tests.connections import fired

__all__ = ["LateThread", "Reactor"]


class _PoolInPlace:
    """Runs in the caller's own thread what it is given."""

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], None], call: Any, *arguments: Any, **keywords: Any
    ) -> None:
        try:
            result = call(*arguments, **keywords)
        except Exception:
            on_result(False, Failure())
        else:
            on_result(True, result)


class Reactor(MemoryReactorClock):
    """What threads hand over waits until the test asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.stops = 0
        self._handed_over: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()

    def getThreadPool(self) -> Any:
        return _PoolInPlace()

    def callFromThread(self, call: Any, *arguments: Any, **keywords: Any) -> None:
        self._handed_over.put(lambda: call(*arguments, **keywords))

    def stop(self) -> None:
        self.stops += 1

    def run_handed_over(self) -> None:
        """Run what is there already."""
        while not self._handed_over.empty():
            self._handed_over.get()()

    def run_next(self, seconds_max: float = 20) -> None:
        """Run the next thing, and wait for it if need be; raises queue.Empty after that time."""
        self._handed_over.get(timeout=seconds_max)()

    def settle(self, deferred: Deferred[Any]) -> Any:
        """Run what threads hand over until `deferred` has fired; return with what."""
        results = fired(deferred)
        while not results:
            self.run_next()
        return results[0]


class LateThread:
    """Runs one call at a time; that it has ended is told later."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.ended: list[tuple[Any, Deferred[Any]]] = []

    def __call__(self, call: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((call, done))
        return done

    def run(self) -> None:
        if self.waiting:
            call, done = self.waiting.pop(0)
            try:
                self.ended.append((call(), done))
            except QueueError:
                self.ended.append((Failure(), done))

    def tell(self) -> None:
        if self.ended:
            result, done = self.ended.pop(0)
            done.callback(result)
