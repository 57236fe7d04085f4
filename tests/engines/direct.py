"""Logs for tests of direct mode, and receivers that publish to them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from relay.cli.control_client import ask
from relay.wire.record_number import NUMBER_HEADER, parse_record_number
from tests.engines.nats import NatsCluster
from tests.engines.tansu import Tansu
from tests.engines.topics import read_topic
from tests.processes import Programs
from tests.relay_process import RelayProcess

__all__ = ["RETRY", "Engine", "Records", "answers", "kafka", "nats", "receiver", "status"]

RETRY = {"retry_seconds_min": 0.1, "retry_seconds_max": 0.5}
Records = list[tuple[str, int, int, bytes]]


@dataclass
class Engine:
    """A log, and how a relay publishes to it."""

    connect: str
    records: Callable[[], Records]
    pause: Callable[[], object]
    resume: Callable[[], object]
    keys: Mapping[str, object] = field(default_factory=dict)
    """Further keys of the destination."""


def record_of(header: bytes | None, payload: bytes) -> tuple[str, int, int, bytes]:
    number = None if header is None else parse_record_number(header)
    return ("", 0, 0, payload) if number is None else (*number, payload)


def nats(programs: Programs, folder: Path) -> Engine:
    cluster = NatsCluster.started(programs, folder)
    cluster.add_stream("LOGS", ["logs.>"])

    def records() -> Records:
        found = []
        for _, headers, payload in cluster.messages("LOGS"):
            header = headers.get(NUMBER_HEADER)
            found.append(record_of(header.encode() if header else None, payload))
        return found

    def to_all(number: signal.Signals) -> None:
        for server in cluster.servers:
            server.signal(number)

    stop, go_on = partial(to_all, signal.SIGSTOP), partial(to_all, signal.SIGCONT)
    return Engine(f"nats://{cluster.hosts}/LOGS", records, stop, go_on)


def kafka(programs: Programs, folder: Path) -> Engine:
    tansu = Tansu.started(programs, folder, topics={"logs": 4})

    def records() -> Records:
        found = read_topic(tansu.address, "logs", 4, count=0)
        return [record_of(record.headers.get(NUMBER_HEADER), record.value) for record in found]

    keys = {"replicas_min": 1}
    return Engine(f"kafka://{tansu.address}/logs", records, tansu.pause, tansu.resume, keys)


def receiver(programs: Programs, folder: Path, engine: Engine, port: int) -> RelayProcess:
    return RelayProcess.started(
        programs,
        folder,
        sources={"net": {"listen": f"relp://127.0.0.1:{port}", "answer": "bus"}},
        destinations={"bus": {"connect": engine.connect, **engine.keys, **RETRY}},
    )


def status(relay: RelayProcess) -> dict[str, Any]:
    found: dict[str, Any] = ask(str(relay.state_dir), "status")
    return found


def answers(relay: RelayProcess) -> dict[str, Any]:
    (source,) = status(relay)["sources"]
    found: dict[str, Any] = source["answers"]
    return found
