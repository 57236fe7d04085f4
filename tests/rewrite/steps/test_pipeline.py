from __future__ import annotations

from collections.abc import Sequence

import pytest

from relay.codec import Lines
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.rewrite import conditions as filters
from relay.rewrite.conditions import glob
from relay.rewrite.drops import Drops
from relay.rewrite.forms.form import Form, form_of
from relay.rewrite.steps.changes import add_tags, unset
from relay.rewrite.steps.pipeline import (
    Change,
    FirstFitting,
    Pipeline,
    per_message,
    stage_of,
    without_empty,
)
from relay.rewrite.steps.sampling import RepeatSuppression
from relay.wire.parse import parse_all, read_lines
from tests.lines import write

ORIGIN = Origin("in", Transport.TCP)
MESSAGES = parse_all([b"<13>a", b"<11>b", b"<13>c"])


def shout(messages: Sequence[SyslogMessage], origin: Origin) -> list[SyslogMessage]:
    mark = origin.source.encode()
    return [message._replace(raw=message.raw.upper() + mark) for message in messages]


def nothing(drops: Drops) -> Change:
    def change(message: SyslogMessage) -> None:
        drops["noise"] += 1

    return per_message(change)


def at(seconds: float) -> Origin:
    return Origin("", Transport.NONE, monotonic_at=seconds)


raws = form_of(lambda messages, origin: [message.raw for message in messages])


def test_stages_run_in_order_and_the_writer_last() -> None:
    pipeline = Pipeline([stage_of(shout), stage_of(shout)], raws, Drops())
    assert write(pipeline, MESSAGES, ORIGIN) == [b"<13>AINin", b"<11>BINin", b"<13>CINin"]


def test_edits_come_in_the_order_of_the_steps() -> None:
    tags = form_of(lambda messages, origin: [b" ".join(each.tags) for each in messages])
    steps = [
        stage_of(add_tags([b"1"])),
        stage_of(add_tags([b"2"]), filters.field_in("severity", [3])),
        stage_of(shout, filters.field_fits("MSG", [glob("b")])),
        stage_of(unset(["HOST"])),
        stage_of(add_tags([b"3"]), filters.tag_fits([glob("2")])),
    ]
    lines = read_lines([b"<13>a", b"<11>b", b"<13>c"])
    pipeline = Pipeline(steps, tags, Drops())
    came = Arrival.of_one(3, ORIGIN)
    assert pipeline.write(lines, None, came) == [b"1", b"1 2 3", b"1"]
    assert pipeline.write(lines, [1, 2], came) == [b"1 2 3", b"1"]
    assert Pipeline(steps[:2], tags, Drops()).write(lines, [1, 2], came) == [b"1 2", b"1"]
    assert [*pipeline.changed(MESSAGES, ORIGIN)][1].tags == (b"1", b"2", b"3")


def test_what_is_dropped_is_counted_once() -> None:
    drops = Drops()
    errors = filters.field_in("severity", [3])
    pipeline = Pipeline([stage_of(nothing(drops), errors)], raws, drops)
    assert write(pipeline, MESSAGES, ORIGIN) == [b"<13>a", b"<13>c"]
    assert pipeline.take_drops() == {"noise": 1}
    assert pipeline.take_drops() == {}


def test_a_condition_decides_for_each_message_or_for_the_batch() -> None:
    for condition, changed in (
        (filters.field_in("severity", [3]), [b"<13>a", b"<11>Bin", b"<13>c"]),
        (filters.always, [b"<13>Ain", b"<11>Bin", b"<13>Cin"]),
        (filters.negated(filters.always), [b"<13>a", b"<11>b", b"<13>c"]),
    ):
        pipeline = Pipeline([stage_of(shout, condition)], raws, Drops())
        assert write(pipeline, MESSAGES, ORIGIN) == changed


def test_what_a_stage_holds_back_goes_through_those_after_it() -> None:
    drops = Drops()
    repeats = RepeatSuppression(filters.always, 10, drops)
    pipeline = Pipeline([stage_of(shout), repeats, stage_of(shout)], raws, drops)
    assert pipeline.holds
    assert not Pipeline([stage_of(shout)], raws, drops).holds
    same = [MESSAGES[0]] * 3
    assert write(pipeline, same, ORIGIN) == [b"<13>AINin"]
    assert pipeline.flush(at(9)) == []
    (summary,) = pipeline.flush(at(10))
    assert summary.msg == b"last message repeated 2 times"
    assert summary.raw == b"<13>LAST MESSAGE REPEATED 2 TIMES"
    assert pipeline.flush(at(100)) == []


def test_lines_of_several_origins_go_through_the_stages_with_their_own() -> None:
    pipeline = Pipeline([stage_of(shout)], raws, Drops())
    arrival = Arrival([(1, ORIGIN), (1, ORIGIN), (3, Origin("b", Transport.UDP))], 0.0, 0.0)
    lines = read_lines([b"<13>a", b"<11>b", b"<13>c"])
    assert pipeline.write(lines, None, arrival) == [b"<13>Ain", b"<11>Bb", b"<13>Cb"]
    assert pipeline.write(lines, [0, 2], arrival) == [b"<13>Ain", b"<13>Cb"]
    assert pipeline.write(lines, [], arrival) == []


def test_a_form_is_asked_directly_where_there_are_no_stages() -> None:
    asked: list[tuple[object, ...]] = []

    class Asked:
        def write(
            self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
        ) -> list[bytes]:
            asked.append((lines, indexes, arrival))
            return [b"x"]

        def write_messages(self, messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
            raise AssertionError(messages)

    lines, arrival = read_lines([b"a", b"b"]), Arrival.of_one(2, ORIGIN)
    assert Pipeline([], Asked(), Drops()).write(lines, [1], arrival) == [b"x"]
    assert asked == [(lines, [1], arrival)]
    assert Pipeline([], Asked(), Drops()).write_messages([], ORIGIN) == []


def form(mark: bytes) -> Form:
    return form_of(lambda messages, origin: [mark + message.msg for message in messages])


def test_each_message_is_written_in_the_first_form_that_fits() -> None:
    errors, nobody = filters.field_in("severity", [3]), filters.negated(filters.always)
    fitting = FirstFitting(
        [(nobody, form(b"0")), (errors, form(b"1")), (filters.always, form(b"2"))]
    )
    lines, arrival = read_lines([b"<13>a", b"<11>b", b"<13>c"]), Arrival.of_one(3, ORIGIN)
    assert fitting.write(lines, None, arrival) == [b"2a", b"1b", b"2c"]
    assert fitting.write(lines, [1, 2], arrival) == [b"1b", b"2c"]
    assert fitting.write(lines, [1], arrival) == [b"1b"]
    assert fitting.write(lines, [], arrival) == []
    assert fitting.write_messages(MESSAGES, ORIGIN) == [b"2a", b"1b", b"2c"]
    assert fitting.write_messages([], ORIGIN) == []


def test_a_form_is_chosen_by_the_origin_of_each_line() -> None:
    of_b = filters.source_in([lambda text: text == b"b"])
    fitting = FirstFitting([(of_b, form(b"1")), (filters.always, form(b"2"))])
    lines = read_lines([b"<13>a", b"<11>b", b"<13>c"])
    arrival = Arrival([(1, ORIGIN), (2, Origin("b", Transport.UDP)), (3, ORIGIN)], 0.0, 0.0)
    assert fitting.write(lines, None, arrival) == [b"2a", b"1b", b"2c"]
    assert fitting.write(lines, [0, 1], arrival) == [b"2a", b"1b"]


def test_some_form_has_to_fit() -> None:
    fitting = FirstFitting([(filters.field_in("severity", [3]), form(b"1"))])
    with pytest.raises(AssertionError, match="no form"):
        fitting.write_messages(MESSAGES, ORIGIN)


def test_an_empty_payload_is_a_message_that_is_dropped() -> None:
    drops = Drops()

    def errors_only(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        return [message.raw if message.severity == 3 else b"" for message in messages]

    pipeline = Pipeline([], form_of(without_empty(errors_only, "type-cast", drops)), drops)
    assert write(pipeline, MESSAGES, ORIGIN) == [b"<11>b"]
    assert pipeline.take_drops() == {"type-cast": 2}
    assert write(pipeline, MESSAGES[1:2], ORIGIN) == [b"<11>b"]
    assert pipeline.take_drops() == {}
