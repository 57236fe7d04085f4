from __future__ import annotations

from relay.cli.moving.conditions import ALWAYS, to_match
from relay.cli.moving.report import Place, Report
from relay.cli.moving.structured import Keys, read_toml
from relay.cli.moving.vector.transforms import Transform, read_transform


def read(kind: str, text: str) -> tuple[Transform, list[str]]:
    report = Report()
    keys = Keys(read_toml(text, "f"), report, "f")
    found = read_transform(kind, keys, report.statement(Place("f", 1), "x"))
    return found, [line for line in report.lines() if ": taken over: " not in line][:-1]


def test_a_filter_is_a_condition() -> None:
    found, doubts = read("filter", "condition = '.severity == \"err\"'")
    assert to_match(found.fit.wide) == {"severity": "err"}
    assert not doubts
    found, _ = read("filter", 'condition.type = "vrl"\ncondition.source = ".appname == \\"a\\""')
    assert to_match(found.fit.wide) == {"app_name": "a"}


def test_a_condition_that_cannot_be_read_lets_all_pass() -> None:
    found, (doubt,) = read("filter", 'condition = "random_bool()"')
    assert found.fit.wide == ALWAYS
    assert "all messages pass" in doubt


def test_routes_are_outputs() -> None:
    found, _ = read("route", "route.a = '.appname == \"a\"'\nroute.b = '.appname == \"b\"'")
    assert {name: to_match(fit.wide) for name, fit in found.outputs.items()} == {
        "a": {"app_name": "a"},
        "b": {"app_name": "b"},
        "_unmatched": {"not": {"app_name": ["a", "b"]}},
    }
    found, _ = read(
        "exclusive_route",
        "[[routes]]\nname = 'a'\ncondition = '.appname == \"a\"'\n"
        "[[routes]]\nname = 'b'\ncondition = '.severity == \"err\"'\n",
    )
    assert to_match(found.outputs["b"].wide) == {"severity": "err", "not": {"app_name": "a"}}


def test_lines_of_a_program_are_steps_or_said() -> None:
    found, doubts = read("remap", "source = '''\n.a = \"x\"\n.b = f(.c)\ndel(.d) # gone\n'''")
    assert [step.values for step in found.steps] == [{"set": {"a": "x"}}, {"unset": ["d"]}]
    (doubt,) = doubts
    assert doubt.startswith("f:3: not supported: .b = f(.c): ")


def test_samples_and_rates() -> None:
    found, _ = read("sample", "rate = 10\nexclude = '.severity == \"err\"'")
    (step,) = found.steps
    assert (step.values, to_match(step.when)) == ({"sample": 10}, {"not": {"severity": "err"}})
    found, _ = read("throttle", 'threshold = 100\nwindow_secs = 10\nkey_field = "{{ host }}"')
    assert found.steps[0].values == {"rate": 10.0, "burst": 100, "per": "${HOST}"}


def test_others_are_said_and_change_nothing() -> None:
    for kind, text in (
        *(("lua", "x = 1"), ("reduce", ""), ("martian", ""), ("sample", ""), ("throttle", "")),
        *(("remap", ""), ("filter", "")),
    ):
        found, doubts = read(kind, text)
        assert (found.fit.wide, found.steps) == (ALWAYS, [])
        assert any("not supported" in doubt for doubt in doubts)
