"""What is new of the records that have come."""

from __future__ import annotations

from relay.flow.exactly_once.reading import ReadLineages
from relay.model.counters.source import SourceCounters
from relay.transport.nats.consumer import Place
from relay.transport.nats.fetched import Fetched
from relay.transport.nats.sieve import Sieve
from relay.transport.reception import OversizePolicy
from relay.wire.record_number import RecordNumber, format_record_number
from tests.connections import RecordingNotices, open_reception

LINEAGE = "11111111-2222-4333-8444-555555555555"


class Bench:
    def __init__(self) -> None:
        self.counters = SourceCounters()
        self.notices = RecordingNotices()
        self.sieve = Sieve(
            open_reception(None, self.counters, self.notices),
            lineages=ReadLineages("in", load=dict, now=lambda: 0.0),
            oversize=OversizePolicy("truncate", frame_bytes_max=10, counters=self.counters),
        )


def come(*numbers: tuple[int, int] | None, records: list[bytes] | None = None) -> Fetched:
    found = Fetched(Place(1, ""), 1)
    found.records = records or [b"%d" % index for index, _ in enumerate(numbers)]
    found.numbers = [
        None if each is None else format_record_number(RecordNumber(LINEAGE, *each))
        for each in numbers
    ]
    return found


def test_records_that_were_read_are_dropped_and_counted() -> None:
    bench = Bench()
    assert bench.sieve.sift(come((1, 0), (2, 1))).frames == [b"0", b"1"]
    new = bench.sieve.sift(come((2, 0), (3, 2), None))
    assert new.frames == [b"1", b"2"]
    assert bench.counters.duplicate_records == 1
    assert [name for name in new.positions if LINEAGE in name]


def test_records_behind_a_missing_one_are_held_back_and_told() -> None:
    bench = Bench()
    bench.sieve.sift(come((1, 0)))
    assert bench.sieve.sift(come((5, 4))).frames == []
    assert bench.sieve.held_back == 1
    assert bench.notices.kinds == ["held-back"]


def test_what_cannot_be_read_is_told() -> None:
    bench = Bench()
    broken = come(None)
    broken.numbers = [b"junk"]
    broken.dropped = 2
    assert bench.sieve.sift(broken).frames == [b"0"]
    assert bench.counters.dropped["malformed-pack"] == 2
    assert bench.notices.kinds == ["pack", "number"]


def test_long_records_are_cut() -> None:
    bench = Bench()
    new = bench.sieve.sift(come(None, records=[b"x" * 20]))
    assert (new.frames, new.cut) == ([b"x" * 10], {0: 20})


def test_after_a_gap_whatever_comes_is_taken() -> None:
    bench = Bench()
    bench.sieve.sift(come((1, 0)))
    bench.sieve.forget("gone", 7)
    assert bench.sieve.sift(come((9, 8))).frames == [b"0"]
    assert bench.counters.missing_records == 7
    assert bench.notices.kinds == ["gap"]
