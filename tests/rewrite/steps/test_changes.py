from __future__ import annotations

import re
from collections.abc import Sequence

from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.rewrite.conditions import glob
from relay.rewrite.fields import getter
from relay.rewrite.steps import changes as steps
from relay.rewrite.steps.pipeline import Change
from relay.wire.parse import parse

ORIGIN = Origin("in", Transport.TCP, "192.0.2.1", 5)
MESSAGE = parse(b"<13>Oct 11 22:14:15 web su[230]: user bob from 10.0.0.1 bob")._replace(
    pairs={".a.x": b"1", ".a.y": b"2", "b": b"3"}, tags=(b"one", b"two")
)


def done(change: Change, message: SyslogMessage = MESSAGE) -> SyslogMessage:
    (result,) = change([message], ORIGIN)
    assert result is not None
    return result


def value(name: str) -> steps.Template:
    return lambda messages, origin: [getter(name)(message) or b"" for message in messages]


def fixed(text: bytes) -> steps.Template:
    return lambda messages, origin: [text] * len(messages)


def test_values_are_set_from_the_message_as_it_was() -> None:
    swapped = done(steps.set_values({"HOST": value("PROGRAM"), "PROGRAM": value("HOST")}))
    assert (swapped.hostname, swapped.app_name) == (b"su", b"web")


def test_a_template_sees_the_origin() -> None:
    def peers(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        return [origin.peer_host.encode()] * len(messages)

    assert done(steps.set_values({"HOST": peers})).hostname == b"192.0.2.1"


def test_names_are_unset_one_by_one_or_by_glob() -> None:
    assert done(steps.unset(["PID", "none"])).procid is None
    assert done(steps.unset([".a.*"])).pairs == {"b": b"3"}
    assert done(steps.unset(["*"])).pairs is None
    assert done(steps.unset(["P?D"])).procid is None


def test_values_move_to_new_names() -> None:
    moved = done(steps.rename({".a.x": "c", "none": "d", "PID": "MSGID"}))
    assert moved.pairs == {".a.y": b"2", "b": b"3", "c": b"1"}
    assert (moved.procid, moved.msgid) == (None, b"230")


def test_renaming_to_itself_keeps_the_value() -> None:
    assert done(steps.rename({"b": "b"})).pairs == MESSAGE.pairs


def test_substitution_everywhere_or_once() -> None:
    bob = re.compile(rb"b(o)b")
    assert done(steps.subst(bob, rb"<\1>", ["MESSAGE"])).msg == b"user <o> from 10.0.0.1 <o>"
    once = steps.subst(bob, b"X", ["MESSAGE", "HOST"], count=1)
    assert done(once).msg == b"user X from 10.0.0.1 bob"
    assert done(steps.subst(re.compile(b"zzz"), b"X", ["MESSAGE"])) is MESSAGE


def test_a_group_of_names_gets_one_value() -> None:
    assert done(steps.groupset(fixed(b"*"), [".a.*", "none.*"])).pairs == {
        ".a.x": b"*",
        ".a.y": b"*",
        "b": b"3",
    }
    assert done(steps.groupset(fixed(b"*"), ["none.*"])) is MESSAGE


class Table(dict[bytes, tuple[bytes | None, ...]]):
    """A table with named columns."""

    columns = ("team", "site")


def test_looking_up_with_and_without_a_default() -> None:
    table = Table({b"web": (b"shop", None)})
    names = [".team", "PROGRAM"]
    found = done(steps.look_up(table, value("HOST"), names))
    assert getter(".team")(found) == b"shop"
    assert found.app_name == MESSAGE.app_name  # no value: it stays
    assert done(steps.look_up(table, value("PROGRAM"), names)) is MESSAGE
    default = done(steps.look_up(table, value("PROGRAM"), names, default=fixed(b"other")))
    assert (getter(".team")(default), default.app_name) == (b"other", b"other")
    partly = done(steps.look_up(table, value("HOST"), names, default=fixed(b"other")))
    assert (getter(".team")(partly), partly.app_name) == (b"shop", b"other")


def test_tags_are_added_once_and_cleared_by_glob() -> None:
    assert done(steps.add_tags([b"two", b"three"])).tags == (b"one", b"two", b"three")
    assert done(steps.add_tags([b"two"])) is MESSAGE
    assert done(steps.clear_tags([glob("t*")])).tags == (b"one",)
    assert done(steps.clear_tags([glob("x")])) is MESSAGE


def test_priority() -> None:
    assert done(steps.set_priority(severity=0)).pri == 8
    assert done(steps.set_priority(facility=0)).pri == 5
    assert done(steps.set_priority(facility=23, severity=7)).pri == 191
