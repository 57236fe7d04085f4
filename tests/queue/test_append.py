from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from relay.queue.append import Append, transaction_of
from relay.queue.eviction import Eviction
from relay.queue.transaction import Refusal, Removal


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
