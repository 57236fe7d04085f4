"""A consumer of Kafka without brokers: what it returns is given by the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError

__all__ = ["FakeClient", "FakeMessage", "error_message", "library_error", "record"]


class FakeMessage:
    def __init__(
        self,
        partition: int = 0,
        offset: int = 0,
        value: bytes | None = b"",
        headers: list[tuple[str, bytes | None]] | None = None,
        error: Any = None,
    ) -> None:
        self.error = lambda: error
        self.partition = lambda: partition
        self.offset = lambda: offset
        self.value = lambda: value
        self.headers = lambda: headers


def record(partition: int, offset: int, value: bytes | None, number: bytes | None = None) -> Any:
    """A record, with the header of a relay if there is a number."""
    headers = None if number is None else [("host", b"h"), ("syslogrelay", number)]
    return FakeMessage(partition, offset, value, headers)


def library_error(code: int, text: str = "trouble", *, fatal: bool = False) -> Any:
    return KafkaError(code, text, fatal)


def error_message(code: int, partition: int = 0, offset: int = 0, *, fatal: bool = False) -> Any:
    return FakeMessage(partition, offset, error=library_error(code, fatal=fatal))


class FakeClient:
    """Notes what is done with it.

    Attributes:
        batches: What is there at each wait of `consume`, one after the other; then nothing.
        marks: The first offset and the end of each partition, as brokers say.
        cached: The same, as the client knows it.
        group: The offsets that the group has committed.
    """

    def __init__(self, partitions: int = 2) -> None:
        self.partitions = partitions
        self.topic_error: Any = None
        self.batches: list[Sequence[Any]] = []
        self.marks: dict[int, tuple[int, int]] = dict.fromkeys(range(partitions), (0, 0))
        self.cached: dict[int, tuple[int, int]] = {}
        self.group: dict[int, int] = {}
        self.calls: list[tuple[str, Any]] = []
        self.callbacks: Mapping[str, Callable[..., object]] = {}
        self.on_consume: Callable[[], object] = lambda: None
        self._assigned: list[Any] = []
        self._rest: Sequence[Any] = []

    def list_topics(self, *, timeout: float) -> Any:
        found = SimpleNamespace(
            error=self.topic_error, partitions=dict.fromkeys(range(self.partitions))
        )
        return SimpleNamespace(topics={"logs": found})

    def subscribe(self, topics: list[str], **callbacks: Callable[..., object]) -> None:
        self.calls.append(("subscribe", topics))
        self.callbacks = callbacks

    def assign(self, partitions: list[Any]) -> None:
        self._assigned = partitions
        self.calls.append(("assign", [(each.partition, each.offset) for each in partitions]))

    def incremental_assign(self, partitions: list[Any]) -> None:
        self._assigned = [*self._assigned, *partitions]
        self.calls.append(("add", [(each.partition, each.offset) for each in partitions]))

    def assignment(self) -> list[Any]:
        return self._assigned

    def committed(self, partitions: list[Any], timeout: float) -> list[Any]:
        return [
            SimpleNamespace(
                partition=each.partition, offset=self.group.get(each.partition, -1001), error=None
            )
            for each in partitions
        ]

    def get_watermark_offsets(
        self, partition: Any, timeout: float = 0.0, cached: bool = False
    ) -> tuple[int, int] | None:
        return (self.cached if cached else self.marks).get(partition.partition)

    def consume(self, num_messages: int, timeout: float) -> Sequence[Any]:
        if timeout:
            self.on_consume()
            self._rest = self.batches.pop(0) if self.batches else []
        taken, self._rest = self._rest[:num_messages], self._rest[num_messages:]
        return taken

    def pause(self, partitions: list[Any]) -> None:
        self.calls.append(("pause", len(partitions)))

    def resume(self, partitions: list[Any]) -> None:
        self.calls.append(("resume", len(partitions)))

    def seek(self, partition: Any) -> None:
        self.calls.append(("seek", (partition.partition, partition.offset)))

    def commit(self, *, offsets: list[Any], asynchronous: bool) -> None:
        name = "commit" if asynchronous else "commit and wait"
        self.calls.append((name, {each.partition: each.offset for each in offsets}))

    def close(self) -> None:
        self.calls.append(("close", None))
