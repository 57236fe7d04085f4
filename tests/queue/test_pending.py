from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.model.seq import SeqRange
from relay.queue.pending import COMMIT_BYTES_ENOUGH, PendingAppends, PendingRemovals
from relay.queue.transaction import RECORD_BYTES, Append, Removal, SetAside

MESSAGE = RECORD_BYTES + 1


def append(count: int, **keys: Any) -> Append:
    return Append({"a": [b"x"] * count}, (), {}, {}, count * MESSAGE, Deferred(), **keys)


def waiting_for(*counts: int) -> PendingAppends:
    waiting = PendingAppends()
    for count in counts:
        waiting.add(append(count))
    return waiting


def sizes(batch: list[Append]) -> list[int]:
    return [len(each.payloads["a"]) for each in batch]


def test_a_commit_takes_everything_that_waits() -> None:
    waiting = waiting_for(3, 4)
    assert sizes(waiting.take()) == [3, 4] and not waiting.waiting


def test_a_commit_takes_no_more_than_is_worth_it() -> None:
    enough = COMMIT_BYTES_ENOUGH // MESSAGE + 1
    waiting = waiting_for(1, enough - 1, enough, 1)
    assert [sizes(waiting.take()), waiting.was_cut] == [[1, enough - 1], True]
    assert [sizes(waiting.take()), waiting.was_cut] == [[enough], True]
    assert [sizes(waiting.take()), waiting.was_cut] == [[1], False]


def test_each_failure_halves_the_batch_down_to_one_message() -> None:
    waiting = waiting_for(3, 4, 1)
    tried = []
    for _ in range(5):
        tried.append(sizes(waiting.take()))
        has_smaller = waiting.take_back()
    assert tried == [[3, 4, 1], [3], [1], [1], [1]]
    assert not has_smaller
    assert waiting.size == 8 * MESSAGE


def test_each_success_takes_more_until_everything_is_taken_again() -> None:
    waiting = waiting_for(20)
    for _ in range(5):
        waiting.take()
        waiting.take_back()
    tried, is_everything = [], False
    while waiting.waiting:
        batch = waiting.take()
        tried.append(sum(sizes(batch)))
        assert not is_everything
        is_everything = waiting.stored(batch)
    assert tried == [1, 1, 3, 5, 10]
    assert (is_everything, waiting.size) == (True, 0)
    for count in (5, 7):
        waiting.add(append(count))
    assert sizes(waiting.take()) == [5, 7]


def test_what_is_given_up_is_counted_once_and_only_if_it_is_lost() -> None:
    waiting = waiting_for(4)
    waiting.add(append(9, comes_again=True))
    waiting.take()
    waiting.take_back()
    batch = waiting.take()
    assert sizes(batch) == [4]
    waiting.stored(batch)
    for each in batch:
        each.done.callback(None)
    waiting.add(append(3))
    told, lost = waiting.give_up()
    assert (len(told), lost) == (2, {"a": 3})
    assert (bool(waiting.waiting), waiting.size) == (False, 0)


def test_what_lies_where_no_restart_finds_it_is_answered_when_it_does() -> None:
    waiting = waiting_for(1, 2)
    batch = waiting.take()
    waiting.stored(batch)
    waiting.withheld += batch
    waiting.add(append(3))
    later = waiting.take()
    waiting.stored(later)
    later[0].done.callback(None)
    told, lost = waiting.give_up()
    assert (len(told), lost) == (2, {}), "it is in the file, wherever that is"


def test_acknowledgements_are_put_together() -> None:
    removals = PendingRemovals(clock=Clock(), seconds=0.0, on_due=lambda: None)
    assert not removals
    removals.of("a", 5)
    removals.of("a", 3).late["too-old"] += 2
    assert removals and removals.take() == {"a": Removal(5, late={"too-old": 2})}
    assert not removals


def test_what_failed_comes_before_what_came_meanwhile() -> None:
    removals = PendingRemovals(clock=Clock(), seconds=0.0, on_due=lambda: None)
    earlier, later = SetAside(SeqRange(1, 2), "no"), SetAside(SeqRange(2, 3), "no")
    removals.of("a", 2).set_aside.append(earlier)
    failed = removals.take()
    removals.of("a", 3).set_aside.append(later)
    removals.of("b", 1)
    removals.take_back(failed)
    assert removals.take() == {"a": Removal(3, [earlier, later]), "b": Removal(1)}


def test_answers_for_what_was_dropped_meanwhile_are_late() -> None:
    removals = PendingRemovals(clock=Clock(), seconds=0.0, on_due=lambda: None)
    aside, kept = SetAside(SeqRange(3, 4), "no"), SetAside(SeqRange(6, 7), "no")
    removals.of("a", 7).set_aside += [aside, kept]
    removals.evicted("a", 2, 5, "queue-full")
    removals.evicted("b", 2, 5, "queue-full")
    assert removals.take() == {"a": Removal(7, [kept], {"queue-full": 2})}
