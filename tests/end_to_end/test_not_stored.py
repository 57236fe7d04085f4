"""A disk that cannot store: said at once and in words, and what is given up is counted."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.end_to_end.central import Central
from tests.end_to_end.full_disk import SmallMount, small_mount
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received

MiB = 1024 * 1024
MESSAGES = 150_000
NO_SPACE = "No space left on device"
RETRY = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallMount]:
    with ExitStack() as stack:
        small = stack.enter_context(small_mount(tmp_path / "edge" / "state", 3 * MiB))
        if small is None:
            pytest.skip("file systems can be mounted by root only")
        yield small


def command(relay: RelayProcess, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("syslogrelay"),
            *arguments,
            "--state-dir",
            str(relay.state_dir),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout


class Feed:
    """Sends numbered lines over TCP as far as they are read."""

    def __init__(self, port: int, relay: RelayProcess) -> None:
        lines = [b"<13>Oct 11 22:14:15 h app: %06d %240d\n" % (n, n) for n in range(MESSAGES)]
        self._left = memoryview(b"".join(lines))
        self._relay = relay
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._connection.setblocking(False)
        self._pending, self._pending_since = 0, 0.0

    def fails(self) -> bool:
        """Send some more; whether nothing can be stored now."""
        with suppress(BlockingIOError):
            sent = self._connection.send(self._left[: 256 * 1024])
            self._left = self._left[sent:]
        assert self._left, "it never failed"
        return bool(self.admission()["since"])

    def is_stuck(self) -> bool:
        """Whether nothing of what waits was stored for longer than the pause between two tries."""
        pending = self.admission()["pending_bytes"] if self.fails() else 0
        if pending != self._pending:
            self._pending, self._pending_since = pending, time.monotonic()
        return pending > 0 and time.monotonic() - self._pending_since > 1.5

    def admission(self) -> dict[str, Any]:
        return document(self._relay)["admission"]

    def close(self) -> None:
        self._connection.close()


def document(relay: RelayProcess) -> Any:
    return ask(str(relay.state_dir), "status")


def test_a_full_disk_is_said_stores_again_by_itself_and_losses_have_a_number(
    disk: SmallMount, programs: Programs, tmp_path: Path
) -> None:
    tcp, upstream = free_port(), free_port()
    central = Central(programs, tmp_path / "central", upstream)
    relay = RelayProcess.started(
        programs,
        tmp_path / "edge",
        sources={"feed": {"listen": f"tcp://127.0.0.1:{tcp}"}},
        destinations={"central": {"connect": central.url, **RETRY}},
        relay={"min_free_bytes": 0, "statistics_seconds": 1},
    )
    feed = Feed(tcp, relay)
    wait_until(feed.fails, "the disk is full", 60)
    admission = feed.admission()
    assert admission["open"] is False and NO_SPACE in admission["reason"]
    first, *lines = command(relay, "status")[1].splitlines()
    assert first.startswith("degraded: not accepting messages: ") and NO_SPACE in first
    assert any(line.startswith("not accepting messages since 2") for line in lines)
    status, text = command(relay, "audit")
    assert status == 1 and NO_SPACE in text
    words = f"statistics: admission closed: nothing can be stored: {NO_SPACE}"
    wait_until(lambda: words in relay.log(), "it is in the statistics", 30)
    assert "Input/output error" not in relay.log()
    # The upstream makes room; the disk is as small as before.
    central.start()
    wait_until(lambda: feed.admission()["since"] is None, "it stores again", 60)
    ended = re.compile(
        rf"queue: accepting messages again after .*nothing can be stored: {NO_SPACE}"
    )
    wait_until(lambda: ended.search(relay.log()) is not None, "the end is logged", 30)
    central.stop()
    wait_until(feed.fails, "it is full again", 60)
    wait_until(feed.is_stuck, "not even one message fits", 60)
    (source,) = document(relay)["sources"]
    relay.signal(signal.SIGTERM)
    assert relay.wait_exit(10) == 1, "messages were given up"
    feed.close()
    central.start()
    relay.start()
    wait_until(lambda: not document(relay)["destinations"][0]["queued_records"], "all is sent")
    lost = document(relay)["destinations"][0]["dropped_records"]["not-stored"]
    for beginning in ("queue: gave up", "the last stop gave up"):
        assert f"{beginning} {lost:,} messages for central (not-stored)" in relay.log()
    arrived = received(central.arrived)
    assert source["received_records"] <= len(set(arrived)) + lost
    assert command(relay, "audit")[0] == 0
    relay.stop()
