"""UDP: what a receiver on this host refuses waits, whoever ends meanwhile."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from relay.cli.control_client import ask
from tests.end_to_end.central import numbered, numbers, without_repetition
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

RETRY = {"retry_seconds_min": 0.1, "retry_seconds_max": 0.2}


class Receiver:
    """A program that takes datagrams, while it is there."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.port = free_port()
        self._socket: socket.socket | None = None

    def open(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._socket.bind(("127.0.0.1", self.port))
        self._socket.setblocking(False)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def has(self, count: int) -> bool:
        """Read what is there; whether all the first `count` numbers have come."""
        assert self._socket is not None
        try:
            while True:
                self.lines.append(self._socket.recv(65536))
        except BlockingIOError:
            pass
        return set(range(count)) <= set(numbers(self.lines, "tcp"))


def test_what_nobody_takes_on_this_host_waits_and_a_kill_changes_nothing(
    programs: Programs, tmp_path: Path
) -> None:
    receiver, port = Receiver(), free_port()
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"feed": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={"out": {"connect": f"udp://127.0.0.1:{receiver.port}", **RETRY}},
    )

    def status() -> dict[str, Any]:
        (report,) = ask(str(relay.state_dir), "status")["destinations"]
        return dict(report)

    def feed(start: int, count: int) -> None:
        before = status()["received_records"]
        feed_stream(port, numbered("tcp", count, start=start))
        wait_until(lambda: status()["received_records"] == before + count, "all is stored")

    feed(0, 1)  # alone: no later datagram tells that it was refused
    wait_until(lambda: "Connection refused, next try" in status()["state"], "the refusal")
    assert status()["delivered_records"] == 0
    feed(1, 299)
    relay.kill()
    relay.start()
    receiver.open()
    wait_until(lambda: receiver.has(300), "all that waited")
    receiver.close()  # with what it has not read, which is nothing
    feed(300, 200)
    wait_until(lambda: "Connection refused, next try" in status()["state"], "the refusal")
    receiver.open()
    wait_until(lambda: receiver.has(500), "all that came in the second outage")
    wait_until(lambda: status()["queued_records"] == 0, "an empty queue")
    receiver.close()
    assert without_repetition(numbers(receiver.lines, "tcp")) == list(range(500))
    assert status()["resent_records"] > 0
    relay.stop()
