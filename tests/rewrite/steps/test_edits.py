"""Edits of lines are those of messages, whatever is made of either."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import IS_COMPILED, Lines
from relay.codec.messages import Messages
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival
from relay.rewrite.conditions import (
    Condition,
    always,
    field_fits,
    field_in,
    fitting,
    glob,
    source_in,
    substring,
    tag_fits,
)
from relay.rewrite.forms.form import form_of
from relay.rewrite.steps.changes import add_tags, set_values, unset
from relay.rewrite.steps.pipeline import Change, Constant, Edit, EditStage, stage_of
from relay.wire.parse import Dialect, read_lines
from tests.any_messages import many_examples
from tests.codec.every_form import DIALECTS, TOKEN, arrival_of, every_form, reference_of
from tests.codec.known_lines import TOKENS, WHOLE, edited, joined_tokens, odd_lines, pool

FORMS = every_form(UTC)
COLUMNS = (
    *("facility", "severity", "version", "hostname", "app_name", "procid", "msgid"),
    *("structured_data", "msg", "tags", "app"),
)
NAMES = ("HOST", "hostname", "PROGRAM", "PID", "MSGID", "MESSAGE", "msg")
TEXTS = [
    *(b"", b"-", b"app", b"web-1", b"a b", b"x:", b"su[1]", b" x", b"x ", b"::1", b"[::1]", b"7"),
    *(b"@syslog-ng", b"other-token", TOKEN.reveal(), b"p" * 49, b"h" * 300, b"m" * 70000),
    *(b'{"a":1}', b'@cee: {"a":1}', b'{"logsene-app-token": "x"}', b"\xef\xbb\xbfx", b"it failed"),
    *(b"hi", b"last", b"Message", b"x\n", b"\0", b"\xff", b"b\xc3\xbcro", b'\\"\t', b"%ASA-1-2: x"),
]
texts = st.sampled_from(TEXTS) | st.binary(max_size=6) | st.sampled_from(TOKENS)
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
tags = st.lists(
    st.sampled_from([b"x", b"y", b"", b'"\\', b"syslog.missing_timestamp", b"t" * 9000]),
    min_size=1,
    max_size=3,
)


def is_edit(change: Change) -> bool:
    return isinstance(change, Edit)


edits: st.SearchStrategy[Change] = st.one_of(
    st.dictionaries(st.sampled_from(NAMES), texts.map(Constant), min_size=1, max_size=3)
    .map(set_values)
    .filter(is_edit),
    names.map(unset),
    tags.map(add_tags),
)
CONDITIONS = [
    always,
    field_in("severity", range(5)),
    source_in([glob("net")]),
    field_fits("PROGRAM", [glob("su"), glob("app")]),
    field_fits("HOST", [glob("*")], sender_name=b"relay"),
    field_fits("MSG", [substring("x")]),
    tag_fits([glob("x"), glob("syslog.*")]),
]
steps = st.lists(st.tuples(edits, st.sampled_from(CONDITIONS)), min_size=1, max_size=4)
Steps = Sequence[tuple[Change, Condition]]


def changed(
    messages: Sequence[SyslogMessage], taken: Steps, arrival: Arrival, indexes: Sequence[int]
) -> list[SyslogMessage]:
    """What becomes of messages, one by one."""
    result = [*messages]
    for start, stop, origin in arrival.each():
        for index in sorted({*range(start, stop)} & {*indexes}):
            for change, condition in taken:
                if fitting(condition(origin), Messages([result[index]])):
                    (new,) = change([result[index]], origin)
                    assert new is not None
                    result[index] = new
    return result


def stages(taken: Steps) -> list[EditStage]:
    found = []
    for change, condition in taken:
        stage = stage_of(change, condition)
        assert isinstance(stage, EditStage)
        found.append(stage)
    return found


def check(
    frames: Sequence[bytes],
    taken: Steps,
    arrival: Arrival,
    dialect: Dialect = DIALECTS["default"],
    some: Sequence[int] | None = None,
    forms: Sequence[str] = tuple(FORMS),
) -> None:
    indexes = range(len(frames)) if some is None else some
    reference = reference_of(frames, dialect)
    expected = changed(reference.messages(), taken, arrival, indexes)
    lines: Lines = read_lines(frames, dialect)
    for stage in stages(taken):
        lines = stage.edited(lines, some, arrival)
    for name in forms:
        wanted = form_of(FORMS[name].writer).write(Messages(expected), None, arrival)
        payloads = FORMS[name].form.write(lines, None, arrival)
        for payload, other, message in zip(payloads, wanted, expected, strict=True):
            assert payload == other, (name, message)
    for column in COLUMNS:
        assert lines.column(column) == [getattr(message, column) for message in expected]
    assert lines.messages() == expected
    assert lines.frames == [*frames]
    assert {index for index, message in enumerate(expected) if message.tags} <= {*lines.odd()}


@given(
    st.lists(odd_lines, max_size=8),
    steps,
    st.lists(st.integers(0, 8), max_size=3).map(sorted),
    st.sampled_from([*DIALECTS.values()]),
    st.none() | st.sets(st.integers(0, 7)),
)
@many_examples(300)
def test_edits_of_odd_lines(
    frames: list[bytes],
    taken: Steps,
    stops: list[int],
    dialect: Dialect,
    drawn: set[int] | None,
) -> None:
    arrival = arrival_of([min(stop, len(frames)) for stop in [*stops, 8]], 1.7e9)
    some = None if drawn is None else sorted(index for index in drawn if index < len(frames))
    check(frames, taken, arrival, dialect, some)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("line", WHOLE)
def test_each_field_of_each_line(line: bytes, name: str) -> None:
    frames = [line] * len(TEXTS)
    arrival = arrival_of([1, len(frames)], 1.7e9)
    check(frames, [(unset([name]), always)], arrival)
    for text in TEXTS:
        change = set_values({name: Constant(text)})
        if is_edit(change):
            check([line], [(change, always)], arrival_of([1], 1.7e9))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_edits(seed: int) -> None:
    source = Random(seed)
    for _ in range(200):
        frames = [edited(source, source.choice(pool())) for _ in range(60)]
        frames += [joined_tokens(source) for _ in range(40)]
        taken: list[tuple[Change, Condition]] = []
        for _ in range(source.randint(1, 4)):
            text = Constant(source.choice([*TEXTS, *TOKENS]))
            change = source.choice(
                [
                    set_values({source.choice(NAMES): text}),
                    unset([source.choice(NAMES)]),
                    add_tags([source.choice([b"x", b"y", b"t" * 900])]),
                ]
            )
            if is_edit(change):
                taken.append((change, source.choice(CONDITIONS)))
        arrival = arrival_of([*sorted(source.choices(range(101), k=3)), 100], 1.7e9)
        check(frames, taken, arrival, source.choice([*DIALECTS.values()]))


@pytest.mark.parametrize(
    ("change", "takes_lines"),
    [
        (set_values({"HOST": Constant(b"h" * 255), "MSG": Constant(b"")}), True),
        (set_values({"HOST": Constant(b"h" * 256)}), False),
        (set_values({"PROGRAM": Constant(b"@syslog-ng")}), False),
        (set_values({"MSGID": Constant(b"@syslog-ng")}), True),
        (set_values({"MSG": Constant(b"x\n")}), False),
        (set_values({"HOST": Constant(b"h"), ".env.team": Constant(b"web")}), False),
        (set_values({"HOST": lambda messages, origin: [b"h"] * len(messages)}), False),
        (unset(["HOST", "MSG"]), True),
        (unset(["HOST", "x"]), False),
        (unset(["H*"]), False),
        (unset([".SDATA.a.b"]), False),
        (add_tags([b"x"]), True),
    ],
)
def test_what_lines_take(change: Change, takes_lines: bool) -> None:
    assert isinstance(stage_of(change), EditStage) is takes_lines


def test_tags_make_no_message_and_neither_do_values() -> None:
    lines = read_lines([b"<13>Oct 11 22:14:15 web su[1]: x", b"<14>y"])
    made: list[SyslogMessage] = []

    def change(message: SyslogMessage) -> SyslogMessage:
        made.append(message)
        return message

    arrival = arrival_of([2], 1.7e9)
    stage = EditStage(field_in("severity", [5]), Edit(change, {"hostname": b"db"}, (b"x",)))
    stage.edited(lines, None, arrival)
    assert len(made) == (0 if IS_COMPILED else 1)


def test_lines_of_which_none_fits_stay_the_same() -> None:
    lines = read_lines([b"<13>x"])
    stage = EditStage(field_in("severity", [0]), Edit(parse_nothing))
    assert stage.edited(lines, None, arrival_of([1], 1.7e9)) is lines


def parse_nothing(message: SyslogMessage) -> SyslogMessage:
    raise AssertionError(message)
