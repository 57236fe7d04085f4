from __future__ import annotations

from relay.codec.messages import Messages
from relay.wire.parse import parse

MESSAGES = [parse(b"<34>Oct 11 22:14:15 h su: x"), parse(b"<999>x"), parse(b"<13>1 - - - - - - y")]


def test_lines_that_are_messages_already() -> None:
    lines = Messages(MESSAGES)
    assert len(lines) == 3
    assert lines.frames == [message.raw for message in MESSAGES]
    assert (lines.message(1), lines.messages()) == (MESSAGES[1], MESSAGES)
    assert lines.messages([0, 2]) == [MESSAGES[0], MESSAGES[2]]
    assert (lines.column("severity"), lines.odd()) == ([2, 5, 5], [1])
    assert lines.column("app_name", [2, 0]) == [None, b"su"]
    assert lines.where("severity", frozenset((5,))) == [1, 2]
    assert lines.where("severity", frozenset((2, 5)), [2, 0]) == [2, 0]


def test_some_of_them_are_changed() -> None:
    lines = Messages(MESSAGES)
    edited = lines.edited([1], {}, (b"x",), lambda message: message._replace(tags=(b"x",)))
    assert edited.column("tags") == [(), (b"x",), ()]
    every = lines.edited(None, {}, (b"x",), lambda message: message._replace(tags=(b"x",)))
    assert every.column("tags") == [(b"x",)] * 3
    assert lines.messages() == MESSAGES
