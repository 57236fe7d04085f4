from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.model.origin import Origin, Received, Transport
from relay.transport import joining
from relay.transport.joining import JoinedIntake
from tests.connections import RecordingNotices, fired, open_reception

PEERS = [Origin("in", Transport.TCP, "192.0.2.1", port) for port in (1, 2, 3)]


class Queue:
    """An intake that stores when it is told to."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.stored: list[Deferred[None]] = []

    def accept_all(
        self, batches: Sequence[Received], positions: Mapping[str, bytes] | None = None
    ) -> Deferred[None]:
        self.received += batches
        self.stored.append(Deferred())
        return self.stored[-1]

    @property
    def frames(self) -> list[bytes]:
        return [frame for batch in self.received for frame in batch.frames]


class Joining:
    """Joins lines that begin with a space to the one before."""

    def __init__(self, **given: Any) -> None:
        self.queue, self.clock, self.counters = Queue(), Clock(), SourceCounters()
        keywords = {
            "begins": lambda line: not line.startswith(b" "),
            "seconds_max": 5.0,
            "frame_bytes_max": 1000,
            "oversize": "truncate",
            "has_connections": True,
            "clock": self.clock,
        }
        self.notices = RecordingNotices()
        reception = open_reception(self.queue, self.counters, self.notices)
        self.intake = JoinedIntake(reception, **{**keywords, **given})

    def send(self, *lines: bytes, peer: int = 0, cut: Mapping[int, int] = {}) -> Deferred[None]:
        return self.intake.accept_all([Received(list(lines), PEERS[peer], cut)])


def test_lines_are_one_message_and_the_last_one_waits() -> None:
    it = Joining()
    it.send(b"a", b" 1", b" 2", b"b", b" 1")
    assert it.queue.frames == [b"a\n 1\n 2"]
    assert it.counters.waiting_lines == 2
    it.send(b" 2", b"c")
    assert it.counters.waiting_lines == 1
    assert it.queue.frames[1:] == [b"b\n 1\n 2"]
    assert {batch.origin for batch in it.queue.received} == {PEERS[0]}


def test_an_answer_waits_for_the_whole_message() -> None:
    it = Joining()
    first = it.send(b"a", b"b")
    it.queue.stored[0].callback(None)
    assert not fired(first)
    second = it.send(b" 1")
    assert len(it.queue.stored) == 1
    third = it.send(b"c")
    it.queue.stored[1].callback(None)
    assert fired(first) and fired(second) and not fired(third)
    it.clock.advance(5)
    assert it.queue.frames == [b"a", b"b\n 1", b"c"]
    assert not fired(third)
    it.queue.stored[2].callback(None)
    assert fired(third)
    assert not it.clock.getDelayedCalls()


def test_claimed_hops_do_not_grow_with_lines() -> None:
    it = Joining()
    ways = [b" ".join(b"%016x@forged" % (64 * line + hop) for hop in range(64)) for line in (0, 1)]
    it.intake.accept_all(
        [Received([b"a", b" 1", b" 2"], PEERS[0], hops=dict(enumerate([*ways, b"%016x@x" % 0])))]
    )
    it.clock.advance(5)
    (batch,) = it.queue.received
    assert (batch.frames, batch.hops) == ([b"a\n 1\n 2"], {0: ways[0]})


def test_everybody_whose_lines_are_lost_is_told() -> None:
    it = Joining()
    first, second = it.send(b"a"), it.send(b" 1", b"b", b"c")
    third = it.send(b" 2")
    it.queue.stored[0].errback(QueueError("no room"))
    failures: list[str] = []
    for each in (first, second):
        each.addErrback(lambda failure: failures.append(failure.getErrorMessage()))
    assert failures == ["no room"] * 2
    it.clock.advance(5)
    it.queue.stored[1].callback(None)
    assert fired(third)


def test_connections_are_apart_and_datagrams_by_address() -> None:
    it = Joining()
    it.send(b"a", peer=0)
    it.send(b"b", peer=1)
    it.send(b" 1", peer=0)
    it.clock.advance(5)
    assert it.queue.frames == [b"b", b"a\n 1"]
    it = Joining(has_connections=False)
    it.send(b"a", peer=0)
    it.send(b" 1", peer=1)
    it.clock.advance(5)
    assert it.queue.frames == [b"a\n 1"]


def test_where_the_last_message_begins() -> None:
    it = Joining()
    for lines, expected in (([b"a"], 0), ([b" 1", b" 2"], 0), ([b" 1", b"a", b"b", b" 1"], 2)):
        assert it.intake.last_begin(lines) == expected


def test_silence_counts_from_the_last_line() -> None:
    it = Joining()
    it.send(b"a")
    it.clock.advance(4)
    it.send(b" 1")
    it.send(b"b", peer=1)
    it.clock.advance(4)
    assert it.queue.frames == []
    it.send(b" 2")
    it.clock.advance(1)
    assert it.queue.frames == [b"b"]
    it.clock.advance(4)
    assert it.queue.frames == [b"b", b"a\n 1\n 2"]


def test_a_stop_leaves_nothing_behind() -> None:
    it = Joining()
    waiting = it.send(b"a")
    it.intake.stop()
    assert it.queue.frames == [b"a"]
    assert not it.clock.getDelayedCalls()
    it.send(b"b", b" 1")
    assert it.queue.frames == [b"a", b"b\n 1"]
    it.queue.stored[0].callback(None)
    assert fired(waiting)
    assert not it.clock.getDelayedCalls()


@pytest.mark.parametrize(
    ("oversize", "frames", "cut"),
    [
        ("truncate", [b"a\n 23456", b"c"], {0: 11}),
        ("quarantine", [b"a\n 23456", b"c"], {0: 11}),
        ("drop", [b"c"], {}),
    ],
)
def test_a_long_message_is_cut_dropped_or_set_aside(
    oversize: str, frames: list[bytes], cut: dict[int, int]
) -> None:
    it = Joining(frame_bytes_max=8, oversize=oversize)
    it.send(b"a", b" 23456", b" 8", b"c", b"d")
    assert it.queue.frames == frames
    assert it.queue.received[0].cut == cut
    assert it.counters.dropped == ({"too-long": 1} if oversize == "drop" else {})
    assert it.counters.truncated_records == (oversize == "truncate")


def test_a_line_that_was_cut_is_counted_once() -> None:
    it = Joining(frame_bytes_max=8)
    it.send(b"a", b" 234567", b"b", cut={1: 70})
    assert it.queue.received[0][2] == {0: 72}
    assert it.queue.frames == [b"a\n 23456"]
    assert it.counters.truncated_records == 0  # whoever cut it has counted it


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "_PEERS_MAX", 2)
    it = Joining()
    for peer in (0, 1, 0, 2):
        it.send(b" x", peer=peer)
    assert it.queue.frames == [b" x"]  # of the one that was silent longest
    assert it.queue.received[0].origin is PEERS[1]
    monkeypatch.setattr(joining, "_BYTES_MAX", 10)
    it.send(b" 4567", peer=2)
    assert it.queue.frames == [b" x", b" x\n x"]
    monkeypatch.setattr(joining, "_LINES_MAX", 3)
    it.send(b" 3", b" again", peer=2)
    assert it.queue.frames[2:] == [b" x\n 4567\n 3"]


sent = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.sampled_from([b"a", b"b", b" 1", b" 2"]), min_size=1)),
    max_size=12,
)


@given(sent)
def test_no_line_is_lost_doubled_or_answered_early(batches: list[tuple[int, list[bytes]]]) -> None:
    it = Joining()
    answers = [(peer, lines, it.send(*lines, peer=peer)) for peer, lines in batches]
    it.clock.advance(5)
    for peer, origin in enumerate(PEERS):
        lines = [line for sender, own, _ in answers for line in own if sender == peer]
        messages = [
            frame for batch in it.queue.received if batch.origin is origin for frame in batch.frames
        ]
        assert b"\n".join(messages) == b"\n".join(lines)
        assert all(not message.startswith(b" ") for message in messages[1:])
        assert all(b"\na" not in message and b"\nb" not in message for message in messages)
    assert it.counters.waiting_lines == 0
    assert not any(fired(answer) for _, _, answer in answers)
    for stored in it.queue.stored:
        stored.callback(None)
    assert all(fired(answer) for _, _, answer in answers)


def test_a_message_may_be_left_and_resumed_in_the_middle() -> None:
    first, second = Joining(), Joining()
    waits = fired(first.send(b"a", b" 1", cut={1: 2000}))
    state = first.intake.leave(PEERS[0])
    assert (waits, first.counters.waiting_lines) == ([None], 0)
    assert first.intake.leave(PEERS[0]) is None
    assert state is not None and state.lines == (b"a", b" 1") and state.has_cut_line
    key = Origin("in", Transport.TCP, "192.0.2.9", 1)
    second.intake.resume(key, state)
    assert second.counters.waiting_lines == 2
    second.intake.accept_all([Received([b" 2", b"b"], key)])
    assert second.queue.frames == [b"a\n 1\n 2"]
    first.clock.advance(10)
    assert first.queue.frames == []


def test_a_resumed_message_ends_by_silence() -> None:
    first, second = Joining(), Joining()
    first.send(b"a", b" 1")
    state = first.intake.leave(PEERS[0])
    assert state is not None
    second.intake.resume(PEERS[1], state)
    second.clock.advance(5.1)
    assert second.queue.frames == [b"a\n 1"]
