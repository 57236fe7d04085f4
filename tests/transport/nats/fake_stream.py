"""A stream in memory, which refuses and loses what it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred, fail, succeed

from relay.transport.nats.client import ServerInfo
from relay.wire.nats.answers import LastMessage, Stored, StreamError
from relay.wire.nats.messages import Message

__all__ = ["FakeStream", "FakeClient"]


class FakeStream:
    """The messages of a stream, and its answers.

    Attributes:
        faults: What becomes of the next batches, one word each: ``lost`` (neither stored nor
            answered), ``unanswered`` (stored, not answered), a number (that error), or ``ok``,
            as of all further ones.
        kept: Its messages, whole and in order.
        batches: How many messages each batch had that was stored.
    """

    def __init__(self, faults: Iterable[str | int] = ()) -> None:
        self.faults = [*faults]
        self.kept: list[Message] = []
        self.batches: list[int] = []
        self.asked: list[bytes] = []
        self.config: dict[str, object] = {
            "subjects": ["logs.>"],
            "num_replicas": 3,
            "allow_atomic": True,
        }

    def last(self, subject: bytes) -> tuple[int, Message] | None:
        found = [(seq, each) for seq, each in enumerate(self.kept, 1) if each.subject == subject]
        return found[-1] if found else None

    def store(self, messages: Sequence[Message]) -> Stored:
        fault = self.faults.pop(0) if self.faults else "ok"
        if isinstance(fault, int):
            raise StreamError(fault, f"error {fault}")
        if fault == "lost":
            raise StreamError(0, "no answer")
        for message in messages:
            last = self.last(message.subject)
            if message.expected is not None and message.expected != (last[0] if last else 0):
                raise StreamError(10071, "wrong last sequence")
        self.kept += messages
        self.batches.append(len(messages))
        if fault == "unanswered":
            raise StreamError(0, "no answer")
        return Stored(len(self.kept))

    def last_message(self, subject: bytes) -> LastMessage | None:
        self.asked.append(subject)
        last = self.last(subject)
        if last is None:
            return None
        return LastMessage(last[0], b"NATS/1.0\r\n" + last[1].headers + b"\r\n")


class FakeClient:
    """One connection to it.

    Args:
        is_slow: Answers to batches wait for `answer`.
    """

    def __init__(
        self, stream: FakeStream, on_lost: Callable[[str], None], *, is_slow: bool = False
    ) -> None:
        self.stream = stream
        self.lose = on_lost
        self.closed = 0
        self._is_slow = is_slow
        self._waiting: list[Callable[[], None]] = []

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def open(self) -> Deferred[ServerInfo]:
        return succeed(ServerInfo("n1:4222", "2.15.1", 1024 * 1024))

    def ask_api(
        self, subject: str, request: bytes = b"", *, is_checked: bool = True
    ) -> Deferred[bytes]:
        return succeed(json.dumps({"config": self.stream.config, "state": {}}).encode())

    def last_message(self, stream: str, subject: bytes) -> Deferred[LastMessage | None]:
        return succeed(self.stream.last_message(subject))

    def store(self, messages: Sequence[Message]) -> Deferred[Stored]:
        if not self._is_slow:
            try:
                return succeed(self.stream.store(messages))
            except StreamError as error:
                return fail(error)
        answered: Deferred[Stored] = Deferred()

        def answer() -> None:
            try:
                stored = self.stream.store(messages)
            except StreamError as error:
                answered.errback(error)
            else:
                answered.callback(stored)

        self._waiting.append(answer)
        return answered

    def answer(self) -> None:
        """Answer the oldest batch that waits."""
        self._waiting.pop(0)()

    def close(self) -> Deferred[None]:
        self.closed += 1
        return succeed(None)
