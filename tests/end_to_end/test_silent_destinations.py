"""Destinations that connect and say nothing: others get everything, and queues stay bounded."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.end_to_end.central import Central, numbered
from tests.end_to_end.faulty_receivers import Receivers
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received
from tests.relp_sender import RelpSender

QUEUE_BYTES_MAX = 1024**2
COUNT = 4000
PADDING = b" " + b"x" * 700  # all together more than the queue of one of them


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    made = Receivers()
    yield made
    made.close()


def deaf() -> socket.socket:
    """Listens and takes connections in the kernel; no program ever reads."""
    return socket.create_server(("127.0.0.1", 0), backlog=64)


def of_status(relay: RelayProcess, id: str) -> Any:
    found = ask(str(relay.state_dir), "status")["destinations"]
    return next(each for each in found if each["id"] == id)


@pytest.mark.parametrize("when_full", ["drop-newest", "drop-oldest"])
def test_the_healthy_one_gets_everything(
    programs: Programs, tmp_path: Path, receivers: Receivers, when_full: str
) -> None:
    central = Central(programs, tmp_path / "central", free_port())
    central.start()
    port, silent = free_port(), receivers.silent()
    short = {
        "retry_seconds_min": 0.1,
        "answer_seconds_max": 1,
        "connect_seconds_max": 1,
        "retry_seconds_max": 0.5,
    }
    bounded = {"queue_bytes_max": QUEUE_BYTES_MAX, "when_full": when_full}
    with deaf() as listener:
        never = listener.getsockname()[1]
        relay = RelayProcess(
            tmp_path / "edge",
            sources={"relp": {"listen": f"relp://127.0.0.1:{port}"}},
            destinations={
                "healthy": {"connect": central.url},
                "relp": {"connect": f"relp://127.0.0.1:{silent}", **short, **bounded},
                "deaf": {"connect": f"relp://127.0.0.1:{never}", **short, **bounded},
                "http": {"connect": f"http://127.0.0.1:{silent}/x/_bulk", **short, **bounded},
                "tls": {"connect": f"tls://127.0.0.1:{silent}", **short, **bounded},
                "tcp": {"connect": f"tcp://127.0.0.1:{never}", **short, **bounded},
            },
        )
        programs.add(relay)
        relay.start()
        messages = [each + PADDING for each in numbered("relp", COUNT)]
        half = COUNT // 2
        with RelpSender(port) as sender:
            sender.send(messages[:half])
            sender.wait_answered()
            relay.kill()
        relay.start()
        with RelpSender(port) as sender:
            sender.send(messages[half:])
            sender.close()
        arrived = central.wait_for(messages)
        assert arrived == messages  # in order and exactly once, too
        wait_until(lambda: of_status(relay, "healthy")["queued_records"] == 0, "it is delivered")
        for id in ("relp", "deaf", "http", "tls", "tcp"):
            report = of_status(relay, id)
            dropped = report["dropped_records"].get("queue-full", 0)
            assert report["queued_bytes"] <= QUEUE_BYTES_MAX, (id, report)
            accounted = report["queued_records"] + dropped + report["delivered_records"]
            assert accounted == report["received_records"] == COUNT, (id, report)
            if id != "tcp":  # whose kernel takes some
                assert report["delivered_records"] == 0
                assert dropped > 0
        relay.stop()
    assert len(received(central.arrived)) == COUNT
