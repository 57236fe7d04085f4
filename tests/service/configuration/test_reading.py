from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from relay.service.configuration.keys import Table, key, keys_of
from relay.service.configuration.reading import (
    Entries,
    FilePath,
    Reading,
    Reported,
    TableOf,
    Template,
    content_of,
)
from relay.service.configuration.table import Expression, Flag, Text


def test_a_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"abcdef")
    (tmp_path / "link").symlink_to(path)  # as in Kubernetes
    assert content_of(str(path), bytes_max=4) == b"abcd"
    assert content_of(str(tmp_path / "link"), bytes_max=7) == b"abcdef"


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """Opening a named pipe would wait for a program that writes into it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in (
        (str(pipe), "it is not a regular file"),
        ("/dev/zero", "it is not a regular file"),
        (str(tmp_path), "Is a directory"),
        (str(tmp_path / "none"), "No such file or directory"),
    ):
        with pytest.raises(OSError) as found:
            content_of(path, bytes_max=4)
        assert found.value.strerror == reason


@dataclass(frozen=True, slots=True)
class Inner:
    flag: bool = key(Flag())


@dataclass(frozen=True, slots=True)
class Outer:
    text: str = key(Text(), example='"x"')
    pattern: str = key(Expression(), default="a", named="in")
    file: str = key(FilePath(), default="")
    inner: tuple[Inner, ...] = key(Entries(Table(Inner)), default=())
    named: Mapping[str, str] | None = key(TableOf(Template(), '{ A = "$B" }'), default=None)


def test_a_table_becomes_a_value() -> None:
    values = {"text": "y", "in": "b", "file": "f", "inner": [{"flag": True}], "named": {"A": "$B"}}
    found = Reading("/etc").read(Table(Outer), values, "t")
    assert found == Outer("y", "b", "/etc/f", (Inner(True),), {"A": "$B"})
    assert [*keys_of(Outer)] == ["text", "in", "file", "inner", "named"]


@pytest.mark.parametrize(
    ("values", "problems"),
    [
        (5, ["t: expected a table, found 5"]),
        ({}, ['t.text: is missing; write for example text = "x"']),
        ({"text": 5}, ["t.text: expected a text, found 5"]),
        (
            {"text": "x", "inn": 5},
            [
                "t.inn: unknown key, did you mean 'in'? Allowed here: text, in, file, inner, named",
            ],
        ),
        ({"text": "x", "named": 5}, ['t.named: expected a table such as { A = "$B" }, found 5']),
        ({"text": "x", "inner": {}}, ["t.inner: expected a list of tables, found a table"]),
        (
            {"text": "x", "inner": [{}, {"flag": 1}], "named": {"a b": "$", "c": "$"}},
            [
                "t.inner[0].flag: is missing",
                "t.inner[1].flag: expected true or false, found 1",
                't.named."a b": at character 1',
                "t.named.c: at character 1",
            ],
        ),
    ],
)
def test_everything_that_is_wrong_is_said_with_its_place(
    values: object, problems: list[str]
) -> None:
    reading = Reading()
    with pytest.raises(Reported):
        reading.read(Table(Outer), values, "t")
    assert len(reading.problems) == len(problems)
    for found, expected in zip(reading.problems, problems, strict=True):
        assert found.startswith(expected)


def test_expressions_that_can_be_slow_are_warned_of() -> None:
    reading = Reading()
    reading.read(Table(Outer), {"text": "x", "in": "(?=a)b"}, "t")
    (warning,) = reading.warnings
    assert warning.startswith("t.in: '(?=a)b' needs lookaround")
