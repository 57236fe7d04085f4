"""Elasticsearch's and OpenSearch's API as far as shippers of logs use it.

    POST /_bulk, /INDEX/_bulk         pairs of lines: an action, a document
    POST /INDEX/_doc[/ID]             one document
    GET, HEAD /                       which clients ask before they send

Each item has its own answer.  Only the actions index and create bring events; the others change
documents, which a relay does not have.
"""

from __future__ import annotations

from relay import __version__
from relay.model.text import printable
from relay.model.token import has_token_form
from relay.wire.http.content import ContentError, lines_of
from relay.wire.http.endpoints import Call, Endpoint, Taken
from relay.wire.http.events import Frames, event_of, json_text, object_of, plain_text, utf8

INDEX_PAIR = ".http.index"
"""Name of the pair with the index that an event was sent to."""
_ACTIONS = ("index", "create")
_WITHOUT_DOCUMENT = "delete"


def _bulk(body: bytes, call: Call) -> Taken:
    frames, answers, indexes, refused = Frames(call.frame_bytes_max), list[bytes](), set[str](), 0
    lines = iter(lines_of(utf8(body)))
    for number, line in enumerate(lines, start=1):
        action, index, id = _action(line, number, call.index)
        document = None if action == _WITHOUT_DOCUMENT else next(lines, None)
        if document is None and action != _WITHOUT_DOCUMENT:
            raise ContentError(400, f"action {number} ({action}) has no document")
        start = b'{"%b":{"_index":%b' % (action.encode(), json_text(index.encode()))
        if id:
            start += b',"_id":%b' % json_text(id)
        members = object_of(document) if document is not None and action in _ACTIONS else None
        if members is None:
            refused += 1
            answers.append(start + _item_error(action))
            continue
        indexes.add(index)
        _add(frames, members, document or b"", index)
        answers.append(start + b',"_version":1,"result":"created","status":201}}')
    errors = b"true" if refused else b"false"
    answer = b'{"took":0,"errors":%b,"items":[%b]}' % (errors, b",".join(answers))
    return Taken(frames, answer, indexes=frozenset(indexes), refused=refused)


def _action(line: bytes, number: int, index: str) -> tuple[str, str, bytes]:
    """The action of a line, its index and its id."""
    members = object_of(line)
    action, parameters = next(iter(members.items()), ("", b"")) if members else ("", b"")
    values = object_of(parameters)
    if values is None or action not in (*_ACTIONS, "update", _WITHOUT_DOCUMENT):
        raise ContentError(
            400,
            f"action {number} is {printable(line)!r}, expected an object such as "
            '{"create":{"_index":"logs"}}',
        )
    own = plain_text(values.get("_index")) or index.encode()
    return action, own.decode(errors="replace"), plain_text(values.get("_id")) or b""


def _item_error(action: str) -> bytes:
    kind, reason = "mapper_parsing_exception", "the document is no JSON object"
    if action not in _ACTIONS:
        kind, reason = "illegal_argument_exception", f"a log relay takes no {action}"
    return b',"status":400,"error":{"type":"%b","reason":"%b"}}}' % (kind.encode(), reason.encode())


def _document(body: bytes, call: Call) -> Taken:
    body = utf8(body)
    members = object_of(body)
    if members is None:
        raise ContentError(400, "the document is no JSON object")
    frames = Frames(call.frame_bytes_max)
    _add(frames, members, body, call.index)
    answer = b'{"_index":%b,"_version":1,"result":"created"}' % json_text(call.index.encode())
    return Taken(frames, answer, 201, frozenset((call.index,)))


def _add(frames: Frames, members: dict[str, bytes], document: bytes, index: str) -> None:
    event = event_of(members, document)
    if index and not has_token_form(index.encode()):  # Sematext's tokens are names of indexes
        event.pairs[INDEX_PAIR] = json_text(index.encode())
    frames.add(event)


def _refusal(status: int, reason: str, call: Call) -> bytes:
    text = b'"type":"%b","reason":%b' % (
        _TYPES.get(status, b"exception"),
        json_text(reason.encode()),
    )
    return b'{"error":{%b,"root_cause":[{%b}]},"status":%d}' % (text, text, status)


_TYPES = {
    400: b"illegal_argument_exception",
    401: b"security_exception",
    403: b"security_exception",
    413: b"content_too_long_exception",
    429: b"circuit_breaking_exception",
    503: b"unavailable_shards_exception",
}


def _static(answer: bytes) -> Endpoint:
    def read(body: bytes, call: Call) -> Taken:
        return Taken(Frames(call.frame_bytes_max), answer)

    return Endpoint("info", read, _refusal, ("GET", "HEAD"))


BULK = Endpoint("bulk", _bulk, _refusal, ("POST", "PUT"))
DOCUMENT = Endpoint("document", _document, _refusal, ("POST", "PUT"))
INFORMATION = {
    "/": _static(
        b'{"name":"syslogrelay","cluster_name":"syslogrelay","cluster_uuid":"syslogrelay",'
        b'"version":{"number":"8.17.0","build_flavor":"default","build_type":"syslogrelay",'
        b'"build_hash":"%b","build_snapshot":false,"lucene_version":"9.12.0",'
        b'"minimum_wire_compatibility_version":"7.17.0",'
        b'"minimum_index_compatibility_version":"7.0.0"},'
        b'"tagline":"You Know, for Search"}' % __version__.encode()
    ),
    "/_license": _static(b'{"license":{"status":"active","type":"basic","mode":"basic"}}'),
    "/_cluster/health": _static(b'{"cluster_name":"syslogrelay","status":"green"}'),
}
"""Answers to the questions of clients, by path."""
