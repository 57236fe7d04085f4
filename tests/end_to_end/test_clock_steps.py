"""The time of day is set while the relay runs: nothing waits for it, and nothing is too old.

The clock is set in the relay's process only, where Python reads it; the monotonic clock of
the kernel goes on, as it does when NTP or an administrator sets the clock.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any

from relay.cli.control_client import ask
from tests.end_to_end.central import Central, numbered, numbers
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

DAY, HOUR, YEAR = 86400.0, 3600.0, 365 * 86400.0
STEPS = (-30 * DAY, -HOUR, YEAR)
PATIENCE_SECONDS = 20.0  # far more than any pause here, far less than any step

# Python imports this at its start, so Twisted and the relay get this `time.time`.
SITE = """
import mmap, os, struct, time
with open(os.environ["CLOCK_OFFSET_FILE"], "r+b") as file:
    offset = mmap.mmap(file.fileno(), 8)
real = time.time
time.time = lambda: real() + struct.unpack("d", offset[:8])[0]
"""


class SettableClock:
    """The time of day of processes with this environment."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "offset"
        self._offset = 0.0
        self.set(0.0)
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(SITE)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(folder / "site"),
            "CLOCK_OFFSET_FILE": str(self._path),
        }

    def set(self, seconds: float) -> None:
        """Set the clock forward, or back if that is below 0."""
        self._offset += seconds
        with self._path.open("r+b" if self._path.exists() else "w+b") as file:
            file.write(struct.pack("d", self._offset))


class Edge(RelayProcess):
    """A relay that has an upstream to retry, ages to look at and statistics to write."""

    def __init__(self, programs: Programs, folder: Path, upstream: str) -> None:
        self.clock = SettableClock(folder)
        self.port = free_port()
        super().__init__(
            folder / "edge",
            sources={"feed": {"listen": f"relp://127.0.0.1:{self.port}"}},
            destinations={
                "central": {
                    "connect": upstream,
                    "retry_seconds_min": 0.1,
                    "retry_seconds_max": 0.5,
                    "queue_seconds_max": 600,
                    "history": "10m",
                }
            },
            relay={"statistics_seconds": 1},
            name="edge",
            environment=self.clock.environment,
        )
        programs.add(self)

    def status(self) -> dict[str, Any]:
        return ask(str(self.state_dir), "status")

    def destination(self) -> dict[str, Any]:
        report: dict[str, Any] = self.status()["destinations"][0]
        return report

    def feed(self, messages: list[bytes]) -> None:
        with RelpSender(self.port) as sender:
            sender.send(messages)
            sender.close()

    def wait_for_signs_of_life(self) -> None:
        """Wait until it has tried to connect, said statistics and looked at its queue again."""
        failures = self.destination()["failures"]
        lines = self.log().count("statistics: ")
        wait_until(
            lambda: self.destination()["failures"] > failures + 1, "retries", PATIENCE_SECONDS
        )
        wait_until(
            lambda: self.log().count("statistics: ") > lines + 1, "statistics", PATIENCE_SECONDS
        )

    def assert_times_are_true(self) -> None:
        status = self.status()
        assert 0 <= status["uptime_seconds"] < 600
        report = status["destinations"][0]
        assert not report["dropped_records"], report
        # The last records are off the disk a moment before their commit is counted.
        if report["queued_records"] and not report["ready"]:
            assert 0 <= report["oldest_seconds"] < 600
        pause = re.search(r"next try in (\d+) s", report["state"])
        assert pause is None or int(pause[1]) <= 1


def test_setting_the_clock_delays_nothing_and_drops_nothing(
    programs: Programs, tmp_path: Path
) -> None:
    central = Central(programs, tmp_path / "central", free_port())
    edge = Edge(programs, tmp_path, central.url)
    edge.start()
    messages = numbered("app", 900)
    # While the upstream is away.
    for index, step in enumerate(STEPS):
        edge.feed(messages[100 * index : 100 * index + 100])
        edge.clock.set(step)
        wait_until(
            lambda: edge.log().count("the clock was set") > index,  # noqa: B023
            "the step to be noticed",
            PATIENCE_SECONDS,
        )
        edge.wait_for_signs_of_life()
        edge.assert_times_are_true()
    edge.stop()
    edge.start()  # what it has learned of the clock outlives it
    edge.wait_for_signs_of_life()
    edge.feed(messages[300:600])
    assert edge.destination()["queued_records"] == 600
    central.start()
    central.wait_for(messages[:600], PATIENCE_SECONDS)
    # While messages flow.
    with RelpSender(edge.port) as sender:
        for index, step in enumerate(STEPS):
            start = 600 + 100 * index
            sender.send(messages[start : start + 50])
            edge.clock.set(step)
            sender.send(messages[start + 50 : start + 100])
            sender.wait_answered()
        sender.close()
    lines = central.wait_for(messages, PATIENCE_SECONDS)
    assert numbers(lines, "app") == list(range(900))  # in order, each once
    edge.assert_times_are_true()
    # An outage after it is over as soon as the upstream is back.
    central.stop()
    edge.clock.set(-HOUR)
    edge.wait_for_signs_of_life()
    edge.feed(numbered("app", 1, start=900))
    central.start()
    central.wait_for(numbered("app", 1, start=900), PATIENCE_SECONDS)
    edge.stop()
