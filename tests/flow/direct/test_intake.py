from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from relay.flow.direct.intake import DirectIntake
from relay.flow.direct.runs import RunsInFlight
from relay.flow.direct.sessions import DirectSession, GivenUp
from relay.flow.intake import Intake, Quarantine, Reading
from relay.flow.publishing import Run
from relay.flow.routing import Route
from relay.model.counters.kept import KeptCounters, decode_counts
from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.model.hops import OwnHop
from relay.model.origin import Origin, Received, Transport
from relay.queue.transaction import Counted, Refusal
from relay.rewrite.conditions import field_in
from relay.wire.hops import LoopGuard
from tests.clocks import wall_at
from tests.connections import fired
from tests.fake_log import FakePublisher

LINEAGE = "00000000-0000-0000-0000-00000000000a"
ORIGIN = Origin("net", Transport.TCP, "192.0.2.1", 5)
ERRORS = field_in("severity", [3])


class Source:
    """An intake in direct mode with a log and a disk."""

    def __init__(self, *, route: Route | None = None, **given: Any) -> None:
        self.stored: list[Deferred[None]] = []
        self.refusals: list[Refusal] = []
        self.drops: list[Mapping[str, Mapping[str, int]]] = []
        self.kept = KeptCounters("net", SourceCounters())
        self.kept.begin(b"", 0.0)
        self.counters = self.kept.counters
        self.runs = RunsInFlight(seconds=lambda: 0.0, set_aside=lambda *_: succeed(None))
        self.publisher = FakePublisher()
        self.runs.attach(self.publisher)
        self.intake = DirectIntake(
            destination="bus", runs=self.runs, store=self.store, kept=self.kept
        )
        self.intake.intake = Intake(
            routes=[route or Route("bus", None)],
            append=self.intake.append,
            wall=wall_at(0.0),
            counters=self.kept,
            answers=True,
            **given,
        )
        self.session = DirectSession(LINEAGE, 1, "192.0.2.1:5")

    def store(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        refusals: Sequence[Refusal] = (),
        positions: Mapping[str, bytes] | None = None,
        drops: Mapping[str, Mapping[str, int]] | None = None,
        senders: Collection[Hashable] = (),
        counted: Counted | None = None,
    ) -> Deferred[None]:
        assert not payloads and not positions
        self.refusals += refusals
        self.drops += [drops] if drops else []
        self.stored.append(Deferred())
        return self.stored[-1]

    def came(self, *frames: bytes, session: DirectSession | None = None, **given: Any) -> Received:
        session = session or self.session
        return Received(frames, ORIGIN, numbered=session.numbered(len(frames)), **given)

    def take(self, *frames: bytes, **given: Any) -> list[Any]:
        """What answers one batch."""
        (done,) = self.intake.accept_each([self.came(*frames, **given)])
        return fired(done)

    @property
    def sent(self) -> list[tuple[Sequence[bytes], Sequence[int], int]]:
        return [(run.payloads, run.seqs, run.prev) for run in self.publisher.runs]


@pytest.fixture
def source() -> Source:
    return Source()


def test_an_answer_means_that_the_log_has_it(source: Source) -> None:
    answer = source.take(b"<13>a", b"<13>b")
    assert source.publisher.runs == [Run([b"<13>a", b"<13>b"], LINEAGE, [1, 2], 0, "192.0.2.1:5")]
    assert answer == [] and source.counters.stored_records == 0
    source.publisher.store()
    assert answer == [None]
    assert source.counters.received_records == source.counters.stored_records == 2
    assert source.stored == []  # the disk has no part in that


def test_what_was_answered_is_counted_on_disk_by_the_next_commit(source: Source) -> None:
    source.take(b"<13>a")
    source.publisher.store()
    assert source.kept.has_changed
    counts = decode_counts(source.kept.encode(0, 0))
    assert counts is not None and counts.numbers["stored_records"] == 1


def test_sessions_share_a_batch_and_not_their_answers(source: Source) -> None:
    other = DirectSession("", 0, "192.0.2.2:6")
    batches = [source.came(b"<13>a"), source.came(b"<13>b", session=other)]
    first, second = map(fired, source.intake.accept_each(batches))
    assert source.publisher.runs[1] == Run([b"<13>b"], sender="192.0.2.2:6", seqs=[])
    source.publisher._waiting.reverse()
    source.publisher.store()
    assert (first, second) == ([], [None])


def test_a_message_that_no_route_takes_leaves_a_hole() -> None:
    source = Source(route=Route("bus", None, ERRORS))
    source.intake.one_by_one = True
    answer = source.take(b"<11>1", b"<13>2", b"<11>3")
    assert source.sent == [([b"<11>1", b"<11>3"], [1, 3], 0)]
    source.publisher.store()
    assert answer == [None]
    source.take(b"<13>4")
    source.take(b"<11>5")
    assert source.sent[1:] == [([b"<11>5"], [5], 3)]
    assert source.counters.dropped == {"no-destination": 2}
    assert source.counters.stored_records == 2


def test_empty_messages_leave_holes_too(source: Source) -> None:
    source.take(b"<13>1", b"", b"<13>3")
    assert source.sent == [([b"<13>1", b"<13>3"], [1, 3], 0)]
    assert source.take(b"") == [None]


def test_so_do_messages_that_have_been_here_before() -> None:
    own = OwnHop()
    own.text = b"me"
    guard = LoopGuard(own, hops_max=9, carries=False, on_drop=lambda *_: None)
    source = Source(reading=Reading(guard=guard))
    source.take(b"<13>1", b"<13>2", hops={0: b"me"})
    assert source.sent == [([b"<13>2"], [2], 0)]
    assert source.counters.dropped == {"loop": 1}


def test_what_is_set_aside_is_answered_when_both_have_it() -> None:
    source = Source(quarantine=Quarantine(long=True, bytes_max=1000))
    answer = source.take(b"<13>1", b"<13>2", cut={0: 99})
    assert source.sent == [([b"<13>2"], [2], 0)]
    source.publisher.store()
    assert answer == []
    assert [refusal.frames for refusal in source.refusals] == [[b"<13>1"]]
    source.stored[0].callback(None)
    assert answer == [None]
    assert (source.counters.stored_records, source.counters.quarantined_records) == (1, 1)


@pytest.mark.parametrize("is_first", [True, False])
def test_nothing_is_answered_that_could_not_be_set_aside(is_first: bool) -> None:
    source = Source(quarantine=Quarantine(long=True, bytes_max=1000))
    answer = source.take(b"<13>1", b"<13>2", cut={0: 99})
    steps: list[Callable[[], object]] = [
        source.publisher.store,
        lambda: source.stored[0].errback(QueueError("full")),
    ]
    for step in steps if is_first else steps[::-1]:
        step()
    assert [type(each) for each in answer] == [QueueError]
    assert source.counters.dropped == {"not-stored": 2}


def test_drops_of_the_rewrite_are_counted_on_disk() -> None:
    class Half:
        def write(self, lines: Any, indexes: Any, arrival: Any) -> list[bytes]:
            return [frame for frame in lines.frames if frame[-1] % 2]

    source = Source(route=Route("bus", Half(), take_drops=lambda: {"even": 1}))
    source.intake.one_by_one = True
    answer = source.take(b"<13>2")
    assert source.drops == [{"bus": {"even": 1}}]
    assert answer == []
    source.stored[0].callback(None)
    assert answer == [None]


def test_a_batch_that_lost_a_message_unexpectedly_is_not_sent_at_all() -> None:
    source = Source(route=Route("bus", None, ERRORS))
    with pytest.raises(AssertionError, match="1 payloads of 2 messages"):
        source.take(b"<11>1", b"<13>2")
    assert source.sent == []


def test_what_nobody_waits_for_is_counted_apart(source: Source) -> None:
    answer = source.take(b"<13>a")
    source.session.is_over = True
    source.publisher.fail()
    assert isinstance(answer[0], GivenUp)
    counters = source.counters
    assert (counters.stored_records, counters.unanswered_records) == (0, 1)
    assert not counters.dropped


def test_what_the_log_refuses_counts_as_set_aside(source: Source) -> None:
    source.publisher.refuses.add(b"<13>a")
    answer = source.take(b"<13>a", b"<13>b")
    source.publisher.store()
    source.publisher.store()
    assert answer == [None]
    assert (source.counters.stored_records, source.counters.quarantined_records) == (1, 1)


def test_all_together_fire_when_each_has(source: Source) -> None:
    other = DirectSession("", 0, "192.0.2.2:6")
    done = fired(
        source.intake.accept_all([source.came(b"<13>a"), source.came(b"<13>b", session=other)])
    )
    source.publisher.store()
    assert done == []
    source.publisher.store()
    assert done == [None]
