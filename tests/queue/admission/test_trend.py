from __future__ import annotations

from relay.queue.admission.trend import Trend


def trend(*samples: tuple[float, int], seconds: float = 10.0) -> Trend:
    made = Trend(seconds=seconds)
    for now, size in samples:
        made.note(now, size)
    return made


def test_nothing_is_known_at_first() -> None:
    for nothing in (trend(), trend((5.0, 100)), trend((5.0, 100), (5.0, 90))):
        assert (nothing.per_second, nothing.seconds_to(10)) == (0.0, None)
        assert nothing.seconds_until(-10) is None


def test_what_grows_will_be_full_and_not_empty() -> None:
    growing = trend((0.0, 100), (10.0, 150))
    assert growing.per_second == 5.0
    assert (growing.seconds_to(200), growing.seconds_to(0)) == (10.0, None)


def test_what_shrinks_will_be_empty_and_not_full() -> None:
    shrinking = trend((0.0, 100), (10.0, 50))
    assert (shrinking.seconds_to(200), shrinking.seconds_to(0)) == (None, 10.0)
    assert (shrinking.seconds_until(-5), shrinking.seconds_until(5)) == (1.0, None)


def test_what_is_there_already_is_not_to_come() -> None:
    assert trend((0.0, 100), (10.0, 0)).seconds_to(0) is None
    assert trend((0.0, 100), (10.0, 0)).seconds_until(0) is None
    assert trend((0.0, 0), (10.0, 120)).seconds_to(100) is None


def test_what_stands_still_goes_nowhere() -> None:
    assert trend((0.0, 100), (5.0, 100)).seconds_to(0) is None


def test_what_was_longer_ago_does_not_count() -> None:
    assert trend((0.0, 0), (10.0, 1000), (20.0, 1000)).per_second == 0.0
    assert trend((0.0, 0), (60.0, 1000)).per_second == 0.0


def test_the_rate_is_that_since_growing_has_ended() -> None:
    outage = [(float(second), 1000 * second) for second in range(0, 9, 2)]
    drain = [(10.0, 6000), (12.0, 4000)]
    assert trend(*outage, *drain[:1]).seconds_to(0) == 6.0
    assert trend(*outage, *drain).seconds_to(0) == 4.0


def test_the_rate_is_that_since_shrinking_has_ended() -> None:
    assert trend((0.0, 9000), (2.0, 1000), (4.0, 2000)).seconds_to(3000) == 2.0


def test_equal_samples_are_no_turn() -> None:
    """Slow ones leave between some samples and not between others."""
    slow = trend((0.0, 10), (2.0, 9), (4.0, 9), (6.0, 8), (8.0, 8))
    assert slow.per_second == -0.25


def test_the_interval_with_the_turn_counts_only_until_there_is_another() -> None:
    outage = [(0.0, 5000), (2.0, 5000)]
    late = [(4.0, 4900), (6.0, 3900)]
    assert trend(*outage, *late[:1]).per_second == -50.0
    assert trend(*outage, *late).per_second == -500.0


def test_it_moves_while_the_last_samples_differ() -> None:
    assert not trend().is_moving
    assert not trend((0.0, 1)).is_moving
    assert trend((0.0, 1), (2.0, 2)).is_moving
    assert not trend((0.0, 1), (2.0, 2), (4.0, 2)).is_moving
