"""The lines of one publisher, and which of them may send."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from relay.flow.publishing import Run
from relay.transport.nats.line import Encoding, Line
from relay.transport.nats.stream import Demands

UNNUMBERED = "unnumbered"
"""Stands for the lineage in the subject of records without one."""

LINES_KEPT_MAX = 20_000
"""Beyond it, lines without anything to send are forgotten."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a publisher puts where."""

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


class Lines:
    """All lines of a publisher.

    Attributes:
        ready: Those with something to send, and nothing on its way.
    """

    def __init__(self, plan: Plan) -> None:
        self.ready: deque[Line] = deque()
        self._plan = plan
        self._encoding = plan.encoding
        self._lines: dict[str, Line] = {}

    def limit(self, message_octets_max: int) -> None:
        """Messages may have so many octets."""
        self._encoding = replace(self._encoding, message_octets_max=message_octets_max)
        for line in self._lines.values():
            line.encoding = self._encoding

    def of(self, run: Run, epoch: bytes) -> Line:
        """The line that a run belongs to."""
        lineage = run.lineage if self._plan.is_numbered else ""
        name = lineage or f"\0{run.lineage or run.sender}"
        line = self._lines.get(name)
        if line is None:
            self._make_room()
            line = Line(name, self._plan.subject_of(lineage), self._encoding, lineage)
            self._lines[name] = line
        line.epoch = epoch if lineage else b""
        return line

    def offer(self, line: Line) -> None:
        """There may be something to send."""
        if line.has_work and not line.is_busy and not line.is_offered:
            line.is_offered = True
            self.ready.append(line)

    def next(self) -> Line:
        """Take the line that has been ready for longest."""
        line = self.ready.popleft()
        line.is_offered = False
        return line

    def release(self, line: Line) -> None:
        """What was on its way has arrived, or not."""
        line.is_busy = False
        self.offer(line)

    def fail(self, why: str) -> None:
        """Fail all runs, and forget the lines."""
        lines, self._lines = self._lines, {}
        self.ready.clear()
        for call in [call for line in lines.values() for call in line.fail(why)]:
            call()

    def _make_room(self) -> None:
        """Forget a line with nothing to send: its last message is asked for when it comes again."""
        if len(self._lines) >= LINES_KEPT_MAX:
            idle = (name for name, line in self._lines.items() if line.is_empty)
            if (name := next(idle, None)) is not None:
                del self._lines[name]
