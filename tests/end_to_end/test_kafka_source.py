"""A relay that reads a topic of a real broker (Tansu)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.engines.tansu import GROUP_OPTIONS, Tansu
from tests.engines.topics import produce
from tests.processes import Programs, running_programs, wait_until
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


def reader(programs: Programs, folder: Path, tansu: Tansu, **keys: Any) -> RelayProcess:
    source = {"listen": f"kafka://{tansu.address}/logs", "retry_seconds_max": 1, **keys}
    relay = RelayProcess(
        folder,
        sources={"bus": source},
        destinations={"out": {"connect": f"file://{folder}/out", "format": "raw"}},
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
    first = reader(programs, tmp_path / "a", tansu, group_instance="a", **keys)
    wait_until(lambda: len(status_of(first)["partitions"]) == 2, "two partitions", SECONDS_MAX)
    for partition in (0, 1):
        produce(tansu.address, "logs", texts(0, 500), partition=partition)
    wait_for(texts(0, 500), first)
    second = reader(programs, tmp_path / "b", tansu, group_instance="b", **keys)
    wait_until(lambda: len(status_of(second)["partitions"]) == 1, "one partition", SECONDS_MAX)
    for partition in (0, 1):
        produce(tansu.address, "logs", texts(500, 1000), partition=partition)
    wait_for(texts(500, 1000), first, second)
    second.stop()
    for partition in (0, 1):
        produce(tansu.address, "logs", texts(1000, 1500), partition=partition)
    second.start()  # a static member: its partition has waited for it
    wait_for(texts(1000, 1500), first, second)
    wait_until(lambda: lines(first, second).count(texts(1499, 1500)[0]) >= 2, "both", SECONDS_MAX)
    got = lines(first, second)
    assert set(got) == set(texts(0, 1500))
    assert len(got) >= 3000


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
    relay = reader(programs, tmp_path / "relay", tansu, partitions="0")
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
