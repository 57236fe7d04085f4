"""One thread that does one call after another.

Each commit goes through it, several hundred small ones a second.  Twisted's pool would do, but
takes twice the CPU time for a call, because it keeps track of its threads under locks.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_Found = TypeVar("_Found")
_Call = tuple[Callable[[], Any], Deferred[Any]]


class Worker:
    """Calls functions in a thread of its own, in the order in which they were given.

    Args:
        name: Of the thread.
        call_from_thread: Lets the reactor call something; safe in any thread.
    """

    def __init__(self, name: str, *, call_from_thread: Callable[..., object]) -> None:
        self._name = name
        self._call_from_thread = call_from_thread
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, name=self._name)
        self._thread.start()

    def stop(self) -> None:
        """Wait until everything that was given is done; nothing may be given afterwards."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._calls.put(None)
            thread.join()

    def __call__(self, call: Callable[[], _Found]) -> Deferred[_Found]:
        """Do `call`.  Fires in the reactor's thread, with what it returned or raised."""
        assert self._thread is not None, f"{self._name} does not run"
        done: Deferred[_Found] = Deferred()
        self._calls.put((call, done))
        return done

    def _work(self) -> None:
        while self._do_next():
            pass

    def _do_next(self) -> bool:
        # A function of its own, so that no local variable keeps the last call alive while we wait.
        given = self._calls.get()
        if given is None:
            return False
        call, done = given
        try:
            result = call()
        except BaseException:  # the caller gets it, in the reactor's thread
            self._call_from_thread(done.errback, Failure())
        else:
            self._call_from_thread(done.callback, result)
        return True
