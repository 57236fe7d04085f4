"""rsyslog as a RELP receiver whose disk is full: what it answers, and what becomes of messages."""

from __future__ import annotations

import os
import signal

import pytest

from relay.cli.control_client import ask
from tests.interop.daemons import Rsyslog
from tests.interop.lab import Lab
from tests.interop.messages import messages
from tests.plain_senders import feed_stream
from tests.processes import free_port, wait_until
from tests.relay_process import RelayProcess, received

COUNT = 200


class FullDisk:
    """A relay, and an rsyslogd that can write only short files."""

    def __init__(self, lab: Lab, action: str) -> None:
        self.lab = lab
        lab.arrived.symlink_to("/dev/full")
        self.feed, relp = free_port(), free_port()
        self.receiver: Rsyslog = lab.rsyslog(
            f"""
            module(load="imrelp")
            input(type="imrelp" port="{relp}" address="127.0.0.1" maxDataSize="64k")
            action(type="omfile" file="{lab.arrived}" template="raw" {action})
            """,
            tcp=[relp],
        )
        self.relay: RelayProcess = lab.relay_to(self.feed, {"connect": f"relp://127.0.0.1:{relp}"})

    def enlarge(self) -> None:
        """Have rsyslog open another file, where there is room."""
        self.lab.arrived.unlink()
        os.kill(self.receiver.pid, signal.SIGHUP)

    def send(self, start: int, stop: int) -> None:
        feed_stream(self.feed, messages(stop)[start:])

    def wait_delivered(self, count: int) -> None:
        def delivered() -> bool:
            (report,) = ask(str(self.relay.state_dir), "status")["destinations"]
            return bool(report["delivered_records"] == count)

        wait_until(delivered, f"{count} answers of rsyslog")

    @property
    def arrived(self) -> list[bytes]:
        return received(self.lab.arrived)


RETRIES = 'action.resumeRetryCount="-1" action.resumeInterval="1"'


@pytest.mark.parametrize("action", ["", RETRIES], ids=["default", "retries"])
def test_rsyslog_answers_for_what_its_full_disk_does_not_take_and_loses_it(
    lab: Lab, action: str
) -> None:
    """So for the relay they are delivered: docs/guarantees.md says it, and what to do."""
    disk = FullDisk(lab, action)
    disk.send(0, COUNT)
    disk.wait_delivered(COUNT)
    wait_until(lambda: "No space left on device" in disk.receiver.log(), "rsyslog's report")
    disk.enlarge()
    disk.send(COUNT, COUNT + 10)
    disk.wait_delivered(COUNT + 10)
    wait_until(lambda: disk.arrived[-10:] == messages(COUNT + 10)[-10:], "later messages")
    assert len({*messages(COUNT)} - {*disk.arrived}) > COUNT / 2
