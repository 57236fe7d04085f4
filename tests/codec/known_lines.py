"""Lines that are known from the field, and edits of them, to compare two ways of reading them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st

from tests.any_messages import frames, nearly_usual
from tests.bench import traffic

__all__ = [
    "TOKENS",
    "WHOLE",
    "edited",
    "field_lines",
    "joined_tokens",
    "lines_of_all_kinds",
    "odd_lines",
    "pool",
]

_VECTORS = (
    *("wire/vectors/field.json", "wire/vectors/parse.json", "rewrite/vectors/ewmm.json"),
    "wire/vectors/relp.json",
)
_EDITED_BYTES = 90  # from the start of a line; what is behind them is MSG
_LINES_OF_A_KIND = 60

TOKENS = [
    *(b" ", b": ", b":", b"[", b"]", b"{", b"}", b'"', b"@cee:", b"-", b"*", b".", b"\t", b"\0"),
    *(b"<13>", b"<34>1 ", b"<192>", b"<013>", b"<>", b"1 ", b"10 ", b"01 ", b"0", b"9" * 12),
    *(b"Jan  1 00:00:00", b"Nov 30 12:13:14.5", b"2024 ", b"+02", b"Z ", b"UTC", b"EST"),
    *(b"2024-01-01T00:00:00Z", b"2024-01-01T00:00:00.123 +02:00", b"2026-02-29T05:00:00Z"),
    *(b" host ", b"su", b"[12]", b"(", b"//", b"/", b"_", b",", b"a" * 256, b"p" * 129, b"a" * 49),
    *(b"%ASA-4-1: ", b"%SYS-5-X", b"000123: ", b"77: ", b"1.2.3.4", b"fe80::1", b"[::1]"),
    *(b"\n", b"\r", b"\xef\xbb\xbf", b"\xc3\xa4", b"\xff", b"\x7f", b"\\"),
    *(b"last message repeated 2 times", b"Message forwarded from x: ", b"@syslog-ng"),
    *(b'[x@1 a="b"]', b'[x a="b\\"\\]"]', b'[a b="', b"[]", b'{"a":1}', b'{"logsene-app-token":'),
    *(b"00000000-0000-0000-0000-000000000000", b"other-token", b'"logsene-app-token": "x"'),
]

WHOLE = [
    b"<34>Oct 11 22:14:15 mymachine su[230]: 'su root' failed\r\n",
    b"<191>Oct  1 22:14:15 su: failed",
    b"<13>Oct  1 22:14:15 2026 su: failed",
    b"<13>Oct  1 22:14:15 fe80::1 %ASA-6-302013: Built \xff",
    b"<187>77: r1.example: 000123: *Nov 30 12:13:14.567 UTC: %SYS-5-CONFIG_I: by console",
    b'<165>1 2026-11-21T05:00:00.000003Z web-1 app 123 ID47 [a b="c\\]"][d e=""] \xef\xbb\xbfhi\n',
    b"<13>1 2026-11-21T05:00:00+01:00 - - - - -  two spaces",
    b'<13>1 2026-11-21T05:00:00Z h @syslog-ng - - - {"MESSAGE":"x"}',
    b"<13>Oct 11 22:14:15 h b\xc3\xbcro/cron(1)[x]: last message repeated 2 times",
    b"<13>Message forwarded from 192.0.2.1: su[1]: x",
    b"12 \xef\xbb\xbf<13>Oct 11 22:14:15 h app: x",
    b'\xef\xbb\xbf<13>Oct 11 22:14:15.123+02:00 h app: @cee: {"a": "\\u0041"}',
]
"""Lines with all that a line can have; to be cut anywhere."""


@cache
def field_lines() -> tuple[bytes, ...]:
    """All texts in the vectors, in UTF-8 and as the bytes that they stand for."""
    found: dict[bytes, None] = {}
    for name in _VECTORS:
        for text in _texts(json.loads((Path(__file__).parent.parent / name).read_text())):
            found[text.encode("utf-8", "replace")] = None
            found[text.encode("latin-1", "replace")] = None
    return tuple(line for line in found if line)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return [text for each in value for text in _texts(each)] if isinstance(value, list) else []


@cache
def lines_of_all_kinds(count: int, seed: int = 1) -> tuple[bytes, ...]:
    """So many lines of each kind of traffic."""
    return tuple(line for kind in traffic.KINDS for line in traffic.messages(kind, count, seed))


@cache
def pool() -> tuple[bytes, ...]:
    """What is edited."""
    return (*WHOLE, *field_lines(), *lines_of_all_kinds(_LINES_OF_A_KIND))


def edited(source: Random, line: bytes) -> bytes:
    """A line with one to three random edits near its start."""
    for _ in range(source.randint(1, 3)):
        at = source.randint(0, min(len(line), _EDITED_BYTES))
        rest, token = line[at:], source.choice(TOKENS)
        other = source.choice(pool())
        line = line[:at] + source.choice(
            [
                token + rest,
                token + rest[source.randint(0, 8) :],
                rest[source.randint(1, 4) :],
                bytes([source.randrange(256)]) + rest[1:],
                other[source.randint(0, min(len(other), 60)) :],
                b"",
            ]
        )
    return line


def joined_tokens(source: Random) -> bytes:
    return b"".join(source.choices(TOKENS, k=source.randint(1, 10)))


@st.composite
def _edited_lines(draw: st.DrawFn) -> bytes:
    """Like `edited`, in a form that hypothesis can make smaller."""
    line: bytes = draw(st.sampled_from(pool()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, min(len(line), _EDITED_BYTES)))
        put = draw(st.sampled_from(TOKENS) | st.binary(max_size=2))
        line = line[:at] + put + line[at + draw(st.integers(0, 8)) :]
    return line


odd_lines = st.one_of(
    _edited_lines(),
    nearly_usual,
    frames,
    st.lists(st.sampled_from(TOKENS), min_size=1, max_size=10).map(b"".join),
)
