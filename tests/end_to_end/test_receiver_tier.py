"""Exactly once and in order through a receiver tier, whatever is killed, stopped or cut.

The seed is printed; set TIER_SEED to repeat it, TIER_SENDERS and TIER_SECONDS for more and longer.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.kill import seed_from
from tests.end_to_end.receiver_tier import (
    Files,
    InLog,
    Tier,
    late,
    repeated,
    runs,
    trouble,
)
from tests.engines.answer_losing_proxy import tansu_behind_proxy
from tests.engines.nats import NatsCluster
from tests.engines.topics import read_topic
from tests.processes import Program, Programs

pytestmark = pytest.mark.slow

SENDERS = int(os.environ.get("TIER_SENDERS", "2"))
SECONDS = float(os.environ.get("TIER_SECONDS", "4"))
ARRIVE_SECONDS_MAX = 60.0 + SECONDS
PAUSE_SECONDS = 0.05
PARTITIONS = 6


class Kafka:
    """Tansu behind a proxy that loses answers.  It is never killed: its records are in memory."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self._tansu, self._proxy = tansu_behind_proxy(programs, folder, topics={"logs": PARTITIONS})
        url = f"kafka://{self._proxy.address}/logs"
        self.destination = {"connect": url, "replicas_min": 1, "answer_seconds_max": 3.0}
        self.source = {
            "listen": url,
            "partitions": f"0-{PARTITIONS - 1}",
            "read_from": "beginning",
        }
        self._is_paused = False

    def disturb(self, chance: random.Random) -> str:
        how = chance.choice(("lose", "drop", "cut", "pause"))
        if how == "pause":
            self._tansu.pause()
            self._is_paused = True
        elif how == "cut":
            self._proxy.cut()
        else:
            self._proxy.lose(chance.randint(1, 3), cut=how == "lose")
        return f"engine: {how}"

    def calm(self) -> None:
        if self._is_paused:
            self._tansu.resume()
            self._is_paused = False

    def records(self) -> list[InLog]:
        return [
            InLog(
                f"partition {record.partition}, offset {record.offset}",
                record.headers.get("syslogrelay", b"none").decode(),
                record.value,
            )
            for record in read_topic(self._tansu.address, "logs", PARTITIONS, count=0)
        ]


class Nats:
    """Three servers of NATS, whose files are synced: they are killed one at a time, and all."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self._cluster = NatsCluster.started(programs, folder / "nats")
        self._cluster.add_stream("LOGS", ["logs.>"])
        url = f"nats://{self._cluster.hosts}/LOGS"
        self.destination = {
            "connect": url,
            "subject": "logs.$LINEAGE",
            "answer_seconds_max": 15.0,
        }
        self.source = {"listen": url, "consumer": "reader"}
        self._stopped: list[Program] = []

    def disturb(self, chance: random.Random) -> str:
        servers = self._cluster.servers
        how = chance.choice(("kill one", "kill one", "stop one", "kill all"))
        for victim in servers if how == "kill all" else [chance.choice(servers)]:
            if how == "stop one":
                victim.signal(signal.SIGSTOP)
                self._stopped.append(victim)
            else:
                victim.kill()
        return f"engine: {how}"

    def calm(self) -> None:
        for server in self._stopped:
            server.signal(signal.SIGCONT)
        self._stopped.clear()
        for server in self._cluster.servers:
            if not server.is_running:
                server.start()

    def records(self) -> list[InLog]:
        return [
            InLog(f"message {place}, {subject}", headers.get("syslogrelay", "none"), data)
            for place, (subject, headers, data) in enumerate(self._cluster.messages("LOGS"), 1)
        ]


ENGINES: dict[str, type[Kafka] | type[Nats]] = {"kafka": Kafka, "nats": Nats}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_message_once_and_in_order(engine: str, programs: Programs, tmp_path: Path) -> None:
    seed = seed_from("TIER_SEED")
    files = Files(tmp_path / "files", SENDERS, pause_seconds=PAUSE_SECONDS)
    tier = Tier(programs, tmp_path, ENGINES[engine](programs, tmp_path), files)
    files.start()
    happened = trouble(tier, random.Random(seed), SECONDS)
    files.finish()
    print(dict(sorted(Counter(happened).items())))
    tier.wait_for_all(ARRIVE_SECONDS_MAX)
    tier.stop()
    tier.assert_exactly_once()


def test_the_account_finds_what_is_lost_twice_and_late() -> None:
    got = [(0, 1), (0, 3), (0, 2), (0, 3), (1, 1)]
    assert repeated(got) == {(0, 3)}
    assert late(got) == [(0, 2)]
    assert runs([(1, 2), (0, 5), (0, 4), (0, 7)]) == [(0, 4, 5), (0, 7, 7), (1, 2, 2)]
