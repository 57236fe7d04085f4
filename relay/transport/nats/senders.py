"""The senders of one publisher, and which of them may send."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from relay.flow.publishing import Run
from relay.transport.nats.sender import Encoding, Sender
from relay.transport.nats.stream import Demands

UNNUMBERED = "unnumbered"
"""Stands for the lineage in the subject of records without one."""

SENDERS_KEPT_MAX = 20_000
"""Beyond it, senders without anything to send are forgotten."""


@dataclass(frozen=True, slots=True)
class PublishingPlan:
    """The stream and subjects of a publisher, and the form of its messages."""

    stream: str
    subject: str
    """With `$LINEAGE` in it, or constant."""
    demands: Demands
    encoding: Encoding = field(default_factory=Encoding)
    is_atomic: bool = True

    @property
    def is_numbered(self) -> bool:
        return "$LINEAGE" in self.subject and not self.encoding.has_keys

    def subject_of(self, lineage: str) -> bytes:
        return self.subject.replace("$LINEAGE", lineage or UNNUMBERED).encode("ascii")


class Senders:
    """All senders of a publisher.

    Attributes:
        ready: Those with something to send, and nothing on its way.
    """

    def __init__(self, plan: PublishingPlan) -> None:
        self.ready: deque[Sender] = deque()
        self._plan = plan
        self._encoding = plan.encoding
        self._senders: dict[str, Sender] = {}

    def limit(self, message_octets_max: int) -> None:
        """Messages may have so many octets."""
        self._encoding = replace(self._encoding, message_octets_max=message_octets_max)
        for sender in self._senders.values():
            sender.encoding = self._encoding

    def of(self, run: Run, epoch: bytes) -> Sender:
        """The sender that a run belongs to."""
        lineage = run.lineage if self._plan.is_numbered else ""
        name = lineage or f"\0{run.lineage or run.sender}"
        sender = self._senders.get(name)
        if sender is None:
            self._make_room()
            sender = Sender(name, self._plan.subject_of(lineage), self._encoding, lineage)
            self._senders[name] = sender
        sender.epoch = epoch if lineage else b""
        return sender

    def offer(self, sender: Sender) -> None:
        """There may be something to send."""
        if sender.has_work and not sender.is_busy and not sender.is_offered:
            sender.is_offered = True
            self.ready.append(sender)

    def next(self) -> Sender:
        """Take the sender that has been ready for longest."""
        sender = self.ready.popleft()
        sender.is_offered = False
        return sender

    def release(self, sender: Sender) -> None:
        """The batch of a sender that was on its way has ended, well or not."""
        sender.is_busy = False
        self.offer(sender)

    def fail(self, why: str) -> None:
        """Fail all runs, and forget the senders."""
        senders, self._senders = self._senders, {}
        self.ready.clear()
        for call in [call for sender in senders.values() for call in sender.fail(why)]:
            call()

    def _make_room(self) -> None:
        """Forget a sender with nothing to send; its last message is asked for if it comes again."""
        if len(self._senders) >= SENDERS_KEPT_MAX:
            idle = (name for name, sender in self._senders.items() if sender.is_empty)
            if (name := next(idle, None)) is not None:
                del self._senders[name]
