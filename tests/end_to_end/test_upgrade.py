"""Restarts under load: through exec, and through systemd's descriptor store, nothing is lost.

Senders of every kind go on all the time, over connections that are never made anew.  What they
have written has to arrive, once: from relay to relay nothing comes twice.  RESTARTS says how often.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import AskFailed, ask
from tests.descriptor_store import DescriptorStoreStandIn
from tests.end_to_end.central import Central
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received

RESTARTS = int(os.environ.get("RESTARTS", "3"))
_PAUSE_SECONDS = 0.002
_NUMBER = re.compile(rb"([a-z]+)-(\d+)$")
_QUICK = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2}


class Sender(threading.Thread):
    """Writes numbered messages into one socket until it is told to end."""

    def __init__(self, tag: str, connected: socket.socket, *, is_stream: bool) -> None:
        super().__init__(daemon=True)
        self.tag, self.sent = tag, 0
        self._connected, self._is_stream = connected, is_stream
        self._over = threading.Event()
        self.error: OSError | None = None

    def run(self) -> None:
        try:
            for number in itertools.count():
                message = b"<13>app: %s-%d" % (self.tag.encode(), number)
                if self._is_stream:  # in two pieces, so that a restart comes between them
                    self._connected.sendall(message[: number % len(message)])
                    time.sleep(_PAUSE_SECONDS)
                    message = message[number % len(message) :] + b"\n"
                self._connected.sendall(message)
                self.sent += 1
                if self._over.wait(_PAUSE_SECONDS):
                    return
        except OSError as error:
            self.error = error

    def end(self) -> None:
        self._over.set()
        self.join(20)


class Site:
    """Senders, a relay that takes all they write, and a central relay that it passes it to."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.central = Central(programs, folder / "central", free_port())
        self.udp, self.tcp = free_port(), free_port()
        self.unix, self.gram = str(folder / "unix.sock"), str(folder / "gram.sock")
        self.edge = RelayProcess(
            folder / "edge",
            sources={
                "udp": {"listen": f"udp://127.0.0.1:{self.udp}"},
                "tcp": {"listen": f"tcp://127.0.0.1:{self.tcp}"},
                "unix": {"listen": f"unix://{self.unix}"},
                "gram": {"listen": f"unixgram://{self.gram}"},
            },
            destinations={"central": {"connect": self.central.url, **_QUICK}},
        )
        programs.add(self.edge)
        self.senders: list[Sender] = []

    def begin(self) -> None:
        for tag, family, kind, address in (
            ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", self.udp)),
            ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", self.tcp)),
            ("unix", socket.AF_UNIX, socket.SOCK_STREAM, self.unix),
            ("gram", socket.AF_UNIX, socket.SOCK_DGRAM, self.gram),
        ):
            connected: Any = socket.socket(family, kind)
            connected.connect(address)
            self.senders.append(Sender(tag, connected, is_stream=kind == socket.SOCK_STREAM))
        for sender in self.senders:
            sender.start()

    def assert_all_arrived_once(self) -> None:
        for sender in self.senders:
            sender.end()
            assert sender.error is None, f"{sender.tag}: {sender.error}"
        sent = {f"{each.tag}-{number}" for each in self.senders for number in range(each.sent)}
        path = self.central.arrived
        wait_until(lambda: len(received(path)) >= len(sent), f"{len(sent)} messages", 30)
        found = Counter(
            match[0].decode() for line in received(path) if (match := _NUMBER.search(line))
        )
        assert sorted(sent - found.keys()) == [], "lost"
        assert [each for each, count in found.items() if count > 1] == [], "came twice"
        assert found.keys() == sent

    def wait_until_flowing(self) -> None:
        before = {each.tag: each.sent for each in self.senders}
        size = self.central.arrived.stat().st_size if self.central.arrived.exists() else 0
        wait_until(
            lambda: (
                all(each.error or each.sent > before[each.tag] + 5 for each in self.senders)
                and self.central.arrived.exists()
                and self.central.arrived.stat().st_size > size
            ),
            "messages flow",
        )


def upgraded(relay: RelayProcess) -> dict[str, Any]:
    """Upgrade a relay; what the new process reports."""
    begun = ask(str(relay.state_dir), "upgrade", seconds_max=30)
    report: dict[str, Any] = {}

    def is_done() -> bool:
        try:
            report.update(ask(str(relay.state_dir), "handover"))
        except AskFailed:
            return False
        return report.get("id") == begun["id"]

    wait_until(is_done, "the new process answers")
    return report


def run_upgrade(relay: RelayProcess) -> tuple[int, str]:
    """Status and output of the command."""
    command = [Path(sys.executable).with_name("syslogrelay"), "upgrade", "-d", relay.state_dir]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def assert_refused(relay: RelayProcess) -> None:
    """A file that is wrong is no reason to stop."""
    right = relay.config_path.read_text()
    relay.config_path.write_text(right + "[relay.nonsense]\n")
    status, text = run_upgrade(relay)
    relay.config_path.write_text(right)
    assert status == 1 and "refused, and the relay goes on as it is" in text
    assert "nonsense" in text
    assert ask(str(relay.state_dir), "status")


def test_upgrades_under_load_lose_nothing(programs: Programs, tmp_path: Path) -> None:
    site = Site(programs, tmp_path)
    site.central.start()
    site.edge.start()
    site.begin()
    pids = site.edge.pid, site.central.pid
    site.wait_until_flowing()
    status, text = run_upgrade(site.edge)
    assert (status, "4 sockets and 2 open connections handed over" in text) == (0, True), text
    for number in range(1, RESTARTS):
        site.wait_until_flowing()
        if number % 3 == 2:
            report = upgraded(site.central)
            assert (report["sockets"], report["connections"]) == (1, 0)
        else:
            report = upgraded(site.edge)
            assert (report["sockets"], report["connections"]) == (4, 2)
        assert (report["connections_closed"], report["sockets_closed"]) == (0, [])
    site.wait_until_flowing()
    site.assert_all_arrived_once()
    assert (site.edge.pid, site.central.pid) == pids
    assert site.edge.is_running and site.central.is_running
    for source in ask(str(site.edge.state_dir), "status")["sources"]:
        assert source["dropped_records"] == {}, source["id"]
    assert_refused(site.edge)
    site.edge.stop()
    site.central.stop()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[DescriptorStoreStandIn]:
    manager = DescriptorStoreStandIn(tmp_path)
    yield manager
    manager.close()


def start_from_store(relay: RelayProcess, manager: DescriptorStoreStandIn) -> None:
    """Start a relay as systemd does, with the descriptors that it has."""
    own = [*relay.command[relay.command.index("--nodaemon") - 2 :]]
    before = len(manager.reports)
    relay.command, variables, numbers = manager.launch(own)
    relay._environment = {**os.environ, **variables}
    relay.descriptors = numbers
    relay.start(wait=False)
    wait_until(
        lambda: any("READY" in each for each in manager.reports[before:]) or not relay.is_running,
        "the relay is ready",
    )
    assert relay.is_running, relay.log()


def test_restarts_with_a_descriptor_store_lose_nothing(
    programs: Programs, tmp_path: Path, manager: DescriptorStoreStandIn
) -> None:
    site = Site(programs, tmp_path)
    site.central.start()
    start_from_store(site.edge, manager)
    site.begin()
    site.wait_until_flowing()
    assert upgraded(site.edge)["sockets"] == 4  # through exec, and the store has them as well
    wait_until(lambda: sum("READY" in each for each in manager.reports) == 2, "READY")
    assert manager.heard("RELOADING", "1") and not manager.heard("STOPPING", "1")
    assert len(manager.names) == 4
    for _ in range(max(1, RESTARTS // 5)):
        site.wait_until_flowing()
        site.edge.stop()
        names = Counter(manager.names)
        assert (names["held connections"], names["held state"]) == (2, 1)
        assert len(manager.names) == 7
        start_from_store(site.edge, manager)
        wait_until(lambda: len(manager.names) == 4, "connections are not kept any longer")
    site.wait_until_flowing()
    site.assert_all_arrived_once()
    # A crash loses what was read and not stored, but not the sockets.
    site.edge.kill()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"<13>app: nobody is there", ("127.0.0.1", site.udp))
    start_from_store(site.edge, manager)
    wait_until(
        lambda: received(site.central.arrived)[-1].endswith(b"nobody is there"), "the datagram"
    )
    site.edge.stop()
    site.central.stop()
