from __future__ import annotations

import pytest

from relay.cli.moving.conditions import ALWAYS, NEVER, to_match
from relay.cli.moving.rsyslog.filters import FilterReader, NotSupported, pair_name
from relay.cli.moving.rsyslog.language.expressions import read_expression
from relay.cli.moving.rsyslog.language.scanner import Scanner
from relay.cli.moving.rsyslog.language.syntax import PropertyFilter

INPUTS = {"imudp": ["udp-514", "udp-515"]}


def match(text: str) -> object:
    return to_match(FilterReader(INPUTS).condition(read_expression(Scanner("f", text))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$msg contains 'x'", {"msg": "x"}),
        ("$msg contains_i 'x.y'", {"msg": {"regex": r"x\.y", "ignore_case": True}}),
        ("$msg contains ' x'", {"msg": [" x", {"regex": "^x"}]}),
        ("$msg startswith ' x'", {"msg": {"regex": "^x"}}),
        ("$programname == 'sshd'", {"app_name": ["sshd", "sshd/*"]}),
        ("$app-name == 'sshd'", {"app_name": "sshd"}),
        ("$app-name startswith 'a*b'", {"app_name": {"regex": r"^a\*b"}}),
        ("$hostname != ['a', 'b']", {"not": {"hostname": ["a", "b"]}}),
        ("$syslogseverity <= 4", {"severity": "..warning"}),
        ("4 >= $syslogseverity", {"severity": "..warning"}),
        ("$syslogseverity-text == 'err'", {"severity": "err"}),
        ("$syslogfacility-text == 'local0'", {"facility": "local0"}),
        ("$syslogfacility > 15", {"facility": [f"local{n}" for n in range(8)]}),
        ("$pri == 14", {"facility": "user", "severity": "info"}),
        ("$pri-text == 'mail.err'", {"facility": "mail", "severity": "err"}),
        ("$fromhost-ip == '10.0.0.1'", {"peers": ["10.0.0.1"]}),
        ("$fromhost-ip startswith '10.1.'", {"peers": ["10.1.0.0/16"]}),
        ("$inputname == 'imudp'", {"sources": ["udp-514", "udp-515"]}),
        ("prifilt('mail.err')", {"facility": "mail", "severity": "..err"}),
        ("re_match($msg, '^ a+$') == 1", {"msg": {"regex": "^a+$"}}),
        ("not (re_match($msg, 'a'))", {"not": {"msg": {"regex": "a"}}}),
        ("re_match($msg, 'a') == 0", {"not": {"msg": {"regex": "a"}}}),
        ("tolower($hostname) == 'web'", {"hostname": {"regex": "^web$", "ignore_case": True}}),
        ("$!user == 'root'", {"pairs": {".json.user": "root"}}),
        ("$.flag", {"pairs": {".var.flag": {"regex": "^-?0*[1-9]"}}}),
        ("exists($!a!b)", {"pairs": {".json.a.b": True}}),
        ("$!a == ''", {"not": {"pairs": {".json.a": True}}}),
        ("$!rfc5424-sd!id!p == 'v'", {"pairs": {".SDATA.id.p": "v"}}),
        ("$syslogtag == 'su:'", {"app_name": "su"}),
        (
            "$msg contains 'a' and ($hostname == 'b' or $hostname == 'c')",
            {"msg": "a", "hostname": ["b", "c"]},
        ),
    ],
)
def test_conditions_become_filters(text: str, expected: object) -> None:
    assert match(text) == expected


def test_constants_are_worked_out() -> None:
    reader = FilterReader()
    for text, expected in (("1", ALWAYS), ("0", NEVER), ("1 == 2", NEVER), ("'a' == 'a'", ALWAYS)):
        assert reader.condition(read_expression(Scanner("f", text))) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not $msg contains 'x'", "write not"),
        ("$msg > 'x'", "the order of msg"),
        ("$msg == $hostname", "a comparison with [$]hostname"),
        ("$uuid == 'x'", "the property uuid"),
        ("lookup('t', $msg) == 'x'", "the function lookup"),
        ("strlen($msg) > 5", "the function strlen"),
        ("re_match($msg, '(')", "not a regular expression"),
        ("$/global == 'x'", "for all messages"),
        ("$fromhost-ip startswith '10.1'", "write a network"),
        ("$msg == ''", "whether msg is empty"),
        ("prifilt('bogus.info')", "there is no facility"),
        ("$msg", "is no condition"),
    ],
)
def test_what_has_no_filter_is_said(text: str, said: str) -> None:
    with pytest.raises(NotSupported, match=said):
        match(text)


def test_differences_are_noted() -> None:
    reader = FilterReader()
    reader.condition(read_expression(Scanner("f", "$msg startswith 'x' and $syslogtag == 'a'")))
    assert len(reader.notes) == 2


def test_programs_with_slashes_if_rsyslog_has_them() -> None:
    reader = FilterReader(has_slashes=True)
    condition = reader.condition(read_expression(Scanner("f", "$programname == 'a'")))
    assert to_match(condition) == {"app_name": "a"}


def test_property_filters() -> None:
    def of(name: str, operation: str, text: str, *, negated: bool = False) -> object:
        return to_match(FilterReader().condition(PropertyFilter(name, operation, negated, text)))

    assert of("msg", "regex", r"a\(b\)") == {"msg": {"regex": "a(b)"}}
    assert of("msg", "ereregex", "a+") == {"msg": {"regex": "a+"}}
    assert of("hostname", "isequal", "x", negated=True) == {"not": {"hostname": "x"}}
    assert of("$!x", "isempty", "") == {"not": {"pairs": {".json.x": True}}}
    with pytest.raises(NotSupported, match="there is no operation 'bogus'"):
        of("msg", "bogus", "x")


def test_names_of_pairs() -> None:
    assert [pair_name(name) for name in ("!a!b", ".c")] == [".json.a.b", ".var.c"]
