from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.moving.imports import Result, import_text


def read(kind: str, rule: str, folder: Path) -> Result:
    return import_text(
        "syslog-ng",
        f"source s {{ internal(); }}; {kind} r {{ {rule}; }};"
        f'destination d {{ network("h"); }}; log {{ source(s); {kind}(r); destination(d); }};',
        folder,
    )


@pytest.mark.parametrize(
    ("rule", "steps"),
    [
        ('set("$HOST-x" value("HOST"))', [{"set": {"HOST": "$HOST-x"}}]),
        ('set("err" value("LEVEL"))', [{"set_severity": "err"}]),
        ('set-severity("info")', [{"set_severity": "info"}]),
        ("set-facility(local3)", [{"set_facility": "local3"}]),
        ("set-pri(165)", [{"set_facility": 20}, {"set_severity": 5}]),
        ('unset(value(".a"))', [{"unset": [".a"]}]),
        ('groupset("x" values(".a.*"))', [{"groupset": "x", "in": [".a.*"]}]),
        ('groupunset(values(".a.*" "b"))', [{"unset": [".a.*", "b"]}]),
        ('rename(".a" ".b")', [{"rename": {".a": ".b"}}]),
        ('set-tag("t")', [{"add_tags": ["t"]}]),
        ('clear-tag("t")', [{"clear_tags": ["t"]}]),
        (
            r"subst('a+(b)' 'x$1' value(MESSAGE) flags(global ignore-case))",
            [{"subst": "a+(b)", "with": r"x\g<1>", "in": ["MESSAGE"], "ignore_case": True}],
        ),
        (
            'subst("a.b" "" value(".x") type(string) flags(substring))',
            [{"subst": r"a\.b", "with": "", "in": [".x"], "first_only": True}],
        ),
        ("credit-card-mask(value(MESSAGE))", [{"mask": ["card"], "in": ["MESSAGE"]}]),
        ("set-tag('t' condition(level(err)))", [{"add_tags": ["t"], "match": {"severity": "err"}}]),
    ],
)
def test_rules(rule: str, steps: list[object], tmp_path: Path) -> None:
    assert read("rewrite", rule, tmp_path).destinations["d"]["rewrite"] == steps


NOT_PARSED = {"drop": "filtered", "match": {"tags": "syslogrelay.not-parsed"}}


@pytest.mark.parametrize(
    ("rule", "steps"),
    [
        ('json-parser(prefix(".j."))', [{"parse": "json", "prefix": ".j."}, NOT_PARSED]),
        (
            'kv-parser(value-separator(":") pair-separator(", "))',
            [{"parse": "key-value", "value_separator": ":", "pair_separator": ", "}],
        ),
        (
            'csv-parser(columns("A" "B") delimiters(chars(";")) flags(greedy) template("${.x}"))',
            [
                {
                    "parse": "csv",
                    "from": ".x",
                    "columns": ["A", "B"],
                    "delimiter": ";",
                    "greedy": True,
                }
            ],
        ),
        (
            r"regexp-parser(patterns('u=(?<U>\w+)') prefix('.r.'))",
            [{"parse": "regex", "prefix": ".r.", "pattern": r"u=(?P<U>\w+)"}, NOT_PARSED],
        ),
        (
            'date-parser(format("%Y-%m-%d %H:%M:%S") template("$MSG"))',
            [{"parse": "date", "format": "%Y-%m-%d %H:%M:%S"}, NOT_PARSED],
        ),
    ],
)
def test_parsers(rule: str, steps: list[object], tmp_path: Path) -> None:
    assert read("parser", rule, tmp_path).destinations["d"]["rewrite"] == steps


def test_what_every_source_does_needs_no_step(tmp_path: Path) -> None:
    for rule in ("syslog-parser()", "ewmm-parser()"):
        result = read("parser", rule, tmp_path)
        assert "rewrite" not in result.destinations["d"]
        assert not result.doubts


def test_adapters_are_the_sources(tmp_path: Path) -> None:
    result = read("parser", 'app-parser(topic("syslog"))', tmp_path)
    assert result.sources["s"]["parse"] == {"adapters": True}


@pytest.mark.parametrize(
    ("kind", "rule", "said"),
    [
        ("rewrite", 'set("x" value("DATE"))', "cannot be changed"),
        ("rewrite", 'set("$(uuid)" value(".u"))', "no functions"),
        ("rewrite", "subst('(' 'x' value(MESSAGE))", "subst"),
        ("rewrite", 'set-severity("loud")', "no such value"),
        ("rewrite", "fix-time-zone(x)", "no step like fix-time-zone()"),
        ("parser", "db-parser(file(x))", "no pattern database"),
        ("parser", "apache-accesslog-parser()", 'parse = "regex"'),
        ("parser", "xml()", "no XML"),
        ("parser", "csv-parser()", "names of the columns are missing"),
        ("parser", "regexp-parser(patterns('a' 'b'))", "a step for each"),
        ("parser", "regexp-parser(patterns('(a)'))", "named groups"),
        ("parser", "date-parser(format('%H:%M'))", "without a year"),
        ("parser", "json-parser(template('$A $B'))", "one value"),
    ],
)
def test_what_has_no_step_is_said(kind: str, rule: str, said: str, tmp_path: Path) -> None:
    result = read(kind, rule, tmp_path)
    assert any("not supported" in line and said in line for line in result.doubts)
