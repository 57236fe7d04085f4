"""What people move into a queue keeps that queue's limit, and nothing of it gets lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_limits import COUNT, feed, messages
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

LIMIT = 1024**2


def run(relay: RelayProcess, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    program = str(Path(sys.executable).with_name("syslogrelay"))
    command = [program, *arguments, "--state-dir", str(relay.state_dir)]
    return subprocess.run(command, capture_output=True, timeout=60)


def accounts(relay: RelayProcess) -> dict[str, Any]:
    done = run(relay, "audit", "--json")
    assert done.returncode == 0, done
    return {row["id"]: row for row in json.loads(done.stdout)}


def started(programs: Programs, folder: Path, port: int, **destination: Any) -> RelayProcess:
    (id,) = destination
    return RelayProcess.started(
        programs,
        folder,
        sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={id: {"connect": f"relp://127.0.0.1:{free_port()}", **destination[id]}},
    )


@pytest.mark.parametrize("when_full", ["block", "drop-newest", "drop-by-severity", "drop-oldest"])
def test_a_backlog_of_four_times_the_limit_is_adopted(
    programs: Programs, tmp_path: Path, when_full: str
) -> None:
    port = free_port()
    relay = started(programs, tmp_path, port, old={})
    feed(port, messages(COUNT))
    relay.stop()
    limited = {"queue_bytes_max": LIMIT, "when_full": when_full}
    relay = started(programs, tmp_path, port, new=limited)
    wait_until(lambda: run(relay, "audit").returncode == 0, "the relay to answer")
    done = run(relay, "queue", "adopt", "old", "new")
    rows = accounts(relay)
    assert sum(row["received"] for row in rows.values()) == COUNT
    if when_full == "drop-oldest":
        assert done.returncode == 0, done
        assert rows["old"]["queued"] == 0
        wait_until(
            lambda: accounts(relay)["new"]["queued"] * 1000 < LIMIT, "the oldest to have left"
        )
        new = accounts(relay)["new"]
        assert new["dropped"] == {"queue-full": COUNT - new["queued"]}
    else:
        assert done.returncode == 2, done
        assert b"the queue of new has room for 0 B" in done.stderr
        moved = rows["new"]["queued"]
        assert done.stdout.decode() == f"{moved:,} records moved from old to new\n"
        assert (rows["old"]["queued"], rows["new"]["dropped"]) == (COUNT - moved, {})
        part = 0.8 if when_full == "drop-by-severity" else 0.95
        assert part * LIMIT * 0.9 < moved * 1040 < part * LIMIT + 130 * 1024  # one block more
    relay.stop()
