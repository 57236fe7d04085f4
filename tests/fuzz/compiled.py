"""Compiled code makes the same of any input as the Python that it stands for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC
from zoneinfo import ZoneInfo

from relay.model.token import Token
from relay.rewrite.forms.token import object_writer, token_member
from relay.rewrite.json.text import json_string
from relay.wire.parse import Dialect, read_lines
from tests.codec.every_form import DIALECTS, arrival_of, every_form, reference_of
from tests.fuzz import corpus

try:
    from relay.codec import objects, text
except ImportError:  # the package was installed without a C compiler
    IS_COMPILED = False
else:
    IS_COMPILED = True

__all__ = ["IS_COMPILED", "check_forms", "check_object", "check_read", "check_string"]

_TOKEN = Token(b"01234567-89ab-cdef-0123-456789abcdef")
_REFERENCE = object_writer(_TOKEN)
_MOMENTS = (0.0, 1704067199.75, 1709251200.25, 1795222800.25, 4.0e9)
_FORMS = [every_form(zone) for zone in (UTC, ZoneInfo("America/New_York"))]
_KEY = b"logsene-app-token"
_ENDS = [b"", b" ", b"\n", b"\xef\xbb\xbf", b"@cee:", b"}", b"{", b'"', b"\\u0061", b"\xc4\x9b"]


def check_object(msg: bytes, source: random.Random) -> None:
    variants = [msg, msg + b"}", b"{" + msg, source.choice(_ENDS) + msg + source.choice(_ENDS)]
    writer = objects.ObjectWriter(_KEY, token_member(_TOKEN), _REFERENCE)
    for variant in variants:
        written = writer.write(variant)
        assert written == _REFERENCE(variant)
        if written is not None:  # it has a token now
            assert writer.write(written) == written


def check_string(data: bytes, source: random.Random) -> None:
    for variant in (data, data[source.randrange(len(data) + 1) :], data[::-1]):
        assert text.string(variant) == json_string(variant)


def check_read(frame: bytes, source: random.Random) -> None:
    """What compiled code reads is what the reference reads, for all dialects."""
    frames = _batch(frame, source)
    for dialect in DIALECTS.values():
        _check_lines(frames, dialect)


def _check_lines(frames: Sequence[bytes], dialect: Dialect) -> None:
    lines, expected = read_lines(frames, dialect), reference_of(frames, dialect)
    assert lines.column("severity") == expected.column("severity")
    assert {*lines.odd()} >= {*expected.odd()}
    for frame, found, wanted in zip(frames, lines.messages(), expected.messages(), strict=True):
        assert found == wanted, frame


def check_forms(frame: bytes, source: random.Random) -> None:
    """All forms are what their writers write, whatever the lines and their origins are."""
    frames = _batch(frame, source)
    stops = sorted(source.choices(range(len(frames) + 1), k=3))
    arrival = arrival_of([*stops, len(frames)], source.choice(_MOMENTS))
    dialect = source.choice([*DIALECTS.values()])
    chosen = [index for index in range(len(frames)) if source.random() < 0.5]
    for both in source.choice(_FORMS).values():
        payloads = both.check(frames, arrival, dialect=dialect)
        some = both.form.write(read_lines(frames, dialect), chosen, arrival)
        assert some == [payloads[index] for index in chosen]


def _batch(frame: bytes, source: random.Random) -> list[bytes]:
    """A frame, what is left of it in three ways, and one that is known."""
    at, known = source.randrange(len(frame) + 1), source.choice(corpus.LINES)
    return [frame, frame[:at], b"<13>Oct 11 22:14:15 " + frame[at:], known, known[:at] + frame[at:]]
