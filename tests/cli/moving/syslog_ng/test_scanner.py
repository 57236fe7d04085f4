from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli.moving.syslog_ng.scanner import (
    ConfigurationText,
    Scanner,
    SyntaxProblem,
    Token,
    filled_in,
    unescaped,
)


def tokens_of(text: str, **variables: str) -> list[Token]:
    scanner = Scanner(ConfigurationText(text, "f"), variables)
    return all_of(scanner)


def all_of(scanner: Scanner) -> list[Token]:
    tokens = []
    while (token := scanner.next()).kind != "end":
        tokens.append(token)
    return tokens


def texts(text: str, **variables: str) -> list[str]:
    return [token.text for token in tokens_of(text, **variables)]


def test_words_signs_and_texts() -> None:
    assert texts('file("/var/log/a b" perm(0640));') == [
        *("file", "(", "/var/log/a b", "perm", "(", "0640", ")", ")", ";"),
    ]
    assert texts("level(err..emerg) 10.0.0.0/8 ::1 a-b_c.d") == [
        *("level", "(", "err", "..", "emerg", ")", "10.0.0.0/8", "::1", "a-b_c.d"),
    ]
    assert texts("'$HOST' == \"x\" k => v") == ["$HOST", "==", "x", "k", "=>", "v"]


def test_comments_end_with_their_line() -> None:
    tokens = tokens_of("# one {\na # two\nb")
    assert [(token.text, token.place.line) for token in tokens] == [("a", 2), ("b", 3)]


def test_escapes_are_for_double_quotes() -> None:
    assert unescaped(r"a\n\t\x41\"\d\\") == 'a\n\tA"d\\'
    assert texts(r"""'\d\n' "\\d" """) == [r"\d\n", r"\d"]


def test_variables_stand_in_texts_and_alone() -> None:
    assert texts('"`dir`/x" `dir` ``', dir="/var") == ["/var/x", "/var"]
    scanner = Scanner(ConfigurationText("`none`", "f"), {})
    assert all_of(scanner) == []
    assert [name for name, _ in scanner.unknown_variables] == ["none"]


def test_a_pushed_text_comes_before_what_follows() -> None:
    scanner = Scanner(ConfigurationText("a b", "f"), {})
    scanner.next()
    scanner.push(ConfigurationText("x\ny", "g"), ConfigurationText("z", "h", 7, is_body=True))
    assert [(str(token.place), token.text) for token in all_of(scanner)] == [
        *(("g:1", "x"), ("g:2", "y"), ("h:7", "z"), ("f:1", "b")),
    ]


def test_a_text_in_itself_is_refused() -> None:
    scanner = Scanner(ConfigurationText("a", "f", name="f"), {})
    with pytest.raises(SyntaxProblem, match="f includes itself"):
        scanner.push(ConfigurationText("a", "f", name="f"))


def test_depth_and_length_have_limits() -> None:
    scanner = Scanner(ConfigurationText("`a`", "f"), {"a": "`a`"})
    with pytest.raises(SyntaxProblem, match="more than 32 includes"):
        all_of(scanner)
    scanner = Scanner(ConfigurationText("a", "f"), {})
    with pytest.raises(SyntaxProblem, match="more than 16,777,216 characters"):
        scanner.push(ConfigurationText("a" * (16 << 20), "g"))


def test_a_text_without_end_is_a_problem_with_a_place() -> None:
    with pytest.raises(SyntaxProblem) as caught:
        tokens_of('a\n"b')
    assert str(caught.value).startswith("f:2: found a text without its end")


def test_arguments_lose_their_quotes_inside_of_quotes() -> None:
    body = 'file("`dir`/x" perm(`mode`) `other`)'
    assert filled_in(body, {"dir": '"/var"', "mode": "0640"}) == (
        'file("/var/x" perm(0640) `other`)'
    )


def test_rest_of_line_leaves_comments_out() -> None:
    scanner = Scanner(ConfigurationText('@define a "x # y" # z\nb', "f"), {})
    assert scanner.next().kind == "directive"
    assert scanner.rest_of_line() == 'a "x # y"'
    assert scanner.next().text == "b"


@given(st.text(alphabet="ab\"'`{}()#@\\\n.= <>", max_size=60))
def test_every_text_is_tokens_or_a_problem(text: str) -> None:
    try:
        tokens_of(text, a="b `b`", b="x")
    except SyntaxProblem as problem:
        assert "\n" not in problem.reason
