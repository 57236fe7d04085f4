"""Relays in a ring, as real processes: each message goes round once.

input ──▶ a ──▶ b ──▶ c ──┐
          ▲───────────────┘        each also writes what it takes to a file
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.end_to_end.central import numbered
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines

COUNT = 40


def source_of(status: dict[str, Any], id: str) -> dict[str, Any]:
    return next(each for each in status["sources"] if each["id"] == id)


class Ring:
    """Relays of which each sends to the next one, and the last to the first.

    Args:
        scheme: Of the connections between them.
        destination: More keys of each destination in the ring.
    """

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        names: str,
        *,
        scheme: str = "relp",
        destination: dict[str, Any] | None = None,
    ) -> None:
        ports = [free_port() for _ in names]
        self.input_port = free_port()
        self.relays: list[RelayProcess] = []
        for index, name in enumerate(names):
            sources = {"ring": {"listen": f"{scheme}://127.0.0.1:{ports[index]}"}}
            if not index:
                sources["input"] = {"listen": f"tcp://127.0.0.1:{self.input_port}"}
            next_port = ports[(index + 1) % len(ports)]
            self.relays.append(
                RelayProcess.started(
                    programs,
                    folder / name,
                    name=name,
                    sources=sources,
                    destinations={
                        "next": {
                            "connect": f"{scheme}://127.0.0.1:{next_port}",
                            "retry_seconds_min": 0.1,
                            "retry_seconds_max": 0.2,
                            **(destination or {}),
                        },
                        "file": {"connect": f"file://{folder / name}.log"},
                    },
                )
            )
        self.files = [folder / f"{name}.log" for name in names]

    def send(self, messages: list[bytes]) -> None:
        with socket.create_connection(("127.0.0.1", self.input_port)) as connection:
            connection.sendall(b"".join(message + b"\n" for message in messages))

    def dropped(self) -> int:
        """How many messages the first relay has dropped at their second visit."""
        status: Any = ask(str(self.relays[0].state_dir), "status")
        return int(source_of(status, "ring")["dropped_records"].get("loop", 0))


@pytest.mark.parametrize(
    ("scheme", "destination"),
    [
        ("relp", {}),
        ("relp", {"rewrite": [{"set": {"X": "y"}}]}),
        ("tcp", {"format": "ewmm"}),
        ("tcp", {"format": {"name": "rfc5424", "hops": True}}),
    ],
    ids=["relp", "relp-changed", "ewmm", "rfc5424"],
)
def test_a_ring_of_three_stops_each_message_at_its_second_visit(
    scheme: str, destination: dict[str, Any], programs: Programs, tmp_path: Path
) -> None:
    ring = Ring(programs, tmp_path, "abc", scheme=scheme, destination=destination)
    ring.send(numbered("ring", COUNT))
    wait_until(lambda: ring.dropped() >= COUNT, "all messages dropped at their second visit")
    for file in ring.files:
        assert len(wait_for_lines(file, COUNT)) == COUNT
    assert ring.dropped() == COUNT
    log = ring.relays[0].log()
    assert "been here before" in log
    report = next(line for line in log.splitlines() if "been here before" in line)
    for name in "abc":
        assert f" {name} (" in report
    assert log.count("been here before") <= 2  # rate-limited
    for relay in ring.relays:
        relay.stop()


def test_a_restarted_relay_knows_what_it_has_seen(programs: Programs, tmp_path: Path) -> None:
    ring = Ring(programs, tmp_path, "abc")
    ring.relays[2].stop()
    ring.send(numbered("ring", COUNT))
    wait_for_lines(ring.files[1], COUNT)
    ring.relays[0].kill()
    ring.relays[0].start()
    ring.relays[2].start()
    wait_until(lambda: ring.dropped() >= COUNT, "all messages dropped at their second visit")
    for file in ring.files[1:]:
        assert len(wait_for_lines(file, COUNT)) == COUNT
    assert {*received(ring.files[0])} == {*numbered("ring", COUNT)}  # a killed one may write twice


@pytest.mark.parametrize(
    ("scheme", "destination"),
    [
        ("relp", {}),
        ("tcp", {"format": "ewmm"}),
        ("tcp", {"format": {"name": "rfc5424", "hops": True}}),
    ],
    ids=["relp", "ewmm", "rfc5424"],
)
def test_a_ring_of_relays_that_group_ends(
    scheme: str, destination: dict[str, Any], programs: Programs, tmp_path: Path
) -> None:
    """What waits for others is sent without a sender, and has passed relays all the same."""
    grouping = {"rewrite": [{"group_by": "$MSG", "seconds_max": 1}]}
    ring = Ring(programs, tmp_path, "ab", scheme=scheme, destination={**grouping, **destination})
    ring.send(numbered("ring", 10))
    wait_until(lambda: ring.dropped() >= 10, "all messages dropped at their second visit")
    assert len(wait_for_lines(ring.files[1], 10)) == 10
