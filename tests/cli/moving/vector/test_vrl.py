from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli.moving.conditions import to_match
from relay.cli.moving.vector.vrl import Unreadable, condition_of, macro_of, step_of


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('.severity == "err"', {"severity": "err"}),
        ('.facility != "mail"', {"not": {"facility": "mail"}}),
        ('.appname == "sshd"', {"app_name": "sshd"}),
        ('.message == "x"', {"msg": {"regex": "^x$"}}),
        (".custom.key == 5", {"pairs": {"custom.key": "5"}}),
        ('contains(string!(.message), "a.b")', {"msg": {"substring": "a.b"}}),
        (
            'contains(.message, "a", case_sensitive: false)',
            {"msg": {"substring": "a", "ignore_case": True}},
        ),
        ('starts_with(to_string!(.host), "web")', {"hostname": {"regex": "^web"}}),
        ("match(.message, r'a+$')", {"msg": {"regex": "a+$"}}),
        ('includes(["a", "b"], .appname)', {"app_name": ["a", "b"]}),
        ("exists(.user)", {"pairs": {"user": True}}),
        ('!(.appname == "a" || .appname == "b")', {"not": {"app_name": ["a", "b"]}}),
        (
            '.severity == "err" && .appname == "a" # comment',
            {"severity": "err", "app_name": "a"},
        ),
    ],
)
def test_conditions(text: str, match: object) -> None:
    assert to_match(condition_of(text)) == match


@pytest.mark.parametrize(
    "text",
    [
        *("", ".a", "to_int(.a) == 1", ".a == .b", ".a > 5", '.severity == "loud"', "5 == 5"),
        *('.a == "x" extra', "(" * 100, "match(.a, r'(')", "random_bool()", "~", '"x" == .a'),
    ],
)
def test_what_it_cannot_read(text: str) -> None:
    with pytest.raises(Unreadable):
        condition_of(text)


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ('.team = "web$"', {"set": {"team": "web$$"}}),
        ('.severity = "info"', {"set_severity": "info"}),
        (".host = .peer", {"set": {"HOST": "${peer}"}}),
        ("del(.secret)", {"unset": ["secret"]}),
        (". |= parse_json!(.message)", {"parse": "json"}),
        (". = parse_json!(string!(.message))", {"parse": "json"}),
        (".data = parse_json!(.message)", {"parse": "json", "prefix": "data."}),
        (". |= parse_key_value!(.message)", {"parse": "key-value"}),
        (". |= parse_syslog!(.message)", None),
    ],
)
def test_lines_are_steps(line: str, step: object) -> None:
    assert step_of(line) == step


@pytest.mark.parametrize(
    "line", ['.severity = "loud"', ".timestamp = now()", "abort", ".a = .b + 1", "x = 1"]
)
def test_other_lines_are_not(line: str) -> None:
    with pytest.raises(Unreadable):
        step_of(line)


def test_fields_have_macros() -> None:
    assert (macro_of("appname"), macro_of("other")) == ("PROGRAM", "other")


@given(st.text(alphabet="""abc.()[]!&|=<>"'r \\,:""", max_size=60))
def test_every_text_is_read_or_not(text: str) -> None:
    for function in (condition_of, step_of):
        try:
            function(text)
        except Unreadable:
            pass
