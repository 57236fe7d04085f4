"""The upstream is away, dies or comes back: everything arrives, in order per source."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.end_to_end.central import Central, numbered, numbers, without_repetition
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines
from tests.relp_sender import RelpSender

RETRY = {"retry_seconds_min": 0.1, "retry_seconds_max": 0.5}


class Site:
    """A relay with a RELP and a TCP source in front of a central relay, neither started yet."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.relp, self.tcp = free_port(), free_port()
        self.central = Central(programs, folder / "central", free_port())
        self.relay = RelayProcess(
            folder / "edge",
            sources={
                "relp": {"listen": f"relp://127.0.0.1:{self.relp}"},
                "tcp": {"listen": f"tcp://127.0.0.1:{self.tcp}"},
            },
            destinations={"central": {"connect": self.central.url, **RETRY}},
        )
        programs.add(self.relay)

    def feed(self, count: int, *, start: int = 0) -> list[bytes]:
        """Send `count` messages to each source; return them when the relay has stored them."""
        over_tcp, over_relp = (
            numbered("tcp", count, start=start),
            numbered("relp", count, start=start),
        )
        feed_stream(self.tcp, over_tcp)
        with RelpSender(self.relp) as sender:
            sender.send(over_relp)
            sender.close()
        return over_tcp + over_relp


@pytest.fixture
def site(programs: Programs, tmp_path: Path) -> Site:
    return Site(programs, tmp_path)


def assert_in_order(lines: list[bytes], count: int) -> None:
    for tag in ("tcp", "relp"):
        assert numbers(lines, tag) == list(range(count)), tag


def test_what_came_while_the_upstream_was_away_arrives_in_order(site: Site) -> None:
    site.relay.start()
    expected = site.feed(3000)
    site.central.start()
    assert_in_order(site.central.wait_for(expected), 3000)


def test_outage_after_outage_everything_arrives_in_order(site: Site) -> None:
    site.central.start()
    site.relay.start()
    expected = site.feed(500)
    site.central.wait_for(expected)
    for start in (500, 1000):
        site.central.stop()
        expected += site.feed(500, start=start)
        site.central.start()
        site.central.wait_for(expected)
    assert_in_order(received(site.central.arrived), 1500)


def test_backlog_survives_stop_and_start(site: Site) -> None:
    site.relay.start()
    expected = site.feed(1000)
    site.relay.stop()
    site.relay.start()
    expected += site.feed(1000, start=1000)
    site.relay.stop()
    site.central.start()
    site.relay.start()
    assert_in_order(site.central.wait_for(expected), 2000)


def test_an_upstream_killed_in_the_middle_of_a_window_gets_the_rest(site: Site) -> None:
    site.relay.start()
    expected = site.feed(10000)
    for enough in (1, 5000, 12000):
        site.central.start(wait=False)
        wait_until(lambda: len(received(site.central.arrived)) >= enough, "part of it")  # noqa: B023
        site.central.kill()
    site.central.start()
    lines = site.central.wait_for(expected)
    # What was on its way may come twice, but never out of order.
    for tag in ("tcp", "relp"):
        assert without_repetition(numbers(lines, tag)) == list(range(10000)), tag


def test_a_dead_destination_delays_nobody(programs: Programs, tmp_path: Path) -> None:
    feed, dead = free_port(), free_port()
    arrived = tmp_path / "received.log"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        silent_port = silent.getsockname()[1]
        relay = RelayProcess.started(
            programs,
            tmp_path / "edge",
            sources={"feed": {"listen": f"relp://127.0.0.1:{feed}"}},
            destinations={
                "dead": {"connect": f"relp://127.0.0.1:{dead}", **RETRY},
                "silent": {"connect": f"relp://127.0.0.1:{silent_port}"},
                "file": {"connect": f"file://{arrived}"},
            },
        )
        silent.settimeout(20)
        connection, _ = silent.accept()
        wait_until(lambda: f"127.0.0.1:{dead}" in relay.log(), "the dead one was tried")
        expected = numbered("relp", 5000)
        with connection, RelpSender(feed) as sender:
            sender.send(expected)
            sender.close()
        assert wait_for_lines(arrived, 5000, seconds_max=10) == expected
        relay.stop()
    # What the dead one missed was not given up for it.
    central = Central(programs, tmp_path / "central", dead)
    central.start()
    relay.start()
    assert central.wait_for(expected) == expected
