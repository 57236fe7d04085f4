from __future__ import annotations

import pytest

from tests.scale.figures import FIGURES, OCTETS, octets_of_a_record, receiver_seconds


def test_each_figure_says_where_it_is_from() -> None:
    assert len({one.name for one in FIGURES}) == len(FIGURES)
    for one in FIGURES:
        assert one.source.startswith(("measured", "assumed", "default", "limit")), one


def test_single_messages_cost_a_receiver_a_chunk_each() -> None:
    assert receiver_seconds(1) == pytest.approx(103.6e-6)
    assert receiver_seconds(10) == pytest.approx(13.6e-6)
    assert receiver_seconds(1e9) == pytest.approx(3.6e-6)


@pytest.mark.parametrize("compression", OCTETS)
def test_octets_fall_with_the_batch_and_are_those_measured(compression: str) -> None:
    for records, octets in OCTETS[compression].items():
        assert octets_of_a_record(compression, records) == pytest.approx(octets)
    found = [octets_of_a_record(compression, 1.3**step) for step in range(-1, 30)]
    assert found == sorted(found, reverse=True)
    assert octets_of_a_record(compression, 1e6) == OCTETS[compression][1000]
