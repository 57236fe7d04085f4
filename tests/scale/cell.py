"""A cell of receivers in direct mode and brokers, simulated batch by batch.

Senders are streams: the messages of all connections of one receiver whose lineages go to one
partition.  A stream collects for the linger, its batch goes to the leader of the partition, and
is acknowledged when all replicas in sync have it, as with acks=all.  One idempotent producer a
receiver has at most five requests in flight on the connection to a broker; what is ready in the
meantime grows.  A receiver reads while its thread is not behind and less than `pending_bytes_max`
is unanswered; the rest stays with the senders, and nothing is ever lost.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from random import Random

from tests.scale.arithmetic import Site
from tests.scale.events import Clock, Histogram, Server, poisson
from tests.scale.figures import PENDING_OCTETS, figure, octets_of_a_record, receiver_seconds
from tests.scale.parts import Batch, Broker, Cohort, Link, Partition, Receiver, Stream, taken

__all__ = ["Cell", "Plan", "Second"]

TURN_SECONDS = 0.02
"""A receiver whose thread is so far behind does not read."""
LOOK_SECONDS = 0.1
"""Receivers read as often, also from senders whose batch cannot be sent yet."""
POINTS = 4
"""Of a batch whose latencies are noted."""
ZONES = 3
RECEIVER_SECONDS = receiver_seconds(figure("messages"))
READER_SECONDS = figure("reader") / 1e6
REQUEST_SECONDS = figure("request") / 1e6
REPLICA_SECONDS = figure("replica") / 1e6
DISK_OCTETS = figure("disk") * 1e6
NETWORK_SECONDS = figure("network") / 1e3
FETCH_SECONDS = figure("fetch") / 1e3
IN_FLIGHT_MAX = int(figure("in_flight"))
BATCH_MAX = int(figure("batch"))


@dataclass(frozen=True)
class Plan:
    """A cell.

    Attributes:
        pending: Messages that a receiver has read and not answered, at most.
        copies: The number of receivers that each simulated one stands for; brokers do as much
            work for all of them.  So one receiver of a large cluster can be simulated.
    """

    site: Site
    compression: str = "zstd"
    readers: int = 12
    pending: int = int(figure("pending") * 2**20 / PENDING_OCTETS)
    copies: int = 1


@dataclass
class Second:
    """One second of the run."""

    answers: Histogram
    unanswered: int = 0
    """Messages, those with their senders included, at its end."""
    pending: int = 0
    """The most of a receiver."""


class Cell:
    """A cell in motion; `run` moves it on.

    Attributes:
        made, answered: Messages that senders have, and whose answers they have.
        twice: Messages that are in the log once more; the reading relay drops them.
        batches: Records of each request.
        arrivals: Seconds until a reader has taken a message.
    """

    def __init__(self, plan: Plan, seed: int = 1) -> None:
        site = plan.site
        self.plan = plan
        self.clock = Clock()
        self.random = Random(seed)
        self.brokers = [Broker(number % ZONES) for number in range(site.brokers)]
        self.partitions = [self._partition(number) for number in range(site.partitions)]
        self.readers = [Server() for _ in range(plan.readers)]
        self.receivers = [Receiver(number % ZONES) for number in range(site.receivers)]
        self.links: dict[tuple[Receiver, Broker], Link] = defaultdict(Link)
        self.made = self.answered = self.twice = self.requests = self.away = 0
        self.arrivals = Histogram()
        self.seconds: dict[int, Second] = {}
        rate = site.rate / site.receivers / site.partitions
        for receiver in self.receivers:
            for partition in self.partitions:
                stream = Stream(receiver, partition, rate)
                receiver.streams.append(stream)
                self.clock.at(self.random.random() * site.linger, self.arm, stream)
        self.clock.at(LOOK_SECONDS, self._look)
        self.clock.at(1.0, self._end_second)

    def _partition(self, number: int) -> Partition:
        """It has one replica in each zone."""
        leader = self.brokers[number % len(self.brokers)]
        others = [zone for zone in range(ZONES) if zone != leader.zone]
        followers = [self._brokers_of(zone)[number // ZONES % self._per_zone] for zone in others]
        return Partition(number, leader, (leader, *followers))

    @property
    def _per_zone(self) -> int:
        return len(self.brokers) // ZONES

    def _brokers_of(self, zone: int) -> list[Broker]:
        return [broker for broker in self.brokers if broker.zone == zone]

    @property
    def waiting(self) -> int:
        """Messages that are made and neither in a request nor answered."""
        streams = chain.from_iterable(receiver.streams for receiver in self.receivers)
        return sum(stream.waiting for stream in streams)

    @property
    def in_flight(self) -> int:
        """Messages in requests of living receivers."""
        batches = chain.from_iterable(partition.in_flight for partition in self.partitions)
        return sum(batch.number for batch in batches if batch.stream.receiver.is_alive)

    def run(self, until: float) -> None:
        """Move on to `until`, in seconds."""
        self.clock.run(until)

    def _end_second(self) -> None:
        second = self.second()
        second.unanswered = self.made - self.answered
        for receiver in self.receivers:
            second.pending = max(second.pending, receiver.pending_most)
            receiver.pending_most = receiver.pending
        self.clock.at(self.clock.now + 1, self._end_second)

    def answers(self, begin: int = 0, end: int = 1 << 30) -> Histogram:
        """Latencies of what was answered in the seconds after `begin` up to `end`."""
        found = Histogram()
        for number, second in self.seconds.items():
            if begin < number <= end:
                found.add_all(second.answers)
        return found

    def _look(self) -> None:
        for receiver in self.receivers:
            for stream in receiver.streams:
                self.touch(stream)
        self.clock.at(self.clock.now + LOOK_SECONDS, self._look)

    def second(self) -> Second:
        """The one that ends now or goes on."""
        return self.seconds.setdefault(math.ceil(self.clock.now), Second(Histogram()))

    # Senders and receivers.

    def arm(self, stream: Stream) -> None:
        """The next batch of a stream without messages begins with its next message."""
        stream.first_at = self.clock.now + self.random.expovariate(stream.rate)
        self.clock.at(stream.first_at + self.plan.site.linger, self.close, stream)

    def touch(self, stream: Stream) -> None:
        """Make the messages that came until now, and read those that the receiver may read."""
        now = self.clock.now
        if stream.first_at is not None:
            if now < stream.first_at:
                return
            self._make(stream, Cohort(stream.first_at, stream.first_at, 1))
            stream.made_until, stream.first_at = stream.first_at, None
        number = poisson(self.random, stream.rate * (now - stream.made_until))
        self._make(stream, Cohort(stream.made_until, now, number))
        stream.made_until = now
        receiver = stream.receiver
        may = min(self.plan.pending - receiver.pending, BATCH_MAX, stream.unread)
        if may > 0 and receiver.thread.backlog(now) < TURN_SECONDS:
            stream.read += may
            receiver.pending += may
            receiver.pending_most = max(receiver.pending_most, receiver.pending)
            share = 2 if receiver.handshakes.backlog(now) else 1
            receiver.thread.add(now, may * RECEIVER_SECONDS * share)

    def _make(self, stream: Stream, cohort: Cohort) -> None:
        if cohort.number:
            stream.add([cohort])
            self.made += cohort.number

    def close(self, stream: Stream) -> None:
        """The linger of a stream is over."""
        if not stream.receiver.is_alive:
            return
        self.touch(stream)
        if not stream.read:
            self._go_on(stream)
            return
        link = self.links[stream.receiver, stream.partition.leader]
        stream.is_ready = True
        link.ready.append(stream)
        self.pump(link)

    def _go_on(self, stream: Stream) -> None:
        if stream.waiting:
            self.clock.at(self.clock.now + self._pause(stream), self.close, stream)
        else:
            self.arm(stream)

    def _pause(self, stream: Stream) -> float:
        """Seconds until its next batch is closed, or its messages are read at last."""
        if stream.read >= BATCH_MAX:
            return 0.0
        behind = stream.receiver.thread.backlog(self.clock.now)
        return self.plan.site.linger if stream.read or not behind else behind

    def pump(self, link: Link) -> None:
        """Send what is ready, as far as the limit of requests allows."""
        while link.ready and link.in_flight < IN_FLIGHT_MAX:
            stream = link.ready[0]
            if not stream.partition.leader.is_alive:
                return
            link.ready.popleft()
            stream.is_ready = False
            if stream.receiver.is_alive:
                self.touch(stream)
                self._send(stream, link)
                self._go_on(stream)

    def _send(self, stream: Stream, link: Link) -> None:
        number = min(stream.read, BATCH_MAX)
        octets = _octets(self.plan.compression, number)
        batch = Batch(stream, link, taken(stream, number), number, octets)
        link.in_flight += 1
        self.requests += 1
        stream.partition.in_flight[batch] = None
        begun = max(self.clock.now, stream.receiver.thread.free_at)
        self.clock.at(begun + NETWORK_SECONDS, self.arrive, batch)

    # Brokers and readers.

    def arrive(self, batch: Batch) -> None:
        """A request reaches the leader."""
        partition, now = batch.stream.partition, self.clock.now
        if not partition.leader.is_alive:
            return  # sent again when there is a new one
        self._store(batch, partition.leader, REQUEST_SECONDS)
        for broker in partition.in_sync:
            if broker is not partition.leader:
                asked = now + NETWORK_SECONDS + self.random.random() * FETCH_SECONDS
                self.clock.at(asked, self._store, batch, broker, REPLICA_SECONDS)

    def _store(self, batch: Batch, broker: Broker, seconds: float) -> None:
        if broker.is_alive:
            copies = self.plan.copies
            handled = broker.threads.add(self.clock.now, seconds * copies)
            written = broker.disk.add(handled, batch.octets * copies / DISK_OCTETS)
            self.clock.at(written, self._stored, batch, broker)

    def _stored(self, batch: Batch, broker: Broker) -> None:
        batch.stored.add(broker)
        self.commit(batch)

    def commit(self, batch: Batch) -> None:
        """If all replicas in sync have it, readers may have it, and the receiver is told."""
        partition = batch.stream.partition
        is_there = partition.leader.is_alive and batch.stored.issuperset(partition.in_sync)
        if batch.is_committed or not is_there:
            return
        batch.is_committed = True
        reader = self.readers[partition.number % len(self.readers)]
        read = reader.add(self.clock.now, batch.number * READER_SECONDS * self.plan.copies)
        _note(self.arrivals, batch, read + NETWORK_SECONDS)
        self.clock.at(self.clock.now + NETWORK_SECONDS, self._answer, batch)

    def _answer(self, batch: Batch) -> None:
        batch.link.in_flight -= 1
        del batch.stream.partition.in_flight[batch]
        receiver = batch.stream.receiver
        if receiver.is_alive:
            receiver.pending -= batch.number
            self.answered += batch.number
            _note(self.second().answers, batch, self.clock.now)
            self.pump(batch.link)
        else:
            self.twice += batch.number


@lru_cache(maxsize=BATCH_MAX)
def _octets(compression: str, number: int) -> float:
    return number * octets_of_a_record(compression, number)


def _note(histogram: Histogram, batch: Batch, at: float) -> None:
    """Latencies of a batch, at POINTS of each of its cohorts."""
    for begin, end, number in batch.cohorts:
        points = min(POINTS, number)
        step = (end - begin) / points
        last = at - begin - step / 2
        histogram.add([last - step * point for point in range(points)], number / points)
