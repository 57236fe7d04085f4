"""What the control socket can do with the history of deliveries: send some of it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from twisted.internet.defer import ensureDeferred

from relay.model.clock import Clock
from relay.model.errors import QueueError
from relay.observe.control import Asked
from relay.queue.admission.backpressure import Admission
from relay.queue.inspect.commands import Replayed, ReplayHistory
from relay.queue.inspect.queries import Period
from relay.queue.ledger import Ledger
from relay.service.queue.ports import QueueAccess

__all__ = ["HistoryTools", "ReplayDelivered", "ReplayedSoFar"]

_STEPS_SECONDS_MAX = 2.0  # of one answer


class ReplayDelivered(msgspec.Struct, forbid_unknown_fields=True):
    """Which delivered records to put into the queue of `to`."""

    queue: str
    to: str
    period: Period
    start: int = 0
    upto: int = 0
    """Seq of the first record to leave out; 0 = none that has been delivered so far."""


class ReplayedSoFar(Replayed):
    """What one answer comes to; `next_seq` and `upto` are for the next query."""

    upto: int = 0
    waits: str = ""
    """Why it cannot go on now; whoever asked asks again later."""


class HistoryTools:
    """Sends delivered records again.

    Args:
        destinations: Ids of those that there are in the configuration.
        step_bytes: What may be added to a queue in one step; QueueError says why nothing may.
    """

    def __init__(
        self,
        *,
        queue: QueueAccess,
        destinations: Iterable[str],
        admission: Admission,
        clock: Clock,
        step_bytes: Callable[[str], int],
    ) -> None:
        self._queue = queue
        self._destinations = frozenset(destinations)
        self._admission = admission
        self._clock = clock
        self._step_bytes = step_bytes

    def commands(self) -> dict[str, Asked]:
        """What the control socket offers, by name."""
        return {
            "history-replay": Asked(
                ReplayDelivered, lambda wanted: ensureDeferred(self._replay(wanted))
            )
        }

    async def _replay(self, wanted: ReplayDelivered) -> ReplayedSoFar:
        if wanted.to not in self._destinations:
            known = ", ".join(sorted(self._destinations))
            raise QueueError(f"there is no destination {wanted.to!r}; there is: {known}")
        ledger = self._queue.ledgers.get(wanted.queue, Ledger())
        # What is replayed is delivered once more, with new seqs: that is not part of it.
        upto = wanted.upto or ledger.acknowledged_seq
        done = ReplayedSoFar(next_seq=wanted.start, upto=upto)
        until = self._clock.seconds() + _STEPS_SECONDS_MAX
        while True:
            done.waits, bytes_max = self._room(wanted.to)
            if done.waits:
                return done
            step = await self._queue.operate(
                ReplayHistory(
                    wanted.queue, wanted.to, wanted.period, done.next_seq, upto, bytes_max
                )
            )
            done.records += step.records
            done.damaged += step.damaged
            done.gone += step.gone
            done.begins_at = step.begins_at if done.begins_at is None else done.begins_at
            done.next_seq = step.next_seq
            if not step.next_seq or self._clock.seconds() >= until:
                return done

    def _room(self, to: str) -> tuple[str, int]:
        """Why nothing may be added to the queue of `to`, and how much may in one step."""
        if self._admission.closed:
            return f"the queue takes nothing now: {self._admission.reason}", 0
        try:
            return "", self._step_bytes(to)
        except QueueError as error:
            return str(error), 0
