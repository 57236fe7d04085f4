"""What a dead and a slow destination cost a healthy one: `python -m tests.bench.neighbours`.

Programs write to a unix datagram socket, as to /dev/log; a healthy receiver notes when each message
arrives.  Rounds with it alone take turns with rounds in which a second destination is dead (it
refuses connections) and a third one reads 1 KiB a second.  Printed are the medians of both sorts.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from relay.cli.control_client import ask
from tests.processes import Programs, free_port, running_programs, wait_until
from tests.relay_process import RelayProcess

RETRY = {"retry_seconds_min": 0.1, "retry_seconds_max": 1.0}
SLOW_BYTES = 1024
"""That the slow destination reads a second."""


class Receiver(threading.Thread):
    """Reads lines over TCP.

    Args:
        bytes_per_second: None = as fast as they come.

    Attributes:
        lines: What came, without the line's end.
        arrived: When each line came, in seconds on the monotonic clock.
    """

    def __init__(self, bytes_per_second: int | None = None) -> None:
        super().__init__(daemon=True)
        self.lines: list[bytes] = []
        self.arrived: list[float] = []
        self._bytes_per_second = bytes_per_second
        self._listener = socket.socket()
        if bytes_per_second is not None:  # or the kernel would take a lot at once
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = self._listener.accept()
                with connected:
                    self._read(connected)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _read(self, connected: socket.socket) -> None:
        rest = b""
        with contextlib.suppress(ConnectionError):
            while octets := connected.recv(self._bytes_per_second or 65536):
                now = time.monotonic()
                *lines, rest = (rest + octets).split(b"\n")
                self.lines += lines
                self.arrived += [now] * len(lines)
                if self._bytes_per_second is not None:
                    time.sleep(len(octets) / self._bytes_per_second)


class Neighbours:
    """A relay with a unix datagram source, a healthy destination and, if wanted, two bad ones."""

    def __init__(self, programs: Programs, folder: Path, *, bad: bool) -> None:
        self.healthy, self.slow = Receiver(), Receiver(SLOW_BYTES)
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "log"
        destinations = {"healthy": f"tcp://127.0.0.1:{self.healthy.port}"}
        if bad:
            destinations["dead"] = f"relp://127.0.0.1:{free_port()}"
            destinations["slow"] = f"tcp://127.0.0.1:{self.slow.port}"
        for receiver in (self.healthy, self.slow):
            receiver.start()
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources={"log": {"listen": f"unixgram://{self.socket}"}},
            destinations={id: {"connect": url, **RETRY} for id, url in destinations.items()},
        )
        wait_until(lambda: self.report("healthy")["ready"], "the healthy destination")

    def report(self, id: str) -> dict[str, Any]:
        """What the destination reports."""
        found = ask(str(self.relay.state_dir), "status")["destinations"]
        return dict(next(each for each in found if each["id"] == id))

    def write(self, count: int, per_second: float) -> list[float]:
        """Write messages with their numbers.  Returns when each was written."""
        written: list[float] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(str(self.socket))
            began = time.monotonic()
            for number in range(count):
                delay = began + number / per_second - time.monotonic()
                if delay > 0:
                    time.sleep(delay)
                written.append(time.monotonic())
                sender.send(b"<13>Oct 11 22:14:15 app: number %d" % number)
        return written

    def close(self) -> None:
        self.relay.stop()
        self.healthy.close()
        self.slow.close()


def number_of(line: bytes) -> int:
    return int(line.rpartition(b" ")[2])


def latencies(
    programs: Programs, folder: Path, *, bad: bool, count: int, rate: float
) -> list[float]:
    """Seconds from each write to the arrival at the healthy receiver, sorted."""
    neighbours = Neighbours(programs, folder, bad=bad)
    written = neighbours.write(count, rate)
    healthy = neighbours.healthy
    wait_until(lambda: len(healthy.lines) >= count, "all messages", 60)
    found = sorted(
        at - written[number_of(line)]
        for line, at in zip(healthy.lines, healthy.arrived, strict=True)
    )
    neighbours.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="messages of a round")
    parser.add_argument("--rate", type=float, default=2000.0, help="messages a second")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    p99: dict[bool, list[float]] = {False: [], True: []}
    p50: dict[bool, list[float]] = {False: [], True: []}
    with running_programs() as programs, tempfile.TemporaryDirectory() as folder:
        for number in range(2 * arguments.rounds):
            bad = number % 2 == 1
            found = latencies(
                programs,
                Path(folder) / str(number),
                bad=bad,
                count=arguments.count,
                rate=arguments.rate,
            )
            p50[bad].append(found[len(found) // 2])
            p99[bad].append(found[len(found) * 99 // 100])
    for words, bad in (("alone", False), ("beside a dead and a slow one", True)):
        half, most = (statistics.median(each[bad]) * 1000 for each in (p50, p99))
        rounds = ", ".join(f"{seconds * 1000:.1f}" for seconds in p99[bad])
        print(f"{words}: p50 {half:.1f} ms, p99 {most:.1f} ms (rounds: {rounds})")
    change = statistics.median(p99[True]) / statistics.median(p99[False]) - 1
    print(f"p99 changes by {change:+.1%}")


if __name__ == "__main__":
    sys.exit(main())
