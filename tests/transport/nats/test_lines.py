"""The lines of one publisher."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from relay.flow.publishing import Run
from relay.transport.nats import lines
from relay.transport.nats.line import Encoding
from relay.transport.nats.lines import Lines, Plan
from relay.transport.nats.stream import Demands

PLAN = Plan("LOGS", "logs.$LINEAGE", Demands(("logs.*",), 2, True, True))


def test_a_lineage_has_one_line_and_one_subject() -> None:
    found = Lines(PLAN)
    first = found.of(Run((), "a"), b"")
    assert found.of(Run((), "a", sender="x"), b"") is first
    assert first.subject == b"logs.a"
    assert found.of(Run((), sender="x"), b"").subject == b"logs.unnumbered"


def test_subjects_of_messages_leave_the_order_to_the_sender() -> None:
    plan = Plan("LOGS", "logs.x", Demands((), 2, True, False), Encoding(has_keys=True))
    found = Lines(plan)
    assert found.of(Run((), "a"), b"") is not found.of(Run((), "b"), b"")
    assert found.of(Run((), "a"), b"").lineage == ""


def test_a_line_is_ready_once() -> None:
    found = Lines(PLAN)
    line = found.of(Run((), "a"), b"")
    found.offer(line)
    assert not found.ready
    line.add(Run([b"x"], "a", [1]), Deferred())
    found.offer(line)
    found.offer(line)
    assert len(found.ready) == 1
    assert found.next() is line
    line.is_busy = True
    found.offer(line)
    assert not found.ready
    found.release(line)
    assert len(found.ready) == 1


def test_idle_lines_are_forgotten_beyond_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINES_KEPT_MAX", 2)
    found = Lines(PLAN)
    busy = found.of(Run((), "a"), b"")
    busy.add(Run([b"x"], "a", [1]), Deferred())
    idle = found.of(Run((), "b"), b"")
    found.of(Run((), "c"), b"")
    assert found.of(Run((), "a"), b"") is busy
    assert found.of(Run((), "b"), b"") is not idle
