from __future__ import annotations

import json

import pytest

from relay.wire.http.content import ContentError
from relay.wire.http.endpoints import INGEST, Call, Taken, values_of
from relay.wire.parse import parse


def ingest(body: bytes, content_type: str = "") -> Taken:
    return INGEST.read(body, Call("/ingest", content_type=content_type))


def messages(taken: Taken) -> list[bytes]:
    return [parse(frame).msg for frame in taken.frames.frames]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_lines(kind: str) -> None:
    taken = ingest(b'one\r\n\n{"message":"two"}\n<13>Oct 11 22:14:15 h su: three', kind)
    assert messages(taken) == [b"one", b'{"message":"two"}', b"three"]
    assert json.loads(taken.answer) == {"accepted": 3}


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/jsonl"])
def test_lines_of_json_among_which_others_are_text(kind: str) -> None:
    assert messages(ingest(b'{"message":"one"}\nbroken {\n"two"\n', kind)) == [
        *(b"one", b"broken {", b"two")
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'[{"message":"one"},{"message":"two"}]',
        b'{"message":"one"}{"message":"two"}',
        b'{"message":"one"}\n\n{"message":"two"}\n',
        b'{\n"message":"one"}\n,{"message"\n:"two"}',
    ],
)
def test_json(body: bytes) -> None:
    assert messages(ingest(body, "application/json")) == [b"one", b"two"]


@pytest.mark.parametrize("body", [b"[1", b'{"a":1} x', b"[" * 10**5, b"[%b]" % (b"[" * 10**5)])
def test_json_that_is_none_is_refused_whole(body: bytes) -> None:
    with pytest.raises(ContentError) as caught:
        ingest(body, "application/json")
    assert caught.value.status == 400


def test_the_number_of_the_event_that_is_wrong() -> None:
    with pytest.raises(ContentError, match="event 2 is no JSON"):
        values_of(b'{"a":1}{"b":2} nonsense {}')


def test_refusals_are_json() -> None:
    assert json.loads(INGEST.refusal(429, 'say "when"', Call("/"))) == {"error": 'say "when"'}
