"""Whether an upstream refuses one message, or everything.

One message that is refused again and again is put aside, so that the rest can go on.  An
upstream that refuses whatever it gets (its index is read-only, a licence has ended) is
down: putting aside what waits for it, message by message, would empty the queue into the
quarantine.  Which of the two it is shows in what it takes in between: so a message is put
aside only when another one was taken while it was refused, and until then it stays in the
queue, where it was.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.model.clock import Now, in_utc
from relay.model.text import Document, counted

REFUSED_IN_ROW_MAX = 20
"""Different messages refused with none taken between them: then it is the upstream."""

_HELD_SESSIONS_PER_PROBE = 4
_FEW = 3


class Refusals:
    """What an upstream has refused since it took something last.

    Args:
        refusals_max: How often it may refuse one record before the record is set aside.
        on_held, on_taken: Called with text when everything is refused, and when that is over.

    Attributes:
        in_row: How many different messages that is.
        is_held: Nothing is sent but one message at a time, to see whether it is taken.
    """

    def __init__(
        self,
        refusals_max: int,
        *,
        now: Now,
        on_held: Callable[[str], None],
        on_taken: Callable[[str], None],
    ) -> None:
        self.refusals_max = refusals_max
        self.in_row = 0
        self.is_held = False
        self._set_aside = 0
        self._reason = ""
        self._since = 0.0
        self._now = now
        self._on_held = on_held
        self._on_taken = on_taken

    @property
    def state(self) -> str:
        """The state as text; empty while there is nothing to say."""
        if not self.is_held:
            return ""
        what = "everything"
        if self.in_row < REFUSED_IN_ROW_MAX:
            what = f"all that it was sent ({counted(self.in_row, 'message')})"
        return (
            f"refuses {what} since {in_utc(self._since)}: {self._reason}; the queue is kept and "
            "nothing more is set aside"
        )

    def report(self) -> Document | None:
        """For status; None while it is not held."""
        if not self.is_held:
            return None
        return {"since": self._since, "reason": self._reason, "refused_records": self.in_row}

    def refused(self, records: int, reason: str) -> None:
        """It has refused `records` different messages that are still in the queue."""
        if not self.in_row:
            self._since = self._now()
        self._reason = reason
        self.in_row = max(self.in_row, self._set_aside + records)
        if self.in_row >= REFUSED_IN_ROW_MAX:
            self.hold()

    def set_aside(self, records: int) -> None:
        """So many of them are not in the queue any more."""
        self._set_aside += records

    def hold(self) -> None:
        """Set nothing more aside until something is taken."""
        if not self.is_held:
            self.is_held = True
            self._on_held(self.state)

    def taken(self) -> None:
        """It has taken a message."""
        was_held, self.is_held = self.is_held, False
        self.in_row = self._set_aside = 0
        if was_held:
            self._on_taken("takes messages again")


class Suspects:
    """Records at the head of one queue that were refused often enough to be put aside.

    While nothing else was taken in between, that says nothing of them.  So they stay where
    they are, and the session goes on behind them.  When something is taken there, the next
    session sends them once more: what is refused then is put aside, what is taken was never
    to blame.

    Args:
        upstream: Who refuses them; shared with the other lane, if there is one.

    Attributes:
        passed: How many of them the present session goes on behind.
    """

    def __init__(self, upstream: Refusals) -> None:
        self.passed = 0
        self._upstream = upstream
        self._reasons: list[str] = []
        self._refusals = 0  # of the record behind them
        self._are_doubtful = False  # nothing was taken between these
        self._is_confirmed = False  # something was taken since they were refused
        self._passed_last = False  # nothing was answered since one of them was refused
        self._behind = 0  # how many of them the next session begins behind
        self._held_sessions = 0

    def begin_session(self) -> int:
        """How many of them the new session leaves out."""
        # Where each refusal ends the session, nothing else would ever be sent.
        self.passed, self._behind = min(self._behind, len(self._reasons)), 0
        self._passed_last = False
        if not self._upstream.is_held:
            self._held_sessions = 0
        elif not self.passed:
            self._held_sessions += 1
        return self.passed

    def end_session(self) -> None:
        self._behind = self.passed if self._passed_last else 0
        self.passed = 0

    def refused(
        self, reason: str, *, in_row: int, others_taken: bool, waiting: int
    ) -> tuple[list[str], bool]:
        """The record behind those that the session has passed was refused.

        Args:
            waiting: Records in the queue, the suspects included.

        Returns:
            Why the oldest records are to be set aside, one reason for each; and whether the
            session goes on behind the record.
        """
        self._passed_last = False
        if others_taken:
            return self._refused_alone(reason)
        if self._is_confirmed:
            return self._take_confirmed(), True
        self._upstream.refused(self.passed + in_row, reason)
        if self.passed == len(self._reasons) and not self._becomes_one(reason):
            return [], False
        self.passed += 1
        if self.passed >= waiting:
            if self._upstream.in_row <= _FEW and not self._upstream.is_held:
                # Nothing else waits, so nothing will tell: it may well be their own fault.
                self._upstream.set_aside(self.passed)
                return self.take_passed(), True
            self._upstream.hold()  # until something comes that tells
            return [], False
        if self._upstream.is_held and self.passed > self._probed:
            return [], False
        self._passed_last = True
        return [], True

    def taken(self) -> bool:
        """The upstream took the record behind those that were passed.

        Returns:
            Whether that counts; else the next session begins with the suspects again.
        """
        self._upstream.taken()
        self._passed_last = False
        if self.passed:
            self._is_confirmed = True
            return False
        self._begin_anew()
        return True

    def forget(self, records: int) -> None:
        """The oldest `records` of the queue leave it by another way."""
        gone = max(0, records)
        if gone > len(self._reasons):
            self._refusals = 0
        self.passed = max(0, self.passed - gone)
        del self._reasons[:gone]
        self._is_confirmed = self._is_confirmed and bool(self._reasons)

    @property
    def _probed(self) -> int:
        """How many records a session goes on behind while everything is refused.

        Few do so at all: it matters only if the upstream is well again and the oldest record
        is one that it refuses.
        """
        turn, rest = divmod(self._held_sessions, _HELD_SESSIONS_PER_PROBE)
        return 0 if rest else (turn - 1) % REFUSED_IN_ROW_MAX + 1

    def _refused_alone(self, reason: str) -> tuple[list[str], bool]:
        """The upstream refused one and took others, at the same time."""
        self._upstream.taken()
        if self.passed:
            self._is_confirmed = True
            return [], False
        if self._is_confirmed:
            return self._take_confirmed(), True
        if self._reasons or self._are_doubtful:
            self._begin_anew()
        self._refusals += 1
        if self._refusals < self._upstream.refusals_max:
            return [], False
        reasons = [f"refused {counted(self._refusals, 'time')}: {reason}"]
        self._begin_anew()
        return reasons, True

    def _take_confirmed(self) -> list[str]:
        """Why the oldest one was refused, which is a suspect no more."""
        reason = self._reasons.pop(0)
        self._is_confirmed = bool(self._reasons)
        return [reason]

    def _becomes_one(self, reason: str) -> bool:
        """Count a refusal of the record behind them.  Returns: whether it is one of them now."""
        self._are_doubtful = True
        self._refusals += 1
        full = len(self._reasons) >= REFUSED_IN_ROW_MAX
        if full or self._refusals < self._upstream.refusals_max:
            return False
        self._reasons.append(f"refused {counted(self._refusals, 'time')}: {reason}")
        self._refusals = 0
        return True

    def take_passed(self) -> list[str]:
        """Those that were passed are suspects no more.  Returns: why they were."""
        passed, self.passed = self.passed, 0
        fates, self._reasons = self._reasons[:passed], self._reasons[passed:]
        self._is_confirmed = self._is_confirmed and bool(self._reasons)
        return fates

    def _begin_anew(self) -> None:
        self._reasons.clear()
        self._refusals = 0
        self._are_doubtful = self._is_confirmed = False
