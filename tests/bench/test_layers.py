from __future__ import annotations

from itertools import product

import pytest

from tests.bench import layers, traffic
from tests.bench.layers import BATCHES, KINDS, LAYERS, Corpus, Row, measure, table
from tests.bench.traffic import messages


def test_each_layer_takes_each_kind_in_batches_of_each_size() -> None:
    rows = measure(KINDS, (1, 8), count=20, rounds=1)
    assert {(row.layer, row.kind) for row in rows} == set(product(LAYERS, KINDS))
    assert all(len(row.microseconds) == 2 for row in rows)


def test_batches_have_the_size_asked_for() -> None:
    seen: list[int] = []
    layer = layers.of_frames(lambda part: seen.append(len(part)))
    layer(Corpus(messages("mixed", 20)), 8).call()
    assert seen == [8, 8, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_no_round_of_any_size_has_a_message_of_another(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    seen: list[bytes] = []
    layer = layers.of_frames(seen.extend)
    monkeypatch.setitem(LAYERS, "parse", layer)
    measure([kind], (1, 8), count=50, rounds=3, names=["parse"])
    assert len(seen) == 2 * 3 * 50
    # Some of the texts say nothing that differs.
    assert len(set(seen)) > 0.98 * len(seen)
    if kind in traffic.KINDS:
        assert seen == messages(kind, len(seen))


def test_the_kinds_and_sizes_are_those_of_the_field() -> None:
    assert set(KINDS) >= {"uniform", "host3164", "central5424", "json5424", "devices", "mixed"}
    assert BATCHES == (1, 8, 128, 1000)


def test_the_costliest_row_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {"parse": [2.0, 0.1], "rewrite cee": [1.0, 9.0], "decode lines": [3.0, 3.0]}
    taken = iter([cost for pair in costs.values() for cost in pair])
    monkeypatch.setattr(layers, "seconds", lambda layer, rounds, size: next(taken) * 10 / 1e6)
    rows = measure(["mixed"], (1, 1000), count=10, rounds=1, names=list(costs))
    assert [row.layer for row in rows] == ["rewrite cee", "decode lines", "parse"]
    assert rows[0].microseconds == pytest.approx([1.0, 9.0])


def test_the_table_has_a_column_for_each_size() -> None:
    head, row = table([Row("parse", "mixed", [1.5, 0.25])], (1, 1000)).splitlines()
    assert head.split()[-4:] == ["by", "1", "by", "1,000"]
    assert row.split() == ["parse", "mixed", "1.500", "0.250"]
