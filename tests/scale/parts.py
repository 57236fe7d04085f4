"""The parts of a simulated cell: streams of messages, receivers, links, partitions, brokers."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.scale.events import Server

__all__ = ["Batch", "Broker", "Cohort", "Link", "Partition", "Receiver", "Stream", "taken"]


class Cohort(NamedTuple):
    """Messages that came evenly between two times."""

    begin: float
    end: float
    number: int


@dataclass(eq=False, slots=True)
class Broker:
    zone: int
    is_alive: bool = True
    threads: Server = field(default_factory=Server)
    disk: Server = field(default_factory=Server)


@dataclass(eq=False, slots=True)
class Partition:
    number: int
    leader: Broker
    in_sync: tuple[Broker, ...]
    """In a fixed order, so that a seed gives the same run."""
    in_flight: dict[Batch, None] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Receiver:
    """One receiver in direct mode."""

    zone: int
    is_alive: bool = True
    thread: Server = field(default_factory=Server)
    handshakes: Server = field(default_factory=Server)
    """Has half of the thread while there are any."""
    pending: int = 0
    """Messages that it has read and not answered."""
    pending_most: int = 0
    streams: list[Stream] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Link:
    """The connection of a receiver to a broker."""

    in_flight: int = 0
    ready: deque[Stream] = field(default_factory=deque)
    """Partitions whose linger is over, and which wait for a request to be answered."""


@dataclass(eq=False, slots=True)
class Stream:
    """Messages for one partition that come over the connections of one receiver."""

    receiver: Receiver
    partition: Partition
    rate: float
    made_until: float = 0.0
    first_at: float | None = None
    """When the next message comes, if none is there."""
    cohorts: deque[Cohort] = field(default_factory=deque)
    waiting: int = 0
    """In all cohorts."""
    read: int = 0
    """Of them; the others are still with their senders."""
    is_ready: bool = False

    @property
    def unread(self) -> int:
        return self.waiting - self.read

    def add(self, cohorts: Sequence[Cohort]) -> None:
        self.cohorts.extend(cohorts)
        self.waiting += sum(cohort.number for cohort in cohorts)


@dataclass(eq=False, slots=True)
class Batch:
    """A produce request."""

    stream: Stream
    link: Link
    cohorts: list[Cohort]
    number: int
    octets: float
    stored: set[Broker] = field(default_factory=set)
    is_committed: bool = False


def taken(stream: Stream, number: int) -> list[Cohort]:
    """The oldest `number` messages, which leave the stream."""
    stream.waiting -= number
    stream.read -= number
    found = []
    while number:
        cohort = stream.cohorts.popleft()
        if cohort.number > number:
            middle = cohort.begin + (cohort.end - cohort.begin) * number / cohort.number
            stream.cohorts.appendleft(Cohort(middle, cohort.end, cohort.number - number))
            cohort = Cohort(cohort.begin, middle, number)
        found.append(cohort)
        number -= cohort.number
    return found
