"""One number is what the queue takes on the disk, however many destinations share it."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.cli.control_client import ask
from tests.end_to_end.central import numbered
from tests.processes import Programs, free_port
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

KiB = 1024
LIMIT = 4 * 1024 * KiB
PENDING = 192 * KiB
PADDING = b" ".ljust(1000, b"x")


def test_the_file_keeps_to_the_limit_whatever_the_number_of_destinations(
    programs: Programs, tmp_path: Path
) -> None:
    port = free_port()
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={
            f"away-{number}": {"connect": f"relp://127.0.0.1:{free_port()}"} for number in range(5)
        },
        relay={"queue_bytes_max": LIMIT, "pending_bytes_max": PENDING, "min_free_bytes": 0},
    )
    with RelpSender(port, seconds_max=4.0, window=200) as sender, pytest.raises(TimeoutError):
        sender.send([message + PADDING for message in numbered("app", 3 * LIMIT // 1000)])
    admission = ask(str(relay.state_dir), "status")["admission"]
    assert "queue_bytes_max is 4 MiB" in admission["reason"]
    allocated = (relay.state_dir / "queue" / "data.mdb").stat().st_blocks * 512
    print(f"{admission['queue_bytes']:,} octets in use, {allocated:,} on the disk")
    # Above it: what was read before the sources were paused, and the pages that each commit
    # writes anew.
    assert admission["queue_bytes"] <= allocated <= 1.5 * LIMIT + 2 * PENDING
    assert 0.9 * LIMIT <= admission["queue_bytes"] <= LIMIT + 5 * PENDING
    relay.stop()
