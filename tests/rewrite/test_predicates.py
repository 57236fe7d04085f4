from __future__ import annotations

from collections.abc import Sequence

import pytest

from relay.codec.messages import Messages
from relay.model.message import SyslogMessage
from relay.rewrite.conditions import (
    Conjunction,
    FieldFits,
    FieldIn,
    MessageFits,
    Negation,
    Predicate,
)
from relay.wire.parse import parse, read_lines
from relay.wire.parse_tags import INVALID_PRI

FRAMES = [
    b"<11>Oct 11 22:14:15 web su[230]: it failed",
    b"<30>just text",
    b"<999>x",
    b'<13>1 - - @syslog-ng - - - {"MESSAGE":"it failed","PROGRAM":"su","TAGS":".a"}',
    b"<11>Oct 11 22:14:15 db su[230]: it failed",
]


def is_su(value: bytes | None) -> bool:
    return value == b"su"


def has_app(message: SyslogMessage) -> bool:
    return message.app_name is not None


SU = FieldFits("app_name", is_su)


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        (FieldIn("severity", frozenset((3,))), [0, 4]),
        (FieldIn("hostname", frozenset((None, b"db"))), [1, 2, 3, 4]),
        (FieldIn("app", frozenset(("shop",))), []),
        (SU, [0, 3, 4]),
        (FieldFits("msg", lambda value: b"failed" in value), [0, 3, 4]),
        (FieldFits("hostname", lambda value: value == b"peer", b"peer"), [1, 2, 3]),
        (FieldFits("tags", lambda tags: {*INVALID_PRI} <= {*tags}), [2]),
        (MessageFits(has_app), [0, 3, 4]),
        (Conjunction((SU, FieldIn("hostname", frozenset((b"db",))))), [4]),
        (Negation(SU), [1, 2]),
    ],
)
def test_each_predicate_on_lines_and_on_messages(
    predicate: Predicate, expected: Sequence[int]
) -> None:
    for lines in (read_lines(FRAMES), Messages([*map(parse, FRAMES)])):
        assert list(predicate.select(lines, range(5))) == expected
        assert list(predicate.select(lines, [1, 4])) == [i for i in expected if i in (1, 4)]
        assert list(predicate.select(lines, [])) == []


def test_a_test_of_texts_is_asked_once_for_each_value() -> None:
    asked = []

    def test(value: bytes | None) -> bool:
        asked.append(value)
        return True

    assert FieldFits("app_name", test).select(read_lines(FRAMES), range(5)) == [0, 1, 2, 3, 4]
    assert sorted(map(repr, asked)) == ["None", "b'su'"]


def test_what_fails_the_first_of_several_is_not_shown_to_the_others() -> None:
    def refuse(message: SyslogMessage) -> bool:
        assert message.hostname == b"db"
        return True

    first = FieldIn("hostname", frozenset((b"db",)))
    assert Conjunction((first, MessageFits(refuse))).select(read_lines(FRAMES), range(5)) == [4]
    none = FieldIn("severity", frozenset())
    assert Conjunction((none, MessageFits(refuse))).select(read_lines(FRAMES), range(5)) == []


def test_predicates_that_do_the_same_are_equal() -> None:
    assert FieldFits("hostname", is_su, b"a") == FieldFits("hostname", is_su, b"a")
    assert FieldFits("hostname", is_su, b"a") != FieldFits("hostname", is_su, b"b")
    assert FieldFits("hostname", is_su) != FieldFits("app_name", is_su)
    assert Conjunction((SU, Negation(SU))) == Conjunction(
        (FieldFits("app_name", is_su), Negation(SU))
    )
