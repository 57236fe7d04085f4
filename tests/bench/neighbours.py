"""What bad destinations cost a healthy one: `python -m tests.bench.neighbours`.

Programs write to a unix datagram socket, as to /dev/log; a healthy receiver notes when each message
arrives.  Three sorts of rounds take turns: the receiver alone; beside a destination that refuses
connections, one that accepts them and stays silent, and one that reads 1 KiB a second; beside three
more healthy ones, for what further copies of the messages cost by themselves.  Each destination
retries as it does by default.  Printed are the medians of the rounds of each sort.
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

ALONE, BAD, HEALTHY = "alone", "beside three bad ones", "beside three healthy ones"
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
    """A relay with a unix datagram source, a healthy destination and others of the given sort."""

    def __init__(self, programs: Programs, folder: Path, sort: str) -> None:
        self.healthy = Receiver()
        self._others: list[Receiver] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "log"
        self._silent = socket.create_server(("127.0.0.1", 0))  # the kernel accepts for it
        urls = {"healthy": f"tcp://127.0.0.1:{self.healthy.port}"}
        if sort == BAD:
            slow = Receiver(SLOW_BYTES)
            self._others = [slow]
            urls["refusing"] = f"relp://127.0.0.1:{free_port()}"
            urls["silent"] = f"relp://127.0.0.1:{self._silent.getsockname()[1]}"
            urls["slow"] = f"tcp://127.0.0.1:{slow.port}"
        elif sort == HEALTHY:
            self._others = [Receiver() for _ in range(3)]
            urls |= {f"other{each.port}": f"tcp://127.0.0.1:{each.port}" for each in self._others}
        for receiver in (self.healthy, *self._others):
            receiver.start()
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources={"log": {"listen": f"unixgram://{self.socket}"}},
            destinations={id: {"connect": url} for id, url in urls.items()},
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
        for receiver in (self.healthy, *self._others):
            receiver.close()
        self._silent.close()


def number_of(line: bytes) -> int:
    return int(line.rpartition(b" ")[2])


def latencies(
    programs: Programs, folder: Path, *, sort: str, count: int, rate: float
) -> list[float]:
    """Seconds from each write to the arrival at the healthy receiver, sorted."""
    neighbours = Neighbours(programs, folder, sort)
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
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    # The threads of this process must not add to what is measured: the default is 5 ms.
    sys.setswitchinterval(0.0001)
    rounds: dict[str, list[list[float]]] = {ALONE: [], BAD: [], HEALTHY: []}
    with running_programs() as programs, tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for sort, found in rounds.items():
                place = Path(folder) / f"{number}-{len(found)}-{list(rounds).index(sort)}"
                found.append(
                    latencies(
                        programs, place, sort=sort, count=arguments.count, rate=arguments.rate
                    )
                )
    alone = quantiles(rounds[ALONE])
    for sort, found in rounds.items():
        text = ", ".join(
            f"p{100 * part:g} {of_sort * 1000:.1f} ms ({of_sort / of_alone - 1:+.0%})"
            for (part, of_sort), of_alone in zip(
                quantiles(found).items(), alone.values(), strict=True
            )
        )
        each = ", ".join(f"{one[len(one) * 99 // 100] * 1000:.1f}" for one in found)
        print(f"{sort}: {text}; p99 of each round: {each}")


def quantiles(rounds: list[list[float]]) -> dict[float, float]:
    """The medians over the rounds, by part of the messages."""
    return {
        part: statistics.median(found[int(len(found) * part)] for found in rounds)
        for part in (0.5, 0.9, 0.99)
    }


if __name__ == "__main__":
    sys.exit(main())
