"""One queue of a destination and what sends it: a drain, its numbers and its connection."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred

from relay.flow.drain import Drain
from relay.flow.exactly_once.numbering import Numbering
from relay.queue.ledger import Ledger
from relay.service.destinations.link import Link
from relay.service.queue.service import QueueService
from relay.transport.upstream import UpstreamState


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


class Lane:
    """One of the one or two queues of a destination.

    Args:
        destination: Id of the destination.
        queue: Id of the queue.
        queues: Where it is.
        stall_seconds: Being connected for so long without an answer is a stall.
    """

    drain: Drain  # these three are set before the lane is opened
    numbering: Numbering
    link: Link

    def __init__(
        self,
        destination: str,
        queue: str,
        *,
        queues: QueueService,
        state: UpstreamState,
        stall_seconds: float,
    ) -> None:
        self.id, self.subject = destination, f"destination {destination}"
        self.queue = queue
        self.state = state
        self.progress = Progress(seconds_max=stall_seconds)
        self._queues = queues
        self._permitted = False  # nothing is missing for a connection, and the relay runs
        self._wanted = False  # there is something to send, or will be
        self._linked = False
        self._lock = DeferredLock()  # a link is stopped before it is started again

    @property
    def ledger(self) -> Ledger:
        """The account as of the last commit."""
        return self._queues.view.ledger(self.queue)

    @property
    def queued(self) -> int:
        """Records that are not acknowledged."""
        return self.drain.stored_seq - self.drain.acknowledged_seq

    @property
    def failures(self) -> int:
        return self.state.failures

    @property
    def is_open(self) -> bool:
        return self._wanted

    def permit(self) -> None:
        """Nothing is missing any more for a connection."""
        self._permitted = True
        self._follow()

    def open(self) -> None:
        """Connect, and stay connected."""
        self._wanted = True
        self._follow()

    def close(self) -> Deferred[None]:
        """End the connection, if there is one, and make no more.  Fires when it has ended."""
        self._wanted = False
        return self._follow()

    def stop(self) -> Deferred[None]:
        """`close` for good."""
        self._permitted = False
        return self._follow()

    def connect(self) -> None:
        """Try now what would be tried after a pause; nothing else is changed."""
        if self._linked:
            self.link.connect()

    def break_link(self, why: str) -> None:
        """End the session at once, if that can be done; the next one comes by itself."""
        self.link.cut(why)

    async def renew(self) -> None:
        """Take a lineage of which no receiver has heard.  Fails with QueueError."""
        await self.numbering.renew()

    def standing(self) -> Standing:
        """Whether it has something to do, and what for its progress."""
        return Standing(
            answers=(self.state.answers, self.ledger.quarantined),
            connected=self.state.ready,
            in_flight=self.drain.in_flight,
            could_send=self.drain.could_send,
        )

    def _follow(self) -> Deferred[None]:
        return self._lock.run(lambda: ensureDeferred(self._link_or_not()))

    async def _link_or_not(self) -> None:
        linked = self._wanted and self._permitted
        if linked == self._linked:
            return
        self._linked = linked
        if linked:
            self.state.started()
            self.link.start()
        else:
            self.state.stopped()
            await self.link.stop()
