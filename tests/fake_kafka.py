"""librdkafka as the relay's producer sees it, in memory and without threads of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

__all__ = ["Cluster", "FakeError", "FakeKafkaException", "Sent", "replace_library"]


class FakeError:
    def __init__(self, name: str, *, fatal: bool = False) -> None:
        self._name, self._fatal = name, fatal

    def name(self) -> str:
        return self._name

    def fatal(self) -> bool:
        return self._fatal

    def str(self) -> str:
        return f"Broker: {self._name}"


class FakeKafkaException(Exception):
    pass


class Sent(NamedTuple):
    topic: str
    value: bytes
    key: bytes
    partition: int
    headers: dict[str, bytes]


class Partition(NamedTuple):
    replicas: list[int]
    isrs: list[int]
    leader: int


class Topic(NamedTuple):
    partitions: dict[int, Partition]
    error: object = None


class Metadata(NamedTuple):
    topics: dict[str, Topic]
    controller_id: int = -1


class Setting(NamedTuple):
    value: str


class Answer(NamedTuple):
    entries: dict[str, Setting]

    def result(self, timeout: float) -> dict[str, Setting]:
        return self.entries


@dataclass
class Cluster:
    """Brokers, and the producers that were made."""

    topics: dict[str, int] = field(default_factory=lambda: {"logs": 4})
    replicas: int = 3
    in_sync: int = 3
    settings: dict[str, str] = field(default_factory=dict)
    is_away: bool = False
    room: int = 1_000_000
    sent: list[Sent] = field(default_factory=list)
    producers: list[FakeProducer] = field(default_factory=list)
    judge: Callable[[Sent], FakeError | None] = lambda sent: None
    """What becomes of a record."""
    client_errors: list[FakeError] = field(default_factory=list)
    """Told whenever a client asks in vain."""
    holds: bool = False
    """Nothing is reported."""

    def metadata(self) -> Metadata:
        if self.is_away:
            raise FakeKafkaException(FakeError("_TRANSPORT"))
        nodes = list(range(self.replicas))
        one = Partition(nodes, nodes[: self.in_sync], 0 if self.in_sync else -1)
        topics = {name: Topic(dict.fromkeys(range(n), one)) for name, n in self.topics.items()}
        return Metadata(topics, 0 if self.settings else -1)


class FakeClient:
    cluster: Cluster

    def __init__(self, settings: Mapping[str, Any], *, logger: Any) -> None:
        self.settings = dict(settings)

    def list_topics(self, timeout: float) -> Metadata:
        return self.cluster.metadata()

    def poll(self, timeout: float) -> None:
        for error in self.cluster.client_errors:
            self.settings["error_cb"](error)

    def describe_configs(self, topics: list[Any], request_timeout: float) -> dict[Any, Answer]:
        entries = {name: Setting(value) for name, value in self.cluster.settings.items()}
        return {topic: Answer(entries) for topic in topics}


class FakeProducer(FakeClient):
    def __init__(self, settings: Mapping[str, Any], *, logger: Any) -> None:
        super().__init__(settings, logger=logger)
        self.cluster.producers.append(self)
        self._queue: list[tuple[Sent, Callable[[Any, Any], None]]] = []
        self.closed = False

    def __len__(self) -> int:
        return len(self._queue)

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        partition: int,
        callback: Callable[[Any, Any], None],
        on_delivery: None,
        timestamp: int,
        headers: list[tuple[str, bytes]],
    ) -> None:
        if len(self._queue) >= self.cluster.room:
            raise BufferError
        if len(value) > int(self.settings["message.max.bytes"]):
            raise FakeKafkaException(FakeError("MSG_SIZE_TOO_LARGE"))
        sent = Sent(topic, value, key, partition, dict(headers))
        self._queue.append((sent, callback))

    def poll(self, timeout: float) -> None:
        queue, self._queue = self._queue, []
        for index, (sent, callback) in enumerate(queue):
            if self.cluster.holds:
                self._queue = queue[index:]
                return
            error = self.cluster.judge(sent)
            if error is None:
                self.cluster.sent.append(sent)
            callback(error, None)

    def purge(self, *, blocking: bool) -> None:
        queue, self._queue = self._queue, []
        for _, callback in queue:
            callback(FakeError("_PURGE_QUEUE"), None)

    def flush(self, timeout: float) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def replace_library(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    """Let `cluster` be the brokers of all clients."""

    class Client(FakeClient):
        pass

    class Producer(FakeProducer):
        pass

    Client.cluster = Producer.cluster = cluster

    class Library:
        KafkaException = FakeKafkaException

    Library.Producer = Producer  # type: ignore[attr-defined]
    for module in ("producing", "outgoing", "topics"):
        monkeypatch.setattr(f"relay.transport.kafka.{module}.load_library", lambda: Library)
    monkeypatch.setattr("confluent_kafka.admin.AdminClient", Client)
