"""Time as an argument: a clock for durations, and a clock for stamps.

Every interval, timeout, rate and age is measured with a `Clock`, which runs steadily
whatever happens to the time of day.  Only stamps (when a message came in, when a
certificate ends) come from the `WallClock`, which administrators and NTP may set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

Now = Callable[[], float]
"""Seconds since 1970-01-01 UTC."""

_STEP_SECONDS_MIN = 2.0  # smaller steps are corrections that change no age noticeably
_STEPS_MAX = 32


class DelayedCall(Protocol):
    """A call that is to come (Twisted's IDelayedCall)."""

    def active(self) -> bool: ...

    def cancel(self) -> None: ...

    def reset(self, seconds: float) -> None: ...


class Clock(Protocol):
    """The part of Twisted's IReactorTime that the relay uses.

    Written out because type checkers cannot follow zope interfaces; the reactor
    and `twisted.internet.task.Clock` both fit.
    """

    def seconds(self) -> float:
        """Seconds since an unspecified start; never set, never going back."""
        ...

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> DelayedCall: ...


class Port(Protocol):
    """A listening socket (Twisted's IListeningPort)."""

    def fileno(self) -> int: ...

    def doRead(self) -> object:
        """Accept who has come."""
        ...

    def stopListening(self) -> object: ...


class Reactor(Clock, Protocol):
    """The parts of Twisted's reactor that the relay uses beside its clock."""

    def addReader(self, reader: object) -> object: ...

    def removeReader(self, reader: object) -> object: ...

    def removeWriter(self, writer: object) -> object: ...

    def callFromThread(
        self, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> None: ...

    def callWhenRunning(self, callable: Callable[..., object], *args: object) -> object: ...

    def getDelayedCalls(self) -> Sequence[DelayedCall]: ...

    def getThreadPool(self) -> Any: ...

    def addSystemEventTrigger(
        self, phase: str, event: str, callable: Callable[..., object], *args: object
    ) -> object: ...

    def adoptStreamPort(self, descriptor: int, family: int, factory: object) -> Port: ...

    def adoptStreamConnection(self, descriptor: int, family: int, factory: object) -> object: ...

    def spawnProcess(self, *args: object, **kwargs: object) -> object: ...

    def stop(self) -> None: ...


class ClockStep(NamedTuple):
    """The wall clock was set forward: after `at` (seconds since 1970) came `at` + `seconds`."""

    at: float
    seconds: float


class WallClock:
    """The time of day, and ages that survive its being set.

    A stamp from before a step forward looks older than it is, by the size of the step.
    Ages here leave that out, so that setting the clock drops nothing as too old.  After a
    step back, old stamps lie in the future for a while: their age is 0 until then.

    Args:
        now: The time of day.
        elapsed: Seconds on a clock that is never set.
    """

    def __init__(self, *, now: Now, elapsed: Callable[[], float]) -> None:
        self.now = now
        self.elapsed = elapsed
        self._subscribers: list[Callable[[float], None]] = []
        self._offset = now() - elapsed()
        self._steps: deque[ClockStep] = deque(maxlen=_STEPS_MAX)  # forward, the newest last

    @property
    def steps(self) -> tuple[ClockStep, ...]:
        """The latest steps forward that were not taken back, oldest first."""
        return tuple(self._steps)

    def restore(self, steps: Iterable[ClockStep]) -> None:
        """Begin with the steps of an earlier process, without those that lie ahead."""
        now = self.now()
        self._steps.extend(step for step in steps if step.at + step.seconds <= now)

    def subscribe(self, on_step: Callable[[float], None]) -> None:
        """Have `on_step` called with how many seconds the clock was set forward, or back
        (below 0)."""
        self._subscribers.append(on_step)

    def watch(self) -> None:
        """Notice whether the clock was set; to be called every few seconds."""
        offset = self.now() - self.elapsed()
        seconds = offset - self._offset
        if abs(seconds) >= _STEP_SECONDS_MIN:
            if seconds > 0:
                self._steps.append(ClockStep(self.elapsed() + self._offset, seconds))
            else:
                self._undo(-seconds)
        self._offset = offset
        if abs(seconds) >= _STEP_SECONDS_MIN:
            for on_step in self._subscribers:
                on_step(seconds)

    def _undo(self, seconds: float) -> None:
        """A step back takes back the latest steps forward, as far as it goes."""
        while self._steps and seconds > 0:
            step = self._steps.pop()
            if step.seconds > seconds:
                self._steps.append(step._replace(seconds=step.seconds - seconds))
            seconds -= step.seconds

    def age(self, stamp: float) -> float:
        """Seconds since `stamp`, at least 0."""
        self.watch()
        for step in self._steps:
            if stamp < step.at + step.seconds:
                stamp += step.seconds
        return max(0.0, self.now() - stamp)

    def before(self, seconds: float) -> float:
        """The stamp before which records are more than `seconds` old."""
        self.watch()
        stamp = self.now() - seconds
        for step in reversed(self._steps):
            # What has a stamp between `at` and `at + seconds` came before a step back.
            if stamp < step.at + step.seconds:
                stamp -= step.seconds
        return stamp


def in_utc(stamp: float) -> str:
    """`stamp` (seconds since 1970-01-01 UTC) for people, as in ``2026-10-01 22:14:15 UTC``."""
    return f"{datetime.fromtimestamp(stamp, UTC):%Y-%m-%d %H:%M:%S UTC}"
