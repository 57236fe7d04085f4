from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.model.counters.samples import SAMPLE_BYTES_MAX, SAMPLES_MAX, Sample, Samples


def test_the_last_of_each_reason_are_kept() -> None:
    samples = Samples()
    for number in range(15):
        samples.note("late", [b"a%d" % number, b"b%d" % number], peer="192.0.2.1", at=number)
    samples.note("empty", [b""], peer="", at=99.0)
    kept = dict(samples)
    assert [each.start for each in kept["late"]][-2:] == [b"a14", b"b14"]
    assert len(kept["late"]) == SAMPLES_MAX
    assert list(kept["empty"]) == [Sample(99.0, "", b"", 0)]


def test_long_ones_are_cut() -> None:
    samples = Samples()
    samples.note("long", [b"x" * 10_000], peer="p" * 1000, at=0.0)
    ((sample,),) = dict(samples).values()
    assert (len(sample.start), sample.size, len(sample.peer)) == (SAMPLE_BYTES_MAX, 10_000, 256)


@given(st.lists(st.tuples(st.integers(0, 99), st.lists(st.binary(max_size=2000), max_size=60))))
def test_what_is_kept_is_bounded(noted: list[tuple[int, list[bytes]]]) -> None:
    samples = Samples()
    for reason, frames in noted:
        samples.note(str(reason), frames, peer="", at=0.0)
    kept = dict(samples)
    assert len(kept) <= 32
    assert all(len(each) <= SAMPLES_MAX for each in kept.values())
    assert all(len(one.start) <= SAMPLE_BYTES_MAX for each in kept.values() for one in each)
