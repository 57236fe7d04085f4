from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.headers.tag import NO_TAG, Tag, format_tag, is_object, read_tag


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"su: x", Tag(b"su", None, 4)),
        (b"su:x", Tag(b"su", None, 3)),
        (b"su:  x", Tag(b"su", None, 4)),
        (b"su[230]: x", Tag(b"su", b"230", 9)),
        (b"su[230]:", Tag(b"su", b"230", 8)),
        (b"su[230] x", Tag(b"su", b"230", 8)),
        (b"su[230]", Tag(b"su", b"230", 7)),
        (b"su[]: x", Tag(b"su", None, 6)),
        (b"su[1:2]: x", Tag(b"su", b"1:2", 9)),
        (b"sssd[be[EXAMPLE.ORG]][9]: x", Tag(b"sssd[be[EXAMPLE.ORG]]", b"9", 26)),
        (b"sssd[be[EXAMPLE.ORG]]: x", Tag(b"sssd[be[EXAMPLE.ORG]]", None, 23)),
        (b"sssd[nss][9]: x", Tag(b"sssd[nss]", b"9", 14)),
        (b"a[b][c][12]: x", Tag(b"a[b][c]", b"12", 13)),
        (b"CROND(root)[12]: m", Tag(b"CROND(root)", b"12", 17)),
        (b"(sd-pam)[99]: x", Tag(b"(sd-pam)", b"99", 14)),
        (b"caf\xc3\xa9[1]: x", Tag(b"caf\xc3\xa9", b"1", 10)),
        (b"/kernel: x", Tag(b"/kernel", None, 9)),
        (b"%ASA-4-106023: x", Tag(b"%ASA-4-106023", None, 15)),
        (b"@syslog-ng: {}", Tag(b"@syslog-ng", None, 12)),
    ],
)
@pytest.mark.parametrize("has_stamp", [False, True])
def test_tags_with_a_colon_or_brackets(line: bytes, expected: Tag, has_stamp: bool) -> None:
    assert read_tag(line, 0, has_stamp=has_stamp) == expected
    assert read_tag(b"abc" + line, 3, has_stamp=has_stamp) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"su text", Tag(b"su", None, 3)),
        (b"date=2024-02-05 time=1", Tag(b"date=2024-02-05", None, 16)),
        (b"app[123 text", Tag(b"app", b"123", 8)),
        (b"app[123: text", Tag(b"app", b"123", 9)),
        (b"[12] text", Tag(None, b"12", 5)),
        (b": text", Tag(None, None, 2)),
        (b":", Tag(None, None, 1)),
    ],
)
def test_what_is_a_tag_behind_a_stamp_alone(line: bytes, expected: Tag) -> None:
    assert read_tag(line, 0) == expected
    assert read_tag(line, 0, has_stamp=False) == NO_TAG


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b" ", b"x", b"{", b'{"a": 1}', b'@cee: {"a":1}', b'@cee:{"a":1}', b"@cim: {}"),
        *(
            b'"a": 1',
            b"[core:error] [pid 12] x",
            b"[x",
            b"[::1] x",
            b"a\tb: x",
            b"a[\x01]: x",
            b"<x> y",
        ),
        *(
            b"Hello, world",
            b"Restarting (again)",
            b"12345 text",
            b"-- MARK --",
            b"::",
            b"su[",
        ),
    ],
)
def test_what_is_text(line: bytes) -> None:
    first = line.split(b" ")[0]
    if first != b"Restarting":  # a program whose colon was left out
        assert read_tag(line, 0) == NO_TAG
    assert read_tag(line, 0, has_stamp=False, behind_host=False) == NO_TAG


def test_a_url_is_text_where_there_is_nothing_before_it() -> None:
    assert read_tag(b"http://a/b", 0, behind_host=False) == NO_TAG
    assert read_tag(b"http://a/b", 0, has_stamp=False) == NO_TAG
    assert read_tag(b"http://a/b", 0) == Tag(b"http", None, 5)


def test_objects() -> None:
    for text in (b'{"a":1}', b"{}", b'{ "a":1} ', b"@cee: {", b"@cee:{}", b"@cim: {}"):
        assert is_object(b"h " + text, 2)
    for text in (b"", b"{", b"{a}", b'{"a":1', b"@cee: x", b"x {}"):
        assert not is_object(b"h " + text, 2)


@pytest.mark.parametrize(
    ("app_name", "procid", "tag"),
    [
        (b"su", b"230", b"su[230]:"),
        (b"su", None, b"su:"),
        (None, None, b"-:"),
        (None, b"1", b"-[1]:"),
        (b"caf\xc3\xa9", None, b"caf\xc3\xa9:"),
        (b"sssd[be[X]]", b"9", b"sssd[be[X]][9]:"),
        (b"a:b[c] d", b"1]\n", b"a_b_c__d[1__]:"),
        (b"caf\xe9", None, b"caf_:"),
        (b"{a", b"1", b"_a[1]:"),
        (b"@cee", None, b"_cee:"),
        (b"Media Server", b"12", b"Media_Server[12]:"),
        (b"x" * 300, b"1", b"x" * 300 + b"[1]:"),
    ],
)
def test_tags_are_written_so_that_they_are_read_again(
    app_name: bytes | None, procid: bytes | None, tag: bytes
) -> None:
    assert format_tag(app_name, procid) == tag


@given(st.binary(max_size=40), st.none() | st.binary(max_size=20), st.binary(max_size=20))
def test_any_tag_written_is_read_back(app_name: bytes, procid: bytes | None, msg: bytes) -> None:
    tag = format_tag(app_name, procid)
    found = read_tag(tag + b" " + msg, 0)
    assert found.size == len(tag) + 1
    assert format_tag(found.program, found.pid) == tag


PIECES = [
    b"a",
    b"[",
    b"]",
    b":",
    b" ",
    b"1",
    b"{",
    b'"',
    b"@cee",
    b"\xc3\xa9",
    b"\xff",
    b"\t",
    b"/",
]


@given(st.lists(st.sampled_from(PIECES)).map(b"".join), st.booleans(), st.booleans(), st.booleans())
def test_a_tag_is_the_beginning_of_its_line(
    line: bytes, behind_host: bool, has_stamp: bool, expects_host: bool
) -> None:
    found = read_tag(
        line, 0, behind_host=behind_host, has_stamp=has_stamp, expects_host=expects_host
    )
    text = line[: found.size]
    assert (found.program or b"") in text
    assert (found.pid or b"") in text
    left = text.replace(found.program or b"", b"", 1).replace(found.pid or b"", b"", 1)
    assert not left.strip(b"[]: ")
    assert not any(byte < 0x20 for byte in text)


@pytest.mark.parametrize(
    "data", [b"[", b"a[", b"a]", b"]", b"a[b]", b"a ", b"(", b"[]", b"a[b][", b"/"]
)
def test_hostile_tags_come_to_an_end(data: bytes) -> None:
    for start in (b"", b"a", b"a["):
        for expects_host in (True, False):
            read_tag(start + data * 65536, 0, expects_host=expects_host)
            read_tag(start + data * 65536, 0, has_stamp=False, expects_host=expects_host)
