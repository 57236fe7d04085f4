"""What fuzzing starts from: inputs that mean something, pieces of grammar, mutations.

The whole run follows from one seed: input `number` of a target is made by a
generator seeded with seed, target and number, so that any of them can be made
again alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from relay.codec import encode_syslog
from relay.wire.relp.blocks import Packer
from relay.wire.relp.frame import encode_answers, encode_frame

__all__ = [
    "ENVELOPES",
    "JSON",
    "LINES",
    "PROXY_HEADERS",
    "OFFERS",
    "RELP_BLOCKS",
    "RELP_CLIENT",
    "RELP_SERVER",
    "STAMPS",
    "STREAMS",
    "STRUCTURED_DATA",
    "mutated",
]

_TESTS = Path(__file__).resolve().parents[1]
_OFFERS = b"relp_version=0\nrelp_software=fuzz,1,x\ncommands=syslog"


def _vectors(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((_TESTS / name).read_text())
    return vectors


_PARSE = _vectors("wire/vectors/parse.json")
_RELP = _vectors("wire/vectors/relp.json")
_EWMM = _vectors("rewrite/vectors/ewmm.json")

LINES: list[bytes] = [
    *(vector["input"].encode("latin-1", "replace") for vector in _PARSE),
    *(vector["bytes"].encode("utf-8") for vector in _EWMM if "bytes" in vector),
    *(vector["raw"].encode("latin-1") for vector in _EWMM if "raw" in vector),
    b'<13>1 2026-10-11T22:14:15Z h a 1 - [x@1 a="b"][y@2 c="\\]"] @cee: {"a":{"b":[1,2]}}',
    b"<13>1 2026-10-11T22:14:15.1234567Z h a 1 m - \xef\xbb\xbfcaf\xc3\xa9",
    b'host tag:{"logsene-app-token":"x"}',
    b"<189>35: *Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured from console",
]
"""Single messages of all dialects."""

JSON: list[bytes] = [
    *(line[line.index(b"{") :] for line in LINES if b"{" in line),
    b'{"a":1e400,"b":[true,false,null,-0.5,"\\ud83d\\ude00\\u0000"],"a":{}}',
    b'@cee:{"logsene\\u002dapp-token": 5, "tags": ["x"]}',
    b"{}",
    b" \t{ \r\n } ",
]

STAMPS: list[bytes] = [
    b"Oct 11 22:14:15",
    b"Feb 29 23:59:60",
    b"Feb  5 2024 10:11:12",
    b"Jan  1 00:00:00 2023",
    b"Dec 31 23:59:59.999999",
    b"2026-10-11T22:14:15.003Z",
    b"2026-10-11T22:14:15.3Z",
    b"2026-10-11T22:14:15.1234567+05:45",
    b"2026-10-11 22:14:15,123456789+02:00",
    b"0000-01-01T00:00:00Z",
    b"0001-01-01T00:00:00",
    b"0001-01-01T00:00:00+23:59",
    b"9999-12-31T23:59:60-23:59",
    b"1890-05-05T05:05:05",
    b"2016-12-31T23:59:60.5Z",
    b"2026-02-31T29:59:60-00:00",
]

STREAMS: list[bytes] = [
    b"".join(b"%d %s" % (len(line), line) for line in LINES[:5]),
    b"\n".join(LINES[5:10]) + b"\n",
    b"".join(line + b"\r\n" for line in LINES[10:13]),
    b"5 abcde007 1234567\n0 \0003 \r\n\0",
    b"a\0b\0\n\r\n\rc\r",
    b"300 " + b"x" * 300 + b"2 ok",
    b"y" * 300 + b"\nok\n",
    b"9999999999 x",
    b"12",
    b"\x16\x03\x01\x02\0\x01\n",
    *(b"z" * size + b"\r\nok\r\n" for size in (63, 64, 65, 66)),
    *(b"%d " % size + b"z" * size + b"2 ok" for size in (63, 64, 65)),
    b"\r\n\0" * 100 + b"2 ok" + b"\n" * 300,
]
"""Plain syslog in all framings, with lengths around the limits of the tests."""

ENVELOPES: list[bytes] = [
    *JSON,
    b'{"z":[1,"a",{"b":null}],"y":"a\\u0000b","x":"\\ud800","w":{},"v":{"i":1e400,"b":true}}',
    b'{"a":{"b":"1"},"a.b":"2","a":"3","PID":5,"HOST":"","MSG":null,"RAWMSG":"x","b..c":"1"}',
    b'{".SDATA":{"a.b":{"c":"1"},"my.app@32473":{"p.q":"2"},"e@1":"","bad id]":{"na me":"v"}}}',
    b'/* x */{\'a\':\'m\',"b":[01,1.,1e,NaN,TRUE,\'"\',],// y\n"c":"\xe9",}rest',
    b'{"._TAGS":"a,\\"b c\\",\'d\\"e\'","t":1,".SDATA.x@1.2.3.y":"z",".syslogrelay.timestamp":"x"}',
    b'["x",{"y":[1]},"\\ud83d\\ude00"]',
    b'{"._TAGS":["a",1,null,["b"]],"LEGACY_MSGHDR":5,"HOST_FROM":{},"x@1.2":{"3":{"a":"."}}}',
]
"""What is in an envelope of EWMM."""

_PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n"

PROXY_HEADERS: list[bytes] = [
    b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 514\r\n5 hello",
    b"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n",
    b"PROXY UNKNOWN\r\n5 hello",
    b"PROXY UNKNOWN " + b"f" * 100 + b"\r\n",
    _PROXY_2 + b"\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x9c\x40\2\2" + b"5 hello",
    _PROXY_2 + b"\x21\x21\0\x24" + bytes(range(36)) + b"5 hello",
    _PROXY_2 + b"\x21\x11\0\x13\xc0\0\2\1\xc0\0\2\2\x9c\x40\2\2\4\0\4abcd" + b"5 hello",
    _PROXY_2 + b"\x20\0\0\0" + b"5 hello",
    _PROXY_2 + b"\x21\x31\0\xd8" + b"p" * 216,
]

RELP_SERVER: list[bytes] = [
    *(
        vector["bytes"].encode("latin-1")
        for vector in _RELP
        if "server" in vector["role_under_test"]
    ),
    encode_frame(1, b"open", _OFFERS)
    + encode_syslog(2, [b"one", b"two\n", b"z" * 200])
    + encode_frame(5, b"close", b""),
    encode_frame(1, b"open", _OFFERS) + encode_syslog(2, [b"z" * size for size in (63, 64, 65)]),
    encode_frame(1, b"open", _OFFERS) + encode_syslog(2, [b"%d" % n for n in range(40)]),
]
"""What clients say to a server."""

RELP_CLIENT: list[bytes] = [
    *(
        vector["bytes"].encode("latin-1")
        for vector in _RELP
        if "client" in vector["role_under_test"]
    ),
    encode_frame(1, b"rsp", b"200 OK\n" + _OFFERS) + encode_answers(2, 12),
    encode_frame(1, b"rsp", b"200 OK\n" + _OFFERS)
    + b"".join(encode_answers(txnr, 1) for txnr in (4, 3, 2, 7, 6, 5, 5, 99)),
    encode_frame(1, b"rsp", b"200 OK\n" + _OFFERS)
    + encode_answers(2, 2)
    + b"4 rsp 11 500 refused\n5 rsp 6 200 OK\n0 serverclose 0\n",
]
"""What servers say to a client."""

OFFERS: list[bytes] = [
    _OFFERS + b"\nsyslogrelay_lineage=0b5a8d7e-58a3-4e63-9c5f-6d0a4f1f2a3b,00000000deadbeef,5,9",
    _OFFERS + b"\nsyslogrelay_have=57,00000000deadbeef",
    _OFFERS + b"\nsyslogrelay_have=no",
    _OFFERS,
    b"relp_version=1\ncommands=syslog,starttls\nunknown=1",
    b"\n\ncommands=syslog\n\n",
    b"relp_version\ncommands=syslog",
    b"".join(b"o%d=1\n" % number for number in range(100)) + b"commands=syslog",
]

STRUCTURED_DATA: list[bytes] = [
    b'[a b="c"]',
    b'[exampleSDID@32473 iut="3" eventSource="App\\"li\\\\c\\]"][meta sequenceId="1"] msg',
    b'[a b="c" b="d"][a b="e"]',
    b'[x@1 a="\n\0\x7f" b="\xff\xfe"]',
    b"[empty][empty2]",
    b"-",
    b"- msg",
    *(line[line.index(b"[") :] for line in LINES if b'="' in line and b"[" in line),
]

_PIECES: list[bytes] = [
    *(b"<", b">", b"[", b"]", b'"', b"\\", b"=", b":", b" ", b"-", b"{", b"}", b",", b"\t"),
    *(b"\n", b"\r", b"\r\n", b"\0", b"\x7f", b"\x80", b"\xff", b"\xc3\xa9", b"\xf0\x9f\x98\x80"),
    *(b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\\u0000", b"\\ud800", b"\\\\", b'\\"'),
    *(b"<13>", b"<191>1 ", b"<999>", b"<0>", b"<013>1 - - - - - - ", b"1 ", b" - - "),
    *(b'[a b="c"]', b'[a@1 b="\\]"]', b'[meta sequenceId="1"]', b"@cee:", b"@cee: {", b"{}"),
    *(b'"logsene-app-token"', b'{"logsene-app-token":"t"}', b"@syslog-ng", b'{"MESSAGE":""}'),
    *(b"01234567-89ab-cdef-0123-456789abcdef:", b"last message repeated 3 times", b"fe80::1 "),
    *(b"Oct 11 22:14:15 ", b"2026-10-11T22:14:15Z ", b"0001-01-01T00:00:00 ", b"+23:59", b".1"),
    *(
        b"0",
        b"9",
        b"00",
        b"999999999",
        b"9999999999",
        b"2147483648",
        b"-1",
        b"+5",
        b"1_0",
        b"1e999",
    ),
    *(b"1 open ", b"2 syslog 3 abc\n", b"3 close 0\n", b"0 serverclose 0\n", b" rsp 6 200 OK\n"),
    *(b"2 rsp 0\n", b"2 rsp 3 500\n", b"commands=syslog", b"relp_version=", b" syslog 0\n", b" 0 "),
    *(b"x" * 47, b"x" * 64, b"x" * 65, b"[" * 80, b'{"a":' * 40, b" " * 30, b"\n" * 20),
]

Change = Callable[[random.Random, bytearray], None]


def _flip(source: random.Random, data: bytearray) -> None:
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def _replace(source: random.Random, data: bytearray) -> None:
    data[source.randrange(len(data))] = source.randrange(256)


def _insert(source: random.Random, data: bytearray) -> None:
    at = source.randrange(len(data) + 1)
    data[at:at] = source.choice(_PIECES)


def _overwrite(source: random.Random, data: bytearray) -> None:
    at = source.randrange(len(data))
    piece = source.choice(_PIECES)
    data[at : at + len(piece)] = piece


def _delete(source: random.Random, data: bytearray) -> None:
    at = source.randrange(len(data))
    del data[at : at + source.randint(1, max(1, len(data) // 4))]


def _double(source: random.Random, data: bytearray) -> None:
    start, stop = sorted((source.randrange(len(data)), source.randrange(len(data) + 1)))
    at = source.randrange(len(data) + 1)
    data[at:at] = data[start:stop]


def _number(source: random.Random, data: bytearray) -> None:
    """Change a digit, which changes a length, a txnr or a date."""
    digits = [at for at, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    if digits:
        data[source.choice(digits)] = source.randrange(0x30, 0x3A)


def _noise(source: random.Random, data: bytearray) -> None:
    at = source.randrange(len(data) + 1)
    data[at:at] = source.randbytes(source.randint(1, 12))


_CHANGES: Sequence[Change] = (
    *(_flip, _replace, _insert, _insert, _overwrite, _delete, _double, _number, _number, _noise),
)
_BYTES_MAX = 2000  # doubling must not make inputs that only cost time


def mutated(source: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of `seeds`, joined with another one now and then, changed in a few places."""
    data = bytearray(source.choice(seeds))
    if source.random() < 0.2:
        other = source.choice(seeds)
        cut = source.randrange(len(data) + 1)
        data[cut:] = other[source.randrange(len(other) + 1) :]
    for _ in range(source.choice((0, 1, 1, 2, 2, 3, 4, 8, 16))):
        if not data:
            data += source.choice(_PIECES)
        source.choice(_CHANGES)(source, data)
    return bytes(data[:_BYTES_MAX])


HTTP_ANSWERS: list[bytes] = [
    b'{"errors":true,"items":[{"index":{"status":201}},{"create":{"status":409,"error":{}}}]}',
    b'{"items":[{"index":{"status":400,"error":{"type":"a","reason":"b","caused_by":{"reason":1}}}}]}',
    b'{"text":"Invalid data format","code":6,"invalid-event-number":1}',
    b'{"text":"Success","code":0}',
    b'{"error":{"reason":"Application not found for token"},"status":404}',
    b"daily limit reached",
    b"Fri, 31 Dec 9999 23:59:59 GMT",
    b"120",
    *JSON,
]
"""Bodies of answers, and what stands in their headers."""

_TEXTS = [b"<13>1 - host app - - - message %d of several" % number for number in range(9)]
_PACKER = Packer(3)
RELP_BLOCKS = [
    Packer(3).encode_syslog(2, _TEXTS),
    encode_frame(2, b"syslog", b"a") + Packer(1).encode_syslog(3, _TEXTS * 3),
    b"".join(_PACKER.encode_syslog(2 + 9 * number, _TEXTS) for number in range(3)),
    Packer(1).encode_syslog(2, [b"two\nlines", b"\xff"] * 9),
]
