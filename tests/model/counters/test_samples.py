from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.model.counters.samples import SAMPLE_BYTES_MAX, SAMPLES_MAX, Sample, Samples


def test_the_last_of_each_reason_are_kept() -> None:
    now = [5.0]
    samples = Samples(lambda: now[0])
    for number in range(15):
        samples.note("late", [b"a%d" % number, b"b%d" % number], peer="192.0.2.1")
    now[0] = 99.0
    samples.note("empty", [b""])
    kept = dict(samples)
    assert {each.at for each in kept["late"]} == {5.0}
    assert [each.start for each in kept["late"]][-2:] == [b"a14", b"b14"]
    assert len(kept["late"]) == SAMPLES_MAX
    assert list(kept["empty"]) == [Sample(99.0, "", b"", 0)]


def test_long_ones_are_cut() -> None:
    samples = Samples()
    samples.note("long", [b"x" * 10_000], peer="p" * 1000)
    ((sample,),) = dict(samples).values()
    assert (len(sample.start), sample.size, len(sample.peer)) == (SAMPLE_BYTES_MAX, 10_000, 256)


@given(st.lists(st.tuples(st.integers(0, 99), st.lists(st.binary(max_size=2000), max_size=60))))
def test_what_is_kept_is_bounded(noted: list[tuple[int, list[bytes]]]) -> None:
    samples = Samples()
    for reason, frames in noted:
        samples.note(str(reason), frames)
    kept = dict(samples)
    assert len(kept) <= 32
    assert all(len(each) <= SAMPLES_MAX for each in kept.values())
    assert all(len(one.start) <= SAMPLE_BYTES_MAX for each in kept.values() for one in each)
