from __future__ import annotations

from relay.queue.admission.watermark import Gauge, Level


def words(size: int) -> str:
    return f"{size} of something"


def test_a_level_opens_a_twentieth_below_where_it_closes() -> None:
    assert Level.at(1000) == Level(1000, 950)
    assert Level.at(7) == Level(7, 7)


def test_it_is_full_from_one_mark_on_until_it_falls_below_the_other() -> None:
    gauge = Gauge(Level(10, 6), words=words)
    full = []
    for size in (9, 10, 9, 6, 5, 9, 11):
        gauge.set(size)
        full.append(gauge.full)
    assert full == [False, True, True, True, False, False, True]
    assert (gauge.size, gauge.words) == (11, "11 of something")


def test_the_reserve_is_full_later() -> None:
    gauge = Gauge(Level(10, 10), Level(20, 20), words=words)
    found = []
    for size in (9, 10, 19, 20, 5):
        gauge.set(size)
        found.append((gauge.full, gauge.reserve_full))
    assert found == [(False, False), (True, False), (True, False), (True, True), (False, False)]


def test_without_a_reserve_both_are_full_at_once() -> None:
    gauge = Gauge(Level(10, 10), words=words)
    gauge.set(10)
    assert gauge.full and gauge.reserve_full


def test_who_subscribed_hears_of_changes_only() -> None:
    gauge = Gauge(Level(10, 10), Level(20, 20), words=words)
    heard: list[tuple[bool, bool]] = []
    gauge.subscribe(lambda: heard.append((gauge.full, gauge.reserve_full)))
    for size in (5, 10, 11, 20, 25, 3, 2):
        gauge.set(size)
    assert heard == [(True, False), (True, True), (False, False)]
