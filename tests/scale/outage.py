"""A zone is lost: a third of the brokers, and a third of the receivers.

With one replica in each zone every partition loses one, and acks=all waits for it until the
controller has fenced its broker, so the whole cell stands still for as long.  Then a third of
the partitions gets a new leader.  The senders of the lost receivers come back to the others when
the balancer has noticed, each with a handshake, and send again what nobody has answered.
"""

from __future__ import annotations

from itertools import cycle

from tests.scale.cell import Cell
from tests.scale.figures import figure
from tests.scale.parts import Batch, Cohort, Partition, Receiver, Stream

__all__ = ["lose_zone"]

PIECES = 20
"""In so many parts the senders of a lost stream come back, each at a time of its own."""


def lose_zone(cell: Cell, zone: int, at: float) -> None:
    """Let `zone` be lost at `at` seconds."""
    cell.clock.at(at, _lose, cell, zone)
    cell.clock.at(at + figure("fence"), _fence, cell)


def _lose(cell: Cell, zone: int) -> None:
    for broker in cell.brokers:
        broker.is_alive = broker.zone != zone and broker.is_alive
    lost = [one for one in cell.receivers if one.zone == zone]
    for receiver in lost:
        receiver.is_alive = False
        for stream in receiver.streams:
            _send_away(cell, stream)
    cell.receivers = [one for one in cell.receivers if one.is_alive]
    targets = cycle(cell.receivers)
    for receiver in lost:
        for number, stream in enumerate(receiver.streams):
            for piece in range(PIECES):
                part = list(stream.cohorts)[piece::PIECES]
                waited = figure("health") + cell.random.random() * figure("reconnect")
                back = cell.clock.now + waited
                cell.clock.at(back, _shake_hands, cell, next(targets), number, stream, part)
        receiver.streams = []


def _send_away(cell: Cell, stream: Stream) -> None:
    """The senders have what is not answered; `made_until` says how far they have made."""
    if stream.first_at is None:
        cell.touch(stream)
    stream.first_at, stream.made_until = None, cell.clock.now
    batches = [one for one in stream.partition.in_flight if one.stream is stream]
    for batch in batches:
        stream.add(batch.cohorts)
    cell.away += stream.waiting


def _shake_hands(
    cell: Cell, receiver: Receiver, number: int, old: Stream, cohorts: list[Cohort]
) -> None:
    connections = old.rate / PIECES / figure("connection_rate")
    seconds = 2 * connections * figure("handshake") / 1e6
    done = receiver.handshakes.add(cell.clock.now, seconds)
    cell.clock.at(done, _come_back, cell, receiver, number, old, cohorts)


def _come_back(
    cell: Cell, receiver: Receiver, number: int, old: Stream, cohorts: list[Cohort]
) -> None:
    new = receiver.streams[number]
    rate = old.rate / PIECES
    since, now = old.made_until, cell.clock.now
    made = round(rate * (now - since))
    cell.made += made
    cell.away -= sum(cohort.number for cohort in cohorts)
    cell.touch(new)
    new.add([*cohorts, Cohort(since, now, made)] if made else cohorts)
    new.rate += rate


def _fence(cell: Cell) -> None:
    """Replicas of dead brokers are no longer in sync, and their partitions get new leaders."""
    for partition in cell.partitions:
        partition.in_sync = tuple(broker for broker in partition.in_sync if broker.is_alive)
        if partition.leader.is_alive:
            for batch in list(partition.in_flight):
                cell.commit(batch)
        else:
            _elect(cell, partition)
    for (receiver, broker), link in list(cell.links.items()):
        if not broker.is_alive and receiver.is_alive:
            _move_ready(cell, receiver, list(link.ready))
            link.ready.clear()


def _elect(cell: Cell, partition: Partition) -> None:
    """The producers learn of the new leader within some time, and send again."""
    left = partition.in_sync
    partition.leader = left[partition.number // len(cell.brokers) % len(left)]
    learnt = cell.clock.now + cell.random.random() * figure("metadata")
    for batch in list(partition.in_flight):
        if batch.is_committed:
            continue  # its answer is on the way
        if batch.stream.receiver.is_alive:
            batch.link.in_flight -= 1
            batch.link = cell.links[batch.stream.receiver, partition.leader]
            batch.link.in_flight += 1
            cell.clock.at(learnt, cell.arrive, batch)
        elif partition.leader in batch.stored:
            cell.commit(batch)
        else:
            _forget(batch)


def _forget(batch: Batch) -> None:
    """No living broker has it, and its senders send it again."""
    batch.link.in_flight -= 1
    del batch.stream.partition.in_flight[batch]


def _move_ready(cell: Cell, receiver: Receiver, streams: list[Stream]) -> None:
    for stream in streams:
        link = cell.links[receiver, stream.partition.leader]
        link.ready.append(stream)
        cell.clock.at(cell.clock.now + figure("metadata"), cell.pump, link)
