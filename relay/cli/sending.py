"""Deliver an input through the sessions of a kind of destination, each record once.

In the place of a queue is what was read of the input and not delivered yet.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import islice
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.flow.exactly_once.numbering import Numbering
from relay.flow.pump import BATCH_BYTES_MAX, Session
from relay.model.clock import DelayedCall, Reactor
from relay.service.destinations.kind import Delivery
from relay.transport.upstream import UpstreamState
from relay.wire.framing.lines import LineDecoder

_CHUNK_BYTES = 65536
_WAITING_MAX = 10_000  # records that are read ahead
_GENERATED = 500  # at once, so that answers are read in between
_TURN_SECONDS = 0.02


class Input(Protocol):
    """Where records come from."""

    ended: bool
    """There are no more."""

    def start(self, take: Callable[[Sequence[bytes]], None]) -> None:
        """Call `take` with records, from now on."""

    def stop(self) -> None:
        """Call it no more, until `start`."""


@dataclass(eq=False)
class Lines:
    """The lines of an open file, a pipe or a terminal that are not empty.

    Lines are those of files: LF and CR LF end them, NUL is a byte like others, and a byte
    order mark at the beginning is no text.
    """

    descriptor: int
    message_of: Callable[[bytes], bytes]
    """Makes the message."""
    _: KW_ONLY
    line_bytes_max: int
    """Longer lines are cut there."""
    count_max: int | None
    """Lines to read; None = all."""
    reactor: Reactor
    ended = False
    truncated = 0
    """How many lines were cut so far."""
    trouble = ""
    """Why the rest cannot be read; empty = it was."""

    def __post_init__(self) -> None:
        self._left = self.count_max
        self._decoder = LineDecoder(start=0, frame_bytes_max=self.line_bytes_max)
        self._take: Callable[[Sequence[bytes]], None] = lambda _: None

    def start(self, take: Callable[[Sequence[bytes]], None]) -> None:
        self._take = take
        self.reactor.addReader(self)

    def stop(self) -> None:
        self.reactor.removeReader(self)

    def fileno(self) -> int:
        return self.descriptor

    def logPrefix(self) -> str:
        return "input"

    def connectionLost(self, reason: Failure) -> None:
        """The writer has closed the pipe, or the reactor stops."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)  # POLLHUP is always reported
        while not self.ended and poll.poll(0):
            self.doRead()

    def doRead(self) -> None:
        chunk = self._read()
        found = self._decoder.feed(chunk) if chunk else self._decoder.finish()
        lines = [line for line in found.frames if line][: self._left]
        if self._left is not None:
            self._left -= len(lines)
        self.truncated += len(found.long)
        self.ended = not chunk or self._left == 0
        if self.ended:
            self.stop()
        self._take([self.message_of(line) for line in lines])

    def _read(self) -> bytes:
        try:
            return os.read(self.descriptor, _CHUNK_BYTES)
        except OSError as error:  # a terminal that is gone; raising would leave nobody to end it
            self.trouble = f"cannot read the input: {error.strerror}"
            return b""


@dataclass(eq=False)
class Generated:
    """Records that are made as they are needed."""

    records: Iterator[bytes]
    _: KW_ONLY
    reactor: Reactor
    ended = False

    def __post_init__(self) -> None:
        self._call: DelayedCall | None = None
        self._take: Callable[[Sequence[bytes]], None] = lambda _: None

    def start(self, take: Callable[[Sequence[bytes]], None]) -> None:
        self._take = take
        if self._call is None:
            self._call = self.reactor.callLater(0, self._make)

    def stop(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _make(self) -> None:
        made = [*islice(self.records, _GENERATED)]
        self.ended = len(made) < _GENERATED
        self._call = None if self.ended else self.reactor.callLater(0, self._make)
        self._take(made)


@dataclass(slots=True)
class Outcome:
    """The result of sending."""

    read: int = 0
    delivered: int = 0
    problem: str = ""
    """Why there is not more; the first one."""
    is_silent: bool = False
    """Whether the time was up."""


@dataclass(eq=False)
class Sending:
    """The outlet and the drain of one link; it ends with the input, or with the first failure.

    A record that was sent and not acknowledged may have arrived: another attempt would perhaps
    make it two, so there is none.

    Attributes:
        done: Fires when it ends.
        outcome: What has come of it so far.
    """

    records: Input
    _: KW_ONLY
    target: str
    """The upstream, for people."""
    write: Callable[[Sequence[bytes]], Sequence[bytes]]
    """Makes payloads of messages, less than one each if it drops some."""
    on_progress: Callable[[int], None]
    """Called with the number of messages that are delivered."""
    rate: float | None
    """Records a second; None = as many as the upstream takes."""
    seconds_max: float
    """Longest time without anything being acknowledged."""
    reactor: Reactor
    numbering: Numbering | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.outcome = Outcome()
        self.done: Deferred[None] = Deferred()
        self.sent_seq = 0
        self.state = UpstreamState(
            target=self.target,
            clock=self.reactor,
            on_ready=lambda text: None,
            on_failure=self._end,
            retry_seconds_min=self.seconds_max,
            retry_seconds_max=self.seconds_max,
        )
        self._session: Session | None = None
        self._waiting: deque[bytes] = deque()
        self._in_flight = 0
        self._began_at = 0.0
        self._is_sending = self._is_reading = self._is_over = False
        self._later: DelayedCall | None = None  # for the rate
        self._patience: DelayedCall | None = None

    @property
    def drain(self) -> Sending:
        return self

    async def run(self, delivery: Delivery) -> Outcome:
        """Connect, send, and end the session."""
        troubles = [each.trouble for each in delivery.prerequisites if each.trouble]
        if troubles:
            self.outcome.problem = "; ".join(troubles)
            return self.outcome
        link = delivery.new_link(self)
        self._expect()
        link.start()
        await self.done
        self.state.stopped()
        await link.stop()
        return self.outcome

    # The drain, as sessions know it.

    def attach(self, session: Session) -> None:
        self._session = session
        self._began_at = self.reactor.seconds()
        self._expect()
        self._read_on()
        self.pump()

    def detach(self, session: Session) -> None:
        self._session = None

    def pump(self) -> None:
        if self._is_sending:
            return
        self._is_sending = True
        try:
            while self._session is not None and (batch := self._next_batch(self._session.room)):
                self.sent_seq += len(batch)
                self._in_flight += len(batch)
                self._session.send(batch)
        finally:
            self._is_sending = False
        self._read_on()
        self._look()

    def acknowledged(self, session: Session, count: int) -> bool:
        if count:
            self.outcome.delivered += count
            self.on_progress(self.outcome.delivered)
            self._in_flight -= count
            self._expect()
            self.pump()
        return True

    def refused(
        self, session: Session, reason: str, *, in_row: int = 1, others_taken: bool = False
    ) -> bool:
        self._in_flight -= 1
        self.outcome.problem = self.outcome.problem or f"the receiver refused a message: {reason}"
        self._expect()
        self._look()
        return True

    # What it sends.

    def _next_batch(self, room: int) -> list[bytes]:
        room = min(room, len(self._waiting), self._allowed())
        batch: list[bytes] = []
        size = 0
        while len(batch) < room and size < BATCH_BYTES_MAX:
            batch.append(self._waiting.popleft())
            size += len(batch[-1])
        return batch

    def _allowed(self) -> int:
        """How many more records the rate allows now."""
        if self.rate is None:
            return _WAITING_MAX
        elapsed = self.reactor.seconds() - self._began_at
        allowed = int(elapsed * self.rate) + 1 - self.sent_seq
        if allowed <= 0 and self._waiting and (self._later is None or not self._later.active()):
            due = (self.sent_seq / self.rate) - elapsed
            self._later = self.reactor.callLater(max(due, _TURN_SECONDS), self.pump)
        return max(0, allowed)

    def _read_on(self) -> None:
        """Read while there is room, and not further."""
        wanted = len(self._waiting) < _WAITING_MAX and self._session is not None
        if wanted == self._is_reading or self.records.ended or self._is_over:
            return
        self._is_reading = wanted
        if wanted:
            self.records.start(self._take)
        else:
            self.records.stop()

    def _take(self, records: Sequence[bytes]) -> None:
        self.outcome.read += len(records)
        self._waiting.extend(self.write(records))
        self._expect()
        self.pump()

    # How it ends.

    def _look(self) -> None:
        if self.records.ended and not self._waiting and not self._in_flight:
            self._end("")

    def _expect(self) -> None:
        """Begin to wait for the next answer, if one is due."""
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        is_due = self._session is None or self._in_flight or (self._waiting and not self.rate)
        if is_due and not self._is_over:
            self._patience = self.reactor.callLater(self.seconds_max, self._is_silent)

    def _is_silent(self) -> None:
        self.outcome.is_silent = True
        self._end(f"no answer from {self.state.target} within {self.seconds_max:g} s")

    def _end(self, problem: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        self.outcome.problem = self.outcome.problem or problem
        if not self.records.ended:
            self.records.stop()
        for call in (self._later, self._patience):
            if call is not None and call.active():
                call.cancel()
        # Not from within a call of the link, which is to be stopped next.
        self.reactor.callLater(0, self.done.callback, None)
