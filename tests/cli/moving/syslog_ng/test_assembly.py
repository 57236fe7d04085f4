from __future__ import annotations

from pathlib import Path
from typing import Any

from relay.cli.moving.report import Verdict
from tests.cli.moving.imports import Result, import_text

HEAD = (
    "source s { internal(); }; source t { network(keep-hostname(yes)); };"
    'destination a { network("a"); }; destination b { network("b"); };'
    'destination c { network("c"); };'
)


def read(text: str, folder: Path) -> Result:
    return import_text("syslog-ng", text, folder)


def matches(result: Result) -> dict[str, Any]:
    return {id: keys.get("match") for id, keys in result.destinations.items()}


def test_final_is_final_where_the_last_destination_takes_all(tmp_path: Path) -> None:
    result = read(
        HEAD + "log { source(s); filter { level(err); }; destination(a); flags(final); };"
        "log { source(s); destination(b); };",
        tmp_path,
    )
    assert result.destinations["a"]["final"] is True
    assert matches(result) == {"a": {"severity": "err"}, "b": None}


def test_otherwise_final_is_a_condition_of_the_others(tmp_path: Path) -> None:
    result = read(
        HEAD + "log { source(s); filter { level(err); }; destination(a); flags(final); };"
        "log { source(s); destination(a); destination(b); };",
        tmp_path,
    )
    assert "final" not in result.destinations["a"]
    assert matches(result) == {
        "a": None,  # by the first path or by the second
        "b": {"not": {"severity": "err"}},
    }


def test_a_fallback_gets_the_rest(tmp_path: Path) -> None:
    result = read(
        HEAD + "log { source(s); filter { level(err); }; destination(a); };"
        "log { source(s); destination(b); flags(fallback, catchall); };",
        tmp_path,
    )
    assert result.destinations["b"]["fallback"] is True


def test_a_fallback_gets_nothing_that_a_path_without_destination_takes(tmp_path: Path) -> None:
    result = read(
        HEAD + "log { source(s); filter { level(debug); }; flags(final); };"
        "log { source(s); destination(b); flags(fallback); };",
        tmp_path,
    )
    assert result.destinations["b"]["fallback"] is True
    assert matches(result) == {"b": {"not": {"severity": "debug"}}}


def test_a_destination_of_several_paths_is_one(tmp_path: Path) -> None:
    result = read(
        HEAD + "log { source(s); filter { level(err); }; destination(a); };"
        "log { source(t); filter { facility(mail); }; destination(a); };",
        tmp_path,
    )
    assert matches(result)["a"] == [
        {"sources": ["s"], "severity": "err"},
        {"sources": ["t"], "facility": "mail"},
    ]


def test_steps_are_for_the_messages_of_their_path(tmp_path: Path) -> None:
    result = read(
        HEAD + "log { source(s); rewrite { set-tag(x); }; destination(a); };"
        "log { source(t); destination(a); };",
        tmp_path,
    )
    assert result.destinations["a"]["rewrite"] == [{"add_tags": ["x"], "match": {"sources": ["s"]}}]


def test_unused_statements_are_said_and_not_written(tmp_path: Path) -> None:
    result = read(
        HEAD + "filter f { level(err); }; rewrite r { set-tag(x); };"
        "log { source(s); destination(a); };",
        tmp_path,
    )
    assert [*result.sources] == ["s"]
    assert [*result.destinations] == ["a"]
    assert result.said_of("source t") == [Verdict.TAKEN]
    assert not result.doubts


def test_several_drivers_are_several_destinations(tmp_path: Path) -> None:
    result = read(
        'source s { internal(); }; destination d { network("a"); network("b"); };'
        "log { source(s); destination(d); };",
        tmp_path,
    )
    assert [*result.destinations] == ["d", "d-2"]


def test_global_options_are_each_in_the_report(tmp_path: Path) -> None:
    result = read(
        "options { stats-freq(3600); perm(0640); mark-freq(20); frobnicate(1); threaded(yes);"
        " use-dns(no); keep-hostname(yes); time-reopen(10); log-msg-size(8192); };"
        "source s { network(); };"
        'log { source(s); destination { file("/x"); network("a"); }; };',
        tmp_path,
    )
    assert result.tables["relay"] == {"statistics_seconds": 3600}
    assert result.sources["s"] == {"listen": "tcp://:514", "frame_bytes_max": 8192}
    assert [line.split(": ")[2] for line in result.doubts] == ["mark-freq(20)", "frobnicate(1)"]


def test_unknown_statements_are_said(tmp_path: Path) -> None:
    result = read(
        'frobnicate x { y(); }; template-function "f" "x"; python { def f(): pass };'
        + HEAD
        + "log { source(s); destination(a); };",
        tmp_path,
    )
    assert len(result.doubts) == 3


def test_a_configuration_without_sources_is_one_too(tmp_path: Path) -> None:
    result = read("@version: 4.2\n", tmp_path)
    assert result.sources["internal"] == {"listen": "internal://"}


def test_many_final_paths_have_a_limit(tmp_path: Path) -> None:
    def text(count: int) -> str:
        paths = (
            f"log {{ source(s); filter {{ host('^h{number}$'); }}; destination(a);"
            " flags(final); };"
            for number in range(count)
        )
        return HEAD + "".join(paths) + "log { source(s); destination(b); };"

    keys = read(text(100), tmp_path).destinations["b"]
    assert len(keys["match"]["not"]["hostname"]) == 100
    result = read(text(101), tmp_path)
    assert len(result.destinations["b"]["match"]["not"]["hostname"]) == 100
    assert any("more than 100 paths" in line for line in result.doubts)
