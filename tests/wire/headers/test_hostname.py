from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.headers.hostname import format_hostname, is_address, is_hostname, without_brackets

NAMES = [
    *(
        b"h",
        b"web-1.example.net",
        b"web_1",
        b"_gateway",
        b"192.0.2.1",
        b"10.0.0.99",
        b"2001:db8::1",
    ),
    *(b"::1", b"fe80::", b"fe80::1%eth0", b"::ffff:192.0.2.1", b"[2001:db8::1]", b"[::1]", b"-"),
    *(b"%bzorp", b"a,b", b"host/relay", b"source@host", b"192.168.33.8-1", b"B\xc3\xbcro-1"),
    *("хост.example".encode(), "主机".encode(), b"h" * 255),
]
NO_NAMES = [
    *(
        b"",
        b" ",
        b"a b",
        b"a\tb",
        b"\tb",
        b"a\x00",
        b"a\x7f",
        b"a\x1b[1m",
        b"h" * 256,
        b"***",
        b"--",
    ),
    *(
        b"CEF:0|a",
        b"db:connected",
        b"C:",
        b"app:",
        b"app[1]",
        b"1:2",
        b"[x]",
        b"[]",
        b"[::1",
        b"::g",
    ),
    *(
        b"a=b",
        b"a|b",
        b'"a"',
        b"(a)",
        b"{",
        b"caf\xe9",
        b"\xff",
        b"a\xc2\xa0b",
        b"\xc2\x85x",
        b"-a",
        b".a",
    ),
    *(b"host:514", b"@cee:", b"/usr/bin/x", b"fe80::1%", b"fe80::1%a b", b"1.2.3.4:5"),
]


@pytest.mark.parametrize("word", NAMES)
def test_names_and_addresses_are_hosts(word: bytes) -> None:
    assert is_hostname(word)
    assert format_hostname(word) == without_brackets(word)


@pytest.mark.parametrize("word", NO_NAMES)
def test_what_belongs_to_a_text_is_no_host(word: bytes) -> None:
    assert not is_hostname(word)
    assert is_hostname(format_hostname(word))


def test_addresses() -> None:
    assert is_address(b"192.0.2.1")
    assert is_address(b"2001:db8::1")
    assert not any(map(is_address, (b"host", b"192.0.2", b"[::1]", b"\xff", b"")))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"host:514", b"host_514"),
        (b"a[1]\n", b"a_1__"),
        (b"b\xc3\xbcro\t1", b"b\xc3\xbcro_1"),
        (b"caf\xe9", b"caf_"),
        (b"=x", b"_x"),
        (b"***", b"___"),
        (b"", b"-"),
    ],
)
def test_what_can_be_in_no_name_becomes_an_underscore(value: bytes, expected: bytes) -> None:
    assert format_hostname(value) == expected


@given(st.binary() | st.text().map(str.encode))
def test_anything_becomes_a_host(value: bytes) -> None:
    name = format_hostname(value)
    assert is_hostname(name)
    assert format_hostname(name) == name
    assert b" " not in name
