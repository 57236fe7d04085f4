"""Thousands of RELP sessions at once: all answered, all closed, nothing left behind.

MANY_CONNECTIONS says how many; `make test` takes 2,000, `make fuzz` 10,000.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.end_to_end.siege import descriptors, resident_bytes
from tests.end_to_end.swarm import MESSAGES_EACH, Swarm
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines

CONNECTIONS = int(os.environ.get("MANY_CONNECTIONS") or 2000)
SECONDS_MAX = 30 + CONNECTIONS / 100
ROUNDS = 12
RSS_BYTES_EACH_MAX = 16 * 1024
LEFT_BYTES_EACH_MAX = 8 * 1024
SPARE_BYTES = 16 * 2**20
GARBAGE_BYTES_MAX = 24 * 2**20
SPARE_DESCRIPTORS = 200


@pytest.fixture
def enough_descriptors() -> Iterator[None]:
    """For this process and for the relay, which inherits the limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + SPARE_DESCRIPTORS
    soft, hard = before
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            assert os.geteuid() == 0, f"the limit of open files is {hard}, {wanted} are needed"
            hard = wanted
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_all_are_answered_and_leave_nothing(
    programs: Programs, tmp_path: Path, enough_descriptors: None
) -> None:
    port, arrived = free_port(), tmp_path / "received.log"
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={
            "many": {
                "listen": f"relp://127.0.0.1:{port}",
                "connections_max": CONNECTIONS + 10,
                "connections_per_peer_max": 0,
            }
        },
        destinations={"file": {"connect": f"file://{arrived}"}},
    )

    def report() -> dict[str, Any]:
        found: dict[str, Any] = ask(str(relay.state_dir), "status")["sources"][0]
        return found

    # Once through the whole path, so that everything is loaded.
    serve(port, 10)
    wait_until(lambda: report()["connections_open"] == 0, "the first few are gone")
    files, loaded = descriptors(relay.pid), resident_bytes(relay.pid)
    after: list[int] = []
    for _ in range(ROUNDS):
        with Swarm(port, CONNECTIONS, seconds_max=SECONDS_MAX) as swarm:
            began = time.monotonic()
            swarm.open_all()
            served = time.monotonic() - began
            assert swarm.answered == report()["connections_open"] == CONNECTIONS
            assert descriptors(relay.pid) > CONNECTIONS
            peak = resident_bytes(relay.pid)
            swarm.close_all()
            expected = set(swarm.messages())
        wait_until(lambda: report()["connections_open"] == 0, "all are gone")
        wait_until(lambda: descriptors(relay.pid) <= files, f"{files} descriptors as before")
        after.append(resident_bytes(relay.pid))
        print(
            f"sessions: {CONNECTIONS} answered in {served:.1f} s; RSS {loaded >> 20} MiB before, "
            f"{peak >> 20} with all ({(peak - loaded) // CONNECTIONS} octets each), "
            f"{after[-1] >> 20} after"
        )
        assert peak - loaded < CONNECTIONS * RSS_BYTES_EACH_MAX + SPARE_BYTES
    # What the allocator keeps after the first time has to do for all that follow.
    assert after[0] - loaded < CONNECTIONS * LEFT_BYTES_EACH_MAX + SPARE_BYTES
    # But for connections that were in cycles: the collector comes after 8,000 of them.
    assert after[-1] - after[0] < GARBAGE_BYTES_MAX
    everything = 10 + ROUNDS * CONNECTIONS
    lines = wait_for_lines(arrived, everything * MESSAGES_EACH)
    assert expected <= set(lines)
    assert report()["connections_accepted"] == everything
    assert report()["connections_refused"] == report()["protocol_errors"] == 0
    relay.stop()


def serve(port: int, count: int) -> None:
    with Swarm(port, count, seconds_max=SECONDS_MAX) as swarm:
        swarm.open_all()
        swarm.close_all()
