"""The part of confluent_kafka's consumer that is used; its own types are in C, without names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class LibraryError(Protocol):
    """An error as a value."""

    def code(self) -> int: ...

    def fatal(self) -> bool: ...

    def str(self) -> str: ...


class Message(Protocol):
    """A record, or an error in place of one."""

    def error(self) -> LibraryError | None:
        """None = it is a record."""

    def partition(self) -> int: ...

    def offset(self) -> int: ...

    def value(self) -> bytes | None: ...

    def headers(self) -> list[tuple[str, bytes | None]] | None: ...


class PartitionOffset(Protocol):
    """A partition of a topic, and an offset in it; below 0 = there is none."""

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def error(self) -> LibraryError | None: ...


class TopicMetadata(Protocol):
    """One topic, as a broker describes it."""

    @property
    def error(self) -> LibraryError | None: ...

    @property
    def partitions(self) -> Mapping[int, object]: ...


class ClusterMetadata(Protocol):
    """The topics that a broker knows."""

    @property
    def topics(self) -> Mapping[str, TopicMetadata]: ...


Partitions = Sequence[PartitionOffset]
Rebalanced = Callable[["Client", Partitions], object]


class Client(Protocol):
    """A consumer.  What may block has a limit in seconds."""

    def list_topics(self, *, timeout: float) -> ClusterMetadata: ...

    def subscribe(
        self, topics: list[str], on_assign: Rebalanced, on_revoke: Rebalanced, on_lost: Rebalanced
    ) -> object: ...

    def assign(self, partitions: Partitions) -> object: ...

    def incremental_assign(self, partitions: Partitions) -> object: ...

    def assignment(self) -> Partitions: ...

    def committed(self, partitions: Partitions, timeout: float) -> Partitions: ...

    def get_watermark_offsets(
        self, partition: PartitionOffset, timeout: float = ..., cached: bool = ...
    ) -> tuple[int, int] | None: ...

    def consume(self, num_messages: int, timeout: float) -> Sequence[Message]: ...

    def pause(self, partitions: Partitions) -> object: ...

    def resume(self, partitions: Partitions) -> object: ...

    def seek(self, partition: PartitionOffset) -> object: ...

    def commit(self, *, offsets: Partitions, asynchronous: bool) -> object: ...

    def close(self) -> object: ...
