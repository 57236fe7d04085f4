from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any

import pytest
import zstandard
from twisted.internet.defer import Deferred, execute, fail, succeed

from relay.model.errors import UpstreamError
from relay.transport.http.requests import RequestFailed
from relay.transport.http.uploads import Credentials, Uploads
from relay.wire.http.answers import DELIVERED, Answer, Fate, read_any
from relay.wire.http.bodies import Record, bulk, ndjson
from tests.connections import fired

RECORDS = [Record(b'{"a":1}'), Record(b'{"a":2}')]
BODY = b'{"a":1}\n{"a":2}\n'


class Server:
    name = "es"
    has_others = False

    def __init__(self, answer: Answer | RequestFailed, **uploads: Any) -> None:
        self.answer = answer
        self.seen: list[tuple[bytes, dict[str, str]]] = []
        requests: Any = self
        values = {
            "encode": ndjson,
            "compress": "none",
            "credentials": lambda: Credentials({"Authorization": "Bearer 12345678"}, [b"12345678"]),
        }
        self.uploads = Uploads(
            requests,
            read=read_any,
            headers={"X-A": "b"},
            run_in_thread=execute,
            now=lambda: 100.0,
            **{**values, **uploads},
        )

    def choose(self) -> Server:
        return self

    def post(self, body: bytes, headers: Mapping[str, str]) -> Deferred[Any]:
        self.seen.append((body, dict(headers)))
        return fail(self.answer) if isinstance(self.answer, Exception) else succeed(self.answer)

    def send(self) -> Any:
        (outcome,) = fired(self.uploads.send(RECORDS))
        return outcome


def test_records_are_delivered() -> None:
    server = Server(Answer(204))
    assert server.send().verdicts == [DELIVERED, DELIVERED]
    assert server.seen == [(BODY, {"X-A": "b", "Authorization": "Bearer 12345678"})]


@pytest.mark.parametrize(
    ("name", "decompress"), [("gzip", gzip.decompress), ("zstd", zstandard.decompress)]
)
def test_bodies_are_compressed(name: str, decompress: Any) -> None:
    server = Server(Answer(204), compress=name)
    server.send()
    ((body, headers),) = server.seen
    assert (decompress(body), headers["Content-Encoding"]) == (BODY, name)


def test_a_failed_request_decides_nothing() -> None:
    outcome = Server(RequestFailed("timeout", "no answer")).send()
    assert {(v.fate, v.cause, v.reason) for v in outcome.verdicts} == {
        (Fate.RETRY, "timeout", "no answer")
    }


def test_the_server_s_wish_to_wait_is_passed_on() -> None:
    assert Server(Answer(503, {"retry-after": "9"}, b"busy")).send().pause == 9.0


def test_secrets_are_masked_in_what_the_server_says() -> None:
    outcome = Server(Answer(401, {}, b"no such key: 12345678")).send()
    assert {each.reason for each in outcome.verdicts} == {"401 no such key: ****"}


def test_an_index_that_is_a_secret_is_that_of_records_without_one() -> None:
    server = Server(
        Answer(200, {}, b""),
        encode=bulk("", "index"),
        credentials=lambda: Credentials({}, [b"secret-index-12345"], b"secret-index-12345"),
    )
    fired(server.uploads.send([Record(b"{}"), Record(b"{}", "", b"own")]))
    ((body, _),) = server.seen
    assert body == (
        b'{"index":{"_index":"secret-index-12345"}}\n{}\n{"index":{"_index":"own"}}\n{}\n'
    )


def test_without_credentials_nothing_is_sent() -> None:
    def unreadable() -> Credentials:
        raise UpstreamError("cannot read the token file t")

    server = Server(Answer(204), credentials=unreadable)
    assert {(each.fate, each.reason) for each in server.send().verdicts} == {
        (Fate.HOLD, "cannot read the token file t")
    }
    assert server.seen == []


@pytest.mark.parametrize("has_others", [True, False])
@pytest.mark.parametrize(
    ("answer", "is_failure"),
    [
        (RequestFailed("timeout", "no whole answer"), True),
        (Answer(503), True),
        (Answer(429), False),
        (Answer(401), False),
        (Answer(200), False),
    ],
)
def test_another_server_is_asked_if_this_one_fails_and_there_is_one(
    answer: Answer | RequestFailed, is_failure: bool, has_others: bool
) -> None:
    server = Server(answer)
    server.has_others = has_others
    outcome = server.send()
    assert (outcome.server, outcome.moves) == ("es", is_failure and has_others)
