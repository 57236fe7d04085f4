from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cli.moving.imports import import_text

HEAD = 'module(load="imudp")\ninput(type="imudp" port="514")\n'


def destinations(text: str, folder: Path, head: str = HEAD) -> dict[str, dict[str, Any]]:
    return import_text("rsyslog", head + text, folder).destinations


def matches(text: str, folder: Path) -> dict[str, object]:
    return {id: keys.get("match") for id, keys in destinations(text, folder).items()}


def test_a_stop_is_a_part_of_the_filters_behind_it(tmp_path: Path) -> None:
    text = "*.* /a\nmail.* stop\n*.* /b\n*.* stop\n*.* /c\n"
    assert matches(text, tmp_path) == {"a": None, "b": {"not": {"facility": "mail"}}}


def test_branches_have_conditions_of_their_own(tmp_path: Path) -> None:
    text = (
        "if $hostname == 'h' then { /a\nmail.* /b\n } else if $hostname == 'i' then /c\nelse /d\n"
    )
    assert matches(text, tmp_path) == {
        "a": {"hostname": "h"},
        "b": {"hostname": "h", "facility": "mail"},
        "c": {"hostname": "i", "not": {"hostname": "h"}},
        "d": {"not": {"hostname": ["h", "i"]}},
    }


def test_what_depends_on_an_unknown_condition_is_left_out(tmp_path: Path) -> None:
    text = "if random(5) == 1 then { /a\nstop\n } else /b\n/c\n"
    result = import_text("rsyslog", HEAD + text, tmp_path)
    assert [*result.destinations] == ["c"]
    assert "match" not in result.destinations["c"]
    said = [line.split(": ")[:2] for line in result.doubts]
    assert said == [[f"{number}", "not supported"] for number in (3, 3, 4, 5)]


def test_rulesets_by_inputs_and_calls(tmp_path: Path) -> None:
    head = HEAD + 'input(type="imudp" port="515" ruleset="r")\n'
    text = (
        'ruleset(name="r") { call shared\n /r\n }\nruleset(name="shared") { mail.* stop\n /s\n }\n'
        'ruleset(name="never") { /never\n }\n/all\n'
    )
    result = import_text("rsyslog", head + text, tmp_path)
    assert {
        id: (keys["sources"], keys.get("match")) for id, keys in result.destinations.items()
    } == {
        "all": (["udp-514"], None),
        "s": (["udp-515"], {"not": {"facility": "mail"}}),
        "r": (["udp-515"], {"not": {"facility": "mail"}}),
    }
    assert any("/never: no input feeds its ruleset" in line for line in result.doubts)


def test_a_ruleset_with_a_queue_stops_for_itself_alone(tmp_path: Path) -> None:
    text = 'ruleset(name="q" queue.type="LinkedList") { stop\n }\ncall q\n/after\n'
    assert matches(text, tmp_path) == {"after": None}


def test_conditions_by_variables_are_asked_behind_the_steps(tmp_path: Path) -> None:
    text = "set $.a = 'x';\nif $.a == 'x' and $hostname == 'h' then /a\n"
    assert destinations(text, tmp_path)["a"]["match"] == {"hostname": "h"}
    assert destinations(text, tmp_path)["a"]["rewrite"] == [
        {"set": {".var.a": "x"}},
        {"drop": "not-wanted", "match": {"not": {"pairs": {".var.a": "x"}}}},
    ]


def test_steps_have_the_conditions_that_they_stand_in(tmp_path: Path) -> None:
    text = (
        'template(name="t" type="string" string="%$.a%\\n")\n'
        "if $hostname == 'h' then { set $.a = 'x';\n"
        'action(type="omfile" file="/in" template="t")\n }\n'
        'action(type="omfile" file="/out" template="t")\n'
    )
    found = destinations(text, tmp_path)
    assert found["in"]["rewrite"] == [{"set": {".var.a": "x"}}]
    assert found["out"]["rewrite"] == [{"set": {".var.a": "x"}, "match": {"hostname": "h"}}]


def test_an_action_for_failures_is_the_next_target(tmp_path: Path) -> None:
    text = (
        "*.* @@a:1\n$ActionExecOnlyWhenPreviousIsSuspended on\n& @@b:2\n& /failed\n"
        "$ActionExecOnlyWhenPreviousIsSuspended off\n"
    )
    result = import_text("rsyslog", HEAD + text, tmp_path)
    (found,) = result.destinations.values()
    assert found["connect"] == ["tcp://a:1", "tcp://b:2"]
    assert found["policy"] == "failover"
    assert any("/failed: it was for failures" in line for line in result.doubts)


def test_hundreds_of_stops_are_followed(tmp_path: Path) -> None:
    """Each destination excludes what was stopped before, so conditions must be cheap to join."""
    rules = "".join(f':msg, contains, "a{n}" /var/log/{n}\n& stop\n' for n in range(120))
    found = matches(f"{rules}/rest\n", tmp_path)
    assert len(found) == 121
    assert found["rest"] == {"not": {"msg": [f"a{n}" for n in range(120)]}}
