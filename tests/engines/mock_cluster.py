"""librdkafka's mock cluster in a process of its own, driven by lines.

It speaks Kafka's protocol on loopback, and does on request what brokers do in trouble: it answers
with a given error, or late, moves leaders, goes down and comes back.  It does not check the
sequences of idempotent producers (duplicates are real there), keeps about 5 MB a partition, and
acknowledges out of memory.  Its own process, because a wrong call ends it.

    python -m tests.engines.mock_cluster BROKERS

prints `ready ADDRESSES`, and answers each line on stdin with `ok` or `error TEXT`.  Brokers count
from 1; `_Commands` has the commands.  It ends at the end of stdin.
"""

from __future__ import annotations

import ctypes
import importlib.util
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pytest

__all__ = ["FETCH", "PRODUCE", "MockCluster"]

PRODUCE = 0
FETCH = 1
"""Numbers of requests (ApiKey of Kafka's protocol)."""

ANSWER_SECONDS_MAX = 10.0
_ERROR_TEXT_MAX = 512
_PRODUCER = 0  # RD_KAFKA_PRODUCER


class MockCluster:
    """The process, as a test sees it.

    Attributes:
        address: As in `bootstrap.servers`.
    """

    def __init__(self, *, brokers: int = 3, topics: Mapping[str, int] | None = None) -> None:
        if importlib.util.find_spec("confluent_kafka") is None:
            pytest.skip("no mock cluster: pip install confluent-kafka")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engines.mock_cluster", str(brokers)],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.brokers = range(1, brokers + 1)
        self.address = self._answer("ready")
        for name, partitions in (topics or {}).items():
            self.create_topic(name, partitions)

    def create_topic(self, name: str, partitions: int, replicas: int | None = None) -> None:
        replicas = min(3, len(self.brokers)) if replicas is None else replicas
        self._tell(f"topic {name} {partitions} {replicas}")

    def delete_topic(self, name: str) -> None:
        self._tell(f"delete {name}")

    def fail_topic(self, name: str, error: int) -> None:
        """Metadata of the topic say `error` (of librdkafka, as KafkaError.X); 0 ends it."""
        self._tell(f"fail {name} {error}")

    def answer_with(self, request: int, errors: Sequence[int]) -> None:
        """The next requests of this kind, of all clients together, get these errors (0 = none)."""
        self._tell(f"errors {request} {' '.join(map(str, errors))}")

    def clear_errors(self, request: int) -> None:
        self._tell(f"clear {request}")

    def answer_late(self, broker: int, request: int, answers: Sequence[tuple[int, float]]) -> None:
        """The next requests of this kind to `broker` get (error, seconds after the request)."""
        pairs = " ".join(f"{error} {round(seconds * 1000)}" for error, seconds in answers)
        self._tell(f"late {broker} {request} {pairs}")

    def delay(self, broker: int, seconds: float) -> None:
        """Every answer of `broker` takes this long from now on; longer than a client's time-out
        means: what was asked for is done, and nobody hears of it."""
        self._tell(f"delay {broker} {round(seconds * 1000)}")

    def down(self, broker: int) -> None:
        self._tell(f"down {broker}")

    def up(self, broker: int) -> None:
        self._tell(f"up {broker}")

    def lead(self, topic: str, partition: int, broker: int) -> None:
        """`broker` is the partition's leader from now on."""
        self._tell(f"lead {topic} {partition} {broker}")

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Retention: the partition begins at the offset `before` now."""
        self._tell(f"retain {topic} {partition} {before}")

    def pause(self) -> None:
        """All brokers keep their connections and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.resume()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(ANSWER_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> MockCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _tell(self, line: str) -> str:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)
        return self._answer("ok", line)

    def _answer(self, word: str, asked: str = "") -> str:
        """The next line, without its first word; a process that does not answer is killed."""
        assert self._process.stdout is not None
        watchdog = threading.Timer(ANSWER_SECONDS_MAX, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline().strip()
        watchdog.cancel()
        first, _, rest = line.partition(" ")
        assert first == word, f"mock cluster, {asked!r}: {line or 'no answer'}"
        return rest


class _Commands:
    """The commands of one mock cluster, each with its arguments as texts."""

    def __init__(self, library: ctypes.CDLL, brokers: int) -> None:
        self._call = library
        library.rd_kafka_new.restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        library.rd_kafka_err2str.restype = ctypes.c_char_p
        text = ctypes.create_string_buffer(_ERROR_TEXT_MAX)
        handle = library.rd_kafka_new(_PRODUCER, None, text, ctypes.c_size_t(len(text)))
        assert handle, text.value.decode()
        cluster = library.rd_kafka_mock_cluster_new(ctypes.c_void_p(handle), brokers)
        assert cluster, "no mock cluster"
        self._cluster = ctypes.c_void_p(cluster)
        self._brokers = brokers

    def addresses(self) -> str:
        return str(self._call.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def topic(self, name: str, partitions: str, replicas: str) -> None:
        done = self._call.rd_kafka_mock_topic_create(
            self._cluster, name.encode(), int(partitions), int(replicas)
        )
        self._check(done)

    def delete(self, name: str) -> None:
        self._check(self._call.rd_kafka_mock_topic_delete(self._cluster, name.encode()))

    def fail(self, name: str, error: str) -> None:
        self._call.rd_kafka_mock_topic_set_error(self._cluster, name.encode(), int(error))

    def errors(self, request: str, *errors: str) -> None:
        codes = (ctypes.c_int * len(errors))(*map(int, errors))
        self._call.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(int(request)), ctypes.c_size_t(len(codes)), codes
        )

    def clear(self, request: str) -> None:
        self._call.rd_kafka_mock_clear_request_errors(self._cluster, ctypes.c_int16(int(request)))

    def late(self, broker: str, request: str, *pairs: str) -> None:
        done = self._call.rd_kafka_mock_broker_push_request_error_rtts(
            self._cluster,
            self._broker(broker),
            ctypes.c_int16(int(request)),
            ctypes.c_size_t(len(pairs) // 2),
            *map(ctypes.c_int, map(int, pairs)),
        )
        self._check(done)

    def delay(self, broker: str, milliseconds: str) -> None:
        self._check(
            self._call.rd_kafka_mock_broker_set_rtt(
                self._cluster, self._broker(broker), int(milliseconds)
            )
        )

    def down(self, broker: str) -> None:
        done = self._call.rd_kafka_mock_broker_set_down(self._cluster, self._broker(broker))
        self._check(done)

    def up(self, broker: str) -> None:
        self._check(self._call.rd_kafka_mock_broker_set_up(self._cluster, self._broker(broker)))

    def lead(self, topic: str, partition: str, broker: str) -> None:
        done = self._call.rd_kafka_mock_partition_set_leader(
            self._cluster, topic.encode(), int(partition), self._broker(broker)
        )
        self._check(done)

    def retain(self, topic: str, partition: str, before: str) -> None:
        done = self._call.rd_kafka_mock_partition_delete_records(
            self._cluster, topic.encode(), int(partition), ctypes.c_int64(int(before))
        )
        self._check(done)

    def _broker(self, text: str) -> int:
        """A leader of -1, for example, ends the process without a word."""
        if not 1 <= int(text) <= self._brokers:
            raise ValueError(f"no broker {text}: brokers are 1 to {self._brokers}")
        return int(text)

    def _check(self, code: int) -> None:
        if code:
            raise ValueError(self._call.rd_kafka_err2str(code).decode())


def _library() -> ctypes.CDLL:
    """The librdkafka that the wheel of confluent-kafka brings."""
    import confluent_kafka

    own = Path(confluent_kafka.__file__).parent
    bundled = sorted(own.with_name("confluent_kafka.libs").glob("librdkafka*.so*"))
    return ctypes.CDLL(str(bundled[0]) if bundled else "librdkafka.so.1")


def main(arguments: Sequence[str]) -> None:
    commands = _Commands(_library(), int(arguments[0]))
    print("ready", commands.addresses(), flush=True)
    for line in sys.stdin:
        word, *texts = line.split()
        try:
            getattr(commands, word)(*texts)
        except (ValueError, TypeError, AttributeError) as error:
            print("error", error, flush=True)
        else:
            print("ok", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
