"""One batch of everything that a source receives in one turn of the reactor.

With a thousand connections that send a message at a time, nearly every chunk holds one
message.  What a hand-over costs (counters, routes, a call of the queue, a Deferred) is more than
what is done for the message itself, so all connections of a turn share it.

Hazards: a chunk that holds much must not wait for others; the answer to each connection is its
own; a stop must not find anything here; and what one connection sends must not, by whatever
defect, take the messages of the others with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.codec import total_bytes
from relay.model.clock import Clock, DelayedCall
from relay.model.origin import Received

RECORDS_ENOUGH = 256
"""More of them gain nothing by waiting for the end of the turn."""
BYTES_ENOUGH = 64 * 1024
"""So many do not wait either: what they take is counted against no limit until then."""


class Intake(Protocol):
    """Stores received frames."""

    def accept_all(
        self, batches: Sequence[Received], positions: Mapping[str, bytes] | None = None
    ) -> Deferred[None]:
        """Fires once all frames, and with them `positions`, are on disk."""


@runtime_checkable
class AnswersEach(Protocol):
    """An intake that takes all batches together, and says of each when it is to be answered."""

    def accept_each(self, batches: Sequence[Received]) -> Sequence[Deferred[None]]:
        """One result for each batch, which fires once its frames are safe."""


class _Part(NamedTuple):
    """The contribution of one connection."""

    received: Received
    positions: Mapping[str, bytes] | None
    stored: Callable[[], object] | None
    failed: Callable[[Failure], object]


class TurnBatch:
    """Collects frames until the turn ends, or a limit is reached.

    Args:
        apart: Each connection has a batch of its own, since it waits for what others do not.

    Attributes:
        intake: Receives the batch.
    """

    _log = Logger(namespace="relay")

    def __init__(self, intake: Intake, *, clock: Clock, apart: bool = False) -> None:
        self.intake = intake
        self._each = intake if isinstance(intake, AnswersEach) else None
        self._clock = clock
        self._apart = apart
        self._parts: list[_Part] = []
        self._records = 0
        self._bytes = 0
        self._is_held = False
        self._call: DelayedCall | None = None  # while the end of a turn is waited for

    def add(
        self,
        received: Received,
        positions: Mapping[str, bytes] | None = None,
        *,
        stored: Callable[[], object] | None = None,
        failed: Callable[[Failure], object],
    ) -> None:
        """Store what a connection received; its earlier messages are stored before these.

        Args:
            positions: Stored with the frames.
            stored: Called once they are on disk; None = not needed.
            failed: Called if they could not be stored.
        """
        self._parts.append(_Part(received, positions, stored, failed))
        self._records += len(received.frames)
        self._bytes += total_bytes(received.frames)
        if self._records >= RECORDS_ENOUGH or self._bytes >= BYTES_ENOUGH:
            self._hand_over()
        elif self._call is None and not self._is_held:
            self._call = self._clock.callLater(0, self._turn_ended)

    def hold(self) -> None:
        """Several connections are about to be read; `release` follows in the same turn."""
        self._is_held = True

    def release(self) -> None:
        """All were read: hand over now, which saves a turn of the reactor."""
        self._is_held = False
        self._hand_over()

    def flush(self) -> None:
        """Hand over the batch without waiting for the end of the turn."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        self._hand_over()

    def _turn_ended(self) -> None:
        self._call = None
        self._hand_over()

    def _hand_over(self) -> None:
        if not self._parts:
            return
        parts, self._parts = self._parts, []
        self._records = self._bytes = 0
        if self._apart and self._each is None and len(parts) > 1:
            self._hand_over_apart(parts)
            return
        received = [part.received for part in parts]
        positions = {
            name: at for part in parts if part.positions for name, at in part.positions.items()
        }
        try:
            if self._each is None:
                ends = [(self.intake.accept_all(received, positions or None), parts)]
            else:
                answers = self._each.accept_each(received)
                ends = [(done, [part]) for done, part in zip(answers, parts, strict=True)]
        except Exception:
            if len(parts) > 1:
                self._hand_over_apart(parts)
            else:
                self._log.failure("messages could not be taken")
                self._failed(Failure(), parts)
            return
        for done, of in ends:
            done.addCallbacks(self._stored, self._failed, callbackArgs=(of,), errbackArgs=(of,))

    def _hand_over_apart(self, parts: list[_Part]) -> None:
        """Hand each over by itself.  After a defect only those that meet it fail; all count
        twice."""
        for part in parts:
            self._parts = [part]
            self._hand_over()

    def _stored(self, _: None, parts: list[_Part]) -> None:
        for part in parts:
            if part.stored is not None:
                self._tell(part.stored)

    def _failed(self, failure: Failure, parts: list[_Part]) -> None:
        for part in parts:
            self._tell(part.failed, failure)

    def _tell(self, tell: Callable[..., object], *arguments: object) -> None:
        try:
            tell(*arguments)
        except Exception:  # call the others nevertheless
            self._log.failure("a connection failed")
