from __future__ import annotations

from pathlib import Path

import pytest

from relay.cli.moving.files import ImportRefused, InputFiles
from relay.cli.moving.report import Report
from relay.cli.moving.rsyslog.language.parser import parse
from relay.cli.moving.rsyslog.language.syntax import (
    Directive,
    If,
    Jump,
    LegacyAction,
    Node,
    Object,
    PriorityFilter,
    PropertyFilter,
    SetVariable,
    Unreadable,
)


def parsed(text: str, folder: Path) -> tuple[list[Node], Report]:
    path, report = folder / "x.conf", Report()
    path.write_text(text)
    return parse(InputFiles(), str(path), report), report


def test_objects_with_parameters_of_each_form(tmp_path: Path) -> None:
    text = 'input(type="imudp" # why\n  PORT=["514", "1514"],address=*)'
    (node,), report = parsed(text, tmp_path)
    assert isinstance(node, Object)
    assert node.kind == "input"
    assert node.parameters.values == {
        "type": ["imudp"],
        "port": ["514", "1514"],
        "address": ["*"],
    }
    assert [each.place.line for each in report.statements] == [1]


def test_a_rule_of_one_line_has_a_filter_and_actions(tmp_path: Path) -> None:
    text = '*.info;mail.none -/var/log/x\n& @central:514\n& stop\n:msg, !contains, "a\\"b" ~\n'
    (rule, other), report = parsed(text, tmp_path)
    assert isinstance(rule, If) and isinstance(other, If)
    assert rule.condition == PriorityFilter("*.info;mail.none")
    assert [type(each) for each in rule.then] == [LegacyAction, LegacyAction, Jump]
    assert other.condition == PropertyFilter("msg", "contains", True, 'a"b')
    assert [type(each) for each in other.then] == [Jump]
    assert [each.place.line for each in report.statements] == [1, 1, 2, 3, 4, 4]


def test_a_selector_may_have_several_lines(tmp_path: Path) -> None:
    text = "*.=info;*.=notice;\\\n\tauth.none;\\\n\tmail.none \\\n\t-/var/log/x\n*.* /y\n"
    (rule, after), report = parsed(text, tmp_path)
    assert isinstance(rule, If) and isinstance(after, If)
    assert rule.condition == PriorityFilter("*.=info;*.=notice;auth.none;mail.none")
    assert [each.text for each in rule.then if isinstance(each, LegacyAction)] == ["-/var/log/x"]
    assert report.statements[-1].place.line == 5


def test_if_else_with_and_without_braces(tmp_path: Path) -> None:
    text = """
    if $msg contains "x" then {
        set $.a = "b"; unset $!c;
        mail.* /var/log/mail
    } else if $msg contains "y" then stop
    else call other
    $ModLoad imudp
    """
    (rule, line), _ = parsed(text, tmp_path)
    assert isinstance(rule, If) and isinstance(line, Directive)
    assert [type(each) for each in rule.then] == [SetVariable, SetVariable, If]
    (inner,) = rule.otherwise
    assert isinstance(inner, If)
    assert [each.kind for each in inner.then if isinstance(each, Jump)] == ["stop"]
    assert [each.target for each in inner.otherwise if isinstance(each, Jump)] == ["other"]
    assert (line.name, line.value) == ("modload", "imudp")


def test_a_brace_may_follow_an_action_on_its_line(tmp_path: Path) -> None:
    (rule, after), _ = parsed("if 1 then { /var/log/x }\n*.* /y\n", tmp_path)
    assert isinstance(rule, If) and isinstance(after, If)
    assert [each.text for each in rule.then if isinstance(each, LegacyAction)] == ["/var/log/x"]


def test_what_cannot_be_read_is_in_the_report_and_the_rest_is_read(tmp_path: Path) -> None:
    nodes, report = parsed('if $msg contains then stop\n} !prog\n*.* /x\ninput(a="b\n', tmp_path)
    assert [type(each) for each in nodes] == [If]
    said = [
        finding.reason for each in report.statements for finding in each.findings if finding.verdict
    ]
    assert said[0].startswith("cannot be read: expected an expression")
    assert said[1] == "found a } without a {; remove it"
    assert said[2].startswith("blocks of BSD's syslogd")
    assert said[3].startswith("cannot be read: expected")


def test_loops_are_passed_over_with_what_is_in_them(tmp_path: Path) -> None:
    (node, after), _ = parsed("foreach ($.i in $!x) do { /x\n }\nstop\n", tmp_path)
    assert isinstance(node, Unreadable) and isinstance(after, Jump)
    assert [type(each) for each in node.body] == [LegacyAction]


def test_lines_for_the_next_action_may_stand_before_it(tmp_path: Path) -> None:
    text = "*.* @@a\n$ActionName b\n# why\n& @@b\n$ActionName c\n*.* @@c\n"
    nodes, _ = parsed(text, tmp_path)
    assert [type(each) for each in nodes] == [If, Directive, If]
    assert isinstance(nodes[0], If)
    assert [type(each) for each in nodes[0].then] == [LegacyAction, Directive, LegacyAction]


def test_includes_are_read_in_their_place_and_sorted(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "b.conf").write_text("*.* /b\n")
    (folder / "a.conf").write_text("*.* /a\n")
    text = (
        '*.* /first\n$IncludeConfig d/*.conf\ninclude(file="none" mode="optional")\n'
        'include(file="none")\n*.* /last\ninclude(text="*.* /text")\n'
    )
    nodes, report = parsed(text, tmp_path)
    actions = [each for node in nodes if isinstance(node, If) for each in node.then]
    texts = [each.text for each in actions if isinstance(each, LegacyAction)]
    assert texts == ["/first", "/a", "/b", "/last", "/text"]
    doubts = [each for each in report.statements if each.findings and each.verdict]
    assert [(each.place.line, each.text) for each in doubts] == [(4, 'include(file="none")')]


def test_a_file_that_includes_itself_and_deep_blocks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="includes itself"):
        parsed("$IncludeConfig x.conf\n", tmp_path)
    for text in ("if 1 then " * 1000, "if 1 then {" * 1000, "{" * 5000):
        with pytest.raises(ImportRefused, match="more than 100 blocks"):
            parsed(text, tmp_path)
