from __future__ import annotations

from relay.flow.late_acknowledgements import LateAcknowledgements


def test_answers_are_those_of_the_oldest_first_and_by_reason() -> None:
    reported: list[tuple[int, str]] = []
    late = LateAcknowledgements(lambda count, reason: reported.append((count, reason)))
    late.expect(3, "queue-full")
    late.expect(2, "too-old")
    assert late.expected == 5
    assert late.take(2) == 2
    assert late.take(2) == 2
    assert (late.expected, reported) == (1, [(2, "queue-full"), (1, "queue-full"), (1, "too-old")])
    assert late.take(10) == 1  # the other nine are for what is in the queue
    assert late.take(1) == 0
    assert reported[3:] == [(1, "too-old")]


def test_what_is_refused_was_dropped_already() -> None:
    reported: list[tuple[int, str]] = []
    late = LateAcknowledgements(lambda count, reason: reported.append((count, reason)))
    assert not late.refused()
    late.expect(2, "too-old")
    assert late.refused()
    assert (late.expected, reported) == (1, [])


def test_nothing_is_known_after_the_session() -> None:
    late = LateAcknowledgements(lambda count, reason: None)
    late.expect(2, "too-old")
    late.forget()
    assert (late.expected, late.take(2), late.refused()) == (0, 0, False)
