"""What was delivered is kept for a while, sent again when somebody asks, and in nobody's way."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import AskFailed, ask
from tests.crash.kill import ALIVE_SECONDS_MAX, Traffic, seed_from
from tests.end_to_end.central import Central, numbered
from tests.end_to_end.full_disk import FileSizeLimit, small_mount
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received
from tests.relp_sender import RelpSender

RETRY = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2}
ROUNDS = 12
PADDING = b" ".ljust(1000, b"x")


class Edge(RelayProcess):
    """A relay that keeps for an hour what the central one has taken."""

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        central: Central,
        *,
        relay: dict[str, Any] | None = None,
        **keys: Any,
    ) -> None:
        self.port = free_port()
        super().__init__(
            folder,
            sources={"feed": {"listen": f"relp://127.0.0.1:{self.port}"}},
            destinations={"central": {"connect": central.url, "history": "1h", **RETRY, **keys}},
            relay={"min_free_bytes": 0, **(relay or {})},
        )
        programs.add(self)

    def start(self, *, wait: bool = True) -> None:
        super().start(wait=wait)
        if wait:
            wait_until(self._answers, "it can be asked")

    def _answers(self) -> bool:
        try:
            return bool(ask(str(self.state_dir), "status"))
        except AskFailed:
            return False

    def feed(self, frames: list[bytes]) -> None:
        with RelpSender(self.port) as sender:
            sender.send(frames)
            sender.close()

    def said(self, *arguments: str, status: int = 0) -> str:
        program = str(Path(sys.executable).with_name("syslogrelay"))
        done = subprocess.run(
            [program, *arguments, "--state-dir", str(self.state_dir)],
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == status, (arguments, done)
        return done.stdout.decode()

    def account(self) -> dict[str, Any]:
        (row,) = json.loads(self.said("audit", "--json"))
        assert row["gap"] == 0 and row["problems"] == []
        return dict(row)

    def wait_delivered(self) -> str:
        """Until nothing waits, and that is on disk.  Returns the time then."""
        wait_until(lambda: not self.account()["queued"], "all is delivered", 60)
        return datetime.now(UTC).isoformat()

    def history(self) -> list[bytes]:
        """The messages in it."""
        return (
            self.said("queue", "export", "central", "--history", "--lines")
            .encode()
            .split(b"\n")[:-1]
        )

    def history_bytes(self) -> int:
        return int(ask(str(self.state_dir), "status")["admission"]["history_bytes"])


@pytest.fixture
def central(programs: Programs, tmp_path: Path) -> Central:
    central = Central(programs, tmp_path / "central", free_port())
    central.start()
    return central


def test_what_an_upstream_has_lost_is_sent_again_and_nothing_else(
    programs: Programs, tmp_path: Path, central: Central
) -> None:
    edge = Edge(programs, tmp_path / "edge", central)
    edge.start()
    batches = [numbered(tag, 300) for tag in ("one", "two", "three")]
    everything = [frame for batch in batches for frame in batch]
    times = [edge.wait_delivered()]
    for batch in batches:
        edge.feed(batch)
        times.append(edge.wait_delivered())
    central.wait_for(everything)
    assert edge.history() == everything

    central.stop()  # its disk is broken, and it begins anew
    shutil.rmtree(central.state_dir)
    central.arrived.unlink()
    central.start()
    said = edge.said("queue", "replay", "central", "--since", times[1], "--until", times[2])
    assert said == "300 messages are in the queue of central again\n"
    assert central.wait_for(batches[1]) == batches[1]
    edge.wait_delivered()
    row = edge.account()
    assert (row["received"], row["delivered"], row["dropped"]) == (1200, 1200, {})

    edge.kill()  # the history is as safe as the queue
    edge.start()
    found = edge.said("queue", "grep", "central", "number 7$", "--history", "--since", "1h")
    assert [line.split()[5:7] for line in found.splitlines()] == [
        ["web-1", tag] for tag in ("one", "two", "three", "two")
    ]
    edge.said("queue", "replay", "central", "--since", times[3])  # what was replayed
    central.wait_for(batches[1])
    wait_until(lambda: received(central.arrived) == batches[1] * 2, "it has come twice")
    assert "history of central: whole: 1,500 records" in edge.said("queue", "verify", "central")

    edge.stop()
    edge = Edge(programs, tmp_path / "edge", central, history=0)
    edge.start()
    wait_until(lambda: not edge.history_bytes(), "who keeps no history any more has none")


def test_kills_lose_nothing_of_it_and_leave_no_gap(
    programs: Programs, tmp_path: Path, central: Central
) -> None:
    moments = random.Random(seed_from("KILL_SEED"))
    edge = Edge(programs, tmp_path / "edge", central)
    edge.start()
    sender = Traffic(edge.port, "app")
    sender.start()
    moment = threading.Event()
    for number in range(ROUNDS):
        moment.wait(moments.uniform(0.0, ALIVE_SECONDS_MAX))
        victim = central if number % 4 == 3 else edge
        victim.kill()
        victim.start(wait=False)
    sender.finish()
    arrived = central.wait_for(sender.answered)
    edge.wait_delivered()
    history = edge.history()
    assert len(history) == edge.account()["delivered"]
    assert set(sender.answered) <= set(history)
    # A killed relay may write lines twice to a file, but each was in the queue once.
    assert set(arrived) == set(history)
    assert "Traceback" not in edge.log()


def test_a_full_queue_takes_the_room_of_the_history(
    programs: Programs, tmp_path: Path, central: Central
) -> None:
    relay = {"queue_bytes_max": "4 MiB", "reserve_bytes": 0}
    edge = Edge(programs, tmp_path / "edge", central, relay=relay, history_bytes_max="3 MiB")
    edge.start()
    edge.feed([frame + PADDING for frame in numbered("one", 4000)])
    edge.wait_delivered()
    assert 2 * 2**20 < edge.history_bytes() <= 3 * 2**20
    central.stop()
    waiting = [frame + PADDING for frame in numbered("two", 3000)]
    edge.feed(waiting)  # which would not be answered if sources had to wait
    admission = ask(str(edge.state_dir), "status")["admission"]
    assert admission["open"]
    assert admission["queue_bytes"] > 3 * 2**20
    assert admission["queue_bytes"] + admission["history_bytes"] <= 4 * 2**20
    wait_until(lambda: "delivered messages had to go" in edge.log(), "somebody says so")
    central.start()
    central.wait_for(waiting)
    edge.wait_delivered()
    assert edge.history()[-3:] == waiting[-3:]


def test_a_full_disk_takes_the_room_of_the_history(
    programs: Programs, tmp_path: Path, central: Central
) -> None:
    size = 6 * 2**20
    edge = Edge(programs, tmp_path / "edge", central)
    with small_mount(edge.state_dir, size) as mount:
        edge.start()
        if mount is None:
            FileSizeLimit(size).apply(edge)
        frames = [frame + PADDING for frame in numbered("app", 20_000)]
        for start in range(0, len(frames), 500):
            edge.feed(frames[start : start + 500])
        assert set(central.wait_for(frames)) == set(frames)
        edge.wait_delivered()
        assert edge.account()["delivered"] == len(frames)
        assert os.stat(edge.state_dir / "queue" / "data.mdb").st_size <= size
        edge.stop()
