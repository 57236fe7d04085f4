from __future__ import annotations

from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from relay.transport.kafka.fetched import RECORD_OCTETS, Fetched, Remark, in_runs, lags
from tests.kafka_fakes import FakeMessage, error_message, record


def test_records_come_in_runs_of_one_partition() -> None:
    runs = in_runs([record(0, 7, b"a"), record(0, 9, b"b", b"n"), record(1, 3, b"c")])
    assert runs == [
        Fetched(0, 10, [b"a", b"b"], [None, b"n"]),  # offset 8 was compacted away
        Fetched(1, 4, [b"c"], [None]),
    ]


def test_a_value_is_one_frame_and_may_be_missing() -> None:
    (run,) = in_runs([record(0, 0, b"a\n"), record(0, 1, None), record(0, 2, b"a\nb\n\n")])
    assert isinstance(run, Fetched)
    assert run.frames == [b"a", b"", b"a\nb"]
    assert run.octets == 4 + 3 * RECORD_OCTETS


def test_other_headers_mean_nothing() -> None:
    message = FakeMessage(0, 0, b"a", [("host", b"web"), ("syslogrelay", None)])
    (run,) = in_runs([message])
    assert isinstance(run, Fetched)
    assert run.numbers == [None]


def test_a_remark_stands_where_it_came() -> None:
    end = error_message(KafkaError._PARTITION_EOF, 0, 1)
    runs = in_runs([record(0, 0, b"a"), end, record(0, 1, b"b")])
    assert [type(run) for run in runs] == [Fetched, Remark, Fetched]
    assert runs[1] == Remark(end.error(), 0, 1)


@given(st.lists(st.integers(0, 2), max_size=30))
def test_none_is_lost_and_none_changes_its_place(partitions: list[int]) -> None:
    messages = [record(at, offset, b"%d" % offset) for offset, at in enumerate(partitions)]
    runs = [run for run in in_runs(messages) if isinstance(run, Fetched)]
    flat = [(run.partition, frame) for run in runs for frame in run.frames]
    assert flat == [(at, b"%d" % offset) for offset, at in enumerate(partitions)]
    assert all(run.next_offset == int(run.frames[-1]) + 1 for run in runs)


def test_lags_are_known_where_the_end_is() -> None:
    assert lags({0: 5, 1: 5, 2: 9}, {0: 8, 2: 7}) == {0: 3, 2: 0}
