from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cli.moving.imports import Result, import_text

HEAD = (
    "source s { internal(); }; source t { network(keep-hostname(yes)); };"
    'destination a { network("a"); }; destination b { network("b"); };'
    'destination c { network("c"); };'
    "filter err { level(err); }; filter mail { facility(mail); };"
    'rewrite tag { set-tag("x"); };'
)


def read(paths: str, folder: Path) -> Result:
    return import_text("syslog-ng", HEAD + paths, folder)


def matches(result: Result) -> dict[str, Any]:
    return {id: keys.get("match") for id, keys in result.destinations.items()}


def test_filters_of_a_path_add_up(tmp_path: Path) -> None:
    result = read("log { source(s); filter(err); filter(mail); destination(a); };", tmp_path)
    assert matches(result)["a"] == {"facility": "mail", "severity": "err"}


def test_a_destination_before_a_filter_gets_all(tmp_path: Path) -> None:
    result = read("log { source(s); destination(a); filter(err); destination(b); };", tmp_path)
    assert matches(result) == {"a": None, "b": {"severity": "err"}}


def test_embedded_paths_share_what_is_around_them(tmp_path: Path) -> None:
    result = read(
        "log { source(s); filter(mail); log { filter(err); destination(a); flags(final); };"
        " log { destination(b); }; };",
        tmp_path,
    )
    assert matches(result) == {
        "a": {"facility": "mail", "severity": "err"},
        "b": {"facility": "mail", "not": {"severity": "err"}},
    }


def test_if_opens_alternatives(tmp_path: Path) -> None:
    result = read(
        "log { source(s); if (level(err)) { destination(a); } elif (facility(mail)) {"
        " destination(b); } else { destination(c); }; };",
        tmp_path,
    )
    assert matches(result) == {
        "a": {"severity": "err"},
        "b": {"facility": "mail", "not": {"severity": "err"}},
        "c": {"not": [{"severity": "err"}, {"facility": "mail"}]},
    }


def test_behind_an_if_all_go_on(tmp_path: Path) -> None:
    result = read(
        "log { source(s); if { filter { level(err); }; rewrite(tag); }; destination(a); };",
        tmp_path,
    )
    assert matches(result)["a"] is None
    assert result.destinations["a"]["rewrite"] == [
        {"add_tags": ["x"], "match": {"severity": "err"}}
    ]


def test_a_junction_is_its_channels(tmp_path: Path) -> None:
    result = read(
        "log { source(s); junction { channel { filter(err); rewrite(tag); flags(final); };"
        " channel { filter(mail); }; }; destination(a); };",
        tmp_path,
    )
    keys = result.destinations["a"]
    assert keys["rewrite"] == [{"add_tags": ["x"], "match": {"severity": "err"}}]
    assert keys["match"] == [
        {"severity": "err"},
        {"facility": "mail", "not": {"severity": "err"}},
    ]


def test_a_filter_behind_a_change_is_a_step(tmp_path: Path) -> None:
    result = read("log { source(s); rewrite(tag); filter(err); destination(a); };", tmp_path)
    keys = result.destinations["a"]
    assert "match" not in keys
    assert keys["rewrite"] == [
        {"add_tags": ["x"]},
        {"drop": "filtered", "match": {"not": {"severity": "err"}}},
    ]


def test_conditions_behind_a_change_are_conditions_of_steps(tmp_path: Path) -> None:
    result = read(
        "log { source(s); rewrite(tag); if (level(err)) { rewrite { unset(value(A)); }; }"
        " else { rewrite { unset(value(B)); }; }; destination(a); };",
        tmp_path,
    )
    assert result.destinations["a"]["rewrite"] == [
        {"add_tags": ["x"]},
        {"unset": ["A"], "match": {"severity": "err"}},
        {"unset": ["B"], "match": {"not": {"severity": "err"}}},
    ]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    result = read(
        "log { source(none); destination(a); }; log { source(s); filter(nowhere);"
        " parser(nobody); destination(nothing); frobnicate(); };"
        "log { destination(b); };",
        tmp_path,
    )
    said = "\n".join(result.doubts)
    for text in (
        *("there is no source none", "there is no filter nowhere", "there is no parser nobody"),
        *("there is no destination nothing", "has nothing like it", "it has no source"),
    ):
        assert text in said
    assert "a" not in result.destinations


def test_rules_that_call_themselves_are_said(tmp_path: Path) -> None:
    result = read(
        "rewrite r { rewrite(r); }; log { source(s); rewrite(r); destination(a); };", tmp_path
    )
    assert any("refers to itself" in line for line in result.doubts)


def test_alternatives_join_again(tmp_path: Path) -> None:
    arms = "if (level(err)) { rewrite(tag); } else { }; "
    result = read(f"log {{ source(s); {arms * 40} destination(a); }};", tmp_path)
    keys = result.destinations["a"]
    assert "match" not in keys
    assert keys["rewrite"] == [{"add_tags": ["x"], "match": {"severity": "err"}}] * 40


def test_a_tag_keeps_the_messages_of_an_arm_together(tmp_path: Path) -> None:
    result = read(
        "log { source(s); if (host('^old$')) { rewrite { set('new' value(HOST)); set-tag(y); }; };"
        " destination(a); };",
        tmp_path,
    )
    marked = {"tags": "import.arm-1"}
    assert result.destinations["a"]["rewrite"] == [
        {"add_tags": ["import.arm-1"], "match": {"hostname": "old"}},
        {"set": {"HOST": "new"}, "match": marked},
        {"add_tags": ["y"], "match": marked},
        {"clear_tags": ["import.arm-1"], "match": marked},
    ]


def test_messages_are_dropped_before_later_changes(tmp_path: Path) -> None:
    result = read(
        "log { source(s); rewrite(tag); filter(err); rewrite { set-severity(info); };"
        " destination(a); };",
        tmp_path,
    )
    assert result.destinations["a"]["rewrite"] == [
        {"add_tags": ["x"]},
        {"drop": "filtered", "match": {"not": {"severity": "err"}}},
        {"set_severity": "info"},
    ]


def test_an_else_without_if_is_no_traceback(tmp_path: Path) -> None:
    read("log { source(s); else { destination(a); }; };", tmp_path)
