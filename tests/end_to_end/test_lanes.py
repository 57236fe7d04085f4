"""Fresh messages first: a backlog of some thousands, live ones beside it, and `kill -9`.

The seed of the moments is printed; set LANES_SEED to repeat a run.
"""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli.control_client import ask
from relay.cli.main import main
from relay.queue.store import QueueStore
from tests.crash.kill import Traffic, seed_from
from tests.end_to_end.central import Central, numbered, numbers, without_repetition
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received
from tests.relp_sender import RelpSender

BACKLOG = 4000
ROUNDS = 6
LIVE_FIRST = {"order": "live-first", "retry_seconds_min": 0.05, "retry_seconds_max": 0.2}


class Site:
    """A relay that sends fresh messages first to a central relay, neither started yet."""

    def __init__(self, programs: Programs, folder: Path, **keys: Any) -> None:
        self.port = free_port()
        self.central = Central(programs, folder / "central", free_port())
        self.sources = {"feed": {"listen": f"relp://127.0.0.1:{self.port}"}}
        self.relay = RelayProcess(
            folder / "edge",
            sources=self.sources,
            destinations={},
        )
        programs.add(self.relay)
        self.send_to_central(**keys)

    def send_to_central(self, **keys: Any) -> None:
        self.send_to(self.central.url, **{**LIVE_FIRST, **keys})

    def send_to(self, url: str, **keys: Any) -> None:
        """What the relay is to do from its next start on."""
        self.relay.configure(
            relay={"state_dir": str(self.relay.state_dir), "allow_volatile_state": True},
            sources=self.sources,
            destinations={"up": {"connect": url, **keys}},
        )

    def feed(self, tag: str, count: int, *, start: int = 0) -> list[bytes]:
        """Send messages; return them when the relay has stored them."""
        messages = numbered(tag, count, start=start)
        with RelpSender(self.port) as sender:
            sender.send(messages)
            sender.close()
        return messages

    def arrived(self, tag: str) -> list[int]:
        return numbers(received(self.central.arrived), tag)

    def status(self) -> dict[str, Any]:
        (report,) = ask(str(self.relay.state_dir), "status")["destinations"]
        return dict(report)

    def wait_for_status(self) -> dict[str, Any]:
        path = self.relay.state_dir / "control.sock"
        wait_until(path.exists, "the control socket")
        return self.status()


def run(*arguments: str, site: Site) -> str:
    """What the command line says; status 0."""
    done = CliRunner().invoke(main, [*arguments, "--state-dir", str(site.relay.state_dir)])
    assert done.exit_code == 0, done.output
    return done.output


# With this rate the backlog takes at least four seconds, whatever the machine is.
SLOWLY = {"drain_rate": f"{BACKLOG * len(numbered('old', 1)[0]) // 4} B"}


def test_fresh_messages_arrive_before_the_backlog_has_ended(
    programs: Programs, tmp_path: Path
) -> None:
    site = Site(programs, tmp_path, **SLOWLY)
    site.relay.start()
    expected = site.feed("old", BACKLOG)
    site.central.start()
    wait_until(lambda: site.arrived("old"), "the backlog begins to arrive")
    for start in (0, 150):
        expected += site.feed("fresh", 150, start=start)
        wait_until(lambda: len(site.arrived("fresh")) == start + 150, "fresh ones")  # noqa: B023
        assert len(site.arrived("old")) < BACKLOG
        lanes = site.status()["lanes"]
        assert lanes["backlog"]["queued_records"] > 0
        assert lanes["live"]["queued_records"] < 150
        assert site.status()["state"].count("exactly once") == 2  # that of each connection
    rows = {row["id"]: row for row in json.loads(run("queue", "ls", "--json", site=site))}
    words = {queue: row["state"].partition(" to ")[0] for queue, row in rows.items()}
    assert words == {"up": "backlog: connected", "lane/up": "live: connected"}
    assert run("audit", site=site).count("yes") == 2  # one account for each queue
    site.central.wait_for(expected)
    # Nothing was lost with a session, so nothing comes twice.
    assert site.arrived("old") == list(range(BACKLOG))
    assert site.arrived("fresh") == list(range(300))
    wait_until(lambda: site.status()["queued_records"] == 0, "all answered")
    report = site.status()
    assert report["received_records"] == report["delivered_records"] == BACKLOG + 300
    assert report["exactly_once"]
    assert "the backlog is delivered" in site.relay.log()
    rows = {row["id"]: row for row in json.loads(run("queue", "ls", "--json", site=site))}
    states = {queue: row["state"] for queue, row in rows.items()}
    assert states == {"up": "idle", "lane/up": report["state"]}


def test_killed_with_two_lanes_it_goes_on_with_both(programs: Programs, tmp_path: Path) -> None:
    site = Site(programs, tmp_path, **SLOWLY)
    site.relay.start()
    expected = site.feed("old", BACKLOG)
    site.central.start()
    wait_until(lambda: site.arrived("old"), "the backlog begins to arrive")
    expected += site.feed("fresh", 100)
    wait_until(lambda: site.arrived("fresh"), "the first fresh ones")
    site.central.kill()
    expected += site.feed("fresh", 900, start=100)
    site.relay.kill()
    site.relay.start()
    assert len(site.arrived("old")) < BACKLOG
    site.central.start()
    # What waited in the live lane is backlog now, and what comes goes before it.
    wait_until(lambda: "join the backlog" in site.relay.log(), "the boundary moves")
    expected += site.feed("fresher", 200)
    wait_until(lambda: len(site.arrived("fresher")) == 200, "fresher ones")
    assert len(set(site.arrived("old"))) < BACKLOG
    after = site.relay.log().partition("it reconnects for that")[2]
    assert after.count("live lane: connected") <= 1
    lines = site.central.wait_for(expected)
    for tag in ("old", "fresh"):
        order = without_repetition(numbers(lines, tag))
        assert order == sorted(order), tag
    # Nothing comes twice to the queue of the central relay; its file may get a batch again.
    assert len(lines) - len(expected) <= 8192
    wait_until(lambda: site.status()["queued_records"] == 0, "all answered")
    report = site.status()
    assert report["received_records"] == len(expected)
    assert report["delivered_records"] == len(expected)


def test_a_backlog_does_not_starve_where_one_connection_is_allowed(
    programs: Programs, tmp_path: Path
) -> None:
    site = Site(programs, tmp_path, drain_rate="2 KiB")
    site.relay.start()
    site.feed("old", BACKLOG)
    site.central.start()
    wait_until(lambda: site.status()["state"].count("exactly once") == 2, "two lanes")
    central = site.central
    central.configure(
        relay={"state_dir": str(central.state_dir), "allow_volatile_state": True},
        sources={"relays": {"listen": central.url, "connections_per_peer_max": 1}},
        destinations={"file": {"connect": f"file://{central.arrived}"}},
    )
    # Chance decides which lane connects first, and the idle live lane would keep the other out.
    for _ in range(5):
        central.kill()
        waiting = site.status()["lanes"]["backlog"]["queued_records"]
        central.start()
        wait_until(
            lambda: site.status()["lanes"]["backlog"]["queued_records"] < waiting,  # noqa: B023
            "the backlog moves",
        )


def test_kills_and_outages_lose_nothing(programs: Programs, tmp_path: Path) -> None:
    moments = random.Random(seed_from("LANES_SEED"))
    site = Site(programs, tmp_path, drain_rate="200 KiB")
    site.relay.start()
    senders = [Traffic(site.port, tag, pause_seconds=0.02) for tag in ("one", "two")]
    for sender in senders:
        sender.start()
    moment = threading.Event()
    for number in range(ROUNDS):
        size = len(received(site.central.arrived))
        site.central.start()
        wait_until(lambda: len(received(site.central.arrived)) > size, "more")  # noqa: B023
        moment.wait(moments.uniform(0.0, 0.5))
        if number % 2:
            site.relay.kill()
            site.relay.start()
            moment.wait(moments.uniform(0.0, 0.5))
        site.central.kill()
        moment.wait(moments.uniform(0.0, 0.5))
    for sender in senders:
        sender.finish()
    log = site.relay.log()
    assert "new messages go before a backlog" in log and "join the backlog" in log, (
        "hardly an outage"
    )
    site.relay.stop()
    site.send_to_central()  # as fast as it can
    site.relay.start()
    site.central.start()
    site.central.wait_for(message for sender in senders for message in sender.answered)
    wait_until(lambda: site.wait_for_status()["queued_records"] == 0, "all answered")
    site.relay.stop()
    ledgers = QueueStore.open_read_only(str(site.relay.state_dir / "queue")).ledgers
    assert set(ledgers) == {"up", "lane/up"}
    assert all(ledger.gap == 0 == ledger.queued for ledger in ledgers.values())
    assert "Traceback" not in site.relay.log()


@pytest.mark.parametrize("scheme", ["tcp", "file"])
def test_other_upstreams(programs: Programs, tmp_path: Path, scheme: str) -> None:
    site = Site(programs, tmp_path)
    arrived = tmp_path / "other.log"
    url = f"file://{arrived}"
    if scheme == "tcp":
        port = free_port()
        receiver = RelayProcess(
            tmp_path / "receiver",
            sources={"tcp": {"listen": f"tcp://127.0.0.1:{port}"}},
            destinations={"file": {"connect": f"file://{arrived}"}},
            name="receiver",
        )
        programs.add(receiver)
        url = f"tcp://127.0.0.1:{port}"
    site.send_to(url, **LIVE_FIRST)
    site.relay.start()
    expected = site.feed("old", 1000)
    if scheme == "tcp":
        receiver.start()
    expected += site.feed("fresh", 1000)
    wait_until(lambda: len(received(arrived)) == 2000, "everything")
    lines = received(arrived)
    assert (numbers(lines, "old"), numbers(lines, "fresh")) == (list(range(1000)),) * 2


def test_whoever_goes_back_to_the_oldest_first_keeps_everything(
    programs: Programs, tmp_path: Path
) -> None:
    site = Site(programs, tmp_path, **SLOWLY)
    site.relay.start()
    expected = site.feed("old", BACKLOG)
    site.central.start()
    wait_until(lambda: site.arrived("old"), "the backlog begins to arrive")
    site.central.kill()
    expected += site.feed("fresh", 300)
    site.relay.stop()
    site.send_to_central(order="oldest-first")
    site.relay.start()
    site.central.start()
    site.central.wait_for(expected)
    wait_until(lambda: site.status()["queued_records"] == 0, "all answered")
    assert site.status()["lanes"] is None
    assert ask(str(site.relay.state_dir), "status")["orphans"] == []
