"""Whether a queue moves, as far as it could.

A queue that does not become shorter is no trouble by itself: nothing may wait in it, its
upstream may be away, somebody may have paused it.  Trouble is when its upstream is there,
records wait, and nothing is acknowledged.  So only the time counts during which all of that
is so, over all sessions: an upstream that takes connections and never answers does not
begin anew with each of them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Progress", "Standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a look at a destination finds."""

    answers: object
    """Differs from what an earlier look found if something has left its queue since."""
    connected: bool
    """There is a session."""
    in_flight: int
    """Records on their way to the upstream: it is the upstream that has to do something."""
    could_send: bool
    """There are more records, and nothing but the session keeps them from being sent."""


class Progress:
    """Adds up how long a destination has been idle though there was something to do.

    Args:
        seconds_max: From then on it is stalled.

    Attributes:
        stalls: How often in a row it has been idle for that long.
        stuck: Twice, and with nothing in flight: nobody else can be to blame.
    """

    def __init__(self, *, seconds_max: float) -> None:
        self.seconds_max = seconds_max
        self.stalls = 0
        self.stuck = False
        self._idle_seconds = 0.0
        self._answers: object = None
        self._looked_at: float | None = None

    @property
    def stalled_seconds(self) -> float | None:
        """How long it has been idle; None = it is not stalled."""
        return self._idle_seconds if self.stalls else None

    def look(self, now: float, standing: Standing) -> bool:
        """Note what is found at `now` (seconds).

        Returns:
            Whether it has been idle for `seconds_max` more since this was said last.
        """
        # A single look proves nothing: whoever was away himself saw no answers either.
        elapsed = 0.0 if self._looked_at is None else now - self._looked_at
        elapsed = min(elapsed, self.seconds_max / 2)
        self._looked_at = now
        moved, self._answers = standing.answers != self._answers, standing.answers
        has_work = standing.in_flight > 0 or standing.could_send
        if moved or (standing.connected and not has_work):
            self._idle_seconds, self.stalls, self.stuck = 0.0, 0, False
            return False
        if not standing.connected:
            return False
        self._idle_seconds += elapsed
        if self._idle_seconds < self.seconds_max * (self.stalls + 1):
            return False
        self.stalls += 1
        self.stuck = self.stalls > 1 and not standing.in_flight
        return True
