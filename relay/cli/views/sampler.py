"""Which programs send: APP-NAMEs of a sample, which comes through a tap."""

from __future__ import annotations

import select
import socket
import threading
import time
from base64 import b64decode
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress

from relay.cli.control_client import AskFailed, stream
from relay.cli.views.panes import Sampled
from relay.model.text import printable
from relay.observe.taps import RECEIVED
from relay.wire.parse import parse

SECONDS = 60
"""How far the sample goes back."""
NAMES_MAX = 1000
"""Names that are counted apart in one second."""
_RATE = 200.0
_NAME_LENGTH_MAX = 48
_RETRY_SECONDS = 1.0
_LOOK_SECONDS = 0.2  # until it is noticed that nobody wants the sample any more


class _Stopped(Exception):
    """Nobody wants the sample any more."""


class Sample:
    """Counts of the last `SECONDS`; may be used from two threads.

    Args:
        seconds: A clock that is never set.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._parts: deque[tuple[int, Sampled]] = deque()  # by second

    def note(self, payload: bytes) -> None:
        """Count a message, or its beginning."""
        message = parse(payload)
        name = printable(message.app_name or b"", length_max=_NAME_LENGTH_MAX)
        second = int(self._seconds())
        with self._lock:
            if not self._parts or self._parts[-1][0] != second:
                self._parts.append((second, Sampled(Counter(), Counter())))
                self._forget(second)
            programs, errors = self._parts[-1][1]
            if name not in programs and len(programs) >= NAMES_MAX:
                name = "(others)"
            programs[name] += 1
            errors[name] += message.severity <= 3

    def counted(self) -> Sampled:
        """What was counted lately."""
        programs: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        with self._lock:
            self._forget(int(self._seconds()))
            for _, part in self._parts:
                programs.update(part.programs)
                errors.update(part.errors)
        return Sampled(programs, errors)

    def _forget(self, now: int) -> None:
        while self._parts and self._parts[0][0] <= now - SECONDS:
            self._parts.popleft()


class Sampler:
    """Reads a tap in a thread while somebody wants the sample."""

    def __init__(self, state_dir: str) -> None:
        self.sample = Sample()
        self.failure = ""
        """Why there is none; empty = there is one, or it is not known yet."""
        self._state_dir = state_dir
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._stop,), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread = None

    def _run(self, stop: threading.Event) -> None:
        def wait(connection: socket.socket) -> None:
            while not stop.is_set():
                if select.select([connection], [], [], _LOOK_SECONDS)[0]:
                    return
            raise _Stopped

        with suppress(_Stopped):
            while not stop.is_set():
                try:
                    wanted = {"stage": RECEIVED, "rate": _RATE}
                    for item in stream(self._state_dir, "tap", wanted, wait=wait):
                        self.failure = ""
                        if "payload" in item:
                            self.sample.note(b64decode(item["payload"]))
                except AskFailed as error:
                    self.failure = str(error)
                stop.wait(_RETRY_SECONDS)
