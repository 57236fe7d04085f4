from __future__ import annotations

from relay.queue.admission.watermark import Level, Watermark


def text(size: int) -> str:
    return f"{size} of something"


def test_a_level_opens_a_twentieth_below_where_it_closes() -> None:
    assert Level.at(1000) == Level(1000, 950)
    assert Level.at(7) == Level(7, 7)


def test_it_is_full_from_one_mark_on_until_it_falls_below_the_other() -> None:
    watermark = Watermark(Level(10, 6), describe=text)
    full = []
    for size in (9, 10, 9, 6, 5, 9, 11):
        watermark.set(size)
        full.append(watermark.full)
    assert full == [False, True, True, True, False, False, True]
    assert (watermark.size, watermark.text) == (11, "11 of something")


def test_the_reserve_is_full_later() -> None:
    watermark = Watermark(Level(10, 10), Level(20, 20), describe=text)
    found = []
    for size in (9, 10, 19, 20, 5):
        watermark.set(size)
        found.append((watermark.full, watermark.reserve_full))
    assert found == [(False, False), (True, False), (True, False), (True, True), (False, False)]


def test_without_a_reserve_both_are_full_at_once() -> None:
    watermark = Watermark(Level(10, 10), describe=text)
    watermark.set(10)
    assert watermark.full and watermark.reserve_full


def test_who_subscribed_hears_of_changes_only() -> None:
    watermark = Watermark(Level(10, 10), Level(20, 20), describe=text)
    heard: list[tuple[bool, bool]] = []
    watermark.subscribe(lambda: heard.append((watermark.full, watermark.reserve_full)))
    for size in (5, 10, 11, 20, 25, 3, 2):
        watermark.set(size)
    assert heard == [(True, False), (True, True), (False, False)]


def test_other_levels_hold_at_once() -> None:
    watermark = Watermark(Level(10, 10), describe=text)
    heard: list[bool] = []
    watermark.subscribe(hear := lambda: heard.append(watermark.full))
    watermark.set(15)
    watermark.move(Level(20, 20))
    watermark.move(Level(12, 8), Level(30, 30))
    assert (heard, watermark.reserve_full) == ([True, False, True], False)
    watermark.unsubscribe(hear)
    watermark.set(0)
    assert heard == [True, False, True]
