"""How compression helps on a narrow, long line: `python -m tests.bench.long_line`.

A relay with a backlog drains over a line of limited width and a round trip of 50 ms into a second
relay, with and without `compress` in turn.  The line is one of

* proxy: passes the bytes of connections on loopback on, late and not faster than the width;
* packets: the same for IP packets of 1,500 bytes, as netem does, so TCP itself sees the line, with
  its slow start and what a full queue drops.  It is a TUN device in a network namespace:
  `unshare --net python -m tests.bench.long_line --line packets`, as root.  The receiver has a
  second address, and what is sent there comes back with its addresses exchanged.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import math
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from relay.cli.control_client import ask
from tests.bench.traffic import KINDS, framed, messages
from tests.processes import Programs, free_port, running_programs, wait_until
from tests.relay_process import RelayProcess

SECONDS_MAX = 120.0
DELAY_SECONDS = 0.025
"""In each direction."""
_CHUNK_BYTES = 16 * 1024
_UNDERWAY_BYTES_MAX = 1 << 20  # more than the line holds; the sender has to wait then

_TUNSETIFF = 0x400454CA
_IFF_TUN_WITHOUT_HEADER = 0x0001 | 0x1000
_HERE, _THERE = "10.77.0.1", "10.77.0.2"
_PACKET_BYTES = 1500
_PACKETS_MAX = 1000  # that wait for the line in one direction; netem's default


class Line(threading.Thread):
    """A line to a receiver on this host.

    Args:
        to: The receiver's port.
        bytes_per_second: Width, in each direction.

    Attributes:
        host, port: Where to connect.
        there, back: Bytes passed on in either direction so far.
    """

    host: str
    port: int

    def __init__(self, to: int, *, bytes_per_second: float) -> None:
        super().__init__(daemon=True)
        self.to = to
        self.there = self.back = 0
        self._bytes_per_second = bytes_per_second

    def close(self) -> None:
        """Pass nothing on any more."""


class ProxyLine(Line):
    """Delays what connections carry.

    Args:
        bytes_per_second: See `Line`; infinite = they are only delayed.
        delay_seconds: In each direction.
    """

    def __init__(
        self, to: int, *, bytes_per_second: float = math.inf, delay_seconds: float = DELAY_SECONDS
    ) -> None:
        super().__init__(to, bytes_per_second=bytes_per_second)
        self.host, self.port = "127.0.0.1", free_port()
        self._delay_seconds = delay_seconds

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.to)
        await asyncio.gather(self._pass(reader, back, "there"), self._pass(there, writer, "back"))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        loop = asyncio.get_running_loop()
        free_at = 0.0  # when the line has taken all that was read
        with suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK_BYTES):
                free_at = max(free_at, loop.time()) + len(chunk) / self._bytes_per_second
                loop.call_at(free_at + self._delay_seconds, writer.write, chunk)
                setattr(self, way, getattr(self, way) + len(chunk))
                await asyncio.sleep(
                    free_at - loop.time() - _UNDERWAY_BYTES_MAX / self._bytes_per_second
                )
        loop.call_at(max(free_at, loop.time()) + self._delay_seconds, writer.close)


class PacketLine(Line):
    """Delays IP packets, headers counted.  One at a time, in a network namespace of its own."""

    def __init__(self, to: int, *, bytes_per_second: float) -> None:
        super().__init__(to, bytes_per_second=bytes_per_second)
        assert [name for _, name in socket.if_nameindex()] == ["lo"], (
            "not in a network namespace of its own: unshare --net python -m tests.bench.long_line …"
        )
        self.host, self.port = _THERE, to
        self._is_open = True
        self._free_at = {True: 0.0, False: 0.0}
        self._waiting: dict[bool, deque[tuple[float, bytes]]] = {True: deque(), False: deque()}
        self._device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", b"line", _IFF_TUN_WITHOUT_HEADER)
        fcntl.ioctl(self._device, _TUNSETIFF, request)
        for command in (
            "link set lo up",
            f"address add {_HERE}/24 dev line",
            f"link set line mtu {_PACKET_BYTES} txqueuelen 10000 up",
            f"route replace 10.77.0.0/24 dev line src {_HERE} congctl cubic",  # as is usual
        ):
            subprocess.run(["ip", *command.split()], check=True)

    def close(self) -> None:
        self._is_open = False
        self.join()
        os.close(self._device)

    def run(self) -> None:
        while self._is_open:
            now = time.monotonic()
            due = now + 0.1
            for packets in self._waiting.values():
                while packets and packets[0][0] <= now:
                    os.write(self._device, packets.popleft()[1])
                due = min(due, packets[0][0]) if packets else due
            if select.select([self._device], [], [], max(0.0, due - now))[0]:
                with suppress(BlockingIOError):
                    for _ in range(64):
                        self._take(os.read(self._device, 2048))

    def _take(self, packet: bytes) -> None:
        header = 4 * (packet[0] & 15)
        if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
            return
        is_there = int.from_bytes(packet[header + 2 : header + 4], "big") == self.to
        now = time.monotonic()
        free_at = max(self._free_at[is_there], now)
        if free_at - now > _PACKETS_MAX * _PACKET_BYTES / self._bytes_per_second:
            return  # dropped
        free_at += len(packet) / self._bytes_per_second
        self._free_at[is_there] = free_at
        if is_there:
            self.there += len(packet)
        else:
            self.back += len(packet)
        self._waiting[is_there].append((free_at + DELAY_SECONDS, exchanged(packet)))


def exchanged(packet: bytes) -> bytes:
    """An IPv4 packet back to its sender; its checksums stay right, being sums."""
    return packet[:12] + packet[16:20] + packet[12:16] + packet[20:]


LINES = {"proxy": ProxyLine, "packets": PacketLine}


@dataclass(frozen=True)
class Drained:
    """What the drain of a backlog took."""

    seconds: float
    there: int
    back: int


def drain(
    programs: Programs, folder: Path, corpus: bytes, count: int, keys: dict[str, object], line: Line
) -> Drained:
    """Let a backlog of `count` messages, which are `corpus`, go over `line`."""
    tcp = free_port()
    central = RelayProcess(
        folder / "central",
        sources={"relays": {"listen": f"relp://0.0.0.0:{line.to}"}},
        destinations={"file": {"connect": f"file://{folder}/out.log"}},
    )
    programs.add(central)
    retry = {"retry_seconds_min": 0.1, "retry_seconds_max": 0.2}
    edge = RelayProcess(
        folder / "edge",
        sources={"in": {"listen": f"tcp://127.0.0.1:{tcp}"}},
        destinations={
            "central": {"connect": f"relp://{line.host}:{line.port}", **retry, **keys},
        },
    )
    programs.add(edge)
    edge.start()

    def report() -> dict[str, int]:
        (found,) = ask(str(edge.state_dir), "status")["destinations"]
        return dict(found)

    with socket.create_connection(("127.0.0.1", tcp)) as connection:
        connection.sendall(corpus)
    # A few odd messages may not be counted as one: the backlog is there when no more comes.
    wait_until(lambda: report()["received_records"] >= 0.99 * count, "the backlog is stored")
    time.sleep(1)
    central.start()
    line.start()
    wait_until(lambda: line.there > 3000, "the first messages are sent")
    began = time.monotonic()
    while report()["queued_records"]:
        assert time.monotonic() < began + SECONDS_MAX, "the backlog does not drain"
        time.sleep(0.02)
    seconds = time.monotonic() - began
    for relay in (edge, central):
        relay.stop()
    line.close()
    return Drained(seconds, line.there, line.back)


def row(name: str, plain: list[Drained], packed: list[Drained]) -> str:
    """A row of the table, of medians."""

    def pair(values: Sequence[float], others: Sequence[float], form: str) -> str:
        one, other = median(values), median(others)
        return f"{one:{form}} | {other:{form}} | {one / other:.1f} x"

    cells = [
        pair([each.there for each in plain], [each.there for each in packed], ",.0f"),
        pair([each.back for each in plain], [each.back for each in packed], ",.0f"),
        pair([each.seconds for each in plain], [each.seconds for each in packed], ".2f"),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", "--count", type=int, default=40_000, help="messages (40,000)")
    parser.add_argument(
        "-r", "--rounds", type=int, default=3, help="of which medians are shown (3)"
    )
    parser.add_argument("--mbits", type=float, nargs="+", default=[10.0, 100.0])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--line", choices=list(LINES), default="proxy")
    parser.add_argument("--level", type=int, default=6, help="compress_level (6)")
    parser.add_argument("--window", type=int, default=8192, help="window_records (8192)")
    arguments = parser.parse_args()
    window = {"window_records": arguments.window}
    ways: dict[str, dict[str, object]] = {
        "none": {"compress": "none", **window},
        "zstd": {"compress": "zstd", "compress_level": arguments.level, **window},
    }
    print(
        "| Mbit/s | traffic | bytes there, none | zstd | fewer | bytes back, none | zstd | fewer "
        "| s, none | s, zstd | faster |"
    )
    print(f"| ---: | --- {'| ---: ' * 9}|")
    for mbits in arguments.mbits:
        for kind in arguments.kinds:
            corpus = b"".join(
                framed(message, "counted") for message in messages(kind, arguments.count)
            )
            found: dict[str, list[Drained]] = {name: [] for name in ways}
            for _ in range(arguments.rounds):
                for name, keys in ways.items():
                    line = LINES[arguments.line](free_port(), bytes_per_second=mbits * 1e6 / 8)
                    with tempfile.TemporaryDirectory() as folder, running_programs() as programs:
                        drained = drain(
                            *(programs, Path(folder), corpus, arguments.count, keys, line)
                        )
                    found[name].append(drained)
            print(row(f"{mbits:g} | {kind}", found["none"], found["zstd"]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
