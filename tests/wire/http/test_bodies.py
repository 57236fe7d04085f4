from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.http.bodies import Record, array, as_object, bulk, loki, ndjson, splunk_hec

NOW = 1_800_000_000.0
DOCUMENT = b'{"@timestamp":"2026-01-02T03:04:05.678901+01:00","message":"one"}'
STAMPED_MICROSECONDS = 1_767_319_445_678_901
ANY = st.lists(
    st.builds(Record, st.binary(max_size=60), st.sampled_from(["", "e-1"])), min_size=1, max_size=5
)


def test_bulk_names_each_document_by_its_id_and_index() -> None:
    records = [Record(DOCUMENT, "e-1"), Record(b"<13>two", "e-2", b'we"b'), Record(b"{}")]
    assert bulk("logs", "create")(records, NOW) == (
        b'{"create":{"_index":"logs","_id":"e-1"}}\n' + DOCUMENT + b"\n"
        b'{"create":{"_index":"we\\"b","_id":"e-2"}}\n{"message":"<13>two"}\n'
        b'{"create":{"_index":"logs"}}\n{}\n'
    )
    assert bulk("", "index")([Record(b"{}")], NOW) == b'{"index":{}}\n{}\n'


def test_lists_of_objects() -> None:
    records = [Record(DOCUMENT), Record(b"two")]
    assert ndjson(records, NOW) == DOCUMENT + b'\n{"message":"two"}\n'
    assert array(records, NOW) == b"[" + DOCUMENT + b',{"message":"two"}]'


def test_splunk_gets_the_time_where_it_is_known() -> None:
    body = splunk_hec([Record(DOCUMENT), Record(b'two "q"')], NOW)
    assert body == (
        b'{"time":1767319445.678901,"event":' + DOCUMENT + b'}\n{"event":"two \\"q\\""}'
    )


def test_loki_gets_a_stream_with_stamps_in_nanoseconds() -> None:
    found = json.loads(loki({"job": "relay"})([Record(DOCUMENT), Record(b"two")], NOW))
    (stream,) = found["streams"]
    assert stream["stream"] == {"job": "relay"}
    assert stream["values"] == [
        [f"{STAMPED_MICROSECONDS}000", DOCUMENT.decode()],
        ["1800000000000000000", "two"],
    ]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[1]",
        b"{",
        b'{"a":1}x',
        b'{"a":"\xff"}',
        b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'@cee: {"a":1}',
    ],
)
def test_what_is_no_object_becomes_the_message_of_one(payload: bytes) -> None:
    assert json.loads(as_object(payload)) == {"message": payload.decode(errors="backslashreplace")}


def test_an_object_is_sent_as_it_is_on_one_line() -> None:
    assert as_object(b' {"a":1e400,\n"a":2}\r') == b' {"a":1e400, "a":2} '


@given(records=ANY)
def test_no_record_breaks_out_of_its_place(records: list[Record]) -> None:
    lines = bulk("logs", "index")(records, NOW).split(b"\n")
    assert lines.pop() == b"" and len(lines) == 2 * len(records)
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert len(json.loads(array(records, NOW))) == len(records)
    assert len(splunk_hec(records, NOW).split(b"\n")) == len(records)
    (stream,) = json.loads(loki({"a": "b"})(records, NOW))["streams"]
    assert len(stream["values"]) == len(records)


@pytest.mark.parametrize("stamp", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "x"])
def test_a_stamp_at_the_end_of_time_does_no_harm(stamp: str) -> None:
    records = [Record(json.dumps({"@timestamp": stamp}).encode())]
    assert json.loads(splunk_hec(records, NOW)) and json.loads(loki({"a": "b"})(records, NOW))
