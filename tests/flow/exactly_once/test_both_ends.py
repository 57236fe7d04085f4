"""Both halves of exactly once, in memory: cut at any byte, killed at any moment.

The real protocols, drain, numbering and lineages, with disks and wires that the test
works by hand.  Whatever happens, the receiver's disk holds what the sender's held,
each record once and in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.flow.exactly_once.lineages import Lineages
from relay.flow.exactly_once.numbering import Numbering
from relay.model.counters.source import SourceCounters
from relay.model.origin import Received, Transport
from relay.queue.cursor import Cursor
from relay.queue.lineage import Lineage
from relay.transport.relp.inbound import RelpServerProtocol
from relay.transport.relp.outbound import RelpClientProtocol
from relay.transport.stream.connection import InboundFactory, InboundLimits
from relay.transport.upstream import Timeouts, UpstreamState
from relay.wire.relp.blocks import Contexts
from relay.wire.relp.client import RelpClientSession
from relay.wire.relp.lineage import PASSED
from tests.connections import RecordingNotices, Wire, lose, open_reception
from tests.flow_fakes import new_drain, new_refusals

WINDOW = 5


def new_session(window_records: int, offer: bytes) -> RelpClientSession:
    return RelpClientSession(window_records=window_records, software=b"test", offer=offer)


class Sender:
    """A relay with a destination; its disk is `records`, `acknowledged` and `lineage`."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.acknowledged = 1
        self.lineage = Lineage.new(1)
        self.trouble: list[str] = []
        self.evicted: set[bytes] = set()
        self.dropped = 0  # as the ledger has it
        self.start()

    def start(self) -> None:
        stored = len(self.records) + 1
        self.lineage = self.lineage.begun(acknowledged_seq=self.acknowledged, next_seq=stored)
        self.unsaved_acknowledged = self.acknowledged
        self.drain = new_drain(
            "d",
            cursor=Cursor(self, "d", position=self.acknowledged, run_in_thread=execute),
            queue=self,
            begins=self.acknowledged,
            ends=stored,
            refusals=new_refusals(3),
            clock=Clock(),
            on_trouble=self.trouble.append,
        )
        self.numbering = Numbering(
            self.lineage, drain=self.drain, save=self.save, on_trouble=self.trouble.append
        )

    def store(self, count: int, text: bytes = b"record") -> None:
        for _ in range(count):
            self.records.append(b"%s %d" % (text, len(self.records) + 1))
        self.drain.stored(len(self.records) + 1)

    def commit(self) -> None:
        """What is acknowledged gets to disk."""
        self.acknowledged = self.unsaved_acknowledged

    def evict(self, count: int) -> None:
        """The oldest records leave undelivered, in a commit with what is acknowledged."""
        self.commit()
        stop = min(self.acknowledged + count, len(self.records) + 1)
        if stop > self.acknowledged:
            self.evicted |= set(self.records[self.acknowledged - 1 : stop - 1])
            self.dropped += stop - self.acknowledged
            self.acknowledged = self.unsaved_acknowledged = stop
            self.drain.evicted(stop, "queue-full")

    def connected(self) -> tuple[RelpClientProtocol, Wire]:
        wire = Wire()
        protocol = RelpClientProtocol(
            drain=self.drain,
            state=UpstreamState(
                target="up",
                clock=Clock(),
                on_ready=lambda text: None,
                on_failure=lambda text: None,
                retry_seconds_min=1,
                retry_seconds_max=60,
            ),
            clock=Clock(),
            secure=False,
            timeouts=Timeouts(30, 60),
            new_session=partial(new_session, WINDOW),
            numbering=self.numbering,
        )
        protocol.ready.addErrback(lambda _: None)
        protocol.makeConnection(wire)
        return protocol, wire

    # What the drain, the cursor and the numbering ask of a queue.

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        return self.records[start - 1 :][:3]

    def acknowledge(self, destination: str, upto: int) -> None:
        self.unsaved_acknowledged = max(self.unsaved_acknowledged, upto)

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        self.dropped -= count

    def set_aside(self, destination: str, seqs: Any, reason: str) -> None:
        raise AssertionError(reason)

    def save(self, lineage: Lineage) -> Deferred[None]:
        self.lineage = lineage
        saved: Deferred[None] = Deferred()
        saved.callback(None)
        return saved


class Receiver:
    """A relay with a source; its disk is `records` and `positions`."""

    def __init__(self, new_protocol: Callable[..., Any] = RelpServerProtocol) -> None:
        self.new_protocol = new_protocol
        self.records: list[bytes] = []
        self.positions: dict[str, bytes] = {}
        self.counters = SourceCounters()
        self.notices: Any = RecordingNotices()
        self.start()

    def start(self) -> None:
        self.underway: list[tuple[list[bytes], Mapping[str, bytes], Deferred[None]]] = []
        self.clock = Clock()
        lineages = Lineages(load=self._load, now=lambda: 0.0)
        self.factory = InboundFactory(
            open_reception(self, self.counters, self.notices),
            transport=Transport.TCP,
            new_protocol=partial(
                self.new_protocol, software=b"test", contexts=Contexts(1), lineages=lineages
            ),
            limits=InboundLimits(
                frame_bytes_max=480,
                connections_max=1000,
                idle_seconds_max=0,
                handshake_seconds_max=30,
            ),
            clock=self.clock,
            secure=False,
        )

    def connected(self) -> tuple[Any, Wire]:
        protocol, wire = self.factory.buildProtocol(None), Wire()
        protocol.makeConnection(wire)
        return protocol, wire

    def accept_all(
        self, batches: Sequence[Received], positions: Mapping[str, bytes] | None = None
    ) -> Deferred[None]:
        assert positions or self.new_protocol is not RelpServerProtocol, "not numbered"
        frames = [frame for batch in batches for frame in batch.frames]
        self.underway.append((frames, positions or {}, Deferred()))
        return self.underway[-1][2]

    def commit(self, count: int, *, dies: bool = False) -> None:
        """The oldest `count` batches get to disk, and perhaps nobody hears of it."""
        self.clock.advance(0)  # the turn of the reactor ends
        done, self.underway = self.underway[:count], self.underway[count:]
        for frames, positions, _ in done:
            self.records += frames
            self.positions.update(positions)
        for _, _, stored in done if not dies else ():
            stored.callback(None)

    def _load(self) -> Mapping[str, bytes]:
        return {name.rpartition("/")[2]: data for name, data in self.positions.items()}


class World:
    """A sender, a receiver, and what lies between them."""

    def __init__(self, receiver: Receiver | None = None) -> None:
        self.sender, self.receiver = Sender(), receiver or Receiver()
        self.forgotten: list[Any] = []  # ends of connections whose other end is gone
        self.connect()

    def connect(self) -> None:
        self.near, self.near_wire = self.sender.connected()
        self.far, self.far_wire = self.receiver.connected()

    def carry(self, size: int) -> None:
        """Some bytes go each way; an end that has closed takes the other with it."""
        for wire, end in ((self.near_wire, self.far), (self.far_wire, self.near)):
            waiting = wire.value()
            wire.clear()
            wire.write(waiting[size:])
            if waiting:
                end.dataReceived(waiting[:size])
        if self.near_wire.disconnecting or self.far_wire.disconnecting:
            self.cut()

    def cut(self) -> None:
        self._near_lost()
        lose(self.far)
        self.connect()

    def half_cut(self) -> None:
        """The receiver does not notice, and gets the rest late."""
        self.forgotten.append((self.far, self.near_wire.value()))
        self._near_lost()
        self.connect()

    def late(self) -> None:
        """What is left of the oldest half-cut connection comes in."""
        if self.forgotten:
            end, data = self.forgotten.pop(0)
            end.dataReceived(data)
            lose(end)

    def kill_sender(self) -> None:
        lose(self.far)
        self.sender.start()
        self.connect()

    def kill_receiver(self, batches: int = 0) -> None:
        self.receiver.commit(batches, dies=True)
        self._near_lost()
        self.forgotten.clear()
        self.receiver.start()
        self.connect()

    def settle(self) -> None:
        """Nothing happens any more but what has to."""
        for _ in range(10 * len(self.sender.records) + 50):
            self.carry(10**6)
            self.receiver.commit(100)
        self.sender.commit()

    def _near_lost(self) -> None:
        # As `_UntilPrepared` does it.
        if self.near.prepared:
            lose(self.near)
        else:
            self.near.lost_unprepared(Failure(ConnectionDone()))


small = st.integers(min_value=0, max_value=4)
steps = st.one_of(
    st.tuples(st.just("store"), small),
    st.tuples(st.just("carry"), st.integers(min_value=1, max_value=400)),
    st.tuples(st.just("carry"), st.just(10**6)),
    st.tuples(st.just("commit"), small),
    st.tuples(st.just("commit_sender"), st.just(0)),
    st.tuples(st.just("cut"), st.just(0)),
    st.tuples(st.just("half_cut"), st.just(0)),
    st.tuples(st.just("late"), st.just(0)),
    st.tuples(st.just("kill_sender"), st.just(0)),
    st.tuples(st.just("kill_receiver"), small),
)


def take(world: World, step: tuple[str, int]) -> None:
    name, number = step
    if name == "store":
        world.sender.store(number)
    elif name == "carry":
        world.carry(number)
    elif name == "commit":
        world.receiver.commit(number)
    elif name == "commit_sender":
        world.sender.commit()
    elif name == "kill_receiver":
        world.kill_receiver(number)
    else:
        getattr(world, name)()


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(steps, min_size=15, max_size=80))
def test_each_record_arrives_once_and_in_order(happens: list[tuple[str, int]]) -> None:
    world = World()
    for step in happens:
        take(world, step)
    world.settle()
    assert world.receiver.records == world.sender.records
    assert world.sender.acknowledged == len(world.sender.records) + 1
    assert (world.sender.trouble, world.receiver.counters.missing_records) == ([], 0)


@pytest.mark.slow
@settings(max_examples=300)
@given(
    st.lists(st.one_of(steps, steps, st.tuples(st.just("evict"), small)), min_size=15, max_size=80)
)
def test_what_is_evicted_meanwhile_leaves_holes_and_nothing_comes_twice(
    happens: list[tuple[str, int]],
) -> None:
    world = World()
    for step in happens:
        if step[0] == "evict":
            world.sender.evict(step[1])
        else:
            take(world, step)
    world.cut()  # where a session was about to begin at a record that is gone
    world.settle()
    sender, received = world.sender, world.receiver.records
    assert sender.acknowledged == len(sender.records) + 1
    arrived = set(received)
    assert received == [record for record in sender.records if record in arrived]
    assert set(sender.records) - arrived <= sender.evicted
    # Nothing counts as delivered that did not come.  Of what came, some may count as
    # dropped: what was overtaken and never answered for.
    assert len(sender.records) - sender.dropped <= len(arrived)
    assert sender.dropped <= len(sender.evicted)
    assert all("dropped" in text for text in sender.trouble)


def with_three_in_flight() -> World:
    """The receiver has read three records and not stored them; two more wait."""
    world = World()
    world.settle()
    world.sender.store(3)
    for _ in range(3):
        world.carry(10**6)
    world.receiver.clock.advance(0)
    assert sum(len(frames) for frames, _, _ in world.receiver.underway) == 3
    return world


def test_an_answer_for_what_was_evicted_meanwhile_counts_as_delivered() -> None:
    world = with_three_in_flight()
    world.sender.evict(2)
    assert world.sender.dropped == 2
    world.receiver.commit(100)
    world.carry(10**6)
    world.sender.commit()
    assert (world.sender.dropped, world.sender.acknowledged) == (0, 4)
    world.sender.store(2)
    world.settle()
    assert world.receiver.records == world.sender.records


def test_what_was_evicted_and_has_arrived_stays_dropped_if_nobody_said_so() -> None:
    world = with_three_in_flight()
    world.sender.evict(2)
    world.kill_receiver(batches=100)  # on its disk, and not answered
    world.sender.store(2)
    world.settle()
    assert world.receiver.records == world.sender.records
    assert world.sender.dropped == 2


def test_a_session_goes_on_behind_what_was_evicted() -> None:
    world = with_three_in_flight()
    world.sender.store(7)  # of which two have room in the window
    world.carry(10**6)
    world.sender.evict(8)
    world.settle()
    sent = world.sender.records
    assert world.receiver.records == sent[:5] + sent[8:]
    assert world.receiver.counters.missing_records == 3
    assert world.sender.dropped == 3
    assert ["dropped" in text for text in world.sender.trouble] == [True]


@pytest.mark.parametrize("more", [2, 20], ids=["behind", "ahead of what was received"])
def test_a_sender_restored_from_an_older_copy_loses_nothing(more: int) -> None:
    world = World()
    world.sender.store(4)
    copy = (world.sender.records.copy(), 1, world.sender.lineage)
    world.sender.store(6)
    world.settle()
    world.sender.records, world.sender.acknowledged, world.sender.lineage = copy
    world.kill_sender()
    world.sender.store(more, b"another")
    world.cut()
    world.settle()
    assert world.receiver.records[10:] == world.sender.records  # at least once
    (text,) = world.sender.trouble
    assert f"up to 10, which were not sent from here (records 1 to {4 + more} wait)" in text
    is_behind = "restored" in world.receiver.notices.kinds
    assert is_behind == (more == 2)
    world.sender.store(5)
    world.cut()
    world.settle()
    assert world.receiver.records[10:] == world.sender.records  # and once again from now on


def test_a_receiver_restored_from_an_older_copy_is_reported_at_both_ends() -> None:
    world = World()
    world.sender.store(4)
    world.settle()
    copy = (world.receiver.records.copy(), world.receiver.positions.copy())
    world.sender.store(6)
    world.settle()
    world.receiver.records, world.receiver.positions = copy
    world.kill_receiver()
    world.sender.store(1)
    world.settle()
    assert world.receiver.records == world.sender.records[:4] + world.sender.records[10:]
    assert "records up to 4, and 11 is the next one here: 6 may" in world.sender.trouble[0]
    assert world.receiver.counters.missing_records == 6
    (said,) = [text for _, kind, text in world.receiver.notices.said if kind == "missing"]
    assert said.startswith("it goes on with record 11, the last one that came is 4: 6 were")


def test_two_that_work_with_copies_of_one_queue() -> None:
    world = World()
    world.sender.store(3)
    world.settle()
    twin = Sender()
    twin.records, twin.acknowledged = world.sender.records.copy(), world.sender.acknowledged
    twin.lineage = world.sender.lineage
    twin.start()
    world.sender.store(5)
    world.settle()
    original, world.sender = world.sender, twin
    twin.store(3, b"of the twin")
    world.cut()
    world.settle()
    assert world.receiver.records == original.records + twin.records[3:]
    assert len(twin.trouble) == 1


class PassingProtocol(RelpServerProtocol):
    """One that keeps nothing of a lineage, and gives each message the number that it has."""

    def __init__(self, numbered: list[tuple[int, bytes]], **keys: Any) -> None:
        super().__init__(**keys)
        self.numbered = numbered

    def _opened(self) -> None:
        offer = self._session.lineage
        assert offer is not None and offer.knows_pass
        self.next_seq = offer.first
        self._session.answer_open(PASSED)

    def _accept(self, messages: list[bytes], answers: int) -> None:
        self.numbered += enumerate(messages, self.next_seq)
        self.next_seq += len(messages)
        super()._accept(messages, answers)


@pytest.mark.slow
@settings(max_examples=300)
@given(
    st.lists(st.one_of(steps, steps, st.tuples(st.just("evict"), small)), min_size=15, max_size=80)
)
def test_a_receiver_without_state_knows_the_number_of_each_record(
    happens: list[tuple[str, int]],
) -> None:
    numbered: list[tuple[int, bytes]] = []
    world = World(Receiver(partial(PassingProtocol, numbered)))
    for step in happens:
        if step[0] == "evict":
            world.sender.evict(step[1])
        else:
            take(world, step)
    world.cut()
    world.settle()
    sender = world.sender
    assert sender.acknowledged == len(sender.records) + 1
    assert all(sender.records[seq - 1] == record for seq, record in numbered)
    arrived = {record for _, record in numbered}
    assert set(sender.records) - arrived <= sender.evicted
