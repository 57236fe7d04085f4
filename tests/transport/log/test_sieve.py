"""Which records of a log are taken."""

from __future__ import annotations

from collections.abc import Sequence

from relay.flow.exactly_once.reading import ReadLineages
from relay.model.counters.source import SourceCounters
from relay.model.origin import Origin, Received, Transport
from relay.transport.log.sieve import Sieve
from relay.transport.reception import OversizePolicy
from relay.wire.record_number import RecordNumber, format_record_number
from tests.connections import RecordingNotices, open_reception

LINEAGE = "11111111-2222-4333-8444-555555555555"
ORIGIN = Origin("in", Transport.TCP, "k1", 9092)


class Bench:
    def __init__(self) -> None:
        self.counters = SourceCounters()
        self.notices = RecordingNotices()
        self.positions: dict[str, bytes] = {}
        self.sieve = Sieve(
            open_reception(None, self.counters, self.notices),
            origin=ORIGIN,
            lineages=ReadLineages("in", load=dict, now=lambda: 0.0),
            oversize=OversizePolicy("truncate", frame_bytes_max=10, counters=self.counters),
        )

    def sift(
        self,
        *numbers: tuple[int, int] | bytes | None,
        frames: Sequence[bytes] = (),
        where: str = "",
    ) -> Received | None:
        received, self.positions = self.sieve.sift(
            frames or [b"%d" % index for index, _ in enumerate(numbers)],
            [
                format_record_number(RecordNumber(LINEAGE, *each))
                if isinstance(each, tuple)
                else each
                for each in numbers
            ],
            where=where,
        )
        return received


def test_records_that_were_read_are_dropped_and_counted() -> None:
    bench = Bench()
    assert bench.sift((1, 0), (2, 1)) == Received([b"0", b"1"], ORIGIN)
    assert bench.sift((2, 0), (3, 2), None) == Received([b"1", b"2"], ORIGIN)
    assert bench.counters.duplicate_records == 1
    assert [name for name in bench.positions if LINEAGE in name]
    assert bench.sift((2, 0)) is None
    assert bench.sift() is None


def test_records_behind_a_missing_one_are_held_back_and_told() -> None:
    bench = Bench()
    bench.sift((1, 0))
    assert bench.sift((5, 4), where="partition 7") is None
    assert bench.sieve.held_back == 1
    ((_, kind, text),) = bench.notices.said
    assert (kind, text[:29]) == ("held-back", "partition 7: 1 record held ba")


def test_a_number_that_cannot_be_read_is_told() -> None:
    bench = Bench()
    assert bench.sift(b"junk") == Received([b"0"], ORIGIN)
    assert bench.notices.kinds == ["malformed-number"]


def test_long_records_are_cut() -> None:
    bench = Bench()
    found = bench.sift(None, None, frames=[b"x" * 10, b"x" * 20])
    assert found == Received([b"x" * 10, b"x" * 10], ORIGIN, {1: 20})
    assert bench.notices.kinds == ["truncated"]


def test_after_a_gap_whatever_comes_is_taken() -> None:
    bench = Bench()
    bench.sift((1, 0))
    bench.sieve.forget()
    assert bench.sift((9, 8)) == Received([b"0"], ORIGIN)


def test_after_a_rewind_records_come_again() -> None:
    bench = Bench()
    bench.sift((1, 0))
    bench.sieve.rewind()
    assert bench.sift((1, 0)) == Received([b"0"], ORIGIN)
