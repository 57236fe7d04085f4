from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import JsonText
from relay.wire.json.lenient import DEPTH_MAX
from relay.wire.json.pairs import flatten_json, items_of, members_of, text_of


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (b"{}", {}),
        (b' {"a" : "b"} ', {"a": b"b"}),
        (b'{"a":{"b":"1","c":{"d":"2"}}}', {"a.b": b"1", "a.c.d": b"2"}),
        (b'{".a":{"b":"1"},"b":{".c":"2"},"d":{"":"3"}}', {".a.b": b"1", "b..c": b"2", "d.": b"3"}),
        (b'{"a":"1","a":"2"}', {"a": b"2"}),
        (b'{"a":{"b":"1"},"a.b":"2"}', {"a.b": b"2"}),
        (b'{"a.b":"2","a":{"b":"1"}}', {"a.b": b"1"}),
        (b'{"a":"\\u00e9\\n","b":"caf\xc3\xa9"}', {"a": b"\xc3\xa9\n", "b": b"caf\xc3\xa9"}),
        (b'{"a":"caf\xe9"}', {"a": b"caf\xe9"}),
        (b"{'a':'b'} junk", {"a": b"b"}),
        (b'{"a\\u0000b":"1"}', {"a\\x00b": b"1"}),
        (b'{"a\\u0000b":"1"}x', {"a\\x00b": b"1"}),
    ],
)
def test_names_and_texts(text: bytes, pairs: dict[str, bytes]) -> None:
    found = flatten_json(text)
    assert found == pairs
    assert not any(isinstance(value, JsonText) for value in found.values())


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"1.10", b"1.10"),
        (b"1e400", b"1e400"),
        (b"-123456789012345678901234567890", b"-123456789012345678901234567890"),
        (b"true", b"true"),
        (b"false", b"false"),
        (b"null", b""),
        (b"{}", b"{}"),
        (b"[]", b""),
        (b'["a","b c","d\\"e","f,g"]', b'a,"b c",\'d"e\',"f,g"'),
        (b"[1,2.50,true]", b"1,2.50,true"),
        (b'[1,"x",null]', b'1,x,""'),
        (b'[{"a":1}]', b'[{"a":1}]'),
        (b"[[1]]", b"[[1]]"),
        (b'"a\\u0000b"', b"a\0b"),
        (b'"\\ud800"', "\ufffd".encode()),
    ],
)
@pytest.mark.parametrize("rest", [b"", b" and more"])
def test_what_is_no_text_stays_as_written(written: bytes, text: bytes, rest: bytes) -> None:
    found = flatten_json(b'{"a":%s}%s' % (written, rest))
    assert found == {"a": written}
    assert isinstance(found["a"], JsonText)
    assert text_of(found["a"]) == text


def test_text_is_its_own_text() -> None:
    assert text_of(b"null") == b"null"
    assert text_of(b"[1]") == b"[1]"


def test_a_value_of_several_lines_becomes_one() -> None:
    assert flatten_json(b'{"a":[1,\r\n\t2],"b":{\n}}') == {"a": b"[1,   2]", "b": b"{}"}


@pytest.mark.parametrize("text", [b"", b"text", b"[1]", b'"a"', b"1", b'{"a"', b"null", b'{"a":}'])
def test_what_is_no_object(text: bytes) -> None:
    assert flatten_json(text) is None
    assert members_of(text) is None


def test_members_know_their_objects() -> None:
    text = b'{"a.b":{"c":"1"},"a":{"b.c":"2"}}'
    assert members_of(text) == [(("a.b", "c"), b"1"), (("a", "b.c"), b"2")]


def test_items() -> None:
    assert items_of(b'["x",1,{"a":1},["y"]]') == [b"x", b"1", b'{"a":1}', b'["y"]']
    assert items_of(b"['x',]y") == [b"x"]
    assert items_of(b"[]") == []
    assert items_of(b"{}") is None
    assert items_of(b"[") is None


def test_depth_is_bounded() -> None:
    levels = DEPTH_MAX - 1
    assert flatten_json(b'{"a":' * levels + b"[]" + b"}" * levels) == {
        ".".join("a" * levels): b"[]"
    }
    assert flatten_json(b'{"a":' * levels + b"[[]]" + b"}" * levels) is None
    assert flatten_json(b'{"a":' * 99 + b"1" + b"}" * 99) is None
    wide = b"[%s]" % b",".join([b"[]"] * 500)
    assert flatten_json(b'{"a":%s}' % wide) == {"a": wide}
    assert flatten_json(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}") is None


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Half a surrogate pair is not for the fast way.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('ab.\\"\0é'), inner),
    max_leaves=15,
)


@given(st.dictionaries(st.text('ab.\\"\0é'), values), st.booleans())
def test_both_ways_agree(members: dict[str, object], ascii_only: bool) -> None:
    text = json.dumps(members, ensure_ascii=ascii_only).encode()
    fast, slow = flatten_json(text), flatten_json(text + b"!")
    assert fast is not None and slow is not None
    assert list(fast) == list(slow)
    for name, value in fast.items():
        assert type(value) is type(slow[name])
        assert text_of(value).replace(b" ", b"") == text_of(slow[name]).replace(b" ", b"") or (
            isinstance(value, JsonText) and json.loads(value) == json.loads(slow[name])
        )
