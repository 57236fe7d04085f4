from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.framing.charset import Charset

SUPERSETS = (
    *("ascii", "utf-8", "utf-8-sig", "ISO-8859-1", "cp1252", "koi8-r", "mac-roman"),
    *("shift_jis", "cp932", "euc_jp", "gb18030", "gbk", "big5", "euc_kr", "johab"),
)
OTHERS = (
    *("utf-16", "utf-16le", "UTF-16BE", "utf-32", "utf-32-le", "utf-32-be", "utf-7"),
    *("cp037", "cp500", "cp1140", "cp273", "iso2022_jp", "iso2022_kr", "hz", "shift_jis_2004"),
    *("unicode_escape", "punycode"),
)


@pytest.mark.parametrize("name", SUPERSETS)
def test_supersets_of_us_ascii(name: str) -> None:
    charset = Charset(name)
    assert charset.is_ascii_superset
    assert charset.line_feed == b"\n"


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_superset_of_us_ascii(name: str) -> None:
    assert not Charset(name).is_ascii_superset


@pytest.mark.parametrize(
    ("name", "line_feed"),
    [
        ("utf-16le", b"\n\0"),
        ("utf-16", b"\n\0"),
        ("utf-16be", b"\0\n"),
        ("utf-32", b"\n\0\0\0"),
        ("utf-32be", b"\0\0\0\n"),
        ("cp037", b"%"),
        ("utf-7", b"\n"),
        ("iso2022_jp", b"\n"),
        ("hz", b"\n"),
        ("unicode_escape", b""),
        ("punycode", b""),
    ],
)
def test_how_a_line_feed_is_written(name: str, line_feed: bytes) -> None:
    assert Charset(name).line_feed == line_feed


@pytest.mark.parametrize("name", ["no-such", "rot13", "hex", "idna", "undefined"])
def test_what_is_no_character_set(name: str) -> None:
    with pytest.raises(ValueError, match=f"encoding '{name}': "):
        Charset(name)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("ISO-8859-1", b"caf\xe9"),
        ("utf-8", "café".encode()),
        ("cp037", "café".encode("cp037")),
        ("utf-7", b"caf+AOk-"),
        ("iso2022_jp_2", "café".encode("iso2022_jp_2")),
        ("utf-16le", "café".encode("utf-16le")),
        ("utf-16le", codecs.BOM_UTF16_LE + "café".encode("utf-16le")),
        ("utf-16le", codecs.BOM_UTF16_BE + "café".encode("utf-16be")),
        ("utf-16", "café".encode("utf-16le")),
        ("utf-16", codecs.BOM_UTF16_BE + "café".encode("utf-16be")),
        ("utf-32be", codecs.BOM_UTF32_BE + "café".encode("utf-32be")),
        ("utf-32be", codecs.BOM_UTF32_LE + "café".encode("utf-32le")),
        ("utf-8", b"\xef\xbb\xbf" + "café".encode()),
        ("ISO-8859-1", b"\xef\xbb\xbfcaf\xe9"),
    ],
)
def test_text_becomes_utf8_without_a_mark(name: str, data: bytes) -> None:
    assert Charset(name).to_utf8(data) == "café".encode()


def test_a_mark_is_removed_only_once_and_not_from_the_middle() -> None:
    wide = "\ufeffa\ufeff".encode("utf-16le")
    assert Charset("utf-16le").to_utf8(codecs.BOM_UTF16_LE + wide) == "\ufeffa\ufeff".encode()
    assert Charset("utf-16le").line_to_utf8(wide) == "\ufeffa\ufeff".encode()


def test_what_means_nothing_is_replaced_or_stays() -> None:
    assert Charset("ascii").to_utf8(b"caf\xe9") == "caf\ufffd".encode()
    assert Charset("utf-16le").to_utf8(b"a\0\0\xd8b\0x") == "a\ufffdb\ufffd".encode()
    assert Charset("unicode_escape").to_utf8(b"caf\xe9\\ud800") == b"caf\xc3\xa9?"
    assert Charset("punycode").to_utf8(b"\xff-\xff") == b"\xff-\xff"


@given(st.sampled_from([*SUPERSETS, *OTHERS]), st.binary(max_size=40))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_anything_becomes_something(name: str, data: bytes) -> None:
    charset = Charset(name)
    text = charset.to_utf8(data)
    if name != "punycode":
        text.decode()
    assert len(text) <= max(3 * len(data), 3)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_the_shrinkage_of_text_is_bounded(text: str) -> None:
    for name in ("utf-16le", "utf-32be", "gb18030", "ISO-8859-1", "utf-8", "hz", "iso2022_jp_2"):
        charset = Charset(name)
        data = text.encode(name, "ignore")
        assert len(data) <= charset.shrinkage_max * len(charset.line_to_utf8(data))
