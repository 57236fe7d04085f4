from __future__ import annotations

import pytest

from relay.wire.parse import Dialect
from relay.wire.readers import (
    cutting,
    reading,
    reading_nothing,
    reading_pri,
    storing_raw,
    telling_what_is_missing,
)

LINE = b"<34>Oct 11 22:14:15 h su[1]: caf\xe9"
read = reading(Dialect())


def test_nothing_is_read() -> None:
    message = reading_nothing((3, 4))(LINE + b"\n\0", b"frame")
    assert message[:10] == (3, 4, 0, None, None, None, None, None, None, LINE)
    assert (message.raw, message.pairs) == (b"frame", None)


@pytest.mark.parametrize(
    ("line", "pri", "msg"),
    [
        (b"<34>Oct 11 x", 34, b"Oct 11 x"),
        (b"<034>", 34, b""),
        (b"<>x", 0, b"x"),
        (b"x", 28, b"x"),
        (b"<192>x", 28, b"<192>x"),
        (b"<3 4>x", 28, b"<3 4>x"),
    ],
)
def test_only_the_pri_is_read(line: bytes, pri: int, msg: bytes) -> None:
    message = reading_pri((3, 4))(line + b"\n", line)
    assert (message.pri, message.msg) == (pri, msg)
    assert message.tags == ((b"syslog.invalid_pri",) if line.startswith((b"<1", b"<3 ")) else ())


@pytest.mark.parametrize(
    ("line", "tags"),
    [
        (b"<13>1 - h a - - - x", [b"syslog.missing_timestamp"]),
        (b"<13>1 2003-10-11T22:14:15Z h a - - - x", []),
        (b"<13>Oct 11 22:14:15 h a: x", []),
        (b"<13>Oct 11 22:14:15 a: x", [b"syslog.invalid_hostname"]),
        (b"Oct 11 22:14:15 h a: x", [b"syslog.missing_pri"]),
        (b"<13>x", [b"syslog.missing_timestamp", b"syslog.rfc3164_missing_header"]),
        (b"<13>Oct 11 22:14:15 last message repeated 2 times", []),
        (b"<999>", [b"syslog.invalid_pri"]),
        (b"6 <13>Oct 11 22:14:15 h a: x", [b"syslog.unexpected_framing"]),
    ],
)
def test_what_is_missing(line: bytes, tags: list[bytes]) -> None:
    assert telling_what_is_missing(read)(line, line).tags == tuple(tags)


def test_the_line_becomes_a_pair() -> None:
    message = storing_raw(read)(LINE + b"\r\n\0", LINE)
    assert message.pairs == {"LEGACY_MSGHDR": b"su[1]: ", "RAWMSG": LINE}
    assert storing_raw(read)(b"<13>1 - - - - - -", b"").pairs == {"RAWMSG": b"<13>1 - - - - - -"}


def test_text_is_cut_before_it_is_read() -> None:
    message = cutting(read, 30)(LINE, LINE)
    assert (message.msg, message.raw) == (b"c", LINE)
