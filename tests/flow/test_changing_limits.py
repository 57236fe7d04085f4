"""Restarts with other limits: nothing is lost but what is counted, and order is kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred, execute
from twisted.internet.task import Clock

from relay.flow.intake import Intake
from relay.flow.routing import Route
from relay.model.counters.kept import KeptCounters
from relay.model.counters.source import SourceCounters
from relay.model.origin import Origin, Transport
from relay.model.policy import POLICIES
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.committer import CommitCallbacks, Committer
from relay.queue.store import QueueStore
from tests.clocks import wall_of
from tests.connections import fired

RECORD_BYTES = 1500


class Run(NamedTuple):
    """One run of the relay, between two restarts."""

    bytes_max: int
    when_full: str
    batches: list[list[int]]
    """Severities of the messages that come."""
    acknowledged: int
    expires: bool


runs = st.builds(
    Run,
    st.sampled_from([0, 8 * 4096, 20 * 4096]),
    st.sampled_from(POLICIES),
    st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=12), max_size=6),
    st.integers(0, 10),
    st.booleans(),
)


@given(runs=st.lists(runs, min_size=1, max_size=6))
@settings(max_examples=15)
def test_the_backlog_stays_whatever_the_limits_become(
    runs: list[Run], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("queue"))
    clock = Clock()
    sent = delivered = dropped = 0
    for run in runs:
        store = QueueStore.open(path, destinations=["d"], map_bytes=2**24)
        ledger = store.ledgers["d"]
        assert (ledger.received, ledger.delivered) == (sent, delivered)
        assert sum(ledger.dropped.values()) == dropped
        said: list[int] = []
        limit = QueueLimit(
            destination="d",
            bytes_max=run.bytes_max,
            when_full=run.when_full,
            reserve_bytes=4096,
            on_drop=lambda count, reason, said=said: said.append(count),
        )
        committer = _committer(store, limit, clock)
        intake = Intake(
            routes=[Route("d", None, limit=limit if limit.sheds else None)],
            append=committer.append,
            wall=wall_of(clock),
            counters=KeptCounters("in", SourceCounters()),
        )
        for batch in run.batches:
            clock.advance(1)
            frames = [
                b"<%d>%d %s" % (severity, number, b"x" * RECORD_BYTES)
                for number, severity in enumerate(batch, sent)
            ]
            sent += len(frames)
            assert fired(intake.accept(frames, Origin("in", Transport.TCP))) == [None]
        ledger = store.ledgers["d"]
        upto = min(ledger.next_seq, ledger.acknowledged_seq + run.acknowledged)
        delivered += upto - ledger.acknowledged_seq
        committer.acknowledge("d", upto)
        if run.expires:
            committer.expire("d", clock.seconds() - 2)
        fired(ensureDeferred(committer.close()))
        ledger = store.ledgers["d"]
        dropped += sum(said)
        assert ledger.gap == 0
        assert sent == delivered + dropped + ledger.queued
        left = store.read("d", start=ledger.acknowledged_seq, records_max=10**6, bytes_max=2**30)
        numbers = [int(payload.partition(b">")[2].split()[0]) for payload in left]
        assert len(numbers) == ledger.queued
        assert numbers == sorted(set(numbers))
        if run.bytes_max and run.when_full == "drop-oldest" and run.batches:
            # By one block at most: what came last is a batch.
            assert store.destination_bytes["d"] <= run.bytes_max + 16 * 4096
        store.close()


def _committer(store: Any, limit: QueueLimit, clock: Clock) -> Committer:
    def fail(error: BaseException) -> None:
        raise AssertionError(repr(error))

    committer = Committer(
        run_in_thread=execute,
        now=clock.seconds,
        clock=clock,
        admission=Admission(pending_bytes_max=2**30, queue_bytes_max=2**30),
        limits=[limit],
        callbacks=CommitCallbacks(
            on_stored={},
            on_failure=fail,
            on_evicted=lambda destination, upto, count, reason: limit.dropped(count, reason),
        ),
    )
    committer.start(store)
    return committer
