from __future__ import annotations

from pathlib import Path

import pytest

from relay.cli.moving.rsyslog.forms.steps import Step, needed
from tests.cli.moving.imports import import_text

HEAD = 'module(load="imudp")\ninput(type="imudp" port="514")\n'
OUT = """\
template(name="t" type="string" string="%$.a%\\n")
action(type="omfile" file="/x" template="t")
"""


def rewrite(text: str, folder: Path) -> list[object]:
    found = import_text("rsyslog", HEAD + text + OUT, folder).destinations["x"]
    return found.get("rewrite", [])  # type: ignore[no-any-return]


def test_steps_are_left_out_that_nothing_needs() -> None:
    one = Step({"set": {".var.a": "1"}}, ".var.a")
    two = Step({"set": {".var.b": "${.var.a}"}}, ".var.b")
    mask = Step({"mask": ["ipv4"]})
    assert needed([one, two, mask], "nothing") == [mask]
    assert needed([one, two, mask], "${.var.b}") == [one, two, mask]
    assert needed([Step({}, ".json.x")], "subkeys = .json.") == [Step({}, ".json.x")]


@pytest.mark.parametrize(
    ("statement", "steps"),
    [
        ('set $.a = "x$y";', [{"set": {".var.a": "x$$y"}}]),
        ("set $.a = $hostname & '-' & cstr($pri);", [{"set": {".var.a": "${HOST}-${PRI}"}}]),
        (
            "set $.a = 'b'; unset $.a;",
            [{"set": {".var.a": "b"}}, {"unset": [".var.a", ".var.a.*"]}],
        ),
        (
            "set $.a = re_extract($msg, '([0-9]+)', 0, 1, 'none');",
            [
                {"parse": "regex", "pattern": "(?P<value>[0-9]+)", "prefix": ".var.a.part1."},
                {"set": {".var.a": "${.var.a.part1.value:-none}"}},
            ],
        ),
        ('action(type="mmanon")', [{"mask": ["ipv4", "ipv6"]}]),
        ('action(type="mmutf8fix")', []),
    ],
)
def test_statements_become_steps(statement: str, steps: object, tmp_path: Path) -> None:
    assert rewrite(f"{statement}\n", tmp_path) == steps


@pytest.mark.parametrize(
    "statement",
    [
        "set $.a = 1 + 2;",
        "set $.a = tolower($msg);",
        "set $/a = 'x';",
        'action(type="mmnormalize" rulebase="/x")',
        "set $.a = lookup('none', $hostname);",
    ],
)
def test_what_has_no_step_is_not_supported(statement: str, tmp_path: Path) -> None:
    result = import_text("rsyslog", HEAD + statement, tmp_path)
    assert [line.split(": ")[1] for line in result.doubts if line.startswith("3")] == [
        "not supported"
    ]


def test_a_lookup_table_becomes_a_file(tmp_path: Path) -> None:
    table = '{"nomatch": "$", "type": "string", "table": [{"index": "a,b", "value": "c"}]}'
    text = (
        f'lookup_table(name="t.x" file="{tmp_path}/t.json")\nset $.a = lookup("t.x", $hostname);\n'
    )
    result = import_text("rsyslog", HEAD + text + OUT, tmp_path, t__json=table)
    assert result.imported.extra_files["t-x.csv"].text == '"a,b",c\n'
    assert result.destinations["x"]["rewrite"] == [
        {"map": "t-x.csv", "key": "${HOST}", "into": ".var.a", "default": "$$"}
    ]


@pytest.mark.parametrize(
    "table", ["", "[]", '{"type": "sparseArray"}', '{"table": [{"index": 1}]}', "{}"]
)
def test_a_table_that_cannot_be_used(table: str, tmp_path: Path) -> None:
    text = f'lookup_table(name="t" file="{tmp_path}/t.json")\nset $.a = lookup("t", $hostname);\n'
    result = import_text("rsyslog", HEAD + text, tmp_path, t__json=table)
    assert any(line.startswith("4: not supported") for line in result.doubts)
