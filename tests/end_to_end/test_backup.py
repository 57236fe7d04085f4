"""A backup of a relay under load, and what comes of it after the host was lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from relay.cli.control_client import ask
from relay.cli.main import main
from tests.end_to_end.central import Central, numbered, numbers
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

BEFORE, MESSAGES_MAX = 3000, 60_000
RETRY = {"retry_seconds_min": 0.1, "retry_seconds_max": 0.3}


class Load(threading.Thread):
    """Sends messages until it is told to stop, or the relay is gone."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.answered = 0
        self._port, self._over = port, threading.Event()
        self.start()

    def run(self) -> None:
        with RelpSender(self._port) as sender:
            try:
                for start in range(0, MESSAGES_MAX, 100):
                    if self._over.is_set():
                        break
                    sender.send(numbered("app", 100, start=start))
                    self.answered = len(sender.answered)
                sender.wait_answered()
            except OSError:
                pass  # the relay was killed
            self.answered = len(sender.answered)

    def stop(self) -> None:
        self._over.set()
        self.join(30)


def queue(*arguments: str | Path) -> str:
    done = CliRunner().invoke(main, ["queue", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def edge(programs: Programs, folder: Path, port: int, central: str) -> RelayProcess:
    return RelayProcess.started(
        programs,
        folder,
        sources={"in": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"central": {"connect": central, "history": "1h", **RETRY}},
    )


def account(relay: RelayProcess) -> dict[str, Any]:
    (report,) = ask(str(relay.state_dir), "status")["destinations"]
    found: dict[str, Any] = report
    return found


def test_everything_in_a_backup_is_delivered_once(programs: Programs, tmp_path: Path) -> None:
    """Made under load, restored after the host was lost: what it has arrives, and adds up."""
    port, state = free_port(), tmp_path / "edge/state"
    central = Central(programs, tmp_path / "central", free_port())
    relay = edge(programs, tmp_path / "edge", port, central.url)
    load = Load(port)
    wait_until(lambda: load.answered > BEFORE, "some messages")
    made = queue("backup", tmp_path / "backup", "-d", state, "--rate", "2")
    assert load.is_alive()  # all of it was under load
    count = msgspec.json.decode((tmp_path / "backup/backup.json").read_bytes())["records"]
    assert count["central"] > BEFORE, made
    wait_until(lambda: load.answered > count["central"], "messages that it does not have")
    relay.signal(signal.SIGKILL)
    load.stop()
    shutil.rmtree(tmp_path / "edge")
    queue("restore", tmp_path / "backup", "-d", state)
    relay = edge(programs, tmp_path / "edge", port, central.url)
    central.start()
    central.wait_for(numbered("app", count["central"]))
    wait_until(lambda: account(relay)["delivered_records"] == count["central"], "the answers")
    arrived = numbers(central.arrived.read_bytes().splitlines(), "app")
    assert arrived == list(range(count["central"]))
    with RelpSender(port) as sender:  # it goes on
        sender.send(numbered("later", 10))
        sender.close()
    central.wait_for(numbered("later", 10))
    wait_until(lambda: account(relay)["delivered_records"] == count["central"] + 10, "the answers")
    relay.stop()
    audit = CliRunner().invoke(main, ["audit", "--state-dir", str(state)])
    assert audit.exit_code == 0, audit.output


def test_a_receiver_that_knows_the_records_gets_none_twice(
    programs: Programs, tmp_path: Path
) -> None:
    """It got the first part before the host was lost, and so it is not sent again."""
    port, state = free_port(), tmp_path / "edge/state"
    central = Central(programs, tmp_path / "central", free_port())
    relay = edge(programs, tmp_path / "edge", port, f"relp://127.0.0.1:{central.port}")
    with RelpSender(port) as sender:
        sender.send(numbered("app", 400))
        sender.close()
    queue("backup", tmp_path / "backup", "-d", state)
    central.start()
    central.wait_for(numbered("app", 400))
    wait_until(lambda: account(relay)["delivered_records"] == 400, "the answers")
    relay.signal(signal.SIGKILL)
    wait_until(lambda: not relay.is_running, "the end")
    shutil.rmtree(tmp_path / "edge")
    queue("restore", tmp_path / "backup", "-d", state)
    relay = edge(programs, tmp_path / "edge", port, central.url)
    wait_until(lambda: account(relay)["queued_records"] == 0, "an empty queue")
    with RelpSender(port) as sender:
        sender.send(numbered("later", 10))
        sender.close()
    lines = central.wait_for(numbered("later", 10))
    assert Counter(lines) == Counter(numbered("app", 400) + numbered("later", 10))
    wait_until(lambda: account(relay)["delivered_records"] == 410, "the answers")


def test_killed_in_the_middle_it_leaves_no_backup(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    relay = edge(programs, tmp_path / "edge", port, f"relp://127.0.0.1:{free_port()}")
    with RelpSender(port) as sender:
        sender.send(numbered("app" + "x" * 900, 2000))
        sender.close()
    command = [str(Path(sys.executable).with_name("syslogrelay"))]
    slow = subprocess.Popen(
        [*command, "queue", "backup", tmp_path / "b", "-d", relay.state_dir, "--rate", "0.1"]
    )
    partial = tmp_path / "b.partial/data.mdb"
    wait_until(partial.exists, "the beginning")
    slow.kill()
    slow.wait(10)
    assert not (tmp_path / "b").exists()
    queue("backup", tmp_path / "b", "-d", relay.state_dir, "--rate", "0")
    assert sorted(os.listdir(tmp_path / "b")) == ["backup.json", "data.mdb"]
    assert not partial.exists()
    relay.stop()
