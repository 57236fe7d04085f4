from __future__ import annotations

import pytest

from relay.model.counters import SourceCounters
from relay.transport.oversize import OversizePolicy

FRAMES = [b"a", b"bbbb", b"c"]


@pytest.fixture
def counters() -> SourceCounters:
    return SourceCounters()


def policy(name: str, counters: SourceCounters) -> OversizePolicy:
    return OversizePolicy(name, frame_bytes_max=4, counters=counters)


def counts(counters: SourceCounters) -> tuple[int, int, int]:
    return (counters.truncated_records, counters.split_records, counters.dropped["too-long"])


@pytest.mark.parametrize(
    ("name", "words", "kind", "expected"),
    [
        ("truncate", "cut there", "truncated", (1, 0, 0)),
        ("quarantine", "set aside", "too-long", (0, 0, 0)),
    ],
)
def test_what_was_cut_goes_on(
    counters: SourceCounters, name: str, words: str, kind: str, expected: tuple[int, int, int]
) -> None:
    settled = policy(name, counters).settle(FRAMES, {1: 9}, {})
    assert settled[:4] == (FRAMES, {1: 9}, {}, kind)
    assert settled.text == f"1 longer than frame_bytes_max (4 B): {words}"
    assert counts(counters) == expected
    assert counters.received_records == 0  # the intake counts them


def test_what_is_dropped_is_received_and_counted_here(counters: SourceCounters) -> None:
    settled = policy("drop", counters).settle(FRAMES, {1: 9}, {})
    assert settled[:4] == ([b"a", b"c"], {}, {}, "too-long")
    assert settled.text.endswith(": dropped")
    assert counts(counters) == (0, 0, 1)
    assert (counters.received_records, counters.received_bytes) == (1, 4)


def test_a_split_message_counts_once_with_its_first_piece(counters: SourceCounters) -> None:
    splitting = policy("split", counters)
    assert splitting.splits
    settled = splitting.settle(FRAMES, {}, {1: 1, 2: 2})
    assert settled[:4] == (FRAMES, {}, {1: 1, 2: 2}, "too-long")
    assert settled.text.endswith(": split")
    settled = splitting.settle([b"dddd"], {}, {0: 3})
    assert settled == ([b"dddd"], {}, {0: 3}, "", "")
    assert counts(counters) == (0, 1, 0)


def test_what_cannot_even_be_split_whole_counts_as_cut(counters: SourceCounters) -> None:
    settled = policy("split", counters).settle(FRAMES, {2: 99}, {1: 1, 2: 2})
    assert (settled.cut, settled.pieces) == ({2: 99}, {1: 1, 2: 2})
    assert counts(counters) == (1, 1, 0)
