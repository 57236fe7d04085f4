from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC
from pathlib import Path

import pytest

from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.rewrite.drops import Drops
from relay.rewrite.fields import getter
from relay.rewrite.steps.changes import Lookup, Template
from relay.rewrite.steps.pipeline import Stage
from relay.service.configuration.reading import Reading, Reported
from relay.service.configuration.tables.step import Step, StepTable
from relay.service.routes.stages import Conditions, Stages
from relay.wire.parse import parse

ORIGIN = Origin("net", Transport.UDP, "192.0.2.7", 514, received_at=1000.0)
MESSAGE = parse(b"<13>Oct 11 22:14:15 web app[1]: from 10.0.0.1")


def template(text: str) -> Template:
    if not text.startswith("$"):
        return lambda messages, origin: [text.encode()] * len(messages)
    value_of = getter(text.strip("${}"))
    return lambda messages, origin: [value_of(message) or b"" for message in messages]


class Table(dict[bytes, tuple[bytes, ...]]):
    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__({b"web": (b"shop", b"home")[: len(columns)]})
        self.columns = columns


def lookup(path: str, columns: Sequence[str] | None) -> Lookup:
    if not path.endswith(".csv"):
        raise ValueError(f"cannot read {path}")
    return Table(("value",) if columns is None else columns or ("HOST", "site"))


def read(text: str, reading: Reading) -> Step | None:
    value = tomllib.loads(f"step = {text}")["step"]
    with suppress(Reported):
        return reading.read(StepTable(), value, "d.rewrite[0]")
    return None


def stage_of(step: Step, drops: Drops) -> Stage:
    stages = Stages(
        conditions=Conditions(relay_name=b"here", zone=UTC),
        counter="here/d",
        template=template,
        lookup=lookup,
        zone=UTC,
        drops=drops,
    )
    return stages.of(step)


def run(text: str, base_dir: str = "/etc") -> tuple[list[SyslogMessage], Drops]:
    reading, drops = Reading(base_dir), Drops()
    step = read(text, reading)
    assert reading.problems == []
    assert step is not None
    return list(stage_of(step, drops)([MESSAGE], ORIGIN)), drops


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ('{ set = { HOST = "$PROGRAM", ".x" = "y" } }', "HOST", b"app"),
        ('{ set = { HOST = "db" }, match = { app_name = "app" } }', "HOST", b"db"),
        ('{ set = { HOST = "db" }, match = { app_name = "other" } }', "HOST", b"web"),
        ('{ unset = ["PID"] }', "PID", None),
        ('{ unset = "PID" }', "PID", None),
        ('{ rename = { PID = "MSGID" } }', "MSGID", b"1"),
        ("{ subst = 'from (\\S+)', with = 'by \\1' }", "MESSAGE", b"by 10.0.0.1"),
        ('{ subst = "FROM ", ignore_case = true }', "MESSAGE", b"10.0.0.1"),
        ('{ subst = "0", with = "o", first_only = true }', "MESSAGE", b"from 1o.0.0.1"),
        ('{ subst = "e", with = "E", in = ["HOST"] }', "HOST", b"wEb"),
        ('{ groupset = "-", in = "P*" }', "PROGRAM", b"-"),
        ('{ map = "teams.csv", key = "${HOST}", into = ".team" }', ".team", b"shop"),
        (
            '{ map = "teams.csv", key = "x", into = ".team", default = "none" }',
            *(".team", b"none"),
        ),
        ('{ map = "teams.csv", key = "$HOST", prefix = ".m." }', ".m.site", b"home"),
        ('{ map = "teams.csv", key = "$HOST", columns = ["HOST"] }', "HOST", b"shop"),
        ('{ map = "t.csv", key = "x", prefix = "p", default = "$PID" }', "psite", b"1"),
        ('{ mask = "ipv4" }', "MESSAGE", b"from ***"),
        ('{ mask = ["ipv4", "email"], with = "x" }', "MESSAGE", b"from x"),
        ("{ mask = '10\\.\\S+' }", "MESSAGE", b"from ***"),
        ("{ parse = 'regex', pattern = 'from (?P<FROM>.*)', prefix = '.' }", ".FROM", b"10.0.0.1"),
        ("{ parse = 'csv', columns = ['a', 'b'], delimiter = ' ' }", "b", b"10.0.0.1"),
        ("{ parse = 'csv', columns = ['_', '_'], delimiter = ' ' }", "_", b"10.0.0.1"),
        ("{ rename = {} }", "PID", b"1"),
        ("{ number = true }", ".SDATA.meta.sequenceId", b"1"),
        ("{ number = true }", ".SDATA.syslogrelay@32473.from", b"here/d"),
        ("{ parse = 'key-value', value_separator = ' ' }", "from", b"10.0.0.1"),
    ],
)
def test_each_step(text: str, name: str, value: bytes | None) -> None:
    (message,), drops = run(text)
    assert getter(name)(message) == value
    assert not drops


def test_steps_that_change_what_is_no_pair() -> None:
    assert run('{ add_tags = ["a"] }')[0][0].tags == (b"a",)
    assert run('{ clear_tags = ["*"] }')[0][0].tags == ()
    assert run('{ set_severity = "err" }')[0][0].severity == 3
    assert run('{ set_facility = "local7" }')[0][0].facility == 23
    date = run('{ parse = "date", from = "PID", format = "unix" }')[0][0]
    assert date.timestamp == b"1970-01-01T00:00:01+00:00"


@pytest.mark.parametrize(
    ("text", "drops"),
    [
        ('{ drop = "noise" }', {"noise": 1}),
        ('{ drop = "noise", match = { app_name = "x" } }', {}),
        ("{ sample = 2 }", {}),
        ("{ rate = 10, per = '$HOST' }", {}),
        ("{ suppress_repeats = 10 }", {}),
    ],
)
def test_steps_that_drop(text: str, drops: dict[str, int]) -> None:
    messages, counted = run(text)
    assert counted == drops
    assert len(messages) == 1 - sum(drops.values())


def test_a_hash_has_a_key_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("0123456789abcdef\n")
    (found,), _ = run('{ hash = "ipv4", key_file = "key" }', str(tmp_path))
    assert len(found.msg) == len(b"from ") + 16
    (whole,), _ = run('{ hash = true, in = ["HOST"], key_file = "key" }', str(tmp_path))
    assert whole.hostname is not None
    assert len(whole.hostname) == 16


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('"x"', "d.rewrite[0]: expected a table with one step, found 'x'"),
        ("{}", "d.rewrite[0]: expected a step, found an empty table; the steps are: set, unset"),
        ("{ sett = {} }", "expected a step, found sett, did you mean 'set'? the steps are"),
        ('{ unset = ["a"], drop = "x" }', "unset and drop are two steps; write a table for each"),
        (
            '{ unset = ["a"], with = "x" }',
            "d.rewrite[0].with: unknown key. Allowed here: unset",
        ),
        ("{ set = {} }", "d.rewrite[0].set: expected a table such as"),
        ("{ set = { a = 1 } }", "d.rewrite[0].set.a: expected a template, such as"),
        ('{ set = { a = "$" } }', "d.rewrite[0].set.a: at character 1: $ is followed by"),
        (
            "{ unset = [] }",
            "d.rewrite[0].unset: expected a name, or a list of them",
        ),
        ("{ rename = { a = 1 } }", "d.rewrite[0].rename.a: expected a text, found 1"),
        ('{ subst = "(" }', "subst: '(' is not a regular expression"),
        ('{ subst = "a", ignore_case = 1 }', "ignore_case: expected true or false, found 1"),
        ('{ groupset = "x" }', "d.rewrite[0].in: is missing; write for example in = ["),
        ('{ map = "a.csv", into = "x" }', "d.rewrite[0].key: is missing; write for example key ="),
        ('{ mask = "ipv5" }', "mask: there is no kind 'ipv5', did you mean 'ipv"),
        ('{ mask = ["(" ] }', "mask: there is no kind '('"),
        (
            '{ hash = "ipv4" }',
            'key_file: is missing; write for example key_file = "hash.key"; hash',
        ),
        ("{ add_tags = 'x' }", "add_tags: expected a list of texts, found 'x'"),
        ('{ set_severity = "warm" }', "set_severity: found 'warm', did you mean 'warn'?"),
        ("{ drop = true }", "drop: expected the reason that is counted"),
        ("{ sample = 1 }", "sample: expected a whole number from 2 to 1,000,000, found 1"),
        ("{ number = 1 }", "number: expected true, found 1"),
        ("{ rate = 0 }", "rate: expected a number from 0.001 to 1,000,000, found 0"),
        ('{ group_by = "x", end = { mgs = "x" } }', "d.rewrite[0].end.mgs: unknown key"),
        ('{ group_by = "x", records_max = 1 }', "records_max: expected a whole number from 2"),
        ("{ suppress_repeats = 0 }", "suppress_repeats: expected seconds, a number from 1"),
        (
            '{ parse = "jsn" }',
            "parse: expected one of json, key-value, csv, regex, date; ",
        ),
        (
            '{ parse = "csv", columns = ["a"], delimiter = "ab" }',
            "d.rewrite[0].delimiter: expected one char",
        ),
        ('{ drop = "x", match = { severty = 1 } }', "d.rewrite[0].match.severty: unknown key"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, problem: str) -> None:
    reading = Reading("/etc")
    assert read(text, reading) is None
    assert len(reading.problems) == 1
    assert problem in reading.problems[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{ set = { PRI = "x" } }', "PRI"),
        ('{ rename = { a = "PRI" } }', "PRI"),
        ("{ subst = 'a', with = '\\2' }", "cannot put in '\\\\2': invalid group reference"),
        ('{ map = "a.txt", key = "x", into = "y" }', "cannot read /etc/a.txt"),
        ('{ map = "a.csv", key = "x" }', "expected either into = "),
        ('{ map = "a.csv", key = "x", into = "y", prefix = "z" }', "expected either into"),
        ('{ map = "a.csv", key = "x", columns = ["PRI"] }', "PRI"),
        ('{ hash = "ipv4", key_file = "none" }', "cannot read the key file /etc/none: No"),
        (
            '{ hash = true, key_file = "/dev/null" }',
            "/dev/null: it is not a regular file",
        ),
        ('{ parse = "csv" }', "columns is missing; write for example"),
    ],
)
def test_what_cannot_be_done(text: str, problem: str) -> None:
    step = read(text, Reading("/etc"))
    assert step is not None
    with pytest.raises(ValueError, match=re.escape(problem)):
        stage_of(step, Drops())


@pytest.mark.parametrize("key", ["subst", "mask", "pattern"])
def test_expressions_that_can_be_slow_are_warned_of(key: str) -> None:
    reading = Reading()
    others = 'parse = "regex", ' if key == "pattern" else ""
    assert read(f"{{ {others}{key} = '(?<=a)(?P<b>b)' }}", reading) is not None
    (warning,) = reading.warnings
    assert warning.startswith(f"d.rewrite[0].{key}: ")
    assert read('{ mask = "ipv4" }', reading) is not None
    assert len(reading.warnings) == 1


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("tiny5")
    with pytest.raises(ValueError, match="key holds 5 bytes; a key has 16 to 4096") as caught:
        run('{ hash = "ipv4", key_file = "key" }', str(tmp_path))
    assert "tiny5" not in str(caught.value)
