"""A backlog over a long line, and into a receiver that has just come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relay.cli.control_client import ask
from tests.bench.long_line import ProxyLine
from tests.end_to_end.central import Central, numbered, numbers
from tests.end_to_end.test_stall import Mute
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

START_RECORDS = 256  # as docs/configuration.md says of window_records
QUICK = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2}


def relay_with_backlog(programs: Programs, folder: Path, upstream: int, count: int) -> RelayProcess:
    port = free_port()
    relay = RelayProcess.started(
        programs,
        folder / "edge",
        sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"central": {"connect": f"relp://127.0.0.1:{upstream}", **QUICK}},
    )
    with RelpSender(port, window=5000) as sender:
        sender.send(numbered("app", count))
        sender.close()
    return relay


def report(relay: RelayProcess) -> dict[str, Any]:
    (found,) = ask(str(relay.state_dir), "status")["destinations"]
    return dict(found)


def test_a_receiver_that_has_just_come_back_is_not_flooded(
    programs: Programs, tmp_path: Path
) -> None:
    upstream = free_port()
    relay = relay_with_backlog(programs, tmp_path, upstream, 5000)
    with Mute(upstream) as mute:
        wait_until(lambda: mute.heard_max, "it to be connected")
        # It is looked at again and again while the first message waits for its answer.
        for _ in range(20):
            assert report(relay)["in_flight_records"] <= START_RECORDS
            assert mute.heard_max <= START_RECORDS
        mute.silent = False
    relay.stop()


def test_a_long_line_is_filled_with_more_and_more_records(
    programs: Programs, tmp_path: Path
) -> None:
    """Only so can a backlog become shorter there; how fast is measured by tests/bench."""
    central = Central(programs, tmp_path / "central", free_port())
    central.start()
    line = ProxyLine(central.port, delay_seconds=0.025)
    relay = relay_with_backlog(programs, tmp_path, line.port, 30_000)
    line.start()
    wait_until(
        lambda: report(relay)["in_flight_records"] > 8 * START_RECORDS, "the window to grow", 30
    )
    arrived = central.wait_for(numbered("app", 30_000))
    assert numbers(arrived, "app") == list(range(30_000))
    relay.stop()
