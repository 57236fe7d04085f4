from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from relay.wire.http.content import ContentError
from relay.wire.http.endpoints import JSON, PROTOBUF, Call
from relay.wire.http.otlp import LOGS
from relay.wire.parse import parse

AS_JSON, AS_PROTOBUF = Call("/v1/logs", {}, JSON), Call("/v1/logs", {}, PROTOBUF)
NANOSECONDS = 1767323045_123456789


def request() -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    logs = made.resource_logs.add()
    for key, value in (("host.name", "web1"), ("service.name", "shop")):
        logs.resource.attributes.add(key=key).value.string_value = value
    scope_logs = logs.scope_logs.add()
    scope_logs.scope.name = "lib"
    record = scope_logs.log_records.add(
        time_unix_nano=NANOSECONDS,
        severity_number=17,  # type: ignore[arg-type]
        severity_text="Failure",
        trace_id=b"\x01" * 16,
        flags=1,
    )
    record.body.string_value = "hello"
    record.attributes.add(key="count").value.int_value = -5
    record.attributes.add(key="ratio").value.double_value = 0.5
    nested = record.attributes.add(key="user").value.kvlist_value
    nested.values.add(key="id").value.string_value = "7"
    nested.values.add(key="tags").value.array_value.values.add().bool_value = True
    other = scope_logs.log_records.add(observed_time_unix_nano=NANOSECONDS, severity_number=9)  # type: ignore[arg-type]
    other.body.kvlist_value.values.add(key="a").value.bytes_value = b"x"
    return made


def as_json(made: ExportLogsServiceRequest) -> bytes:
    """OTLP's JSON: enumerations are numbers, ids are hexadecimal."""
    document = MessageToDict(made, use_integers_for_enums=True)
    document["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["traceId"] = "01" * 16
    return json.dumps(document).encode()


@pytest.mark.parametrize("call", [AS_JSON, AS_PROTOBUF], ids=["json", "protobuf"])
def test_both_encodings_say_the_same(call: Call) -> None:
    made = request()
    body = made.SerializeToString() if call is AS_PROTOBUF else as_json(made)
    first, second = (parse(frame) for frame in LOGS.read(body, call).frames.frames)
    assert (first.msg, first.hostname, first.app_name) == (b"hello", b"web1", b"shop")
    assert (first.severity, first.timestamp) == (3, b"2026-01-02T03:04:05.123456789Z")
    assert first.pairs == {
        "resource.host.name": b"web1",
        "resource.service.name": b"shop",
        "scope.name": b"lib",
        "severity_text": b"Failure",
        "trace_id": b"01" * 16,
        "flags": b"1",
        "count": b"-5",
        "ratio": b"0.5",
        "user.id": b"7",
        "user.tags": b"[true]",
    }
    assert (second.msg, second.severity) == (b'{"a":"eA=="}', 6)


@pytest.mark.parametrize(("text", "severity"), [("WARN", 4), ("notice", 5), ("", 2)])
def test_severities_by_text_or_else_by_number(text: str, severity: int) -> None:
    record = {"severityText": text, "severityNumber": 21, "body": {"stringValue": "m"}}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
    (frame,) = LOGS.read(body, AS_JSON).frames.frames
    assert parse(frame).severity == severity


def test_records_that_are_none_are_rejected_one_by_one() -> None:
    body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[1,{"body":{"stringValue":"m"}}]}]}]}'
    taken = LOGS.read(body, AS_JSON)
    assert (len(taken.frames.frames), taken.refused) == (1, 1)
    partial = json.loads(taken.answer)["partialSuccess"]
    assert partial["rejectedLogRecords"] == "1"


def test_answers_in_protobuf() -> None:
    taken = LOGS.read(request().SerializeToString(), AS_PROTOBUF)
    assert ExportLogsServiceResponse.FromString(taken.answer) == ExportLogsServiceResponse()
    assert LOGS.refusal(429, "busy", AS_PROTOBUF) == b"\x12\x04busy"
    assert json.loads(LOGS.refusal(429, "busy", AS_JSON)) == {"message": "busy"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nonsense", b'{"resourceLogs":1}', b'{"resourceLogs":[1]}', b"[" * 10**5]
)
def test_what_is_no_otlp_is_refused_whole(body: bytes) -> None:
    with pytest.raises(ContentError) as caught:
        LOGS.read(body, AS_JSON)
    assert caught.value.status == 400


values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["stringValue", "intValue", "arrayValue", "kvlistValue", "values", "key", "value"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["timeUnixNano", "severityNumber", "severityText", "body", "attributes", "flags"]
        ),
        values,
    )
)
def test_any_record_is_taken(record: dict[str, Any]) -> None:
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
    try:
        taken = LOGS.read(body, AS_JSON)
    except ContentError:
        return  # NaN and Infinity
    assert [parse(frame).tags for frame in taken.frames.frames] == [()]
