from __future__ import annotations

import pytest

from relay.cli.moving.report import Place
from relay.cli.moving.rsyslog.language.scanner import Scanner, SyntaxProblem, unescaped


def test_blanks_and_comments_are_passed_over() -> None:
    scanner = Scanner("f", "  # one\n /* two\n */ x")
    scanner.skip_blank()
    assert scanner.next_word() == "'x'"
    assert scanner.place() == Place("f", 3)
    assert scanner.place(0) == Place("f", 1)


def test_a_backslash_continues_a_line() -> None:
    scanner = Scanner("f", "*.info;\\\n\tmail.none  /x\nnext")
    assert scanner.take_line() == "*.info;mail.none  /x"
    assert scanner.take_line() == ""


def test_texts_lose_their_escapes() -> None:
    scanner = Scanner("f", r'"a\"b\n\x41\101\$" ' + r"'it\'s' rest")
    assert scanner.take_string() == 'a"b\nAA$'
    scanner.skip_spaces()
    assert scanner.take_string() == "it's"
    assert scanner.take_string() is None
    assert unescaped("\\") == "\\"


def test_what_was_expected_is_said() -> None:
    scanner = Scanner("f", "  then")
    with pytest.raises(SyntaxProblem, match=r"expected [(], found 'then'"):
        scanner.expect("(")
    assert Scanner("f", "").next_word() == "the end of the line"
    assert Scanner("f", "").is_at_end()
