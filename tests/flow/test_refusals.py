from __future__ import annotations

import pytest

from relay.flow.refusals import REFUSED_IN_ROW_MAX, Refusals, Suspects


class Upstream:
    def __init__(self) -> None:
        self.changes: list[str] = []
        self.now = 1_764_504_000.0  # 2025-11-30 12:00:00 UTC
        self.refusals = Refusals(
            1, now=lambda: self.now, on_held=self.changes.append, on_taken=self.changes.append
        )


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


def test_twenty_different_messages_in_a_row_are_everything(upstream: Upstream) -> None:
    refusals = upstream.refusals
    for count in range(1, REFUSED_IN_ROW_MAX):
        refusals.refused(count, "500 no")
        upstream.now += 60
    assert (refusals.is_held, refusals.state, refusals.report()) == (False, "", None)
    refusals.refused(REFUSED_IN_ROW_MAX, "500 index is read-only")
    assert refusals.is_held
    assert refusals.state == (
        "refuses everything since 2025-11-30 12:00:00 UTC: 500 index is read-only; the queue is "
        "kept and nothing more is set aside"
    )
    assert refusals.report() == {
        "since": 1_764_504_000.0,
        "reason": "500 index is read-only",
        "refused_records": 20,
    }
    refusals.refused(1, "500 index is read-only")
    assert upstream.changes == [refusals.state]


def test_one_message_that_is_refused_again_and_again_is_one(upstream: Upstream) -> None:
    for _ in range(100):
        upstream.refusals.refused(1, "500 no")
    assert (upstream.refusals.in_row, upstream.refusals.is_held) == (1, False)


def test_what_is_taken_ends_it(upstream: Upstream) -> None:
    upstream.refusals.refused(REFUSED_IN_ROW_MAX, "500 no")
    upstream.refusals.taken()
    assert (upstream.refusals.in_row, upstream.refusals.is_held) == (0, False)
    assert upstream.changes[1:] == ["takes messages again"]
    upstream.refusals.taken()
    assert len(upstream.changes) == 2


def test_what_was_set_aside_counts_as_refused(upstream: Upstream) -> None:
    upstream.refusals.refused(1, "500 no")
    upstream.refusals.set_aside(1)
    upstream.refusals.refused(19, "500 no")
    assert upstream.refusals.is_held


def test_there_are_no_more_suspects_than_it_takes_to_tell(upstream: Upstream) -> None:
    suspects = Suspects(upstream.refusals)
    for number in range(REFUSED_IN_ROW_MAX):
        judged = suspects.refused("no", in_row=1, others_taken=False, waiting=1000)
        assert judged == ([], True), number
    assert suspects.refused("no", in_row=1, others_taken=False, waiting=1000) == ([], False)
    assert suspects.passed == REFUSED_IN_ROW_MAX
    suspects.end_session()
    assert suspects.begin_session() == 0


def test_the_next_session_begins_behind_suspects_only_where_each_refusal_ends_one(
    upstream: Upstream,
) -> None:
    suspects = Suspects(upstream.refusals)
    suspects.refused("no", in_row=1, others_taken=False, waiting=10)
    suspects.end_session()
    assert suspects.begin_session() == 1
    suspects.end_session()
    assert suspects.begin_session() == 0
