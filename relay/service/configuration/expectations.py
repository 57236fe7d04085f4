"""Tests of a configuration, written in it: what is to become of a message.

    [[tests]]
    name = "failed logins go to the alarm"
    frame = "<38>Oct 11 22:14:15 web sshd[7]: Failed password for bob"
    source = "network"                      # default: the first
    peer = "192.0.2.1"                      # default: a local sender
    expect.alarm = { hostname = "web", severity = "info", payload = { contains = "bob" } }
    expect.archive = false                  # does not get it

Texts are UTF-8, whatever the source receives; ``\\xNN`` stands for a byte that is not.
`relay.service.routes.explanation` runs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from relay.service.configuration.keys import Table, key
from relay.service.configuration.reading import Entries, Reading, TableOf
from relay.service.configuration.table import Named, Text, Texts, join_path, shown, unknown_name
from relay.service.configuration.tables.filter import FACILITIES, SEVERITIES


def bytes_of(text: str) -> bytes:
    """`text` in UTF-8, with ``\\xNN`` for single bytes."""
    return re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())


class _Value:
    """A text that a field has, or false: it has no value."""

    def read(self, value: object) -> bytes | Literal[False]:
        if isinstance(value, str):
            return bytes_of(value)
        if value is False:
            return False
        raise ValueError(f"expected a text, or false for no value, found {shown(value)}")


_VALUE = _Value()


class _Payload:
    """All that is sent, or a part of it."""

    def read(self, value: object) -> tuple[bytes, bool]:
        match value:
            case str(text):
                return bytes_of(text), True
            case {"contains": str(text), **others} if not others:
                return bytes_of(text), False
        raise ValueError(f'expected a text or {{ contains = "text" }}, found {shown(value)}')


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a destination is to send; None = that is not looked at.

    Texts are bytes; False = there is no value.
    """

    facility: int | None = key(Named(FACILITIES, 23), default=None)
    severity: int | None = key(Named(SEVERITIES, 7), default=None)
    hostname: bytes | Literal[False] | None = key(_VALUE, default=None)
    app_name: bytes | Literal[False] | None = key(_VALUE, default=None)
    procid: bytes | Literal[False] | None = key(_VALUE, default=None)
    msgid: bytes | Literal[False] | None = key(_VALUE, default=None)
    msg: bytes | Literal[False] | None = key(_VALUE, default=None)
    app: str | None = key(Text("the id of an app", r".*"), default=None)
    tags: tuple[str, ...] = key(Texts("a list of tags"), default=())
    """Those that it has to have."""
    pairs: Mapping[str, bytes | Literal[False]] | None = key(
        TableOf(_VALUE, '{ NAME = "text" }'), default=None
    )
    payload: tuple[bytes, bool] | None = key(_Payload(), default=None)
    """Bytes, and whether they are all of it, or a part."""


class _Expected:
    """true or false: it gets the message or not; or what it gets."""

    def read_at(self, value: object, path: str, reading: Reading, /) -> bool | Expectation:
        if isinstance(value, bool):
            return value
        if isinstance(value, dict):
            return reading.read(Table(Expectation), value, path)
        raise ValueError(f"expected true, false or a table, found {shown(value)}")


@dataclass(frozen=True, slots=True)
class MessageTest:
    """A message, and what is to become of it."""

    frame: str = key(Text("a message", r".+"))
    expect: Mapping[str, bool | Expectation] = key(TableOf(_Expected(), "{ DESTINATION = false }"))
    name: str = key(Text("a text"), default="")
    source: str = key(Text("the id of a source"), default="")
    """Empty = the first."""
    peer: str = key(Text("an address"), default="")
    """Empty = a local sender."""
    tls_names: tuple[str, ...] = key(Texts("a list of names"), default=())


def read_tests(
    values: object, sources: Sequence[str], destinations: Sequence[str], reading: Reading
) -> tuple[MessageTest, ...]:
    """The tests of a configuration.

    Args:
        sources: Ids of all sources.
        destinations: Ids of all destinations.

    Raises:
        Reported: Something is wrong.
    """
    if not isinstance(values, list):
        reading.add("tests", f"expected tables [[tests]], found {shown(values)}")
        return ()
    tests = reading.read(Entries(Table(MessageTest)), values, "tests")
    for index, test in enumerate(tests):
        where = f"tests[{index}]"
        if test.source and test.source not in sources:
            reading.add(f"{where}.source", unknown_name("source", test.source, sources))
        for id in test.expect:
            if id not in destinations:
                problem = unknown_name("destination", id, destinations)
                reading.add(join_path(f"{where}.expect", id), problem)
    return tests
