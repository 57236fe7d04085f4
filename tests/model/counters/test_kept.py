from __future__ import annotations

import json

import pytest

from relay.model.counters.kept import KeptCounters, decode_counts
from relay.model.counters.source import SourceCounters
from relay.model.origin import Origin, Transport

ORIGIN = Origin("in", Transport.TCP, "192.0.2.9", 7)


def counted() -> KeptCounters:
    """Six messages came, of which one was dropped and one waits."""
    counters = SourceCounters(connections_open=3)
    kept = KeptCounters("in", counters)
    kept.begin(b"", 1000.0)
    counters.received_records, counters.received_bytes = 6, 60
    counters.dropped["empty"] = 1
    counters.peers.of(ORIGIN).severities[3] = 6
    return kept


def committed(kept: KeptCounters, stored: int, aside: int) -> bytes:
    value = kept.encode(stored, aside)
    kept.committed(stored, aside)
    return value


def restarted(value: bytes) -> KeptCounters:
    kept = KeptCounters("in", SourceCounters())
    kept.begin(value, 2000.0)
    return kept


def test_what_a_transaction_stores_is_counted_in_it_and_after_it() -> None:
    kept = counted()
    counts = decode_counts(committed(kept, 3, 1))
    assert counts is not None
    assert (counts.numbers["stored_records"], counts.numbers["quarantined_records"]) == (3, 1)
    counts = decode_counts(committed(kept, 2, 0))
    assert counts is not None and counts.numbers["stored_records"] == 5


def test_a_transaction_that_fails_has_counted_nothing() -> None:
    kept = counted()
    kept.encode(3, 1)
    counts = decode_counts(kept.encode(1, 0))
    assert counts is not None
    assert (counts.numbers["stored_records"], counts.numbers["quarantined_records"]) == (1, 0)


def test_the_next_process_goes_on() -> None:
    kept = counted()
    kept.refresh()
    again = restarted(committed(kept, 4, 0))
    counters = again.counters
    assert (counters.received_records, counters.received_bytes) == (6, 60)
    assert (counters.stored_records, counters.dropped) == (4, {"empty": 1})
    assert (counters.since, counters.connections_open) == (1000.0, 0)
    counters.peers.of(ORIGIN).severities[3] = 2
    assert counters.severities()[3] == 8
    counts = decode_counts(committed(again, 1, 0))
    assert counts is not None and counts.numbers["stored_records"] == 5


@pytest.mark.parametrize("value", [b"", b"{", b'{"since": "x"}', b"[]", b"\xff"])
def test_what_cannot_be_read_begins_anew(value: bytes) -> None:
    counters = restarted(value).counters
    assert (counters.since, counters.received_records) == (2000.0, 0)


def test_names_that_this_version_does_not_know_are_left_out() -> None:
    kept = json.loads(committed(counted(), 4, 0))
    kept["numbers"] |= {"connections_open": 9, "novel": 1}
    kept["by_name"]["others"] = {"x": 1}
    kept["severities"] = [1]
    counters = restarted(json.dumps(kept).encode()).counters
    assert (counters.received_records, counters.connections_open) == (6, 0)
    assert counters.severities() == [0] * 8


def test_only_what_the_disk_does_not_know_has_changed() -> None:
    kept = counted()
    assert kept.has_changed
    committed(kept, 0, 0)
    assert not kept.has_changed
    kept.counters.connections_open += 1
    assert not kept.has_changed
    kept.counters.requests_refused["body"] += 1
    assert kept.has_changed
    committed(kept, 0, 0)
    kept.counters.peers.of(ORIGIN).severities[1] += 1
    assert not kept.has_changed
    kept.refresh()
    assert kept.has_changed


def test_a_question_meanwhile_does_not_change_what_is_committed() -> None:
    kept = counted()
    value = kept.encode(3, 0)
    assert kept.has_changed and kept.shown(live=True)
    kept.committed(3, 0)
    assert restarted(value).counters.stored_records == 3
    assert kept.shown(live=False)["stored_records"] == 3


def test_prometheus_sees_what_is_on_disk_and_never_less() -> None:
    kept = counted()
    committed(kept, 3, 0)
    kept.counters.received_records += 5
    kept.counters.dropped["kernel-buffer"] += 5
    shown = kept.shown(live=False)
    assert (shown["received_records"], shown["dropped_records"]) == (6, {"empty": 1})
    shown = kept.shown(live=True)  # nothing can be stored
    assert shown["received_records"] == 11
    assert shown["dropped_records"] == {"empty": 1, "kernel-buffer": 5}
    assert kept.shown(live=False) == shown
