"""Tells receivers of alerts: one message at a time, in order, and again if it fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

import msgspec
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.model.clock import Clock, DelayedCall
from relay.model.errors import UpstreamError
from relay.model.text import Document, counted, printable

WAITING_MAX = 100
"""Messages that wait for one receiver; beyond, the oldest is dropped."""
TRIES_MAX = 10
"""Attempts to tell a message; after the last one it is given up."""
_PAUSE_SECONDS = 1.0  # after the first failure; each further pause is twice as long
_PAUSE_SECONDS_MAX = 60.0
_ERROR_MAX = 300  # characters

_log = Logger(namespace="relay")


class Outlet:
    """Tells one receiver.

    Args:
        name: Of the receiver, for people, without secrets.
        send: Given the JSON; fires when the receiver has it, or fails with UpstreamError.
        warn: Logs a warning, rate-limited.

    Attributes:
        told: Messages that the receiver has.
        failures: Attempts that failed.
        given_up: Messages that no attempt could tell.
        dropped: Messages for which there was no room.
        last_error: Why the last attempt failed; empty = it did not.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[bytes], Deferred[None]],
        *,
        clock: Clock,
        warn: Callable[[str], None],
    ) -> None:
        self.name = name
        self.told = self.failures = self.given_up = self.dropped = 0
        self.last_error = ""
        self._send = send
        self._clock = clock
        self._warn = warn
        self._waiting: deque[Document] = deque()
        self._tries = 0  # of the first one
        self._sending: Deferred[None] | None = None
        self._pause: DelayedCall | None = None
        self._is_open = False

    @property
    def waiting(self) -> list[Document]:
        """What was not told yet, with what is being told."""
        return list(self._waiting)

    def start(self, waiting: Iterable[Document] = ()) -> None:
        """Begin, with what an earlier process has left."""
        self._is_open = True
        for message in waiting:
            self.tell(message)

    def stop(self) -> None:
        """End; what waits may be kept for the next process."""
        self._is_open = False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._sending is not None:
            self._sending.cancel()

    def tell(self, message: Document) -> None:
        """Tell the receiver, once it has been told all that came before."""
        if len(self._waiting) >= WAITING_MAX:
            del self._waiting[0 if self._sending is None else 1]
            self.dropped += 1
            self._tries = 0 if self._sending is None else self._tries
            text = f"{counted(WAITING_MAX, 'alert')} wait, so older ones are dropped"
            self._warn(f"{self.name}: {text}; {self.last_error or 'it is slow'}")
        self._waiting.append(message)
        self._next()

    def report(self) -> Document:
        """For status."""
        return {
            "name": self.name,
            "told": self.told,
            "waiting": len(self._waiting),
            "failures": self.failures,
            "given_up": self.given_up,
            "dropped": self.dropped,
            "last_error": self.last_error,
        }

    def _next(self) -> None:
        is_busy = self._sending is not None or self._pause is not None
        if is_busy or not self._waiting or not self._is_open:
            return
        message = self._waiting[0]
        # Not yet the result: it may fire at once.
        self._sending = sending = maybeDeferred(self._send, msgspec.json.encode(message))
        sending.addCallbacks(self._told, self._failed)
        sending.addErrback(partial(_log.failure, "alerts: a defect"))

    def _told(self, _: object) -> None:
        self._sending = None
        self._waiting.popleft()
        self._tries = 0
        self.told += 1
        self.last_error = ""
        self._again(0.0)

    def _failed(self, failure: Failure) -> None:
        self._sending = None
        if failure.check(CancelledError) and not self._is_open:
            return
        if failure.check(UpstreamError) is None:
            _log.failure("alerts: {name} failed", failure, name=self.name)
        self.failures += 1
        self._tries += 1
        self.last_error = printable(failure.getErrorMessage(), length_max=_ERROR_MAX)
        if self._tries < TRIES_MAX:
            seconds = min(_PAUSE_SECONDS_MAX, _PAUSE_SECONDS * 2 ** (self._tries - 1))
            self._warn(f"{self.name}: {self.last_error}; next try in {seconds:.0f} s")
            self._again(seconds)
            return
        lost = self._waiting.popleft()
        self._tries = 0
        self.given_up += 1
        what = f"{lost.get('rule')}, {lost.get('subject')}"
        self._warn(f"{self.name}: {self.last_error}; the alert is given up: {printable(what)}")
        self._again(_PAUSE_SECONDS)

    def _again(self, seconds: float) -> None:
        if self._is_open and self._waiting:
            self._pause = self._clock.callLater(seconds, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._next()
