"""A queue that is full: what every policy does with it, and whom it leaves alone."""

from __future__ import annotations

import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.end_to_end.central import Central, numbers
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines
from tests.relp_sender import RelpSender

COUNT = 4000
PADDING = b" ".ljust(1000, b"x") + b" "
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


def messages(count: int, tag: str = "app") -> list[bytes]:
    """One after another of each severity, debug first."""
    return [
        b"<%d>1 2026-10-11T22:14:15.003Z web-1 %s - - - %s%d"
        % (15 - number % 8, tag.encode(), PADDING, number)
        for number in range(count)
    ]


class Edge(RelayProcess):
    """A relay with a destination that is away and full soon, and a file that is neither."""

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        central: Central,
        when_full: str,
        *,
        min_free_bytes: int | str = 0,
        **keys: Any,
    ) -> None:
        self.port, self.other_port = free_port(), free_port()
        self.stream = folder / "stream"
        self.datagrams = folder / "datagrams"
        self.all, self.other = folder / "all.log", folder / "other.log"
        super().__init__(
            folder,
            sources={
                "feed": {"listen": f"relp://127.0.0.1:{self.port}"},
                "stream": {"listen": f"unix://{self.stream}"},
                "datagrams": {"listen": f"unixgram://{self.datagrams}"},
                "other": {"listen": f"relp://127.0.0.1:{self.other_port}"},
            },
            destinations={
                "limited": {
                    "connect": central.url,
                    "sources": ["feed", "stream", "datagrams"],
                    "queue_bytes_max": "1 MiB",
                    "when_full": when_full,
                    "retry_seconds_min": 0.05,
                    "retry_seconds_max": 0.2,
                    **keys,
                },
                "all": {"connect": f"file://{self.all}", "sources": ["feed"]},
                "other": {"connect": f"file://{self.other}", "sources": ["other"]},
            },
            relay={"local_block_seconds_max": 0.5, "min_free_bytes": min_free_bytes},
            name="edge",
        )
        programs.add(self)

    def limited(self) -> dict[str, Any]:
        (report,) = [
            report
            for report in ask(str(self.state_dir), "status")["destinations"]
            if report["id"] == "limited"
        ]
        return report

    def wait_drained(self) -> dict[str, Any]:
        wait_until(lambda: not self.limited()["queued_records"], "the queue is empty", 60)
        return self.limited()


def site(programs: Programs, folder: Path, when_full: str, **keys: Any) -> tuple[Edge, Central]:
    central = Central(programs, folder / "central", free_port())
    edge = Edge(programs, folder / "edge", central, when_full, **keys)
    edge.start()
    return edge, central


def feed(port: int, frames: list[bytes]) -> None:
    with RelpSender(port) as sender:
        sender.send(frames)
        sender.wait_answered()
        sender.close()


@pytest.mark.parametrize("when_full", ["drop-newest", "drop-oldest", "drop-by-severity"])
def test_what_is_dropped_is_counted_and_the_rest_arrives_in_order(
    when_full: str, programs: Programs, tmp_path: Path
) -> None:
    edge, central = site(programs, tmp_path, when_full)
    sent = messages(COUNT)
    feed(edge.port, sent)
    assert wait_for_lines(edge.all, COUNT) == sent, "the other destination has everything"
    assert 0.8 * 2**20 < edge.limited()["limit"]["used_bytes"] < 1.2 * 2**20
    wait_until(lambda: "dropped (queue-full" in edge.log(), "a warning")
    edge.kill()  # the account survives that
    edge.start()
    central.start()
    report = edge.wait_drained()
    dropped = report["dropped_records"]
    assert report["delivered_records"] + sum(dropped.values()) == COUNT
    assert report["received_records"] == COUNT
    found = numbers(wait_for_lines(central.arrived, report["delivered_records"]), "app")
    assert found == sorted(set(found))
    assert len(found) == report["delivered_records"]
    if when_full == "drop-by-severity":
        by_severity = [dropped.get(f"queue-full-{name}", 0) for name in SEVERITIES]
        # At the limit itself all are dropped, and the last round of them may not be whole.
        assert all(severe <= mild + 1 for severe, mild in pairwise(by_severity)), by_severity
        assert by_severity[7] > by_severity[2]
    else:
        assert list(dropped) == ["queue-full"]
        last = [COUNT - 1, found[-1]]
        assert (found[0] == 0 and last[1] < last[0]) == (when_full == "drop-newest")
        assert (found[0] > 0 and last[1] == last[0]) == (when_full == "drop-oldest")
    warnings = [line for line in edge.log().splitlines() if "dropped (queue-full" in line]
    assert "destinations.limited.queue_bytes_max is 1 MiB" in warnings[0]


def test_oldest_ones_may_leave_while_the_upstream_takes_others(
    programs: Programs, tmp_path: Path
) -> None:
    edge, central = site(programs, tmp_path, "drop-oldest", window_records=8)
    central.start()
    feed(edge.port, messages(3 * COUNT))
    report = edge.wait_drained()
    dropped = sum(report["dropped_records"].values())
    assert report["delivered_records"] + dropped == report["received_records"] == 3 * COUNT
    found = numbers(wait_for_lines(central.arrived, report["delivered_records"]), "app")
    assert found == sorted(set(found))
    # Nothing was interrupted, so every answer was heard.
    assert len(found) == report["delivered_records"]


def test_a_block_holds_up_those_who_feed_the_destination_and_nobody_else(
    programs: Programs, tmp_path: Path
) -> None:
    edge, central = site(programs, tmp_path, "block")
    sent = messages(COUNT)
    with RelpSender(edge.port, seconds_max=3.0, window=50) as sender:
        with pytest.raises(TimeoutError):
            sender.send(sent)
        assert edge.limited()["limit"]["blocks_sources"]
        feed(edge.other_port, sent)
        assert wait_for_lines(edge.other, COUNT) == sent
        central.start()
        sender.send(sent[len(sender.answered) + len(sender.unanswered) :])
        sender.close()
    report = edge.wait_drained()
    assert (report["delivered_records"], report["dropped_records"]) == (COUNT, {})
    assert numbers(wait_for_lines(central.arrived, COUNT), "app") == list(range(COUNT))


def test_local_programs_are_not_blocked_for_longer_than_stated(
    programs: Programs, tmp_path: Path
) -> None:
    edge, _central = site(programs, tmp_path, "block")
    sent = messages(COUNT)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as program:
        program.settimeout(20)
        program.connect(str(edge.stream))
        program.sendall(b"".join(message + b"\n" for message in sent))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as program:
        program.settimeout(20)
        program.connect(str(edge.datagrams))
        for message in sent:
            program.send(message)

    def counted(source: str) -> int:
        for report in ask(str(edge.state_dir), "status")["sources"]:
            if report["id"] == source:
                dropped = report["dropped_records"].get("admission-closed", 0)
                assert report["received_records"] >= dropped
                return int(report["stored_records"] + dropped)
        raise AssertionError(source)

    for source in ("stream", "datagrams"):
        wait_until(lambda source=source: counted(source) == COUNT, f"all of {source} is counted")
    assert "local_block_seconds_max" in edge.log()


def test_old_messages_leave(programs: Programs, tmp_path: Path) -> None:
    edge, central = site(programs, tmp_path, "drop-oldest", queue_seconds_max=1.0)
    feed(edge.port, messages(10))
    wait_until(lambda: edge.limited()["dropped_records"] == {"too-old": 10}, "they are too old")
    central.start()
    wait_until(lambda: edge.limited()["ready"], "the upstream is there")
    feed(edge.port, messages(1, "new"))
    assert len(numbers(wait_for_lines(central.arrived, 1), "new")) == 1
    assert edge.wait_drained()["delivered_records"] == 1


def test_a_disk_with_too_little_room_makes_senders_wait(programs: Programs, tmp_path: Path) -> None:
    edge, central = site(programs, tmp_path, "block", min_free_bytes="16 TiB")
    admission = ask(str(edge.state_dir), "status")["admission"]
    assert not admission["open"]
    assert "min_free_bytes is 16 TiB" in admission["reason"]
    with socket.create_connection(("127.0.0.1", edge.other_port), timeout=1.0) as sender:
        sender.sendall(b"1 open 14 relp_version=0\n")
        with pytest.raises(TimeoutError):  # not even the opening of the session is read
            sender.recv(1)
    edge.stop()
    relaxed = Edge(programs, tmp_path / "edge", central, "block")
    relaxed.start()
    feed(relaxed.other_port, messages(1))
    assert len(wait_for_lines(relaxed.other, 1)) == 1
