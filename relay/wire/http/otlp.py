"""Logs of OpenTelemetry over HTTP: ``POST /v1/logs``, in JSON or Protocol Buffers.

Attributes of a record keep their names as pairs; those of its resource and scope get ``resource.``
and ``scope.`` in front.  `host.name`, `service.name` and `process.pid` of the resource are the
host, the program and its pid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from relay.model.text import printable
from relay.wire.http.content import EVENTS_MAX, ContentError, check_nodes
from relay.wire.http.endpoints import PROTOBUF, Call, Endpoint, Taken
from relay.wire.http.events import SEVERITIES, Event, Frames, json_text, stamp_of_epoch, utf8
from relay.wire.http.protobuf import MessageReader, Schema, write_fields

PATH = "/v1/logs"

_SCHEMA: Schema = {
    "request": {1: ("resourceLogs", "resource_logs*")},
    "resource_logs": {1: ("resource", "resource"), 2: ("scopeLogs", "scope_logs*")},
    "resource": {1: ("attributes", "pair*")},
    "scope_logs": {1: ("scope", "scope"), 2: ("logRecords", "record*")},
    "scope": {1: ("name", "text"), 2: ("version", "text"), 3: ("attributes", "pair*")},
    "record": {
        1: ("timeUnixNano", "unsigned"),
        2: ("severityNumber", "int"),
        3: ("severityText", "text"),
        5: ("body", "value"),
        6: ("attributes", "pair*"),
        8: ("flags", "unsigned"),
        9: ("traceId", "hex"),
        10: ("spanId", "hex"),
        11: ("observedTimeUnixNano", "unsigned"),
        12: ("eventName", "text"),
    },
    "pair": {1: ("key", "text"), 2: ("value", "value")},
    "value": {
        1: ("stringValue", "text"),
        2: ("boolValue", "bool"),
        3: ("intValue", "int"),
        4: ("doubleValue", "double"),
        5: ("arrayValue", "list"),
        6: ("kvlistValue", "pairs"),
        7: ("bytesValue", "base64"),
    },
    "list": {1: ("values", "value*")},
    "pairs": {1: ("values", "pair*")},
}
_RECORD_PAIRS = {
    "traceId": "trace_id",
    "spanId": "span_id",
    "eventName": "event_name",
    "flags": "flags",
}
# The highest number of each severity, trace to fatal; a fatal error of a program is no emergency.
_SEVERITY_NUMBERS = ((8, 7), (12, 6), (16, 4), (20, 3), (24, 2))
_DEPTH_MAX = 32  # of values; an envelope holds 64
_INTEGER = re.compile("-?[0-9]{1,20}", re.ASCII)
_encode = msgspec.json.Encoder().encode


def _logs(body: bytes, call: Call) -> Taken:
    frames, rejected = Frames(call.frame_bytes_max), 0
    for resource_logs in _objects(_request(body, call), "resourceLogs"):
        resource = dict(_pairs(_dict(resource_logs.get("resource")).get("attributes")))
        for scope_logs in _objects(resource_logs, "scopeLogs"):
            scope = _scope_pairs(_dict(scope_logs.get("scope")))
            records = scope_logs.get("logRecords")
            for record in records if isinstance(records, list) else ():
                if isinstance(record, dict):
                    frames.add(_event(record, resource, scope))
                else:
                    rejected += 1
    return Taken(frames, _success(rejected, call), refused=rejected)


def _request(body: bytes, call: Call) -> dict[str, object]:
    try:
        if call.content_type == PROTOBUF:
            return MessageReader(_SCHEMA, messages_max=2 * EVENTS_MAX).read(body, "request")
        check_nodes(body)
        request = msgspec.json.decode(utf8(body))
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ContentError(400, f"the body is no OTLP: {printable(str(error))}") from None
    if not isinstance(request, dict):
        raise ContentError(400, "the body is no OTLP: expected an object with resourceLogs")
    return request


def _event(
    record: dict[str, object], resource: dict[str, object], scope: dict[str, object]
) -> Event:
    body = _plain(record.get("body"))
    text = str(record.get("severityText") or "")
    pairs = {f"resource.{name}": value for name, value in resource.items()}
    pairs |= scope
    pairs |= dict(_pairs(record.get("attributes")))
    pairs |= {name: record[key] for key, name in _RECORD_PAIRS.items() if record.get(key)}
    severity = SEVERITIES.get(text.lower().encode(errors="replace"))
    number = _integer(record.get("severityNumber"))
    if severity is None:
        if text:
            pairs["severity_text"] = text
        if number > 0:
            severity = next((each for upto, each in _SEVERITY_NUMBERS if number <= upto), None)
    at = _integer(record.get("timeUnixNano")) or _integer(record.get("observedTimeUnixNano"))
    return Event(
        message=_text(body) if body is not None else _text(record.get("eventName") or ""),
        stamp=stamp_of_epoch(at) if at else None,
        host=_text(resource.get("host.name") or "") or None,
        program=_text(resource.get("service.name") or "") or None,
        pid=_text(resource.get("process.pid") or "") or None,
        severity=severity,
        pairs={name: _encode(value) for name, value in pairs.items()},
    )


def _scope_pairs(scope: dict[str, object]) -> dict[str, object]:
    pairs = {f"scope.{name}": scope[name] for name in ("name", "version") if scope.get(name)}
    return pairs | {f"scope.{name}": value for name, value in _pairs(scope.get("attributes"))}


def _pairs(attributes: object, depth: int = _DEPTH_MAX) -> Iterator[tuple[str, object]]:
    for pair in _dicts(attributes):
        yield str(pair.get("key") or ""), _plain(pair.get("value"), depth)


def _plain(value: object, depth: int = _DEPTH_MAX) -> object:
    """The plain JSON of an AnyValue; None where there is none, or it is nested too deep."""
    if not isinstance(value, dict) or depth == 0:
        return None
    for kind, content in value.items():
        if kind == "arrayValue":
            items = _dict(content).get("values")
            return [_plain(item, depth - 1) for item in (items if isinstance(items, list) else ())]
        if kind == "kvlistValue":
            return dict(_pairs(_dict(content).get("values"), depth - 1))
        if kind == "intValue":
            return _integer(content)
        if kind in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
            return content
    return None


def _text(value: object) -> bytes:
    return value.encode(errors="replace") if isinstance(value, str) else _encode(value)


def _integer(value: object) -> int:
    """JSON writes 64 bits as text; 0 = there is none."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    return value if isinstance(value, int) and -(2**63) <= value < 2**64 else 0


def _objects(value: dict[str, object], name: str) -> list[dict[str, object]]:
    items = value.get(name) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ContentError(400, f"the body is no OTLP: {name} is no array of objects")
    return items


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> Iterator[dict[str, object]]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item


def _success(rejected: int, call: Call) -> bytes:
    reason = f"{rejected} of the records are no objects" if rejected else ""
    if call.content_type == PROTOBUF:
        partial = write_fields((1, rejected), (2, reason.encode()))
        return write_fields((1, partial)) if rejected else b""
    if not rejected:
        return b"{}"
    return b'{"partialSuccess":{"rejectedLogRecords":"%d","errorMessage":%b}}' % (
        *(rejected, json_text(reason.encode())),
    )


def _refusal(status: int, reason: str, call: Call) -> bytes:
    """A google.rpc.Status; the status of HTTP says what to do."""
    if call.content_type == PROTOBUF:
        return write_fields((2, reason.encode()))
    return b'{"message":%b}' % json_text(reason.encode())


LOGS = Endpoint("otlp", _logs, _refusal, content_type="")
