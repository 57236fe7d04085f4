from __future__ import annotations

from dataclasses import dataclass

from relay.service.configuration.keys import compose, group, key, keys_of
from relay.service.configuration.table import Flag, Whole


@dataclass(frozen=True, slots=True)
class Inner:
    low: int = key(Whole(0, 9), 1, "the lower end")
    high: int = key(Whole(0, 9), 2, "the upper end")


@dataclass(frozen=True, slots=True)
class Outer:
    id: str
    on: bool = key(Flag(), False, "whether it is on", default_text="off")
    inner: Inner = group(Inner, without=("high",))
    note: str = ""


def test_the_keys_of_a_class_are_those_of_its_groups_too() -> None:
    found = keys_of(Outer)
    assert list(found) == ["on", "low"]
    assert (found["on"].default_text, found["low"].help) == ("off", "the lower end")
    assert found["low"].kind == Whole(0, 9)
    assert found["low"].default == 1


def test_a_value_is_made_of_what_is_given_by_name() -> None:
    assert compose(Outer, {"id": "a"}) == Outer("a", False, Inner(1, 2), "")
    values = {"id": "a", "on": True, "low": 5, "note": "x", "of another kind": 1}
    assert compose(Outer, values) == Outer("a", True, Inner(5, 2), "x")
    assert compose(Outer, {"id": "a", "inner": Inner(7, 8)}).inner == Inner(7, 8)
