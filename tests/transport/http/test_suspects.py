from __future__ import annotations

from dataclasses import replace

from twisted.internet.task import Clock

from relay.transport.http.suspects import FAILURES_MIN, Item, Suspects, halves
from relay.wire.http.answers import Fate, Verdict
from relay.wire.http.bodies import Record


def items(count: int) -> list[Item]:
    return [Item(number, Record(b"abc")) for number in range(count)]


FAILED = Verdict(Fate.RETRY, "status 503", "503")
EACH = Verdict(Fate.RETRY, "item 503", "503")


def failed(suspects: Suspects, batch: list[Item], *, others_taken: bool = False) -> bool:
    return suspects.failed([(item, FAILED) for item in batch], others_taken=others_taken)


def test_what_fails_first_is_no_suspect_and_neither_is_what_fails_in_an_outage() -> None:
    suspects, (one,) = Suspects(0.0, Clock()), items(1)
    assert [failed(suspects, [one]) for _ in range(100)] == [False] * 100
    assert not suspects.batches and not suspects.reason_of(one, "503")


def test_what_fails_before_and_after_others_were_taken_is_halved() -> None:
    suspects, batch = Suspects(0.0, Clock()), items(3)
    assert not failed(suspects, batch)
    suspects.took([b""])
    assert failed(suspects, batch)
    assert suspects.batches == [batch[:1], batch[1:]] == suspects.take()
    assert suspects.rounds == 1
    assert failed(suspects, batch[1:])  # also while nothing tells of others
    assert suspects.batches == [batch[1:2], batch[2:]] and suspects.rounds == 0


def test_a_lone_record_is_given_up_after_failures_that_count_and_its_time() -> None:
    clock = Clock()
    suspects, (one,) = Suspects(60.0, clock), items(1)
    failed(suspects, [one])
    for number in range(FAILURES_MIN):
        assert suspects.reason_of(one, "503") == ""
        suspects.took([b""])
        failed(suspects, [one])
        failed(suspects, [one])  # nothing was taken since
        assert one.failures == number + 1
    assert suspects.reason_of(one, "503") == ""
    clock.advance(60)
    assert suspects.reason_of(one, "503") == "503 (10 times in 60 s, others were taken)"


def test_a_failure_while_others_fail_does_not_count() -> None:
    suspects, (one, other) = Suspects(0.0, Clock()), items(2)
    failed(suspects, [one])
    for _ in range(5 * FAILURES_MIN):
        suspects.took([b""])
        failed(suspects, [Item(9, other.record)])
        failed(suspects, [one])
    assert one.failures == 0 and suspects.reason_of(one, "503") == ""


def test_items_that_fail_by_themselves_are_counted_each() -> None:
    suspects, batch = Suspects(0.0, Clock()), items(2)
    for _ in range(2):
        suspects.took([b""])
        suspects.failed([(item, EACH) for item in batch], others_taken=True)
    assert suspects.batches == [batch] and [one.failures for one in batch] == [1, 1]


def failures_in(suspects: Suspects, one: Item, taken: bytes) -> int:
    """How many failures of `one` it takes to give it up, while `taken` takes others."""
    failed(suspects, [one])
    for number in range(1, 200):
        suspects.took([taken])
        failed(suspects, [one])
        if suspects.reason_of(one, "503"):
            return number
        suspects._clock.advance(60)  # type: ignore[attr-defined]
    return 0


def test_others_of_the_same_index_are_the_better_witnesses() -> None:
    suspects, one = Suspects(600.0, Clock()), Item(1, Record(b"a", index=b"x"))
    assert failures_in(suspects, one, b"x") == 11
    assert suspects.reason_of(one, "503") == "503 (11 times in 600 s, others were taken)"
    suspects, one = Suspects(600.0, Clock()), Item(1, Record(b"a", index=b"x"))
    assert failures_in(suspects, one, b"y") == 61
    expected = "503 (61 times in 3,600 s, others of other indexes were taken)"
    assert suspects.reason_of(one, "503") == expected


def test_an_index_that_is_at_fault_does_no_harm_to_its_documents() -> None:
    clock = Clock()
    suspects, batch = Suspects(0.0, clock), items(2)
    for _ in range(500):
        suspects.took([b""])
        suspects.failed(
            [(batch[0], replace(EACH, is_of_index=True)), (batch[1], EACH)], others_taken=True
        )
        clock.advance(600)
    assert [one.failures for one in batch] == [0, 499]
    assert suspects.reason_of(batch[0], "503") == ""
    assert [batch[0]] in suspects.batches  # tried apart


def test_of_how_many_indexes_is_known_what_they_took_is_bounded() -> None:
    suspects = Suspects(0.0, Clock())
    for number in range(10_000):
        suspects.took([b"%d" % number])
    assert len(suspects._taken_of) == 4096 and b"9999" in suspects._taken_of


def test_what_is_decided_takes_no_memory() -> None:
    (one,) = items(1)
    assert one.decide(Fate.REFUSED, "503", company=True) == 3
    assert (one.record.payload, one.fate, one.reason, one.in_company) == (
        *(b"", Fate.REFUSED),
        *("503", True),
    )


def test_halves() -> None:
    batch = items(3)
    assert halves(batch) == [batch[:1], batch[1:]]
    assert halves(batch[:1]) == [batch[:1]] and halves([]) == []
