from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.model.errors import QueueError
from relay.model.origin import Origin, Received, Transport
from relay.transport.turn_batch import BYTES_ENOUGH, RECORDS_ENOUGH, TurnBatch
from tests.connections import RecordingIntake

ORIGINS = [Origin("in", Transport.TCP, "192.0.2.1", port) for port in (1, 2, 3)]


class Source:
    """A batch with what it talks to, and what its connections are told."""

    def __init__(self, intake: Any = None) -> None:
        self.clock = Clock()
        self.intake = intake or RecordingIntake()
        self.batch = TurnBatch(self.intake, clock=self.clock)
        self.told: list[tuple[int, str]] = []

    def add(self, connection: int, *frames: bytes, **positions: bytes) -> None:
        self.batch.add(
            Received(list(frames), ORIGINS[connection]),
            {f"/received/{name}": at for name, at in positions.items()} or None,
            stored=lambda: self.told.append((connection, "stored")),
            failed=lambda failure: self.told.append((connection, failure.getErrorMessage())),
        )

    def end_turn(self) -> None:
        self.clock.advance(0)


def test_what_a_turn_brings_is_one_batch() -> None:
    source = Source()
    for connection, frame in ((0, b"a"), (1, b"b"), (0, b"c")):
        source.add(connection, frame)
    assert source.intake.handed_over == []
    source.end_turn()
    source.end_turn()
    assert source.intake.handed_over == [3]
    assert source.intake.batches == [[b"a"], [b"b"], [b"c"]]
    assert source.intake.origins == [ORIGINS[0], ORIGINS[1], ORIGINS[0]]
    assert source.intake.positions == [None]
    source.add(2, b"d")
    source.end_turn()
    assert source.intake.handed_over == [3, 1]


def test_connections_whose_lines_are_joined_have_batches_of_their_own() -> None:
    source = Source()
    source.batch = TurnBatch(source.intake, clock=source.clock, apart=True)
    for connection, frame in ((0, b"a"), (1, b"b"), (0, b"c")):
        source.add(connection, frame)
    source.end_turn()
    assert source.intake.handed_over == [1, 1, 1]
    assert source.intake.batches == [[b"a"], [b"b"], [b"c"]]


def test_each_connection_is_told_when_all_is_stored() -> None:
    source = Source()
    source.add(0, b"a")
    source.add(1, b"b")
    source.batch.add(Received([b"c"], ORIGINS[2]), failed=lambda failure: None)
    source.end_turn()
    assert source.told == []
    source.intake.stored[0].callback(None)
    assert source.told == [(0, "stored"), (1, "stored")]


def test_each_connection_is_told_that_it_was_not_stored() -> None:
    source = Source()
    source.add(0, b"a")
    source.add(1, b"b")
    source.end_turn()
    source.intake.stored[0].errback(QueueError("no room"))
    assert source.told == [(0, "no room"), (1, "no room")]


def test_positions_go_with_the_messages_and_the_last_one_counts() -> None:
    source = Source()
    source.add(0, b"a", one=b"5", two=b"7")
    source.add(1, b"b")
    source.add(0, b"c", one=b"6", two=b"")
    source.end_turn()
    assert source.intake.positions == [{"/received/one": b"6", "/received/two": b""}]


def test_much_does_not_wait_and_takes_along_what_came_before() -> None:
    source = Source()
    source.add(0, b"little")
    source.add(1, *[b"x"] * (RECORDS_ENOUGH - 1))
    assert source.intake.handed_over == [2]
    source.add(0, b"x" * (BYTES_ENOUGH - 1))
    assert source.intake.handed_over == [2]
    source.add(1, b"x")
    assert source.intake.handed_over == [2, 2]
    source.add(1, *[b"x"] * RECORDS_ENOUGH)
    assert source.intake.handed_over == [2, 2, 1]
    source.end_turn()
    assert source.intake.handed_over == [2, 2, 1]


def test_it_can_be_emptied_before_the_turn_ends() -> None:
    source = Source()
    source.batch.flush()
    source.add(0, b"a")
    source.batch.flush()
    assert (source.intake.handed_over, source.clock.getDelayedCalls()) == ([1], [])
    source.batch.flush()
    assert source.intake.handed_over == [1]


def test_what_is_read_together_needs_no_other_turn() -> None:
    source = Source()
    source.batch.hold()
    source.add(0, b"a")
    source.add(1, b"b")
    assert (source.intake.handed_over, source.clock.getDelayedCalls()) == ([], [])
    source.batch.release()
    assert source.intake.handed_over == [2]
    source.add(0, b"c")
    source.end_turn()
    assert source.intake.handed_over == [2, 1]


class Picky:
    """An intake with a defect: it cannot take a message, and says so before it stores any."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def accept_all(self, batches: Any, positions: Any = None) -> Deferred[None]:
        frames = [frame for batch in batches for frame in batch.frames]
        if b"poison" in frames:
            raise ZeroDivisionError("poison")
        self.taken += frames
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done


def test_a_defect_costs_only_the_messages_that_meet_it() -> None:
    source = Source(Picky())
    source.add(0, b"a")
    source.add(1, b"poison")
    source.add(2, b"b")
    source.end_turn()
    assert source.intake.taken == [b"a", b"b"]
    assert source.told == [(0, "stored"), (1, "poison"), (2, "stored")]


def test_a_connection_that_fails_does_not_keep_the_others_from_being_told() -> None:
    def fail(*_: Failure) -> None:
        raise ZeroDivisionError

    source = Source()
    for _ in range(2):
        source.batch.add(Received([b"a"], ORIGINS[0]), stored=fail, failed=fail)
        source.add(1, b"b")
        source.end_turn()
    source.intake.stored[0].callback(None)
    source.intake.stored[1].errback(QueueError("no room"))
    assert source.told == [(1, "stored"), (1, "no room")]
