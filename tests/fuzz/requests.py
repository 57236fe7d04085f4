"""HTTP sources: whatever a client sends, it is stored or refused, and never both."""

from __future__ import annotations

import gzip
import random
import re
import zlib
from collections.abc import Callable
from dataclasses import replace

import zstandard

from relay.wire.http.content import ContentError, decoded
from relay.wire.http.endpoints import PROTOBUF
from relay.wire.http.paths import read_target, secrets_of
from tests.connections import lose
from tests.fuzz.oracles import chunks_of
from tests.http_source import BODY_BYTES_MAX, Connection, request

__all__ = ["BODIES", "REQUESTS", "check_body", "check_request"]

_LIMIT = 4096
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
_TARGETS = (
    *(
        b"/ingest",
        b"/_bulk",
        b"/logs/_bulk",
        b"/logs/_doc/1",
        b"/v1/logs",
        b"/",
        b"/_cluster/health",
    ),
    *(b"/services/collector", b"/services/collector/raw?host=h&sourcetype=s", b"/nowhere"),
)
_TYPES = ("application/json", "application/x-ndjson", "text/plain; charset=x", PROTOBUF, "")
_FRAME_BYTES_MAX = 200

_BULK = b'{"index":{"_index":"logs","_id":1}}\n{"message":"one","severity":3}\n{"delete":{}}\n'
_OTLP = (
    b'{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}'
    b'}]},"scopeLogs":[{"logRecords":[{"timeUnixNano":"1764500000000000000","severityNumber":9,'
    b'"body":{"stringValue":"text"}}]}]}]}'
)
_RECORD = b"\x09\0\xa0\x72\x4e\x18\x09\x7a\x18\x10\x09\x1a\x01I\x2a\x06\x0a\x04text"
_PROTOBUF = b"\x0a\x1a\x12\x18\x12\x16" + _RECORD
BODIES = [
    b'{"message":"one","host":"h","@timestamp":"2026-11-30T12:00:00Z","a":{"b":[1,2,null]}}',
    b'[{"message":"one"},{"text":"\\u00e4\\ud83d\\ude00"},3,"four"]',
    b'{"event":"one","time":1764500000.5,"host":"h","fields":{"a":1}}{"event":{"b":2}}',
    b"<13>1 2026-11-30T12:00:00Z host app - - - one\nplain line\n\n\xff\xfe not UTF-8\r\n",
    *(_BULK, _OTLP, _PROTOBUF),
    *(compress(_BULK) for compress in _COMPRESS.values()),
    gzip.compress(b"a") * 3,
    zstandard.ZstdCompressor().compress(b"a\n") * 3,
    gzip.compress(bytes(100_000)),
    zstandard.ZstdCompressor().compress(bytes(100_000)),
]
"""Of requests, some of them compressed."""
REQUESTS = [
    request(b"one\ntwo"),
    request(_BULK, "/_bulk", Content_Type="application/x-ndjson")
    + request(method="GET", target="/"),
    request(gzip.compress(_BULK), "/logs/_bulk", Content_Encoding="gzip"),
    request(BODIES[2], "/services/collector", Authorization="Splunk 0123"),
    request(_OTLP, "/v1/logs", Content_Type="application/json", Connection="close"),
    b"POST /ingest HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\none",
]
"""What clients send over a connection."""


def check_body(body: bytes, source: random.Random) -> None:
    name = source.choice([*_COMPRESS])
    assert decoded(_COMPRESS[name](body), name, len(body)) == body
    for encoding in (name, source.choice(["", "identity", "br", body[:20].decode("latin-1")])):
        try:
            content = decoded(body, encoding, _LIMIT)
        except ContentError as error:
            _check_error(error)
        else:
            assert len(content) <= _LIMIT or content is body
            body = content
    assert len(secrets_of(body[:60].decode("latin-1"))) <= 2
    for target in (source.choice(_TARGETS), body[:40]):
        _check_reading(target, body, source)


def _check_error(error: ContentError) -> None:
    assert 400 <= error.status < 600
    assert len(str(error)) < 1000 and str(error).isprintable(), str(error)


def _check_reading(target: bytes, body: bytes, source: random.Random) -> None:
    endpoint, call = read_target("POST", target, source.choice(_TYPES))
    if endpoint is None:
        return
    call = replace(call, frame_bytes_max=_FRAME_BYTES_MAX)
    assert endpoint.refusal(400, "no", call) is not None
    try:
        taken = endpoint.read(body, call)
    except ContentError as error:
        _check_error(error)
        assert endpoint.refusal(error.status, str(error), call) is not None
        return
    frames = taken.frames
    assert all(0 < len(frame) <= _FRAME_BYTES_MAX for frame in frames.frames)
    assert all(frames.cut[index] > _FRAME_BYTES_MAX for index in frames.cut)
    assert all(0 <= index < len(frames.frames) for index in frames.cut)
    assert 0 <= frames.with_token <= len(frames.frames)
    again = endpoint.read(body, call)
    assert (again.frames.frames, again.refused) == (frames.frames, taken.refused)


def check_request(stream: bytes, source: random.Random) -> None:
    """What is stored, refused and answered does not depend on how the stream is cut."""
    outcomes = []
    for chunks in ([stream], chunks_of(source, stream)):
        connection = Connection()
        answered = 0
        for chunk in chunks:
            if connection.wire.disconnecting or connection.wire.disconnected:
                break
            connection.send(chunk)
            while answered < len(connection.intake.stored):
                connection.stored(answered)
                answered += 1
            assert connection.protocol.unfinished_bytes <= BODY_BYTES_MAX + len(chunk)
        output = connection.wire.value()
        stored = [frame for batch in connection.intake.batches for frame in batch]
        assert (
            len(re.findall(rb"HTTP/1\.[01] 2", output)) >= len(connection.intake.stored) > 0
            or not stored
        )
        outcomes.append((stored, output, connection.refused()))
        lose(connection.protocol)
        assert connection.clock.getDelayedCalls() == []
    assert outcomes[0] == outcomes[1]
