from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.rewrite.bare import with_hosts
from relay.wire.parse import parse, parse_all


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"my-host my-process:@cee: {}", (b"my-host", b"my-process", b"@cee: {}")),
        (b"my-host my-process[1]: @cee: {}", (b"my-host", b"my-process", b"@cee: {}")),
        (b"my-host MY_TOKEN:hello world!", (b"my-host", b"MY_TOKEN", b"hello world!")),
        (b"my-host MY_TOKEN:", (b"my-host", b"MY_TOKEN", b"")),
        (
            b"h 01234567-89ab-cdef-0123-456789abcdef:  indented",
            (b"h", b"01234567-89ab-cdef-0123-456789abcdef", b" indented"),
        ),
        (b"my-host -: hello", (b"my-host", b"-", b"hello")),
        (b"error opening: no such file", (None, b"error", b"opening: no such file")),
        (b"GET http://example.com/", (None, b"GET", b"http://example.com/")),
        (b"at 10:20:30 it rained", (None, b"at", b"10:20:30 it rained")),
    ],
)
def test_a_bare_line_with_a_host(line: bytes, expected: tuple[bytes | None, bytes, bytes]) -> None:
    (message,) = with_hosts([parse(line)])
    assert (message.hostname, message.app_name, message.msg) == expected


@pytest.mark.parametrize(
    ("line", "hostname"),
    [
        (b"<13>my-host my-process:@cee: {}", b"my-host"),
        (b"<13>my-host -:hello", b"my-host"),
        (b"<13>my-host MY_TOKEN:hello", None),  # a PRI comes from a program, not from netcat
        (b"<13>Oct 11 22:14:15 h my-host MY_TOKEN:hello", b"h"),
        (b"<13>1 - - a - - - my-host x:@cee: {}", None),
    ],
)
def test_what_already_has_a_header_keeps_it(line: bytes, hostname: bytes | None) -> None:
    (message,) = with_hosts([parse(line)])
    assert message.hostname == hostname


def test_a_batch_in_which_all_have_stamps_is_passed_on() -> None:
    messages = parse_all([b"<13>Oct 11 22:14:15 h a: b"] * 2)
    assert with_hosts(messages) is messages


@given(st.binary())
def test_no_octet_is_lost(line: bytes) -> None:
    (message,) = with_hosts([parse(line)])
    header = (message.pairs or {}).get("LEGACY_MSGHDR", b"")
    if message.timestamp is None and not message.version and message.structured_data is None:
        assert (header + message.msg) in line.rstrip(b"\n\r\0")
        assert message.raw == line
