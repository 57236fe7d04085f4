from __future__ import annotations

from relay.model.seq import SeqRange
from relay.queue.removals import Removals
from relay.queue.transaction import Removal, SetAside


def test_acknowledgements_are_put_together() -> None:
    removals = Removals()
    assert not removals
    removals.of("a", 5)
    removals.of("a", 3).late["too-old"] += 2
    assert removals and removals.take() == {"a": Removal(5, late={"too-old": 2})}
    assert not removals


def test_what_failed_comes_before_what_came_meanwhile() -> None:
    removals = Removals()
    earlier, later = SetAside(SeqRange(1, 2), "no"), SetAside(SeqRange(2, 3), "no")
    removals.of("a", 2).set_aside.append(earlier)
    failed = removals.take()
    removals.of("a", 3).set_aside.append(later)
    removals.of("b", 1)
    removals.take_back(failed)
    assert removals.take() == {"a": Removal(3, [earlier, later]), "b": Removal(1)}


def test_answers_for_what_was_dropped_meanwhile_are_late() -> None:
    removals = Removals()
    aside, kept = SetAside(SeqRange(3, 4), "no"), SetAside(SeqRange(6, 7), "no")
    removals.of("a", 7).set_aside += [aside, kept]
    removals.evicted("a", 2, 5, "queue-full")
    removals.evicted("b", 2, 5, "queue-full")
    assert removals.take() == {"a": Removal(7, [kept], {"queue-full": 2})}
