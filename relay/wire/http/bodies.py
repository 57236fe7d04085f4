"""Bodies of requests that bring records to a server, one for each protocol.

Payloads are JSON objects as a rule.  One that is something else becomes the member `message` of
an object where the protocol needs objects: it would spoil the whole request otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

_OPENING = re.compile(rb"[ \t]*\{")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LINE_ENDS_TO_SPACE = bytes.maketrans(b"\r\n", b"  ")


class _Stamped(msgspec.Struct):
    """What is read of a payload."""

    stamp: datetime | None = msgspec.field(name="@timestamp", default=None)


_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_stamped = msgspec.json.Decoder(_Stamped)


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a queue, as a request brings it."""

    payload: bytes
    id: str = ""
    """The same whenever it is sent again, and of no other record; empty = it has none."""
    index: bytes = b""
    """The index that it goes to; empty = that of the request."""


Encode = Callable[[Sequence[Record], float], bytes]
"""Makes the body of at least one record; given the time, in seconds since 1970-01-01 UTC."""


def bulk(index: str, operation: str) -> Encode:
    """Actions and documents of Elasticsearch, OpenSearch and Sematext, a line each.

    Args:
        index: Empty = that of the URL.
        operation: index = a repeated document replaces itself; create = it is refused with 409.
    """
    default = index.encode()

    def action(record: Record) -> bytes:
        index = record.index or default
        members = [b'"_index":' + _string(index)] if index else []
        if record.id:
            members.append(b'"_id":"%b"' % record.id.encode())
        return b'{"%b":{%b}}' % (operation.encode(), b",".join(members))

    def encode(records: Sequence[Record], now: float) -> bytes:
        lines = [line for each in records for line in (action(each), as_object(each.payload))]
        return b"\n".join([*lines, b""])

    return encode


def ndjson(records: Sequence[Record], now: float) -> bytes:
    """A JSON object a line."""
    return b"\n".join([*(as_object(record.payload) for record in records), b""])


def array(records: Sequence[Record], now: float) -> bytes:
    """A JSON array of objects."""
    return b"[%b]" % b",".join([as_object(record.payload) for record in records])


def splunk_hec(records: Sequence[Record], now: float) -> bytes:
    """Events of Splunk's HTTP Event Collector, one after the other."""
    events = []
    for record in records:
        stamp = _stamp_of(record.payload)
        time = b"" if stamp is None else b'"time":%.6f,' % stamp.timestamp()
        event = _as_it_stands(record.payload) or _string(record.payload)
        events.append(b'{%b"event":%b}' % (time, event))
    return b"\n".join(events)


def loki(labels: Mapping[str, str]) -> Encode:
    """One stream of Grafana Loki's push API; its lines are the payloads as they stand."""
    stream = msgspec.json.encode(dict(labels))

    def encode(records: Sequence[Record], now: float) -> bytes:
        values = []
        for record in records:
            stamp = _stamp_of(record.payload)
            # Counted in whole microseconds: a float has no room for nanoseconds.
            micros = round(now * 1e6) if stamp is None else _microseconds(stamp)
            values.append(b'["%d000",%b]' % (micros, _string(record.payload)))
        return b'{"streams":[{"stream":%b,"values":[%b]}]}' % (stream, b",".join(values))

    return encode


def as_object(payload: bytes) -> bytes:
    """`payload` if it is a JSON object; else an object that has it as `message`.  On one line."""
    return _as_it_stands(payload) or b'{"message":%b}' % _string(payload)


def _as_it_stands(payload: bytes) -> bytes:
    """`payload` on one line if it is a JSON object, or else nothing."""
    if not _OPENING.match(payload):
        return b""
    try:
        _object.decode(payload)
        payload.decode()  # the decoder skips values without looking at their encoding
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b""
    return payload.translate(_LINE_ENDS_TO_SPACE)


def _string(text: bytes) -> bytes:
    """A JSON string of any bytes."""
    return msgspec.json.encode(text.decode(errors="backslashreplace"))


def _stamp_of(payload: bytes) -> datetime | None:
    """The instant in the member ``@timestamp``; None if there is none."""
    try:
        stamp = _stamped.decode(payload).stamp
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return stamp if stamp is not None and stamp.tzinfo is not None else None


def _microseconds(stamp: datetime) -> int:
    elapsed = stamp - _EPOCH
    return (elapsed.days * 86400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds
