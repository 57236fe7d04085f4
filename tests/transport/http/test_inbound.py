from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.model.errors import QueueError
from relay.model.origin import Origin
from relay.transport.http.inbound import AppOf
from relay.wire.http.endpoints import PROTOBUF
from relay.wire.http.splunk import COLLECTOR
from tests.any_messages import many_examples
from tests.connections import (
    lose,
)
from tests.http_source import BODY_BYTES_MAX, Connection, request


def close_admission(connection: Connection) -> None:
    connection.reception.admission.set_queue_bytes(2000)  # type: ignore[attr-defined]


def test_an_answer_means_stored() -> None:
    connection = Connection()
    connection.send(request(b"one\ntwo"))
    assert connection.wire.value() == b""
    assert connection.intake.batches == [[b"<13>1 - - - - - - one", b"<13>1 - - - - - - two"]]
    connection.stored()
    status, headers, body = connection.answer()
    assert (status, body) == (200, b'{"accepted":2}\n')
    assert headers["Content-Type"] == "application/json"
    assert not connection.wire.disconnecting


def test_what_could_not_be_stored_is_answered_with_503() -> None:
    connection = Connection()
    connection.send(request(b"one"))
    connection.intake.stored[0].errback(Failure(QueueError("disk full")))
    status, headers, body = connection.answer()
    assert status == 503
    assert headers["Retry-After"] == "5"
    assert b"send them again" in body
    assert connection.refused() == {"not-stored": 1}
    assert "disk full" in connection.notices.said[0][2]


def test_whoever_waits_too_long_is_told_once() -> None:
    connection = Connection()
    connection.send(request(b"one"))
    connection.clock.advance(60)
    assert connection.answer()[0] == 503
    connection.stored()
    assert connection.wire.value() == b""


def test_requests_follow_one_another() -> None:
    connection = Connection()
    connection.send(request(b"one") + request(b"two"))
    assert len(connection.intake.batches) == 1
    connection.stored()
    assert connection.answer()[0] == 200
    assert connection.intake.batches[1] == [b"<13>1 - - - - - - two"]
    connection.stored(1)
    assert connection.answer()[0] == 200


def test_many_requests_in_one_chunk() -> None:
    connection = Connection()
    connection.send(request(method="HEAD", target="/") * 2000)
    assert connection.wire.value().count(b"200 OK") == 2000


def test_while_admission_is_closed_the_answer_is_429() -> None:
    connection = Connection()
    close_admission(connection)
    connection.send(request(b"one"))
    status, headers, body = connection.answer()
    assert (status, headers["Retry-After"]) == (429, "5")
    assert b"queue_bytes_max" in body
    assert not connection.intake.batches
    connection.send(request(target="/", method="GET"))
    assert connection.answer()[0] == 200


def test_a_peer_above_its_rate_is_told_when_to_come_back() -> None:
    connection = Connection(rate_per_peer_max=2)
    connection.send(request(b"1\n2\n3\n4\n5\n6"))
    connection.stored()
    assert connection.answer()[0] == 200
    connection.send(request(b"7"))
    status, headers, _ = connection.answer()
    assert (status, headers["Retry-After"]) == (429, "2")
    connection.clock.advance(2)
    connection.send(request(b"7"))
    connection.stored(1)
    assert connection.answer()[0] == 200


@pytest.mark.parametrize(
    "data",
    [
        request(b"x" * (BODY_BYTES_MAX + 1)),
        request(gzip.compress(b"x" * 10_000_000)[:BODY_BYTES_MAX], Content_Encoding="gzip"),
        b"POST /ingest HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%b\r\n" % (600, b"x" * 600) * 2
        + b"0\r\n\r\n",
    ],
)
def test_bodies_have_a_limit_also_when_decompressed(data: bytes) -> None:
    connection = Connection()
    connection.send(data)
    status, _, body = connection.answer()
    assert status == 413
    assert b"body_bytes_max" in body
    assert connection.refused() == {"too-large": 1}
    connection.send(request(b"fits"))  # the connection goes on
    connection.stored()
    assert connection.answer()[0] == 200


@pytest.mark.parametrize(
    ("target", "kind", "piece"),
    [
        ("/ingest", "text/plain", b"a\n"),
        ("/ingest", "application/json", b"1,"),
        ("/ingest", "application/json", b"[],"),
        ("/_bulk", "application/json", b'{"index":{}}\n{}\n'),
        ("/services/collector", "application/json", b'{"event":1}'),
        ("/services/collector/raw", "", b"a\n"),
        ("/v1/logs", "application/json", b"{},"),
        ("/v1/logs", PROTOBUF, b"\x0a\x00"),
    ],
)
def test_a_small_body_cannot_become_many_events(target: str, kind: str, piece: bytes) -> None:
    connection = Connection(body_bytes_max=2**24)
    body = piece * (1_100_000 if piece == b"{}," else 210_000)
    if kind == "application/json" and target == "/ingest":
        body = b"[" + body + b"1]"
    connection.send(request(gzip.compress(body, 1), target, Content_Type=kind, **GZIP))
    status, _, answer = connection.answer()
    assert status == (400 if kind == PROTOBUF else 413)
    assert b"smaller batches" in answer
    assert not connection.intake.batches


GZIP = {"Content_Encoding": "gzip"}


def test_a_long_event_is_cut_and_marked() -> None:
    connection = Connection()
    connection.send(request(b"x" * 300))
    (frame,) = connection.intake.batches[0]
    assert len(frame) == 200
    assert connection.intake.cut == [{0: len(b"<13>1 - - - - - - ") + 300}]
    assert connection.notices.kinds == ["truncated"]


def test_only_dropped_events_are_answered_at_once() -> None:
    connection = Connection(oversize="drop")
    connection.send(request(b"x" * 300))
    assert connection.answer()[0] == 200
    assert connection.counters.dropped == {"too-long": 1}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(b"x", target="/nowhere"), 404),
        (request(target="/ingest", method="GET"), 405),
        (request(b"x", Content_Type="image/png"), 415),
        (request(b"x", Content_Encoding="br"), 415),
        (request(b"x", Content_Encoding="gzip"), 400),
        (request(b"[1", Content_Type="application/json"), 400),
    ],
)
def test_what_is_wrong_is_said(data: bytes, status: int) -> None:
    connection = Connection()
    connection.send(data)
    found, headers, body = connection.answer()
    assert found == status
    assert json.loads(body)["error"]
    assert ("Allow" in headers) == (status == 405)
    assert not connection.intake.batches


def test_what_is_no_http_ends_the_connection() -> None:
    connection = Connection()
    connection.send(b"<13>a syslog line\n" + b"\r\n")
    assert connection.wire.value().startswith(b"HTTP/1.1 400")
    assert connection.wire.disconnecting
    assert connection.refused() == {"malformed": 1}


def test_a_header_that_never_ends() -> None:
    connection = Connection()
    connection.send(b"POST / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000)
    assert connection.wire.disconnecting


@pytest.mark.parametrize("part", [b"POST /", request(b"one")[:-1]])
def test_slow_requests_are_closed(part: bytes) -> None:
    connection = Connection()
    for byte in part:
        connection.send(bytes([byte]))
    connection.clock.advance(60)
    assert connection.answer()[0] == 408
    assert connection.wire.disconnecting
    assert connection.refused() == {"slow": 1}


def test_unfinished_bodies_share_a_limit() -> None:
    connection = Connection(unfinished_bytes_max=500)
    connection.send(request(b"x" * 900)[:-100])
    assert connection.wire.disconnected
    assert connection.counters.connections_closed == {"unfinished-frames": 1}


def test_http_1_0_and_close() -> None:
    for data in (request(b"x", Connection="close"), b"GET / HTTP/1.0\r\n\r\n"):
        connection = Connection()
        connection.send(data)
        if connection.intake.stored:
            connection.stored()
        status, headers, _ = connection.answer()
        assert (status, headers["Connection"]) == (200, "close")
        assert connection.wire.disconnecting


def test_a_stop_lets_the_request_finish() -> None:
    connection = Connection()
    connection.send(request(b"one"))
    connection.protocol.shut_down()
    assert not connection.wire.disconnecting
    connection.stored()
    assert connection.answer()[1]["Connection"] == "close"
    assert connection.wire.disconnecting


def test_a_stop_closes_who_has_nothing_to_wait_for() -> None:
    connection = Connection()
    connection.send(request(b"one")[:-1])
    connection.protocol.shut_down()
    assert connection.wire.disconnecting


def test_a_client_that_is_gone_gets_no_answer() -> None:
    connection = Connection()
    connection.send(request(b"one"))
    lose(connection.protocol)
    connection.stored()
    assert connection.wire.value() == b""


def knows(secret: bytes) -> AppOf:
    def app_of(origin: Origin, secrets: Any) -> str:
        return "shop" if secret in secrets else ""

    return app_of


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Splunk t0ken", 200),
        ("Bearer t0ken", 200),
        ("Basic dXNlcjp0MGtlbg==", 200),  # user:t0ken
        ("ApiKey aWQ6dDBrZW4=", 200),  # id:t0ken
        ("Bearer wrong", 403),
        ("Basic %%%", 403),
        ("Negotiate t0ken", 401),
        ("", 401),
    ],
)
def test_tokens(authorization: str, status: int) -> None:
    connection = Connection(app_of=knows(b"t0ken"))
    connection.send(request(b"x", Authorization=authorization))
    if status == 200:
        assert connection.intake.origins[0].app == "shop"
        connection.stored()
    found, headers, body = connection.answer()
    assert found == status
    assert ("WWW-Authenticate" in headers) == (status == 401)
    assert b"wrong" not in body
    assert "wrong" not in str(connection.notices.said)
    assert connection.refused() == ({} if status == 200 else {"unauthorised": 1})


def test_the_index_of_a_bulk_request_may_be_the_token() -> None:
    token = "11111111-2222-3333-4444-555555555555"
    connection = Connection(app_of=knows(token.encode()))
    connection.send(request(b'{"index":{}}\n{"message":"m"}\n', target=f"/{token}/_bulk"))
    assert connection.intake.origins[0].app == "shop"
    assert token.encode() not in connection.intake.batches[0][0]
    connection.stored()
    assert connection.answer()[0] == 200
    two = f'{{"index":{{"_index":"{token}"}}}}\n{{}}\n{{"index":{{"_index":"other"}}}}\n{{}}\n'
    connection.send(request(two.encode(), target="/_bulk"))
    assert connection.answer()[0] == 401


def test_events_that_all_have_tokens_need_no_other() -> None:
    connection = Connection(app_of=knows(b"t0ken"))
    event = b'{"message":"m","logsene-app-token":"t0ken"}'
    connection.send(request(event, Content_Type="application/json"))
    assert connection.intake.origins[0].app == ""  # each message is looked at
    connection.stored()
    assert connection.answer()[0] == 200
    connection.send(request(event + b'{"message":"m"}', Content_Type="application/json"))
    assert connection.answer()[0] == 401


def test_a_request_that_begins_before_the_last_answer_has_its_time_limit_too() -> None:
    connection = Connection()
    whole = request(b"two")
    connection.send(request(b"one") + whole[:-1])
    connection.stored()
    assert connection.answer()[0] == 200
    connection.clock.advance(60.0)
    assert connection.answer()[0] == 408
    assert connection.refused() == {"slow": 1}


@many_examples(300)
@given(
    st.sampled_from(
        ["/", "/ingest", "/_bulk", "/x/_bulk", "/x/_doc", "/%ff?a=b&c", "/v1/logs", *COLLECTOR]
    ),
    st.sampled_from(
        ["application/json", "application/x-ndjson", "", "text/plain", "a/b", PROTOBUF]
    ),
    st.sampled_from(["", "gzip", "deflate", "zstd"]),
    st.binary(max_size=200) | st.text(alphabet='[]{}":,\\u0d8 1e\n"', max_size=60).map(str.encode),
    st.sampled_from(["POST", "GET", "PUT", "HEAD", "DELETE"]),
)
def test_any_body_gives_one_answer(
    target: str, kind: str, encoding: str, body: bytes, method: str
) -> None:
    connection = Connection()
    data = request(body, target, method, Content_Type=kind, Content_Encoding=encoding)
    connection.send(data)
    for stored in connection.intake.stored:
        stored.callback(None)
    assert connection.wire.value().count(b"HTTP/1.1 ") == 1
    assert connection.protocol._channel.requests == []


@given(st.lists(st.integers(1, 400), max_size=8))
def test_every_cut_of_the_stream_gives_the_same(cuts: list[int]) -> None:
    data = request(b"one") + request(
        b'{"message":"two"}', "/ingest", Content_Type="application/json"
    )
    connection = Connection()
    connection.intake.stored = _AtOnce()
    at = 0
    for cut in [*cuts, len(data)]:
        connection.send(data[at : at + cut])
        at += cut
    assert connection.intake.batches == [[b"<13>1 - - - - - - one"], [b"<13>1 - - - - - - two"]]
    assert connection.wire.value().count(b"200 OK") == 2


class _AtOnce(list[Deferred[None]]):
    """Everything that is put here is stored at once."""

    def append(self, stored: Deferred[None]) -> None:
        super().append(stored)
        stored.callback(None)
