"""The senders of one publisher."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from relay.flow.publishing import Run
from relay.transport.nats import senders
from relay.transport.nats.sender import Encoding
from relay.transport.nats.senders import PublishingPlan, Senders
from relay.transport.nats.stream import Demands

PLAN = PublishingPlan("LOGS", "logs.$LINEAGE", Demands(("logs.*",), 2, True, True))


def test_a_lineage_has_one_line_and_one_subject() -> None:
    found = Senders(PLAN)
    first = found.of(Run((), "a"), b"")
    assert found.of(Run((), "a", sender="x"), b"") is first
    assert first.subject == b"logs.a"
    assert found.of(Run((), sender="x"), b"").subject == b"logs.unnumbered"


def test_subjects_of_messages_leave_the_order_to_the_sender() -> None:
    plan = PublishingPlan("LOGS", "logs.x", Demands((), 2, True, False), Encoding(has_keys=True))
    found = Senders(plan)
    assert found.of(Run((), "a"), b"") is not found.of(Run((), "b"), b"")
    assert found.of(Run((), "a"), b"").lineage == ""


def test_a_line_is_ready_once() -> None:
    found = Senders(PLAN)
    sender = found.of(Run((), "a"), b"")
    found.offer(sender)
    assert not found.ready
    sender.add(Run([b"x"], "a", [1]), Deferred())
    found.offer(sender)
    found.offer(sender)
    assert len(found.ready) == 1
    assert found.next() is sender
    sender.is_busy = True
    found.offer(sender)
    assert not found.ready
    found.release(sender)
    assert len(found.ready) == 1


def test_idle_lines_are_forgotten_beyond_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "SENDERS_KEPT_MAX", 2)
    found = Senders(PLAN)
    busy = found.of(Run((), "a"), b"")
    busy.add(Run([b"x"], "a", [1]), Deferred())
    idle = found.of(Run((), "b"), b"")
    found.of(Run((), "c"), b"")
    assert found.of(Run((), "a"), b"") is busy
    assert found.of(Run((), "b"), b"") is not idle
