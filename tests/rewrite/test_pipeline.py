from __future__ import annotations

from collections.abc import Sequence

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.rewrite import filters
from relay.rewrite.pipeline import (
    Change,
    Drops,
    Pipeline,
    Writer,
    each,
    first_fitting,
    only,
    per_message,
    without_empty,
)
from relay.rewrite.thinning import RepeatSuppression
from relay.wire.parse import parse_all

ORIGIN = Origin("in", "tcp")
MESSAGES = parse_all([b"<13>a", b"<11>b", b"<13>c"])


def shout(messages: Sequence[SyslogMessage], origin: Origin) -> list[SyslogMessage]:
    mark = origin.source.encode()
    return [message._replace(raw=message.raw.upper() + mark) for message in messages]


def nothing(drops: Drops) -> Change:
    def change(message: SyslogMessage) -> None:
        drops["noise"] += 1

    return per_message(change)


def at(seconds: float) -> Origin:
    return Origin("", "", monotonic_at=seconds)


def raws(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
    return [message.raw for message in messages]


def test_stages_run_in_order_and_the_writer_last() -> None:
    pipeline = Pipeline([each(shout), each(shout)], raws, Drops())
    assert pipeline(MESSAGES, ORIGIN) == [b"<13>AINin", b"<11>BINin", b"<13>CINin"]


def test_what_is_dropped_is_counted_once() -> None:
    drops = Drops()
    errors = filters.severity_in([3])
    pipeline = Pipeline([each(only(errors, nothing(drops)))], raws, drops)
    assert pipeline(MESSAGES, ORIGIN) == [b"<13>a", b"<13>c"]
    assert pipeline.take_drops() == {"noise": 1}
    assert pipeline.take_drops() == {}


def test_a_condition_decides_for_each_message_or_for_the_batch() -> None:
    for condition, changed in (
        (filters.severity_in([3]), [b"<13>a", b"<11>Bin", b"<13>c"]),
        (filters.always, [b"<13>Ain", b"<11>Bin", b"<13>Cin"]),
        (filters.negated(filters.always), [b"<13>a", b"<11>b", b"<13>c"]),
    ):
        pipeline = Pipeline([each(only(condition, shout))], raws, Drops())
        assert pipeline(MESSAGES, ORIGIN) == changed


def test_what_a_stage_holds_back_goes_through_those_after_it() -> None:
    drops = Drops()
    repeats = RepeatSuppression(filters.always, 10, drops)
    pipeline = Pipeline([each(shout), repeats, each(shout)], raws, drops)
    assert pipeline.holds
    assert not Pipeline([each(shout)], raws, drops).holds
    same = [MESSAGES[0]] * 3
    assert pipeline(same, ORIGIN) == [b"<13>AINin"]
    assert pipeline.flush(at(9)) == []
    (summary,) = pipeline.flush(at(10))
    assert summary.msg == b"last message repeated 2 times"
    assert summary.raw == b"<13>LAST MESSAGE REPEATED 2 TIMES"
    assert pipeline.flush(at(100)) == []


def form(mark: bytes) -> Writer:
    return lambda messages, origin: [mark + message.msg for message in messages]


def test_each_message_is_written_in_the_first_form_that_fits() -> None:
    errors, nobody = filters.severity_in([3]), filters.negated(filters.always)
    write = first_fitting(
        [(nobody, form(b"0")), (errors, form(b"1")), (filters.always, form(b"2"))]
    )
    assert write(MESSAGES, ORIGIN) == [b"2a", b"1b", b"2c"] or write(MESSAGES, ORIGIN)
    assert write(MESSAGES[1:2], ORIGIN)[0].startswith(b"1")
    assert write([], ORIGIN) == []


def test_an_empty_payload_is_a_message_that_is_dropped() -> None:
    drops = Drops()

    def errors_only(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        return [message.raw if message.severity == 3 else b"" for message in messages]

    pipeline = Pipeline([], without_empty(errors_only, "type-cast", drops), drops)
    assert pipeline(MESSAGES, ORIGIN) == [b"<11>b"]
    assert pipeline.take_drops() == {"type-cast": 2}
    assert pipeline(MESSAGES[1:2], ORIGIN) == [b"<11>b"]
    assert pipeline.take_drops() == {}
