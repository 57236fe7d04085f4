"""Splunk's HTTP Event Collector.

    POST /services/collector[/event[/1.0]]   objects one after the other: {"event": …, "time": …}
    POST /services/collector/raw[/1.0]       lines of text
    GET  /services/collector/health[/1.0]    whether it takes events now

Members of the envelope (time, host, source, sourcetype, index, fields) hold for the event in it.
Indexer acknowledgement is not offered: an answer means stored in any case.
"""

from __future__ import annotations

from datetime import UTC

from relay.wire.headers.timestamp import to_datetime
from relay.wire.http.content import ContentError, lines_of
from relay.wire.http.endpoints import Call, Endpoint, Taken, values_of
from relay.wire.http.events import (
    Event,
    Frames,
    Members,
    event_of,
    json_text,
    object_of,
    plain_text,
    stamp_of,
    utf8,
)

_SUCCESS = b'{"text":"Success","code":0}'
_HEALTHY = b'{"text":"HEC is healthy","code":17}'
_METADATA = ("source", "sourcetype", "index")

# Splunk's texts and codes by status; what a client logs.
_CODES = {
    400: ("Invalid data format", 6),
    401: ("Token is required", 2),
    403: ("Invalid token", 4),
    503: ("Server is busy", 9),
}
_BUSY = _CODES[503]


def _events(body: bytes, call: Call) -> Taken:
    frames = Frames(call.frame_bytes_max)
    for number, text in enumerate(values_of(utf8(body))):
        members = object_of(text)
        content = members.get("event", b"null") if members is not None else b"null"
        if members is None or content == b"null" or content == b'""':
            raise ContentError(400, f"event {number} has no member event that is not empty")
        inner = object_of(content)
        if inner is not None:
            event = event_of(inner, content)
        else:
            event = Event(plain_text(content) if content[:1] == b'"' else content)
        _add_origin(event, members)
        event.pairs |= {name: members[name] for name in _METADATA if name in members}
        event.pairs |= object_of(members.get("fields", b"")) or {}
        frames.add(event)
    return _taken(frames)


def _add_origin(event: Event, members: Members) -> None:
    """Stamp and host of the envelope, unless the event has its own; what differs is a pair."""
    stamp, host = stamp_of(members.get("time", b"")), plain_text(members.get("host"))
    if event.stamp is None:
        event.stamp = stamp
    if "time" in members and (stamp is None or not _is_same(stamp, event.stamp)):
        event.pairs["time"] = members["time"]
    event.host = event.host or host or None
    if "host" in members and host != event.host:
        event.pairs["host"] = members["host"]


def _is_same(stamp: bytes, other: bytes | None) -> bool:
    return to_datetime(stamp, 0.0, UTC) == to_datetime(other, 0.0, UTC)


def _raw(body: bytes, call: Call) -> Taken:
    frames = Frames(call.frame_bytes_max)
    query = {name: value.encode() for name, value in call.query.items()}
    stamp = stamp_of(query.get("time", b""))
    pairs = {name: json_text(query[name]) for name in _METADATA if name in query}
    for line in lines_of(utf8(body)):
        event = Event(stamp=stamp, host=query.get("host") or None, pairs=dict(pairs))
        frames.add_line(line.removesuffix(b"\r"), event)
    return _taken(frames)


def _taken(frames: Frames) -> Taken:
    if not frames.frames:
        raise ContentError(400, "no data")
    return Taken(frames, _SUCCESS)


def _health(body: bytes, call: Call) -> Taken:
    if call.busy:
        raise ContentError(503, call.busy)
    return Taken(Frames(call.frame_bytes_max), _HEALTHY)


def _refusal(status: int, reason: str, call: Call) -> bytes:
    text, code = _CODES.get(status, _BUSY if status == 429 else ("Error", 8))
    if reason == "no data":
        text, code = "No data", 5
    message = json_text(f"{text}: {reason}".encode())
    return b'{"text":%b,"code":%d}' % (message, code)


_EVENTS = Endpoint("splunk", _events, _refusal)
_RAW = Endpoint("splunk-raw", _raw, _refusal)
_HEALTH = Endpoint("splunk-health", _health, _refusal, ("GET", "HEAD"))

COLLECTOR: dict[str, Endpoint] = {
    f"/services/collector{path}": endpoint
    for endpoint, paths in (
        (_EVENTS, ("", "/event", "/event/1.0", "/1.0")),
        (_RAW, ("/raw", "/raw/1.0")),
        (_HEALTH, ("/health", "/health/1.0")),
    )
    for path in paths
}
"""The collector's endpoints, by path."""
