from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.flow.sequences import SequenceCheck
from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.rewrite.steps.changes import SEQUENCE_MAX, number
from relay.wire.parse import parse


def numbered(value: object, counter: str = "relay/central") -> SyslogMessage:
    text = f'<13>1 - h a - - [meta sequenceId="{value}"][syslogrelay@32473 from="{counter}"] x'
    return parse(text.encode())


def gaps(*messages: SyslogMessage) -> list[tuple[str, int | None]]:
    found: list[tuple[str, int | None]] = []
    check = SequenceCheck(lambda counter, missing: found.append((counter, missing)))
    total = sum(check.look([message]) for message in messages)
    assert total == sum(missing or 0 for _, missing in found)
    return found


def test_what_is_missing_is_told_with_who_counts() -> None:
    assert gaps(*map(numbered, (1, 2, 5, 6))) == [("relay/central", 2)]
    assert gaps(numbered(7), numbered(9), numbered(1, "b"), numbered(10), numbered(4, "b")) == [
        *(("relay/central", 1), ("b", 2))
    ]


def test_a_new_start_and_repeats_are_no_gaps() -> None:
    assert gaps(*map(numbered, (5, 6, 1, 2))) == []
    assert gaps(*map(numbered, (5, 6, 7, 6, 7, 8))) == []
    assert gaps(*map(numbered, (5, 6, 7, 6, 7, 9))) == [("relay/central", 1)]
    assert gaps(numbered(SEQUENCE_MAX), numbered(1), numbered(2)) == []


@pytest.mark.parametrize("value", ["", "x", "0", "-1", "1.5", "9" * 30, "2147483648"])
def test_what_is_no_number_says_nothing(value: str) -> None:
    assert gaps(numbered(1), numbered(value), numbered(2)) == []


def test_a_jump_that_cannot_be_true_is_told_and_not_counted() -> None:
    assert gaps(numbered(1), numbered(SEQUENCE_MAX)) == [("relay/central", None)]
    assert gaps(numbered(1), numbered(100_000_002)) == [("relay/central", 100_000_000)]
    assert gaps(numbered(1), numbered(100_000_003)) == [("relay/central", None)]


def test_the_name_of_a_counter_is_printable() -> None:
    ((counter, _),) = gaps(numbered(1, "a\x1b[2J\u202e"), numbered(3, "a\x1b[2J\u202e"))
    assert counter == r"a\x1b[2J\u202e"


def test_a_number_of_nobody_says_nothing() -> None:
    foreign = [parse(b'<13>1 - h a - - [meta sequenceId="%d"] x' % value) for value in (1, 9)]
    assert gaps(*foreign) == []
    assert gaps(parse(b"<13>x"), parse(b"<13>1 - h a - - - x")) == []


def test_counters_have_a_limit() -> None:
    check = SequenceCheck(lambda counter, missing: None)
    check.look([numbered(1, "first")])
    check.look([numbered(1, f"c{value}") for value in range(10_000)])
    assert check.look([numbered(9, "first")]) == 0
    assert check.look([numbered(12, "first")]) == 2


@given(st.lists(st.booleans(), max_size=40))
def test_it_finds_what_was_lost_on_the_way(arrives: list[bool]) -> None:
    plain = [parse(b"<13>1 - h a - - - x")] * len(arrives)
    sent = number("relay/central")(plain, Origin("in", Transport.TCP))
    received = [message for message, taken in zip(sent, arrives, strict=True) if taken]
    check = SequenceCheck(lambda counter, missing: None)
    expected = 0
    if True in arrives:
        first = arrives.index(True)
        last = len(arrives) - 1 - arrives[::-1].index(True)
        expected = arrives[first:last].count(False)
    assert check.look([message for message in received if message is not None]) == expected
