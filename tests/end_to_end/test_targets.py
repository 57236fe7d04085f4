"""Several targets of one destination, as real relays."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from relay.cli.control_client import ask
from tests.end_to_end.central import Central, numbered
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received
from tests.relp_sender import RelpSender

RETRY = {"retry_seconds_min": 0.1, "retry_seconds_max": 0.5}


def report_of(relay: RelayProcess) -> Any:
    """What its only destination reports."""
    (destination,) = ask(str(relay.state_dir), "status")["destinations"]
    return destination


def queued(relay: RelayProcess) -> int:
    records: int = report_of(relay)["queued_records"]
    return records


class Site:
    """A relay in front of two central ones, a and b."""

    def __init__(self, programs: Programs, folder: Path, **keys: Any) -> None:
        self.a, self.b = (Central(programs, folder / name, free_port()) for name in "ab")
        self.relp = free_port()
        self.relay = RelayProcess(
            folder / "edge",
            sources={"relp": {"listen": f"relp://127.0.0.1:{self.relp}"}},
            destinations={"central": {"connect": [self.a.url, self.b.url], **RETRY, **keys}},
        )
        programs.add(self.relay)

    def start(self) -> None:
        for each in (self.a, self.b, self.relay):
            each.start()

    def feed(self, count: int, *, start: int = 0) -> list[bytes]:
        messages = numbered("relp", count, start=start)
        with RelpSender(self.relp) as sender:
            sender.send(messages)
            sender.close()
        return messages

    def report(self) -> Any:
        return report_of(self.relay)

    def wait_delivered(self) -> None:
        wait_until(lambda: queued(self.relay) == 0, "all to be delivered")


def test_the_second_one_takes_over_and_the_first_one_gets_it_back(
    programs: Programs, tmp_path: Path
) -> None:
    site = Site(programs, tmp_path, probe_seconds=0.2, failback_probes=2)
    site.start()
    expected = site.feed(300)
    site.a.wait_for(expected)
    wait_until(lambda: queued(site.a) == 0, "the file of a to be written")  # or it is written again
    assert received(site.b.arrived) == []
    site.a.kill()
    late = site.feed(300, start=300)
    site.b.wait_for(late)
    site.wait_delivered()
    first, second = site.report()["details"]
    assert first.startswith(f"target 127.0.0.1:{site.a.port}: not used: "), json.dumps(first)
    assert second == f"target 127.0.0.1:{site.b.port}: active, 1 connection, 127.0.0.1"
    site.a.start()
    wait_until(lambda: "active" in site.report()["details"][0], "the way back")
    last = site.feed(300, start=600)
    site.a.wait_for(last)
    arrived = received(site.a.arrived) + received(site.b.arrived)
    assert sorted(arrived) == sorted(expected + late + last)  # nothing was in flight: no repeats
    assert site.report()["exactly_once"]
    for relay in (site.relay, site.a, site.b):  # nobody misses what went to the other one
        assert "may be missing" not in relay.log() and "are lost" not in relay.log()


def test_several_connections_lose_nothing_while_targets_come_and_go(
    programs: Programs, tmp_path: Path
) -> None:
    site = Site(
        programs,
        tmp_path,
        policy="balance",
        connections=4,
        ordered=False,
        probe_seconds=0.2,
        failback_probes=1,
        rebalance_seconds=1,
    )
    site.start()
    wait_until(lambda: spread(site) == [2, 2], "connections to both")
    expected = site.feed(2000)
    site.wait_delivered()
    for each in (site.a, site.b):
        assert len(received(each.arrived)) > 200, "both have a share"
    site.a.kill()
    expected += site.feed(2000, start=2000)
    site.wait_delivered()
    site.a.start()
    wait_until(lambda: spread(site) == [2, 2], "the way back")
    expected += site.feed(2000, start=4000)
    site.wait_delivered()

    def missing() -> set[bytes]:
        return {*expected} - {*received(site.a.arrived)} - {*received(site.b.arrived)}

    wait_until(lambda: not missing(), "all to be in the files")
    assert site.report()["delivered_records"] == 6000


def spread(site: Site) -> list[int]:
    """How many connections each target has."""
    found = [re.search(r"active, (\d+) connection", line) for line in site.report()["details"]]
    return [int(each[1]) if each else 0 for each in found]
