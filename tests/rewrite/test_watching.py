from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import Lines, tally
from relay.codec.messages import Messages
from relay.model.counters.watched import RuleCounter, Watched
from relay.model.origin import Arrival, Origin, Transport
from relay.rewrite import conditions as filters
from relay.rewrite.watching import Watch, WatchRule
from relay.wire.parse import parse, read_lines

ORIGIN = Origin("net", Transport.UDP, "192.0.2.7", 514)
SSHD = filters.field_fits("app_name", [filters.glob("sshd")])
FAILED = filters.field_fits("msg", [filters.substring("failed")])
PRIS = {"err": 11, "warning": 12, "info": 14}


def frame(severity: str, app: str = "cron", text: str = "ran") -> bytes:
    return f"<{PRIS[severity]}>Oct 11 22:14:15 web {app}: {text}".encode()


class Setup:
    """Rules in order: what sshd failed at are errors, else sshd is ignored."""

    def __init__(self) -> None:
        self.counters = [RuleCounter("failed", "error"), RuleCounter("sshd", "ignore")]
        self.watched = Watched()
        conditions = [filters.all_of([SSHD, FAILED]), SSHD]
        rules = [WatchRule(*pair) for pair in zip(conditions, self.counters, strict=True)]
        self.watch = Watch(rules, self.watched, default_severity=5)

    def look(
        self, frames: Sequence[bytes], read: Callable[[Sequence[bytes]], Lines] = read_lines
    ) -> tuple[int, int]:
        """What counts as warnings and errors."""
        severities = [0] * 8
        tally(frames, severities, 5)
        self.watch.look(read(frames), Arrival.of_one(len(frames), ORIGIN))
        return self.watched.warnings_of(severities), self.watched.errors_of(severities)


def as_messages(frames: Sequence[bytes]) -> Messages:
    return Messages([parse(each) for each in frames])


@pytest.mark.parametrize("read", [read_lines, as_messages])
def test_the_first_rule_that_fits_decides(read: Callable[[Sequence[bytes]], Lines]) -> None:
    setup = Setup()
    frames = [
        frame("info", "sshd", "failed password"),  # an error now
        frame("err", "sshd", "failed badly"),  # still one
        frame("err", "sshd", "bye"),  # none any more
        frame("warning", "sshd"),  # likewise
        frame("warning"),  # as its severity says
        frame("err"),
    ]
    assert setup.look(frames, read) == (1, 3)
    assert [counter.records for counter in setup.counters] == [2, 2]


def test_where_no_rule_fits_severities_decide() -> None:
    setup = Setup()
    assert setup.look([frame("warning"), frame("err"), frame("info")]) == (1, 1)
    assert [counter.records for counter in setup.counters] == [0, 0]


def test_once_all_are_decided_no_further_rule_is_asked() -> None:
    asked: list[Origin] = []

    def ask(origin: Origin) -> bool:
        asked.append(origin)
        return True

    rules = [
        WatchRule(condition, RuleCounter(id, "ignore"))
        for id, condition in (("a", filters.always), ("b", ask))
    ]
    Watch(rules, Watched(), default_severity=5).look(
        read_lines([frame("err")]), Arrival.of_one(1, ORIGIN)
    )
    assert asked == []


@given(
    st.lists(st.tuples(st.sampled_from(list(PRIS)), st.sampled_from(["cron", "sshd"]))),
    st.integers(1, 5),
)
def test_batches_make_no_difference(messages: list[tuple[str, str]], size: int) -> None:
    frames = [frame(*message) for message in messages]
    whole, parts = Setup(), Setup()
    whole.look(frames)
    for start in range(0, len(frames), size):
        parts.look(frames[start : start + size])
    assert (whole.watched, whole.counters) == (parts.watched, parts.counters)
