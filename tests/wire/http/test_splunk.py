from __future__ import annotations

import json

import pytest

from relay.model.message import SyslogMessage
from relay.wire.http.content import ContentError
from relay.wire.http.endpoints import Call, Endpoint, Taken
from relay.wire.http.splunk import COLLECTOR
from relay.wire.parse import parse

EVENT = COLLECTOR["/services/collector/event"]
RAW = COLLECTOR["/services/collector/raw"]
HEALTH = COLLECTOR["/services/collector/health"]


def messages(taken: Taken) -> list[SyslogMessage]:
    return [parse(frame) for frame in taken.frames.frames]


def test_events_follow_one_another() -> None:
    taken = EVENT.read(
        b'{"event":"one","time":1767323045.5,"host":"h","source":"s","sourcetype":"t",'
        b'"index":"main","fields":{"a":1}}{"event":{"message":"two","level":"error","b":"x"}}\n'
        b'{"event":[1,2]}',
        Call("/"),
    )
    one, two, three = messages(taken)
    assert (one.msg, one.hostname, one.timestamp) == (b"one", b"h", b"2026-01-02T03:04:05.500000Z")
    assert one.pairs == {"source": b"s", "sourcetype": b"t", "index": b"main", "a": b"1"}
    assert (two.msg, two.severity, two.pairs) == (b"two", 3, {"b": b"x"})
    assert three.msg == b"[1,2]"
    assert json.loads(taken.answer) == {"text": "Success", "code": 0}


def test_what_an_event_says_itself_comes_first() -> None:
    envelope = b'{"time":1767323045.5,"host":"h","event":{"message":"m","host":"%b","time":%b}}'
    (same,) = messages(EVENT.read(envelope % (b"h", b'"2026-01-02T04:04:05.5+01:00"'), Call("/")))
    assert (same.hostname, same.timestamp) == (b"h", b"2026-01-02T04:04:05.5+01:00")
    assert same.pairs is None
    (other,) = messages(EVENT.read(envelope % (b"own", b'"2026-01-02T03:04:06Z"'), Call("/")))
    assert (other.hostname, other.timestamp) == (b"own", b"2026-01-02T03:04:06Z")
    assert other.pairs == {"host": b"h", "time": b"1767323045.5"}


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b"{}", b'{"event":""}', b'{"event":"one"}{"event":null}']
)
def test_a_body_with_one_bad_event_is_refused_whole(body: bytes) -> None:
    with pytest.raises(ContentError) as caught:
        EVENT.read(body, Call("/"))
    assert caught.value.status == 400


def test_raw_lines() -> None:
    query = {"host": "h", "source": "/var/log/x", "time": "1767323045"}
    one, two = messages(RAW.read(b"one\r\n\ntwo", Call("/", query)))
    assert (one.msg, two.msg, two.hostname) == (b"one", b"two", b"h")
    assert two.pairs == {"source": b"/var/log/x"}
    assert two.timestamp == b"2026-01-02T03:04:05.000000Z"
    with pytest.raises(ContentError, match="no data"):
        RAW.read(b"\n", Call("/"))


def test_health() -> None:
    assert json.loads(HEALTH.read(b"", Call("/")).answer)["code"] == 17
    with pytest.raises(ContentError) as caught:
        HEALTH.read(b"", Call("/", busy="the queue is full"))
    assert caught.value.status == 503


@pytest.mark.parametrize(
    ("endpoint", "status", "reason", "code"),
    [
        (EVENT, 400, "event 1 is no JSON", 6),
        (RAW, 400, "no data", 5),
        (EVENT, 401, "a token is required", 2),
        (EVENT, 403, "none of the apps", 4),
        (EVENT, 429, "queue full", 9),
        (HEALTH, 503, "queue full", 9),
        (EVENT, 413, "too long", 8),
    ],
)
def test_codes_of_splunk(endpoint: Endpoint, status: int, reason: str, code: int) -> None:
    answer = json.loads(endpoint.refusal(status, reason, Call("/")))
    assert answer["code"] == code
    assert reason in answer["text"]
