"""What the relay says of itself has to add up, whatever was done to it."""

from __future__ import annotations

from typing import Any

from relay.cli.control_client import ask
from tests.processes import wait_until
from tests.relay_process import RelayProcess

__all__ = ["assert_drained", "status_of"]


def status_of(relay: RelayProcess) -> dict[str, Any]:
    """Its status document; fails unless every record is accounted for."""
    document: dict[str, Any] = ask(str(relay.state_dir), "status")
    for report in document["destinations"]:
        accounted = (
            report["delivered_records"]
            + report["queued_records"]
            + report["quarantined_records"]
            + sum(report["dropped_records"].values())
        )
        assert report["received_records"] == accounted, report
    return document


def assert_drained(relay: RelayProcess) -> None:
    """Everything was delivered, nothing given up or set aside, and no file was damaged."""

    def is_empty() -> bool:
        return not any(report["queued_records"] for report in status_of(relay)["destinations"])

    wait_until(is_empty, f"the queues of {relay.name} are empty")
    document = status_of(relay)
    for report in document["destinations"]:
        assert report["received_records"] == report["delivered_records"], report
    assert document["damaged_files"] == document["orphans"] == []
    assert document["admission"]["open"]
