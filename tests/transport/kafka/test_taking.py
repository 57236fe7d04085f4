"""Parts of the choice of records; the whole is tested with the reader in `test_reader.py`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.flow.exactly_once.reading import ReadLineages
from relay.model.counters.source import SourceCounters
from relay.model.origin import Origin, Transport
from relay.transport.kafka.fetched import Fetched
from relay.transport.kafka.taking import Taking, offsets_of
from relay.transport.log.sieve import Sieve
from relay.transport.reception import OversizePolicy
from tests.connections import RecordingIntake, RecordingNotices, open_reception


def test_positions_of_another_topic_say_nothing() -> None:
    positions = {
        "offset/0": b"5 logs",
        "offset/1": b"7 other",
        "offset/x": b"7 logs",
        "offset/2": b"",
        "have/0/x": b"1 logs",
    }
    assert offsets_of(positions, "logs") == {0: 5}


@given(st.dictionaries(st.integers(0, 9), st.integers(0, 10**12)))
def test_stored_offsets_are_found_again(offsets: dict[int, int]) -> None:
    counters = SourceCounters()
    reception = open_reception(RecordingIntake(), counters, RecordingNotices())
    sieve = Sieve(
        reception,
        origin=Origin("in", Transport.TCP, "k1", 9092),
        lineages=ReadLineages("in", load=dict, now=lambda: 0.0),
        oversize=OversizePolicy("truncate", frame_bytes_max=10, counters=counters),
    )
    taking = Taking(reception, topic="logs.a-b", sieve=sieve)
    taken = taking.take([Fetched(at, offset, [b"a"], [None]) for at, offset in offsets.items()])
    on_disk = {name.removeprefix("in/"): value for name, value in taken.positions.items()}
    assert offsets_of(on_disk, "logs.a-b") == offsets == taken.offsets
    assert offsets_of(on_disk, "logs") == {}
