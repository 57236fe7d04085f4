"""How compression helps on a narrow, long line: `python -m tests.bench.long_line`.

A relay with a backlog drains over a line of limited width and a round trip of 50 ms into a second
relay, with and without `compress`.  The line is a proxy on loopback that delays and limits bytes in
both directions, and counts them.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from relay.cli.control_client import ask
from tests.bench.traffic import KINDS, framed, messages
from tests.processes import Programs, free_port, running_programs, wait_until
from tests.relay_process import RelayProcess

SECONDS_MAX = 120.0
_CHUNK_BYTES = 16 * 1024
_UNDERWAY_BYTES_MAX = 1 << 20  # more than the line holds; the sender has to wait then


class LongLine(threading.Thread):
    """Passes connections on to `port`.

    Args:
        delay_seconds: Of each byte, in each direction.
        bytes_per_second: Width, in each direction.

    Attributes:
        port: Where it listens.
        there: Bytes passed on to `port` so far.
    """

    def __init__(self, port: int, *, delay_seconds: float, bytes_per_second: float) -> None:
        super().__init__(daemon=True)
        self.port = free_port()
        self.there = 0
        self._to = port
        self._delay_seconds = delay_seconds
        self._bytes_per_second = bytes_per_second

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        await asyncio.gather(self._pass(reader, back, counts=True), self._pass(there, writer))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool = False
    ) -> None:
        loop = asyncio.get_running_loop()
        free_at = 0.0  # when the line has taken all that was read
        with suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK_BYTES):
                free_at = max(free_at, loop.time()) + len(chunk) / self._bytes_per_second
                loop.call_at(free_at + self._delay_seconds, writer.write, chunk)
                self.there += len(chunk) if counts else 0
                await asyncio.sleep(
                    free_at - loop.time() - _UNDERWAY_BYTES_MAX / self._bytes_per_second
                )
        loop.call_at(max(free_at, loop.time()) + self._delay_seconds, writer.close)


def drain(
    programs: Programs, folder: Path, corpus: bytes, count: int, *, compress: str, mbits: float
) -> tuple[float, int]:
    """Seconds that a backlog of `count` messages takes, and the bytes sent."""
    relp, tcp = free_port(), free_port()
    central = RelayProcess(
        folder / "central",
        sources={"relays": {"listen": f"relp://127.0.0.1:{relp}"}},
        destinations={"file": {"connect": f"file://{folder}/out.log"}},
    )
    programs.add(central)
    line = LongLine(relp, delay_seconds=0.025, bytes_per_second=mbits * 1e6 / 8)
    line.start()
    edge = RelayProcess(
        folder / "edge",
        sources={"in": {"listen": f"tcp://127.0.0.1:{tcp}"}},
        destinations={
            "central": {
                "connect": f"relp://127.0.0.1:{line.port}",
                "compress": compress,
                "retry_seconds_min": 0.1,
                "retry_seconds_max": 0.2,
            }
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
    wait_until(lambda: line.there > 1000, "the first messages are sent")
    began = time.monotonic()
    while report()["queued_records"]:
        assert time.monotonic() < began + SECONDS_MAX, "the backlog does not drain"
        time.sleep(0.02)
    seconds = time.monotonic() - began
    for relay in (edge, central):
        relay.stop()
    return seconds, line.there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=20_000)
    parser.add_argument("--mbits", type=float, nargs="+", default=[10.0, 100.0])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    arguments = parser.parse_args()
    print("| Mbit/s | traffic | bytes, none | bytes, zstd | fewer | s, none | s, zstd | faster |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for mbits in arguments.mbits:
        for kind in arguments.kinds:
            corpus = b"".join(
                framed(message, "counted") for message in messages(kind, arguments.count)
            )
            found = []
            for compress in ("none", "zstd"):
                with tempfile.TemporaryDirectory() as folder, running_programs() as programs:
                    found.append(
                        drain(
                            *(programs, Path(folder), corpus, arguments.count),
                            compress=compress,
                            mbits=mbits,
                        )
                    )
            (plain, plain_bytes), (packed, packed_bytes) = found
            print(
                f"| {mbits:g} | {kind} | {plain_bytes:,} | {packed_bytes:,} "
                f"| {plain_bytes / packed_bytes:.1f} x | {plain:.2f} | {packed:.2f} "
                f"| {plain / packed:.1f} x |",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
