"""What is fuzzed, and what has to be true of each input, whatever it is.

A check gets the input and a source of chance for everything beside it (where to
cut, when to answer).  It raises if anything is wrong.
"""

from __future__ import annotations

import ipaddress
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from relay.model.errors import FramingError
from relay.model.message import JsonText, SyslogMessage
from relay.rewrite.json.text import add_members, find_object, json_string
from relay.wire.ewmm import APP_NAME
from relay.wire.framing.decoders import (
    AutoDecoder,
    encode_newline,
    encode_octet_counted,
)
from relay.wire.framing.file_frames import counted_frames_in, lines_in
from relay.wire.framing.proxy_header import ProxyHeaderDecoder
from relay.wire.headers.structured_data import (
    is_structured_data,
    parse_structured_data,
    without_controls,
)
from relay.wire.http.answers import Answer, read_any, read_bulk, read_splunk_hec, verdicts_of
from relay.wire.http.bodies import Record, bulk, ndjson
from relay.wire.json.pairs import text_of
from relay.wire.parse import parse
from relay.wire.relp.frame import RelpFrameDecoder, encode_frame
from relay.wire.relp.lineage import (
    LINEAGE,
    SEQ_MAX,
    format_lineage,
    high_water_mark_in,
    is_refused,
    parse_lineage,
)
from relay.wire.relp.offers import OFFERS_MAX, parse_offers, refusal_of
from tests.fuzz import corpus
from tests.fuzz.compiled import IS_COMPILED, check_forms, check_object, check_read, check_string
from tests.fuzz.oracles import (
    Decoded,
    chunks_of,
    counted_frames,
    held_bytes,
    line_frames,
    relp_frames,
)
from tests.fuzz.requests import BODIES, REQUESTS, check_body, check_request
from tests.fuzz.rewrites import check_hops, check_rewrites
from tests.fuzz.sessions import check_blocks, check_client, check_server
from tests.fuzz.stamps import check_stamp

__all__ = ["TARGETS", "Target"]

Check = Callable[[bytes, random.Random], None]

_LIMIT = 64
# A frame, its count, and what was looked at to find out the framing.
_FRAME_HELD_MAX = _LIMIT + 11 + 10 + 2 + _LIMIT // 2  # and the header of its pieces
_SEPARATORS = b"\r\n\0"
_PROXY_HEADER_MAX = 16 + 2**16
_RELP_HEADER_MAX = 9 + 1 + 32 + 1 + 9 + 1


@dataclass(frozen=True, slots=True)
class Target:
    seeds: Sequence[bytes]
    check: Check


def _decode(decoder: Any, chunks: Sequence[bytes], held_max: int) -> Decoded:
    """Feed all chunks, and look at what the decoder keeps meanwhile."""
    result = Decoded()
    for number, chunk in enumerate(chunks):
        result.frames += decoder.feed(chunk)
        if number % 8 == 0 or number > len(chunks) - 4:  # looking takes longer than feeding
            held = held_bytes(decoder)
            assert held <= held_max + len(chunk), f"{held} bytes are kept"
    if hasattr(decoder, "finish"):
        result.frames += decoder.finish()
    result.truncated = getattr(decoder, "long", decoder).truncated
    result.failed = decoder.error is not None
    return result


def check_counted(stream: bytes, source: random.Random) -> None:
    expected = counted_frames(stream, _LIMIT)
    good = [corpus.LINES[source.randrange(len(corpus.LINES))][:_LIMIT] for _ in range(3)]
    good = [frame for frame in good if frame]
    # Whatever comes after them, good frames are not lost.
    for before in ([], good):
        frames: list[bytes] = []
        failed = False
        try:
            for frame in counted_frames_in(BytesIO(encode_octet_counted(before) + stream), _LIMIT):
                frames.append(frame)
        except FramingError:
            failed = True
        assert (frames, failed) == (before + expected.frames, expected.failed)


def check_lines(stream: bytes, source: random.Random) -> None:
    assert list(lines_in(BytesIO(stream), _LIMIT)) == line_frames(stream, _LIMIT).frames
    message = stream[:_LIMIT]
    encoded = encode_newline([message])
    assert encoded.count(b"\n") == 1 and encoded.endswith(b"\n") and b"\0" not in encoded
    assert len(line_frames(encoded, 10 * _LIMIT).frames) <= 1


def check_auto(stream: bytes, source: random.Random) -> None:
    # While it is undecided what a line is, as much as a frame may be kept behind it.
    held_max = 2 * _FRAME_HELD_MAX
    for split in (False, True):
        expected = _decode(AutoDecoder(frame_bytes_max=_LIMIT, split=split), [stream], held_max)
        chunks = chunks_of(source, stream)
        found = _decode(AutoDecoder(frame_bytes_max=_LIMIT, split=split), chunks, held_max)
        assert found == expected
        assert all(0 < len(frame) <= _LIMIT for frame in expected.frames)
    start = stream.lstrip(_SEPARATORS)
    # A NUL may end a line, and what then follows may be a count.
    if b"\0" not in start and not re.search(rb"(?:\A|\n)[0-9]|\A[\x16\xef]", start):
        assert expected == line_frames(start, _LIMIT, split=True)
    # Counts and separators apart, all of it arrives, whatever is settled in between.
    decoder = AutoDecoder(frame_bytes_max=len(stream) + 1)
    frames: list[bytes] = []
    for chunk in chunks_of(source, stream):
        frames += decoder.feed(chunk)
        if source.random() < 0.2:
            frames += decoder.settle()
    frames += decoder.finish()
    start = start.removeprefix(b"\xef\xbb\xbf")
    expected_text = b"" if decoder.error is not None else start
    text, counts = b"".join(frames), b"0123456789 \r\n\0"
    assert text.translate(None, counts) == expected_text.translate(None, counts)


def check_relp_frames(stream: bytes, source: random.Random) -> None:
    expected = relp_frames(stream, _LIMIT)
    for chunks in (chunks_of(source, stream), [stream]):
        decoder = RelpFrameDecoder(data_bytes_max=_LIMIT)
        # A frame that is cut is kept beside what is skipped of it.
        held_max = _RELP_HEADER_MAX + 1 + 2 * _LIMIT + 32
        assert _decode(decoder, chunks, held_max) == expected
    splitting = [RelpFrameDecoder(data_bytes_max=_LIMIT, split=True) for _ in range(2)]
    whole = splitting[0].feed(stream)
    held_max = _RELP_HEADER_MAX + 1 + 2 * _LIMIT + 64
    assert _decode(splitting[1], chunks_of(source, stream), held_max).frames == whole
    assert all(len(frame.data) <= _LIMIT for frame in whole)
    strict = RelpFrameDecoder(data_bytes_max=_LIMIT, truncate=False)
    frames = _decode(strict, chunks_of(source, stream), _RELP_HEADER_MAX + 1 + _LIMIT).frames
    assert frames == expected.frames[: len(frames)]
    for txnr, command, data in frames:
        again = RelpFrameDecoder(data_bytes_max=_LIMIT)
        assert again.feed(encode_frame(txnr, command, data)) == [(txnr, command, data)]


def check_proxy_header(stream: bytes, source: random.Random) -> None:
    outcomes = []
    for chunks in ([stream], chunks_of(source, stream)):
        decoder = ProxyHeaderDecoder()
        rest = b"".join([decoder.feed(chunk) for chunk in chunks])
        assert held_bytes(decoder) <= _PROXY_HEADER_MAX
        outcomes.append((rest, decoder.peer, decoder.complete, decoder.error is None))
        assert not (decoder.complete and decoder.error is not None)
        assert stream.endswith(rest) and (decoder.complete or not rest)
        if decoder.peer is not None:
            host, port = decoder.peer
            assert str(ipaddress.ip_address(host)) == host and 0 <= port <= 65535
            assert decoder.complete
    assert outcomes[0] == outcomes[1]


def check_offers(block: bytes, source: random.Random) -> None:
    offers = parse_offers(block)
    assert len(offers) <= OFFERS_MAX
    refusal = refusal_of(offers)
    assert refusal is None or b"\n" not in refusal
    if refusal is None:
        assert b"syslog" in offers[b"commands"]
    lineage = parse_lineage(offers.get(LINEAGE, ()))
    if lineage is not None:
        assert 1 <= lineage.first <= lineage.end <= SEQ_MAX
        assert parse_lineage(parse_offers(format_lineage(lineage))[LINEAGE]) == lineage
    have = high_water_mark_in(offers)
    assert have is None or (0 <= have.seq <= SEQ_MAX and not is_refused(offers))


def _pieces_of(message: SyslogMessage) -> list[bytes]:
    """Fields that have to be found in the frame as they are."""
    fields = (message.timestamp, message.hostname, message.app_name, message.procid)
    return [field for field in (*fields, message.msgid, message.msg) if field is not None]


def check_parse(frame: bytes, source: random.Random) -> None:
    message = parse(frame)
    assert message.raw == frame
    assert 0 <= message.facility <= 23 and 0 <= message.severity <= 7
    if message.structured_data is not None:
        assert is_structured_data(message.structured_data)
    line = frame.rstrip(_SEPARATORS)
    if APP_NAME in frame and message.app_name != APP_NAME:
        return  # perhaps it was an envelope, and the fields are not in it as they are
    if not line.endswith(message.msg):  # a stamp or a number stands in front of it
        assert line.endswith(message.msg.partition(b" ")[2])
        return
    for piece in _pieces_of(message):
        assert piece in line
    header = line[: len(line) - len(message.msg)]
    if message.pairs is not None:
        legacy = message.pairs["LEGACY_MSGHDR"]
        assert header.endswith(legacy) or not legacy
        header = header[: len(header) - len(legacy)]
    if message.version == 0 and message.pairs is None:
        # Nothing is recognised but PRI, stamp and forwarder: the rest is MSG.
        assert len(header) <= len(b"<191>") + 600
    for field in (message.hostname, message.app_name, message.procid, message.msgid):
        assert field is None or b" " not in field


def check_envelope(body: bytes, source: random.Random) -> None:
    """What is in an envelope, whatever that is, is the same after two more relays."""
    start = source.choice([b"<13>1 - h @syslog-ng 1 - ", b"<13>Oct 11 22:14:15 h @syslog-ng: "])
    if start.endswith(b"- "):
        start += source.choice([b"- ", b'[x@1 a="b" a="c"][my.app@2 d.e="\\""] '])
    message = parse(start + body)
    assert message.raw == start + body
    pairs = message.pairs or {}
    for value in pairs.values():
        assert text_of(value) is not None
        if isinstance(value, JsonText):
            json.loads(value.decode("utf-8"), parse_int=str, parse_float=str)
    assert message.structured_data is None or is_structured_data(message.structured_data)
    if b"\0" not in body and b".SDATA" not in body and message.app_name != APP_NAME:
        check_hops(message, source)


def check_structured_data(text: bytes, source: random.Random) -> None:
    parse_structured_data(text)  # of what is invalid it makes something or nothing
    printable = without_controls(text)
    assert re.search(rb"[\x00-\x1f\x7f]", printable) is None
    assert without_controls(printable) == printable
    if is_structured_data(text):
        assert is_structured_data(printable)
        _check_elements(text, printable)
    value = text.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"]", b"\\]")
    assert parse_structured_data(b'[a b="%s"]' % value) == {"a": {"b": [text]}}


def _check_elements(text: bytes, printable: bytes) -> None:
    elements = parse_structured_data(text)
    again = parse_structured_data(printable)
    assert elements
    assert [*elements] == [*again]
    for sd_id, parameters in elements.items():
        assert {name: len(values) for name, values in parameters.items()} == {
            name: len(values) for name, values in again[sd_id].items()
        }


def check_json(text: bytes, source: random.Random) -> None:
    string = json_string(text)
    decoded = json.loads(string.decode("utf-8"))
    assert isinstance(decoded, str) and "\0" not in decoded
    try:
        assert b"\0" in text or decoded == text.decode("utf-8")
    except UnicodeDecodeError:
        pass
    found = find_object(text)
    if found is None:
        return
    members = _loads(found.text)
    assert set(members) == {*found.members}  # type: ignore[misc]  # a dict it is
    assert b"\n" not in found.text and b"\r" not in found.text
    more = add_members(found.text, b'"added first": %s' % string)
    # A member of the same name that was there before comes later and wins.
    assert _loads(more) == {"added first": decoded, **members}
    again = find_object(more)
    assert again is not None and again.text == more


def _loads(text: bytes) -> dict[str, Any]:
    """Numbers stay text: Python refuses some that JSON allows."""
    members = json.loads(text.decode("utf-8"), parse_int=str, parse_float=str)
    assert isinstance(members, dict)
    return members


def check_http_answer(body: bytes, source: random.Random) -> None:
    name = source.choice(["retry-after", "location", "x-logsene-error"])
    headers = {name: body.decode("latin-1")}
    answer = Answer(source.choice([200, 301, 400, 413, 429, 503]), headers, body)
    records = source.randint(1, 3)
    for read in (read_any, read_bulk, read_splunk_hec):
        verdicts = verdicts_of(answer, records, read)
        assert len(verdicts) == records
        assert all(each.reason.isprintable() and len(each.reason) < 1500 for each in verdicts)
    assert 0 <= answer.retry_after(source.random() * 2e9) <= 3600
    for encode in (bulk("logs", "create"), ndjson):
        *lines, end = encode([Record(body, "e-1")] * records, 0.0).split(b"\n")
        assert end == b"" and all(isinstance(json.loads(line), dict) for line in lines)


TARGETS = {
    "counted": Target(corpus.STREAMS, check_counted),
    "lines": Target(corpus.STREAMS, check_lines),
    "auto": Target(corpus.STREAMS, check_auto),
    "proxy-header": Target(corpus.PROXY_HEADERS, check_proxy_header),
    "relp-frames": Target([*corpus.RELP_SERVER, *corpus.RELP_CLIENT], check_relp_frames),
    "relp-server": Target(corpus.RELP_SERVER, check_server),
    "relp-client": Target(corpus.RELP_CLIENT, check_client),
    "relp-blocks": Target(corpus.RELP_BLOCKS, check_blocks),
    "relp-offers": Target(corpus.OFFERS, check_offers),
    "parse": Target(corpus.LINES, check_parse),
    "structured-data": Target(corpus.STRUCTURED_DATA, check_structured_data),
    "timestamp": Target(corpus.STAMPS, check_stamp),
    "json": Target(corpus.JSON, check_json),
    "envelope": Target(corpus.ENVELOPES, check_envelope),
    "http-body": Target(BODIES, check_body),
    "http-request": Target(REQUESTS, check_request),
    "http-answer": Target(corpus.HTTP_ANSWERS, check_http_answer),
    "rewrites": Target(corpus.LINES, check_rewrites),
}
if IS_COMPILED:
    TARGETS["objects"] = Target(corpus.JSON, check_object)
    TARGETS["strings"] = Target([*corpus.JSON, *corpus.LINES], check_string)
    TARGETS["read lines"] = Target([*corpus.LINES, *corpus.ENVELOPES], check_read)
    TARGETS["forms"] = Target([*corpus.LINES, *corpus.ENVELOPES, *corpus.JSON], check_forms)
