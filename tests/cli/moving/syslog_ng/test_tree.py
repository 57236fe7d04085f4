from __future__ import annotations

import pytest

from relay.cli.moving.report import Place
from relay.cli.moving.syslog_ng.scanner import ConfigurationText, SyntaxProblem
from relay.cli.moving.syslog_ng.tree import Atom, Body, Call, Included, Tree, parse

FILES = {"a": "source s_a { internal(); };", "loop": '@include "loop"'}


def include(text: str, place: Place) -> Included:
    if text not in FILES:
        return Included(note="none", is_missing=True)
    return Included((ConfigurationText(FILES[text], text, name=text),))


def tree_of(text: str) -> Tree:
    return parse(ConfigurationText(text, "main", name="main"), include)


def bodies(text: str) -> list[Body]:
    return [node for item in tree_of(text).items for node in item if isinstance(node, Body)]


def test_statements_have_heads_and_items() -> None:
    (body,) = bodies('source "s net" { tcp(port(514)); udp(); };')
    assert (body.kind, body.name, len(body.items)) == ("source", "s net", 2)
    call = body.items[0][0]
    assert isinstance(call, Call)
    assert (call.name, call.calls[0].name, call.calls[0].first) == ("tcp", "port", "514")


def test_semicolons_may_be_missing_behind_braces() -> None:
    assert [body.kind for body in bodies("filter f { level(err) } log { source(s) }")] == [
        *("filter", "log"),
    ]


def test_operators_are_no_calls() -> None:
    (body,) = bodies("filter f { not (level(err) and facility(mail)) or program('x'); };")
    assert [type(node) for node in body.items[0]] == [Atom, Call, Atom, Call]


def test_if_has_its_condition_in_the_head() -> None:
    (log,) = bodies("log { if (level(err)) { destination(a); } else { destination(b); }; };")
    arms = [item[0] for item in log.items]
    assert [arm.kind for arm in arms if isinstance(arm, Body)] == ["if", "else"]


def test_includes_are_where_they_stand() -> None:
    assert [body.name for body in bodies('source s { };\n@include "a"\nsource t { };')] == [
        *("s", "s_a", "t"),
    ]
    ((directive, included),) = tree_of('@include "none"').directives
    assert (directive.name, included and included.is_missing) == ("include", True)
    with pytest.raises(SyntaxProblem, match="loop includes itself"):
        tree_of('@include "loop"')


def test_blocks_are_read_where_they_are_called() -> None:
    tree = tree_of(
        'block destination kept(dir() name("x") ...) {\n  file("`dir`/`name`" `__VARARGS__`);\n};\n'
        '@define base "/srv"\n'
        'destination d { kept(dir("`base`") perm(0600)); };'
    )
    (body,) = [node for item in tree.items for node in item if isinstance(node, Body)]
    call = body.items[0][0]
    assert isinstance(call, Call)
    assert (call.name, call.first, call.calls[0].name) == ("file", "/srv/x", "perm")
    assert str(call.place) == "main:5"
    assert [name for name, _ in tree.calls_of_blocks] == ["destination kept"]


def test_blocks_of_filters_are_parts_of_expressions() -> None:
    (body,) = bodies(
        "block filter bad() { level(err..emerg); };\nfilter f { not bad() and facility(mail); };"
    )
    assert [getattr(node, "name", "") or node.text for node in body.items[0]] == [  # type: ignore
        *("not", "level", "and", "facility"),
    ]


def test_a_block_that_calls_itself_is_refused() -> None:
    with pytest.raises(SyntaxProblem, match="includes itself"):
        tree_of("block source b() { b(); };\nsource s { b(); };")


def test_foreign_languages_stay_text() -> None:
    (body,) = bodies('python { def f(x):\n  return {"a": x} };')
    assert (body.items, '{"a": x}' in body.text) == ((), True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source s { tcp(", "main:1: the '(' behind tcp has no ')'"),
        ("source s { tcp();", "main:1: the '{' of this statement has no '}'"),
        ("};", "main:1: found '}' without '{'"),
        ("\na );", "main:2: found ')' without '('"),
        ("block source", "expected block KIND NAME(options)"),
        ("a{" * 100, "more than 64 braces inside each other"),
        ("x { a" + "(" * 100, "more than 64 parentheses inside each other"),
    ],
)
def test_problems_have_a_place(text: str, said: str) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        tree_of(text)
    assert said in str(caught.value)
