"""A disk that is full at any size: intake waits, the drain goes on, nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crash.audit import assert_drained
from tests.crash.chain import edge_relay
from tests.crash.kill import Messages
from tests.end_to_end.central import Central, numbered
from tests.end_to_end.full_disk import FileSizeLimit, SmallDisk, small_mount
from tests.processes import Programs, free_port, wait_until
from tests.relp_sender import RelpSender

KiB = 1024
STEP = int(os.environ.get("SMALL_DISK_STEP", 340 * KiB))
SIZES = range(64 * KiB, int(os.environ.get("SMALL_DISK_MAX", 1536 * KiB)), STEP)
RELAY_SIZES = [int(size) for size in os.environ.get("RELAY_DISK_SIZES", "196608 1048576").split()]
SWEEP_SECONDS_MAX = 30 + 5 * len(SIZES)
PADDING = b"x" * 400
WITHHELD_SECONDS = 2.5


def test_a_queue_goes_on_when_there_is_room_again_at_every_size(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.crash.small_disk", str(tmp_path), "1"]
    done = subprocess.run(
        [*command, *map(str, SIZES)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SWEEP_SECONDS_MAX,
    )
    lines = done.stdout.splitlines()
    ends = [line.partition(": ")[2] for line in lines]
    print({end: ends.count(end) for end in sorted(set(ends))})
    assert done.returncode == 0, f"after {lines[-1:]}: {done.stderr}"
    assert len(lines) == len(SIZES)
    # A removal takes a few pages itself.  Where there is none, it waits like an append.
    assert ends.count("removals wait") <= 1 + len(ends) / 20


@pytest.fixture(params=RELAY_SIZES)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of its own where one can be mounted; else a limit on the size of files."""
    with ExitStack() as stack:
        folder = tmp_path / "edge" / "state"
        small = stack.enter_context(small_mount(folder, request.param))
        yield small or FileSizeLimit(request.param)


def test_a_relay_on_a_full_disk_drains_and_goes_on(
    disk: SmallDisk, programs: Programs, tmp_path: Path
) -> None:
    feed, upstream = free_port(), free_port()
    central = Central(programs, tmp_path / "central", upstream)
    relay = edge_relay(tmp_path / "edge", feed, upstream)
    programs.add(relay)
    relay.start()
    disk.apply(relay)
    messages = [
        head + PADDING + b" %d" % number for number, head in enumerate(numbered("app", 6000))
    ]
    arrived = Messages(central.arrived)
    with RelpSender(feed, seconds_max=WITHHELD_SECONDS, window=500) as sender:
        with pytest.raises(TimeoutError):
            sender.send(messages)
            sender.wait_answered()
        answered = len(sender.answered)
        central.start()  # the disk is full as before

        def is_drained(count: int) -> bool:
            arrived.update()
            return arrived.count() >= count

        wait_until(lambda: is_drained(answered), "what was answered is delivered", 30)
        disk.enlarge(relay)
        wait_until(lambda: is_drained(answered + len(sender.unanswered)), "the rest follows", 30)
    assert_drained(relay)
    assert arrived.out_of_order == 0
    relay.stop()
