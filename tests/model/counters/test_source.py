from __future__ import annotations

import pytest

from relay.model.counters.source import SourceCounters


def test_reasons_are_counted_for_each_source_alone() -> None:
    one, other = SourceCounters(), SourceCounters()
    one.dropped["empty"] += 2
    assert (one.dropped["empty"], other.dropped["empty"]) == (2, 0)
    assert sum(one.dropped.values()) == 2


def test_a_misspelt_counter_is_an_error() -> None:
    with pytest.raises(AttributeError):
        SourceCounters().recieved_records = 1  # type: ignore[attr-defined]
