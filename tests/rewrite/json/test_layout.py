from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import JsonText
from relay.rewrite.json.text import Layouts, Strings


def write(pairs: dict[str, bytes]) -> bytes:
    return Layouts().write(pairs, Strings())


def ones(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, JsonText(b"1"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], b"{}"),
        (["b", "a"], b'{"b":1,"a":1}'),
        (["a.b.c", "x", "a.b.d"], b'{"a":{"b":{"c":1,"d":1}},"x":1}'),
        ([".a.b"], b'{".a":{"b":1}}'),
        (["b..c"], b'{"b":{".c":1}}'),
        (["a.", "a", ".", "..", ""], b'{"a.":1,"a":1,".":1,"..":1,"":1}'),
        (["x@1.2.3.y"], b'{"x@1.2.3":{"y":1}}'),
        (["user@example.com"], b'{"user@example":{"com":1}}'),
        (["a", "a.b", "a.b.c"], b'{"a":1,"a.b":1,"a.b.c":1}'),
        (["x.a.b.c", "x.a"], b'{"x":{"a.b.c":1,"a":1}}'),
        (['%s"\n'], rb'{"%s\"\n":1}'),
        (["\udcff"], rb'{"\\xff":1}'),
    ],
)
def test_nesting(names: list[str], expected: bytes) -> None:
    assert write(ones(*names)) == expected


def test_values() -> None:
    pairs = {"a": b"1", "b": JsonText(b"1"), "c": b'"%s\n\xff'}
    assert write(pairs) == rb'{"a":"1","b":1,"c":"\"%s\n\\xff"}'


def test_values_stay_with_their_names_when_nesting_moves_them() -> None:
    pairs = {"a.b": b"1", "x": b"2", "a.c": b"3"}
    assert write(pairs) == b'{"a":{"b":"1","c":"3"},"x":"2"}'


def test_deep_names_stay_flat() -> None:
    name = ".".join("a" * 50_000)
    assert write(ones(name, "b")) == b'{"%s":1,"b":1}' % name.encode()


def test_layouts_are_remembered_within_limits() -> None:
    layouts, strings = Layouts(), Strings()
    for number in range(3000):
        assert layouts.write(ones(f"{number}"), strings) == b'{"%d":1}' % number
    assert layouts.write(ones("a" * 10_000), strings) == b'{"%s":1}' % (b"a" * 10_000)
    assert layouts.write(ones("1", "2"), strings) == b'{"1":1,"2":1}'


def without_twins(members: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in members}) == len(members)
    return dict(members)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, prefix + name + ".")
        else:
            found[prefix + name] = value
    return found


texts = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
names = st.text(texts) | st.text(alphabet=".@a1%", max_size=8)


@given(st.dictionaries(names, st.text(texts)))
def test_every_name_finds_its_place(pairs: dict[str, str]) -> None:
    encoded = {name: value.encode() for name, value in pairs.items()}
    tree = json.loads(write(encoded), object_pairs_hook=without_twins)
    assert flat(tree) == pairs
