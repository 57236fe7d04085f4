"""One session of several connections, which keep no order.

The drain knows one session.  A record goes to a connection with room; one that is answered early
waits for those before it, because only a prefix can be acknowledged.  What a connection has not
answered when it ends is sent again by the others, before anything new.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence

from relay.codec import total_bytes
from relay.flow.pump import Session, SessionDrain
from relay.transport.upstream import UpstreamState

RECORDS_MAX = 200_000
"""Between the oldest record without an answer and the newest that was sent."""
BYTES_MAX = 32 * 1024 * 1024
"""Of records without an answer: they are kept, since another connection may have to send them."""


class Part:
    """One connection of a composite session, and the drain that its sessions know.

    Attributes:
        session: The one that is open.
        bytes: Of what it was sent and has not answered.
    """

    numbering = None  # numbers need an order
    sent_seq = 0

    def __init__(self, whole: Composite, state: UpstreamState) -> None:
        self.state = state
        self.session: Session | None = None
        self.bytes = 0
        self._whole = whole
        self._window: deque[tuple[int, Sequence[bytes]]] = deque()  # runs of consecutive records

    # What the drain is for a session.

    @property
    def drain(self) -> SessionDrain:
        return self

    def attach(self, session: Session) -> None:
        self.session = session
        self._whole.joined()

    def detach(self, session: Session) -> None:
        if self.session is session:
            self.session = None
            self._whole.left(self)

    def pump(self) -> None:
        self._whole.pump()

    def acknowledged(self, session: Session, count: int) -> bool:
        if self.session is not session or not count:
            return True
        self.state.progressed()
        return self._whole.answered(self.take(count))

    def refused(
        self, session: Session, reason: str, *, in_row: int = 1, others_taken: bool = False
    ) -> bool:
        if self.session is not session or not self._window:
            return False
        number, payloads = self._window[0]
        in_row = min(in_row, len(payloads))
        return self._whole.refused(self, number, reason, in_row=in_row, others_taken=others_taken)

    # What it has to do for the whole.

    def send(self, number: int, payloads: Sequence[bytes]) -> None:
        """Send records, of which the first one has `number`."""
        assert self.session is not None
        self._window.append((number, payloads))
        self.bytes += total_bytes(payloads)
        self.session.send(payloads)

    def take(self, count: int) -> list[tuple[int, int]]:
        """Forget the oldest `count` records.  Returns their numbers as ranges."""
        taken = []
        while count:
            number, payloads = self._window.popleft()
            done, rest = payloads[:count], payloads[count:]
            if rest:
                self._window.appendleft((number + len(done), rest))
            self.bytes -= total_bytes(done)
            taken.append((number, number + len(done)))
            count -= len(done)
        return taken

    def take_all(self) -> list[tuple[int, Sequence[bytes]]]:
        """Forget what was sent.  Returns it as runs: the number of the first record, and all."""
        runs, self.bytes = [*self._window], 0
        self._window.clear()
        return runs


class Composite:
    """The session of all parts.

    Args:
        drain: Whose records they send.
        cut: Ends all connections, with a reason.

    Attributes:
        parts: To be filled before the first one joins.
    """

    def __init__(self, drain: SessionDrain, *, cut: Callable[[str], None]) -> None:
        self.parts: Sequence[Part] = ()
        self._drain = drain
        self._cut = cut
        self._attached = False
        self._begin()

    def _begin(self) -> None:
        self._oldest = 0  # number of the oldest record that is not acknowledged
        self._next = 0
        self._early: list[tuple[int, int]] = []  # a heap of ranges behind the oldest
        self._again: list[tuple[int, Sequence[bytes]]] = []  # a heap of runs without a connection

    @property
    def _open(self) -> list[Part]:
        return [part for part in self.parts if part.session is not None]

    # The session, as the drain sees it.

    @property
    def room(self) -> int:
        if self._again or sum(part.bytes for part in self.parts) >= BYTES_MAX:
            return 0
        free = sum(max(0, part.session.room) for part in self._open if part.session)
        return min(free, RECORDS_MAX - (self._next - self._oldest))

    def send(self, payloads: Sequence[bytes]) -> None:
        number, self._next = self._next, self._next + len(payloads)
        self._spread(number, payloads)

    # What happens to parts.

    def joined(self) -> None:
        """A part has a session."""
        if self._attached:
            self.pump()
        else:
            self._attached = True
            self._begin()
            self._drain.attach(self)

    def left(self, part: Part) -> None:
        """A part has lost its session."""
        for run in part.take_all():
            heapq.heappush(self._again, run)
        if not self._open:
            self._end()
        else:
            self.pump()

    def pump(self) -> None:
        """Send what a lost connection has left, then what the drain has."""
        runs, self._again = sorted(self._again), []
        for number, payloads in runs:
            self._spread(number, payloads)
        if not self._again:
            self._drain.pump()

    def answered(self, ranges: Sequence[tuple[int, int]]) -> bool:
        """Records are with an upstream; false = all connections have to end."""
        for each in ranges:
            heapq.heappush(self._early, each)
        return self._acknowledge()

    def refused(
        self, part: Part, number: int, reason: str, *, in_row: int, others_taken: bool
    ) -> bool:
        """A record was refused.  Returns whether the connection can go on behind it."""
        if number != self._oldest:
            # Only the oldest can leave the queue.  It will be refused again when it is that.
            return False
        others_taken = others_taken or bool(self._early)
        if not self._drain.refused(self, reason, in_row=in_row, others_taken=others_taken):
            self._end_all(f"a message was refused: {reason}")
            return False
        part.take(1)
        self._oldest += 1
        return self._acknowledge()

    def _acknowledge(self) -> bool:
        """Report what has become a prefix; false = all connections have to end."""
        before = self._oldest
        while self._early and self._early[0][0] == self._oldest:
            self._oldest = heapq.heappop(self._early)[1]
        count = self._oldest - before
        if count and not self._drain.acknowledged(self, count):
            self._end_all("what was refused before is tried once more")
            return False
        self.pump()
        return True

    def _spread(self, number: int, payloads: Sequence[bytes]) -> None:
        """Give records to the connections, evenly as far as they have room."""
        parts = sorted(self._open, key=lambda part: part.bytes)
        for left, part in zip(range(len(parts), 0, -1), parts, strict=True):
            session = part.session
            share = -(-len(payloads) // left)
            count = min(share, session.room) if session is not None else 0
            if count > 0:
                mine, payloads = payloads[:count], payloads[count:]
                part.send(number, mine)
                number += count
        if payloads:  # those with room have left it unused, or there is none
            for part in self._open:
                if part.session is not None and part.session.room > 0:
                    self._spread(number, payloads)
                    return
            heapq.heappush(self._again, (number, payloads))

    def _end_all(self, why: str) -> None:
        """Begin anew: the drain sends all that is not acknowledged again."""
        for part in self.parts:
            part.session = None  # what it says from now on means nothing
            part.take_all()
        self._end()
        self._cut(why)

    def _end(self) -> None:
        if self._attached:
            self._attached = False
            self._begin()
            self._drain.detach(self)
