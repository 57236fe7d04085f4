from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.queue.transaction import (
    RECORD_BYTES,
    Append,
    Eviction,
    Refusal,
    Removal,
    account_of_source,
    is_of_source,
    split,
    transaction_of,
)


def test_no_destination_can_have_the_account_of_a_source() -> None:
    assert is_of_source(account_of_source("in"))
    assert not is_of_source("in")
    assert "/" in account_of_source("in")  # which no id has


def append(**keys: Any) -> Append:
    empty: dict[str, Any] = {"payloads": {}, "refusals": [], "positions": {}, "drops": {}}
    return Append(**{**empty, **keys}, size=0, done=Deferred())


def test_a_transaction_has_all_in_the_order_in_which_it_came() -> None:
    refusals = [Refusal("in", reason, "peer", [b"x"], 100, []) for reason in ("one", "two")]
    appends = [
        append(payloads={"a": [b"1"], "b": [b"2"]}, drops={"a": {"full": 1}}),
        append(refusals=refusals[:1], positions={"file/x": b"1", "file/y": b"2"}),
        append(payloads={"a": (b"3", b"4")}, drops={"a": {"full": 2, "rate": 1}, "b": {"x": 1}}),
        append(refusals=refusals[1:], positions={"file/x": b"5"}),
    ]
    removals, evictions = {"a": Removal(9)}, {"b": Eviction("too-old", received_before=1.0)}
    made = transaction_of(5.0, appends, removals, evictions)
    assert made.received_at == 5.0
    assert made.appends == {"a": [b"1", b"3", b"4"], "b": [b"2"]}
    assert made.drops == {"a": {"full": 3, "rate": 1}, "b": {"x": 1}}
    assert (made.removals, made.evictions) == (removals, evictions)
    assert made.refusals == refusals
    assert made.positions == {"file/x": b"5", "file/y": b"2"}
    assert transaction_of(5.0, [], {}, {}).growth == 0


def test_a_batch_is_cut_in_order_and_the_last_part_has_the_rest() -> None:
    whole = append(payloads={"a": [b"1", b"2", b"3"], "b": [b"4"]}, drops={"a": {"x": 1}})
    whole.size, whole.limited, whole.comes_again = 4 * (RECORD_BYTES + 1), {"a": 7}, True
    parts = split(whole, 2 * (RECORD_BYTES + 1))
    assert parts is not None
    head, tail = parts
    assert (head.payloads, tail.payloads) == (
        {"a": [b"1", b"2"], "b": []},
        {"a": [b"3"], "b": [b"4"]},
    )
    assert (head.size, tail.size) == (2 * (RECORD_BYTES + 1),) * 2
    assert (head.drops, head.limited, head.comes_again) == ({}, {}, True)
    assert (tail.drops, tail.limited, tail.done) == (whole.drops, whole.limited, whole.done)


@pytest.mark.parametrize("size", [0, 1, 10**6])
def test_both_parts_have_something(size: int) -> None:
    whole = append(payloads={"a": [], "b": [b"1", b"2"], "c": [b"3"]})
    parts = split(whole, size)
    assert parts is not None
    for part in parts:
        assert any(part.payloads.values()), parts
    for id, run in whole.payloads.items():
        assert [*parts[0].payloads[id], *parts[1].payloads[id]] == run


def test_what_has_to_be_stored_at_once_is_not_cut() -> None:
    assert split(append(payloads={"a": [b"1"], "b": [b"2"]}), 1) is None
    assert split(append(payloads={"a": [b"1", b"2"]}, positions={"in/f": b"1"}), 1) is None
    refusals = [Refusal("in", "one", "peer", [b"x"], 100, [])]
    assert split(append(payloads={"a": [b"1", b"2"]}, refusals=refusals), 1) is None
    assert split(append(drops={"a": {"x": 1}}), 1) is None
