"""The counters of sources go on after a restart and a kill, and agree with the queue."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import Any

from relay.cli.control_client import ask
from tests.end_to_end.test_command_line import run
from tests.end_to_end.test_web import Watched
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port, wait_until

KILLS = 2
_COUNTERS = ("received_messages_total", "stored_messages_total", "received_bytes_total")


def document(watched: Watched) -> Any:
    return ask(str(watched.relay.state_dir), "status")


def source(watched: Watched) -> dict[str, Any]:
    (found,) = document(watched)["sources"]
    return found


def accounted(watched: Watched) -> int:
    """What the queue has really taken, as `audit` counts it, which looks at each block."""
    status, printed, _ = run("audit", "--json", "-d", str(watched.relay.state_dir))
    assert status == 0, printed
    return sum(each["received"] for each in json.loads(printed) if each["id"] == "out")


def shown(watched: Watched) -> list[float]:
    """What Prometheus gets of the counters of the source."""
    found = watched.metrics()
    names = [f"syslogrelay_source_{name}" for name in _COUNTERS]
    return [found[name, "in"] for name in names if (name, "in") in found] or [0.0] * len(names)


class Traffic:
    """Sends until it is stopped, whether somebody listens or not."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.is_set():
            try:
                feed_stream(self._port, [b"<14>host app: some message"] * 50)
            except OSError:
                time.sleep(0.01)


def test_after_kills_they_agree_with_the_queue_and_none_is_smaller(
    programs: Programs, tmp_path: Path
) -> None:
    watched = Watched(programs, tmp_path, f"relp://127.0.0.1:{free_port()}")
    traffic = Traffic(watched.port)
    try:
        before, since = shown(watched), source(watched)["since"]
        for _ in range(KILLS):
            enough = accounted(watched) + 500
            wait_until(lambda more=enough: source(watched)["stored_records"] > more, "it flows")
            time.sleep(random.uniform(0.0, 0.05))
            before = max(before, shown(watched))
            watched.relay.kill()
            watched.relay.start()
            now = shown(watched)
            assert all(new >= old for new, old in zip(now, before, strict=True)), (before, now)
            before = now
    finally:
        traffic.stop()
    watched.relay.kill()
    watched.relay.start()
    found = source(watched)
    assert found["stored_records"] == accounted(watched) > 500 * KILLS
    assert found["received_records"] >= found["stored_records"]
    assert found["since"] == since


def test_after_a_clean_restart_they_are_equal(programs: Programs, tmp_path: Path) -> None:
    watched = Watched(programs, tmp_path, f"relp://127.0.0.1:{free_port()}")
    feed_stream(watched.port, [b"<11>host app: good"] * 300 + [b"<12>host app: other"] * 7)
    wait_until(lambda: source(watched)["stored_records"] == 307, "all are stored")
    wait_until(lambda: source(watched)["connections_open"] == 0, "the connection is closed")
    before = source(watched)
    watched.relay.stop()
    watched.relay.start()
    after = source(watched)
    restarted = {"rates", "stored_seconds", "peers", "last_errors", "last_seen"}
    assert {name: value for name, value in after.items() if name not in restarted} == {
        name: value for name, value in before.items() if name not in restarted
    }
    found = watched.metrics()
    assert found["syslogrelay_source_severity_messages_total", "error", "in"] == 300
    assert found["syslogrelay_source_stored_messages_total", "in"] == 307
