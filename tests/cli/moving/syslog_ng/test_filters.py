from __future__ import annotations

from pathlib import Path

import pytest

from relay.cli.moving.conditions import ALWAYS, NEVER, fits, to_match
from relay.cli.moving.report import Place, Statement
from relay.cli.moving.syslog_ng.filters import FilterReader, Fit
from relay.cli.moving.syslog_ng.scanner import ConfigurationText
from relay.cli.moving.syslog_ng.tree import Body, Included, parse


def read(text: str, **files: str) -> tuple[Fit, Statement]:
    """What the filter `f` of a text fits; the source `s` is the relay's source `s1`."""
    tree = parse(ConfigurationText(text, "x"), lambda *_: Included())
    named = {
        node.name: (node, Statement(Place("x", 1), node.name))
        for item in tree.items
        for node in item
        if isinstance(node, Body)
    }

    def read_list(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "No such file")
        return files[path]

    reader = FilterReader(named, {"s": ["s1"]}, read_list)
    return reader.by_name("f", Statement(Place("x", 1), "")), named["f"][1]


def fit_of(expression: str) -> object:
    fit, statement = read(f"filter f {{ {expression}; }};")
    assert fit.is_exact, statement.findings
    return to_match(fit.wide)


@pytest.mark.parametrize(
    ("expression", "match"),
    [
        ("facility(mail)", {"facility": "mail"}),
        ("facility(auth, authpriv)", {"facility": ["auth", "authpriv"]}),
        ("facility(local0..local2)", {"facility": "local0..local2"}),
        ("facility(16)", {"facility": "local0"}),
        ("level(err..emerg)", {"severity": "..err"}),
        ("level(emerg .. err)", {"severity": "..err"}),
        ("severity(warning..debug)", {"severity": "warning.."}),
        ("priority(info, err)", {"severity": ["err", "info"]}),
        ('program("sshd")', {"app_name": {"substring": "sshd"}}),
        ('program("^sshd$")', {"app_name": "sshd"}),
        ('program("^cron")', {"app_name": "cron*"}),
        ('program("a" flags(ignore-case))', {"app_name": {"substring": "a", "ignore_case": True}}),
        ("program('^(a|b)$')", {"app_name": {"regex": "^(a|b)$"}}),
        ('program("a*" type(glob))', {"app_name": {"glob": "a*"}}),
        ('program("a.b" type(string))', {"app_name": "a.b"}),
        (r"host('web-\d+')", {"hostname": {"regex": r"web-\d+"}}),
        ('message("error")', {"msg": "error"}),
        ('message("^error")', {"msg": {"glob": "error*"}}),
        ('match("x" value("PROGRAM"))', {"app_name": {"substring": "x"}}),
        ('match("x" value(".json.a"))', {"pairs": {".json.a": {"substring": "x"}}}),
        ('match("x" template("$HOST"))', {"hostname": {"substring": "x"}}),
        ("netmask(10.1.2.3/255.0.0.0)", {"peers": ["10.0.0.0/8"]}),
        ('netmask6("2001:db8::/32")', {"peers": ["2001:db8::/32"]}),
        ('tags("a", "b")', {"tags": ["a", "b"]}),
        ('tags(".source.s")', {"sources": ["s1"]}),
        ('source("s")', {"sources": ["s1"]}),
        ('"$PROGRAM" eq "cron"', {"app_name": "cron"}),
        ('"${.a.b}" == "x*"', {"pairs": {".a.b": {"regex": r"^x\*$"}}}),
        ('"$LEVEL_NUM" <= "3"', {"severity": "..err"}),
        ('"$FACILITY" ne "mail"', {"not": {"facility": "mail"}}),
        ("not facility(mail)", {"not": {"facility": "mail"}}),
        ("facility(mail) and level(err)", {"facility": "mail", "severity": "err"}),
        ("facility(mail) or level(err)", [{"facility": "mail"}, {"severity": "err"}]),
        (
            "not level(err) and (facility(mail) or host('^a$'))",
            {"not": {"severity": "err"}, "any": [{"facility": "mail"}, {"hostname": "a"}]},
        ),
    ],
)
def test_what_the_relay_has(expression: str, match: object) -> None:
    assert fit_of(expression) == match


def test_and_binds_closer_than_or() -> None:
    assert fit_of("host('^a$') or host('^b$') and level(err)") == [
        {"hostname": "a"},
        {"hostname": "b", "severity": "err"},
    ]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("rate-limit(rate(5))", "nothing like rate-limit()"),
        ("facility(nothing)", "no such facility"),
        ('program("(?<n>a")', "cannot"),
        ('"$A" == "$B"', "compares a field with a text"),
        ("level(err) level(info)", "cannot read the filter from level() on"),
        ("level(err) and", "ends too early"),
        ("filter(none)", "there is no filter none"),
        ("netmask(x)", "is no network"),
        ('in-list("/none", value("HOST"))', "cannot read /none"),
    ],
)
def test_what_it_lacks_is_said(expression: str, said: str) -> None:
    fit, statement = read(f"filter f {{ {expression}; }};")
    assert not fit.is_exact
    assert fit.wide in (ALWAYS, fits("severity", "err"))
    if said != "cannot":
        assert said in " ".join(finding.reason for finding in statement.findings)
    assert statement.findings


def test_doubt_lets_through_also_where_it_is_denied() -> None:
    fit, _ = read("filter f { not rate-limit(rate(5)) and facility(mail); };")
    assert to_match(fit.wide) == {"facility": "mail"}
    assert fit.narrow == NEVER


def test_filters_call_filters_but_not_themselves() -> None:
    fit, _ = read('filter g { level(err); }; filter f { filter("g") or facility(mail); };')
    assert to_match(fit.wide) == [{"severity": "err"}, {"facility": "mail"}]
    fit, statement = read("filter f { filter(g); }; filter g { filter(f); };")
    assert not fit.is_exact
    assert "refers to itself" in statement.findings[0].reason


def test_a_list_is_copied(tmp_path: Path) -> None:
    fit, statement = read(
        'filter f { in-list("/l" value("HOST")); };', **{"/l": "web-2\n\nweb-1\n"}
    )
    assert to_match(fit.wide) == {"hostname": ["web-1", "web-2"]}
    assert "another import" in statement.findings[0].reason


def test_match_without_a_value_looks_at_the_header_too() -> None:
    assert fit_of('match("sshd")') == [{"app_name": {"substring": "sshd"}}, {"msg": "sshd"}]


def test_long_expressions_take_no_time_and_have_a_limit() -> None:
    names = " or ".join(f"host('^h{number}$')" for number in range(1900))
    match = fit_of(names)
    assert isinstance(match, dict) and len(match["hostname"]) == 1900
    fit, statement = read(f"filter f {{ {names} or {names}; }};")
    assert not fit.is_exact
    assert "more than 4,000 words" in statement.findings[0].reason
