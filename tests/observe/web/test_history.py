from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.observe.web.history import (
    COUNTS,
    SAMPLE_SECONDS,
    SLOTS,
    History,
    Sample,
    thinned,
)

NOW = 1_800_000_000.0
DAY = SLOTS * SAMPLE_SECONDS


def sample(at: float, messages: int = 1, queued: int = 0) -> Sample:
    counts = [messages] + [0] * (len(COUNTS) - 1)
    return Sample(at, 10.0, counts, queued, 2 * queued)


def opened(path: Path, trouble: str = "") -> History:
    found = History.open(str(path))
    assert found.trouble == trouble
    return found.history


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.ring"


def found(history: History, now: float, seconds: float = DAY) -> list[tuple[float, int]]:
    return [(each.at, each.counts[0]) for each in history.samples(now, seconds)]


def test_samples_survive_a_restart(path: Path) -> None:
    history = opened(path)
    one = Sample(NOW, 9.5, tuple(range(len(COUNTS))), 5, 2**40)
    history.add(one)
    history.close()
    assert list(opened(path).samples(NOW, DAY)) == [one]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size < 1_000_000


def test_the_oldest_are_overwritten(path: Path) -> None:
    history = opened(path)
    for number in range(SLOTS + 100):
        history.add(sample(NOW + number * SAMPLE_SECONDS, number))
    now = NOW + (SLOTS + 99) * SAMPLE_SECONDS
    kept = found(history, now)
    assert len(kept) == SLOTS
    assert [count for _, count in kept] == list(range(100, SLOTS + 100))
    assert len(found(history, now, 600)) == 60
    assert path.stat().st_size == len(history._data)


def test_what_is_older_than_a_day_is_not_shown(path: Path) -> None:
    history = opened(path)
    history.add(sample(NOW))
    assert found(history, NOW + DAY - 20) == [(NOW, 1)]
    assert found(history, NOW + DAY + 20) == []
    assert found(history, NOW + 30 * DAY) == []


def test_a_clock_that_was_set_back_replaces_samples_and_hides_later_ones(path: Path) -> None:
    history = opened(path)
    for number in range(60):
        history.add(sample(NOW + number * 10, 1))
    history.add(sample(NOW + 100, 7))
    assert found(history, NOW + 100) == [(NOW + number * 10, 1) for number in range(10)] + [
        (NOW + 100, 7)
    ]


@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        (lambda data: b"nothing like it" * 9, "it is no history"),
        (lambda data: data[:20], "it is no history"),
        (lambda data: data[:15] + b"\xff" + data[16:], "its header is damaged"),
        (lambda data: data[:-5], "it has 829,467 bytes, expected 829,472"),
        (lambda data: data + b"x", "it has 829,473 bytes, expected 829,472"),
    ],
)
def test_a_damaged_file_is_begun_anew(path: Path, change: object, trouble: str) -> None:
    history = opened(path)
    history.add(sample(NOW))
    history.close()
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    history = opened(path, trouble)
    assert found(history, NOW) == []
    history.add(sample(NOW, 3))
    history.close()
    assert found(opened(path), NOW) == [(NOW, 3)]


def test_another_version_is_begun_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.observe.web.history.VERSION", 2)
    opened(path).close()
    monkeypatch.undo()
    opened(path, "it has version 2, this relay writes version 1").close()


def test_a_sample_that_was_torn_by_a_crash_is_left_out(path: Path) -> None:
    history = opened(path)
    for number in range(3):
        history.add(sample(NOW + 10 * number, number))
    history.close()
    data = bytearray(path.read_bytes())
    offset = 32 + int(NOW + 10) // 10 % SLOTS * 96
    data[offset + 14] ^= 1
    path.write_bytes(data)
    assert [count for _, count in found(opened(path), NOW + 20)] == [0, 2]


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    path.symlink_to(tmp_path / "other")
    with pytest.raises(OSError):
        History.open(str(path))
    assert (tmp_path / "other").read_bytes() == b"mine"


def test_a_removed_file_is_made_again_with_all_of_it(path: Path) -> None:
    history = opened(path)
    history.add(sample(NOW, 4))
    os.unlink(path)
    history.move(str(path))
    history.add(sample(NOW + 10, 5))
    history.close()
    assert found(opened(path), NOW + 10) == [(NOW, 4), (NOW + 10, 5)]


def test_counts_beyond_their_place_are_the_largest(path: Path) -> None:
    history = opened(path)
    history.add(sample(NOW, 2**40))
    assert found(history, NOW) == [(NOW, 2**32 - 1)]


@given(
    st.lists(st.tuples(st.integers(0, SLOTS - 1), st.integers(0, 1000)), max_size=300),
    st.integers(2, 60),
)
def test_thinning_keeps_sums_and_highest_values(
    numbers: list[tuple[int, int]], points_max: int
) -> None:
    by_slot = dict(numbers)
    samples = [sample(NOW + 10 * slot, by_slot[slot], by_slot[slot]) for slot in sorted(by_slot)]
    points = thinned(samples, points_max)
    assert len(points) <= max(points_max, 2)
    assert sum(point.counts[0] for point in points) == sum(by_slot.values())
    assert sum(point.seconds for point in points) == 10 * len(samples)
    highest = max(by_slot.values(), default=0)
    assert max((point.queued_records for point in points), default=0) == highest
    assert [point.at for point in points] == sorted(point.at for point in points)
