from __future__ import annotations

import json
from typing import Any

import pytest

from relay.wire.http.bulk_requests import BULK, DOCUMENT, INFORMATION
from relay.wire.http.content import ContentError
from relay.wire.http.endpoints import Call
from relay.wire.parse import parse


def bulk(*lines: object, index: str = "") -> tuple[list[bytes], dict[str, Any]]:
    body = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )
    taken = BULK.read(body, Call("/_bulk", index=index))
    return [parse(frame).msg for frame in taken.frames.frames], json.loads(taken.answer)


def test_each_item_has_its_own_answer() -> None:
    messages, answer = bulk(
        *({"index": {"_index": "logs", "_id": "7"}}, {"message": "one"}),
        *({"create": {}}, {"message": "two"}),
        *({"update": {"_id": "7"}}, {"doc": {}}),
        {"delete": {"_index": "logs", "_id": "8"}},
        *({"create": {}}, b"no json"),
        *({"index": {}}, {"message": "three"}),
        index="default",
    )
    assert messages == [b"one", b"two", b"three"]
    assert answer["errors"] is True
    items = [(name, item) for each in answer["items"] for name, item in each.items()]
    assert [(name, item["status"]) for name, item in items] == [
        *(("index", 201), ("create", 201), ("update", 400)),
        *(("delete", 400), ("create", 400), ("index", 201)),
    ]
    assert items[0][1]["_id"] == "7"
    assert items[1][1]["_index"] == "default"
    assert items[2][1]["error"]["reason"] == "a log relay takes no update"


def test_without_errors() -> None:
    messages, answer = bulk({"create": {"_index": "x"}}, {"message": "m"})
    assert (messages, answer["errors"]) == ([b"m"], False)


def test_the_index_is_a_pair_unless_it_is_a_token() -> None:
    body = b'{"index":{"_index":"%b"}}\n{"message":"m"}\n'
    (frame,) = BULK.read(body % b"logs", Call("/_bulk")).frames.frames
    assert parse(frame).pairs == {".http.index": b"logs"}
    token = b"11111111-2222-3333-4444-555555555555"
    taken = BULK.read(body % token, Call("/_bulk"))
    assert parse(taken.frames.frames[0]).pairs is None
    assert taken.indexes == {token.decode()}


@pytest.mark.parametrize(
    "body",
    [
        *(b"{}", b"[1]", b"text", b'{"index":1}\n{}', b'{"get":{}}\n{}', b'{"index":{}}'),
        b'{"create":{}}\n{}\n{"create":{}}\n',
    ],
)
def test_a_body_without_pairs_is_refused_whole(body: bytes) -> None:
    with pytest.raises(ContentError) as caught:
        BULK.read(body, Call("/_bulk"))
    assert caught.value.status == 400


def test_one_document() -> None:
    taken = DOCUMENT.read(b'{"message":"m"}', Call("/x/_doc", index="x"))
    assert (taken.status, json.loads(taken.answer)["_index"]) == (201, "x")
    assert len(taken.frames.frames) == 1
    with pytest.raises(ContentError):
        DOCUMENT.read(b"[]", Call("/x/_doc", index="x"))


@pytest.mark.parametrize("path", INFORMATION)
def test_what_clients_ask_first(path: str) -> None:
    taken = INFORMATION[path].read(b"", Call(path))
    assert isinstance(json.loads(taken.answer), dict)
    assert not taken.frames.frames


def test_refusals_have_the_form_of_elasticsearch() -> None:
    answer = json.loads(BULK.refusal(429, "busy", Call("/_bulk")))
    assert answer["status"] == 429
    assert answer["error"]["type"] == "circuit_breaking_exception"
