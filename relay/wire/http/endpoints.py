"""What an HTTP source offers, by path: how each body is read, and how each answer is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from relay.model.text import printable
from relay.wire.http.content import EVENTS_MAX, ContentError, check_nodes, lines_of, too_many
from relay.wire.http.events import Frames, json_text, object_of, utf8

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
TEXT = ("text/", "application/octet-stream", "application/x-www-form-urlencoded")
LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


@dataclass(frozen=True, slots=True)
class Call:
    """What a request says beside its body."""

    path: str
    """Without what may be a token."""
    query: Mapping[str, str] = field(default_factory=dict)
    content_type: str = ""
    """Without parameters, in lower case."""
    index: str = ""
    """In the path, as in /INDEX/_bulk."""
    frame_bytes_max: int = 256 * 1024
    busy: str = ""
    """Why nothing can be taken now; empty = it can."""


@dataclass(slots=True)
class Taken:
    """What is to be stored, and the answer once it is."""

    frames: Frames
    answer: bytes
    status: int = 200
    indexes: frozenset[str] = frozenset()
    """That the events name; one may be a token."""
    refused: int = 0
    """Items that are answered with an error of their own."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path, or several that are alike."""

    name: str
    read: Callable[[bytes, Call], Taken]
    """Raises ContentError if nothing of the body can be taken."""
    refusal: Callable[[int, str, Call], bytes]
    """The body of an answer with this status, for this reason."""
    methods: tuple[str, ...] = ("POST",)
    content_type: str = JSON
    """Of answers; empty = JSON, or PROTOBUF where the request has that."""


def items_of(body: bytes) -> list[bytes]:
    """The items of a JSON array, as JSON.

    Raises:
        ContentError: It is none.
    """
    if body.count(b",") >= EVENTS_MAX:  # items, or within them: only reading one by one can tell
        check_nodes(body)
        body = body.strip(b" \t\r\n")
        return _values(body.removeprefix(b"[").removesuffix(b"]"))
    try:
        return [bytes(item) for item in _array.decode(body)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise ContentError(400, f"the body is no JSON array: {printable(str(error))}") from None


def values_of(body: bytes) -> list[bytes]:
    """JSON values that follow one another, with or without blanks or line ends between them.

    Args:
        body: UTF-8.

    Raises:
        ContentError: One is invalid; the text has its number, from 0.
    """
    lines = lines_of(body)
    if all(object_of(line) is not None for line in lines):
        return lines
    check_nodes(body)
    return _values(body)


def _values(body: bytes) -> list[bytes]:
    """See `values_of`; here commas may separate them, too."""
    text, at, values = body.decode(), 0, list[bytes]()
    while at < len(text):
        if text[at] in " \t\r\n,":
            at += 1
            continue
        try:
            end = _decoder.raw_decode(text, at)[1]
        except (ValueError, RecursionError):  # an integer of more than 4,300 digits, too
            raise ContentError(400, f"event {len(values)} is no JSON") from None
        values.append(text[at:end].encode())
        if len(values) > EVENTS_MAX:
            raise too_many()
        at = end
    return values


_array = msgspec.json.Decoder(list[msgspec.Raw])
_decoder = json.JSONDecoder()


def _ingest(body: bytes, call: Call) -> Taken:
    """Lines, JSON values, or an array, as Content-Type says."""
    body, frames, kind = utf8(body), Frames(call.frame_bytes_max), call.content_type
    if not kind or kind.startswith(TEXT) or kind in LINES:
        is_text = kind not in LINES
        for line in lines_of(body):
            line = line.removesuffix(b"\r")
            if is_text or not _is_json(line):
                frames.add_line(line)
            else:
                frames.add_json(line)
    elif kind == JSON or kind.endswith("+json"):
        is_array = body.lstrip(b" \t\r\n")[:1] == b"["
        for item in items_of(body) if is_array else values_of(body):
            frames.add_json(item)
    else:
        raise ContentError(
            415,
            f"Content-Type is {printable(kind)!r}, expected {JSON}, {LINES[0]} or text/plain",
        )
    return Taken(frames, b'{"accepted":%d}\n' % len(frames.frames))


def _is_json(line: bytes) -> bool:
    try:
        _any.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


_any = msgspec.json.Decoder(msgspec.Raw)


def _refusal(status: int, reason: str, call: Call) -> bytes:
    return b'{"error":%b}\n' % json_text(reason.encode())


INGEST = Endpoint("ingest", _ingest, _refusal)
