"""An asyncio loop in a thread of its own, for a client library that needs one.

Work goes in with `call_soon_threadsafe`; what comes out in one turn of the loop is handed to the
reactor with one `callFromThread`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.model.clock import Reactor

T = TypeVar("T")

CLOSE_SECONDS_MAX = 0.4
"""Longest time for the last work in the loop; a link has half a second."""


class LoopThread:
    """Runs coroutines in the loop of its own thread; made and used by the reactor's thread.

    The thread begins with `start`, which must not be called before the process has forked.
    """

    def __init__(self, name: str, *, reactor: Reactor) -> None:
        self._name = name
        self._reactor = reactor
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ended: Deferred[None] | None = None  # set = it is to end
        self._last: Callable[[], Awaitable[object]] | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._outbox: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        self._thread.start()

    def tell(self, call: Callable[..., object], *arguments: object) -> None:
        """Call a function in the loop; nothing once it is to end."""
        if self._ended is None:
            self._loop.call_soon_threadsafe(call, *arguments)

    def ask(self, work: Callable[[], Awaitable[T]]) -> Deferred[T]:
        """Run a coroutine in the loop.

        Returns:
            Fires in the reactor's thread with what it returns or raises; never if the loop is
            closed before.
        """
        answered: Deferred[T] = Deferred()
        self.tell(self._begin, work, answered)
        return answered

    def post(self, call: Callable[..., object], *arguments: object) -> None:
        """Called in the loop: call a function in the reactor's thread."""
        with self._lock:
            is_first = not self._outbox
            self._outbox.append(partial(call, *arguments))
        if is_first:
            # At the end of this turn, with all that is added until then.
            self._loop.call_soon(self._reactor.callFromThread, self._deliver)

    def close(self, last: Callable[[], Awaitable[object]]) -> Deferred[None]:
        """End all work, run `last` for `CLOSE_SECONDS_MAX` at most, and end the thread.

        Nothing is called in the reactor's thread any more, but the result, which fires when the
        thread has ended.
        """
        if self._ended is None:
            self._last = last
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._ended = Deferred()
        return self._ended

    def _deliver(self) -> None:
        with self._lock:
            calls, self._outbox = self._outbox, []
        for call in calls:
            if self._ended is None:
                call()

    def _begin(self, work: Callable[[], Awaitable[T]], answered: Deferred[T]) -> None:
        async def run() -> T:
            return await work()

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, answered))

    def _done(self, answered: Deferred[T], task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self.post(answered.errback, Failure(error))
        else:
            self.post(answered.callback, task.result())

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()  # until `close`
            self._loop.run_until_complete(self._finish())
            self._loop.close()
        finally:
            self._reactor.callFromThread(self._end)

    async def _finish(self) -> None:
        if self._last is not None:
            # What fails at the very end has nobody left who could do something about it.
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._last(), CLOSE_SECONDS_MAX)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=CLOSE_SECONDS_MAX)

    def _end(self) -> None:
        self._thread.join()  # it has nothing left to do
        if self._ended is not None:
            self._ended.callback(None)
