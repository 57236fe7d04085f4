"""A relay that reads a topic of a real broker (Tansu)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.engines.mock_cluster import MockCluster
from tests.engines.tansu import GROUP_OPTIONS, GROUP_SECONDS, Tansu
from tests.engines.topics import produce
from tests.processes import Programs, free_port, running_programs, wait_until
from tests.relay_process import RelayProcess

pytestmark = pytest.mark.slow

SECONDS_MAX = 30.0


@pytest.fixture
def programs() -> Iterator[Programs]:
    with running_programs() as running:
        yield running


def texts(start: int, stop: int) -> list[bytes]:
    return [b"<13>1 2026-01-01T00:00:00Z h a - - - m%d" % at for at in range(start, stop)]


def numbers(lineage: uuid.UUID, start: int, stop: int) -> list[dict[str, bytes]]:
    """Headers of the records `start` to `stop`, sent by one session."""
    prevs = [0, *range(start + 1, stop)]
    return [
        {"syslogrelay": b"%s,%d,%d" % (str(lineage).encode(), at + 1, prev)}
        for at, prev in zip(range(start, stop), prevs, strict=True)
    ]


def reader(
    programs: Programs, folder: Path, brokers: Tansu | MockCluster, **keys: Any
) -> RelayProcess:
    """A relay that reads the topic and writes a file, or to `connect`."""
    out = {"connect": keys.pop("connect", f"file://{folder}/out"), "format": "raw"}
    relay = RelayProcess(
        folder,
        relay=keys.pop("relay", {}),
        sources={
            "bus": {"listen": f"kafka://{brokers.address}/logs", "retry_seconds_max": 1, **keys}
        },
        destinations={"out": out},
    )
    programs.add(relay)
    relay.start()
    return relay


def lines(*relays: RelayProcess) -> list[bytes]:
    paths = [relay.folder / "out" for relay in relays]
    return [line for path in paths if path.exists() for line in path.read_bytes().splitlines()]


def wait_for(expected: Sequence[bytes], *relays: RelayProcess) -> None:
    wait_until(lambda: set(expected) <= set(lines(*relays)), "all records", SECONDS_MAX)


def test_each_record_once_after_kill_and_resend(programs: Programs, tmp_path: Path) -> None:
    """Fixed partitions: senders come again, and the reader is killed in the middle."""
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 2})
    lineages = [uuid.uuid4(), uuid.uuid4()]
    relay = reader(programs, tmp_path / "relay", tansu, partitions="0-1")
    expected: list[bytes] = []
    for start in range(0, 2000, 1000):
        for partition, lineage in enumerate(lineages):
            first = max(0, start - 500)  # a session begins with what nobody has acknowledged
            values = [b"%b p%d" % (text, partition) for text in texts(first, start + 1000)]
            headers = numbers(lineage, first, start + 1000)
            produce(tansu.address, "logs", values, partition=partition, headers=headers)
            expected += values[start - first :]
        relay.kill()
        relay.start()
    wait_for(expected, relay)
    assert sorted(lines(relay)) == sorted(expected)
    for partition in (b"p0", b"p1"):
        got = [line for line in lines(relay) if line.endswith(partition)]
        assert got == [line for line in expected if line.endswith(partition)]
    wait_until(lambda: status_of(relay)["ready"], "ready", SECONDS_MAX)
    wait_until(lambda: status_of(relay)["lag_records"] == 0, "no lag", SECONDS_MAX)


def status_of(relay: RelayProcess) -> dict[str, Any]:
    (source,) = ask(str(relay.state_dir), "status")["sources"]
    return dict(source)


def test_a_group_loses_nothing_when_partitions_move(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 2})
    keys = {"group": "central", "options": GROUP_OPTIONS}
    expected: list[bytes] = []

    def produce_to_both(start: int, stop: int) -> None:
        for partition in (0, 1):
            values = [b"%b p%d" % (text, partition) for text in texts(start, stop)]
            produce(tansu.address, "logs", values, partition=partition)
            expected.extend(values)

    first = reader(programs, tmp_path / "a", tansu, group_instance="a", **keys)
    wait_until(lambda: len(status_of(first)["partitions"]) == 2, "two partitions", SECONDS_MAX)
    produce_to_both(0, 500)
    wait_for(expected, first)
    second = reader(programs, tmp_path / "b", tansu, group_instance="b", **keys)
    wait_until(lambda: len(status_of(second)["partitions"]) == 1, "one partition", SECONDS_MAX)
    produce_to_both(500, 1000)
    wait_for(expected, first, second)
    assert set(lines(first, second)) == set(expected)
    assert any(line in lines(second) for line in expected[1000:])


def test_a_topic_that_comes_later(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path)
    relay = reader(programs, tmp_path / "relay", tansu, partitions="0")
    wait_until(lambda: "topic logs" in status_of(relay)["state"], "a word", SECONDS_MAX)
    assert not status_of(relay)["ready"]
    tansu.create_topic("logs", 1)
    produce(tansu.address, "logs", [b"<13>late\n"])
    wait_for([b"<13>late"], relay)


def test_brokers_away_and_a_topic_made_anew(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 1})
    soon = {"reconnect.backoff.max.ms": "200"}
    relay = reader(programs, tmp_path / "relay", tansu, partitions="0", options=soon)
    produce(tansu.address, "logs", texts(0, 100))
    wait_for(texts(0, 100), relay)
    tansu.kill()
    wait_until(lambda: not status_of(relay)["ready"], "a word", SECONDS_MAX)
    tansu.start()
    produce(tansu.address, "logs", texts(100, 110))
    wait_for(texts(100, 110), relay)
    assert "is behind the end" in relay.log()
    assert len(lines(relay)) == 110


def test_a_stop_is_quick_and_takes_all_threads_along(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 1})
    relay = reader(programs, tmp_path / "relay", tansu, partitions="0")
    produce(tansu.address, "logs", texts(0, 100))
    wait_for(texts(0, 100), relay)
    tansu.pause()  # keeps its connections, and answers nothing
    relay.stop()
    assert "has not ended" not in relay.log()
    tansu.resume()


def test_records_that_retention_has_removed_are_counted(programs: Programs, tmp_path: Path) -> None:
    with MockCluster(brokers=1, topics={"logs": 1}) as mock:
        relay = reader(programs, tmp_path / "relay", mock, partitions="0")
        produce(mock.address, "logs", texts(0, 10), headers=numbers(uuid.uuid4(), 0, 10))
        wait_for(texts(0, 10), relay)
        relay.stop()
        lineage = uuid.uuid4()
        # One batch each: the cluster removes whole ones.
        for start in (10, 20):
            headers = numbers(lineage, start, start + 10)
            produce(mock.address, "logs", texts(start, start + 10), headers=headers)
        mock.delete_records("logs", 0, 20)
        relay.start()
        wait_for(texts(20, 30), relay)
        assert lines(relay) == texts(0, 10) + texts(20, 30)
        assert status_of(relay)["missing_records"] == 10
        assert "10 records were removed before they were read, 10 to 19" in relay.log()


def test_a_full_queue_pauses_and_the_group_keeps_its_member(
    programs: Programs, tmp_path: Path
) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 1})
    values = [
        b"<13>1 2026-01-01T00:00:00Z h a - - - %d %b" % (at, b"x" * 1000) for at in range(6000)
    ]
    produce(tansu.address, "logs", values)
    relay = reader(
        *(programs, tmp_path / "relay", tansu),
        group="central",
        options=GROUP_OPTIONS,
        connect=f"relp://127.0.0.1:{free_port()}",
        relay={"queue_bytes_max": "2 MiB"},
    )
    wait_until(lambda: "paused" in status_of(relay)["state"], "a pause", SECONDS_MAX)
    # The broker throws out who has not polled for GROUP_SECONDS; a moment more than that.
    until = time.monotonic() + GROUP_SECONDS + 1
    wait_until(lambda: time.monotonic() > until, "the interval of polls has passed", SECONDS_MAX)
    report = status_of(relay)
    assert report["consumers"] == 1
    assert report["stored_records"] < len(values)
    assert list(report["partitions"]) == ["0"]
    assert "max.poll.interval" not in relay.log()
