from __future__ import annotations

from relay.cli.moving.rsyslog.language.syntax import Binary, Literal, Parameters, Property


def test_expressions_are_values() -> None:
    one = Binary("==", Property("msg"), Literal("1", True))
    assert one == Binary("==", Property("msg"), Literal("1", True))
    assert one != Binary("==", Property("msg"), Literal("1"))


def test_parameters_of_two_objects_are_apart() -> None:
    one, other = Parameters(), Parameters()
    one.values["a"] = ["1"]
    assert other.values == {}
