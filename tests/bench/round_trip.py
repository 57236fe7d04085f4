"""How fast a backlog drains over a long line: `python -m tests.bench.round_trip`.

A relay with a backlog, and messages that go on coming in, drains over a line with a round
trip of 50 ms into a second relay.  The line is a proxy that delays octets; its width is
not limited.  Printed are the rates of intake and drain, for several largest windows.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from relay.cli.control_client import ask
from tests.bench.long_line import ProxyLine
from tests.processes import Programs, free_port, running_programs, wait_until
from tests.relay_process import RelayProcess

MESSAGE = b"<165>1 2026-11-21T05:00:00.000003Z web-1 app 123 ID47 - ".ljust(255, b"x") + b"\n"


async def feed(port: int, count: int, per_second: float) -> None:
    """Send `count` messages; a rate of 0 is as fast as possible."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    with suppress(ConnectionError):  # the relay ends before the live messages do
        for sent in range(0, count, 100):
            writer.write(MESSAGE * min(100, count - sent))
            await writer.drain()
            if per_second:
                await asyncio.sleep(max(0.0, began + sent / per_second - time.monotonic()))
    writer.close()


def measure(
    programs: Programs, folder: Path, *, window: int, backlog: int, live: float, delay: float
) -> tuple[float, float]:
    """Records a second that leave while there is a backlog, and the seconds that it takes."""
    relp, tcp = free_port(), free_port()
    central = RelayProcess(
        folder / "central",
        sources={"relays": {"listen": f"relp://127.0.0.1:{relp}"}},
        destinations={"file": {"connect": f"file://{folder}/out.log"}},
    )
    programs.add(central)
    line = ProxyLine(relp, delay_seconds=delay / 2)
    edge = RelayProcess(
        folder / "edge",
        sources={"in": {"listen": f"tcp://127.0.0.1:{tcp}"}},
        destinations={
            "central": {
                "connect": f"relp://127.0.0.1:{line.port}",
                "window_records": window,
                "retry_seconds_min": 0.1,
                "retry_seconds_max": 0.5,
            }
        },
    )
    programs.add(edge)
    edge.start()
    asyncio.run(feed(tcp, backlog, 0))

    def report() -> dict[str, int]:
        (found,) = ask(str(edge.state_dir), "status")["destinations"]
        return dict(found)

    wait_until(lambda: report()["received_records"] == backlog, "the backlog is stored")
    seconds = 10
    feeder = threading.Thread(
        target=lambda: asyncio.run(feed(tcp, int(live * seconds), live)), daemon=True
    )
    central.start()
    line.start()
    wait_until(lambda: report()["delivered_records"], "the first record is delivered")
    began, first = time.monotonic(), report()["delivered_records"]
    feeder.start()
    while (now := report())["queued_records"] > live / 2 and time.monotonic() < began + seconds:
        time.sleep(0.05)
    elapsed = time.monotonic() - began
    return (now["delivered_records"] - first) / elapsed, elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=200_000)
    parser.add_argument("--live", type=float, default=5000.0, help="messages a second")
    parser.add_argument("--round-trip", type=float, default=0.05, help="seconds")
    arguments = parser.parse_args()
    print(f"live rate {arguments.live:,.0f}/s, round trip {arguments.round_trip * 1000:g} ms")
    for window in (256, 1024, 8192, 32768):
        with tempfile.TemporaryDirectory() as folder, running_programs() as programs:
            rate, seconds = measure(
                programs,
                Path(folder),
                window=window,
                backlog=arguments.backlog,
                live=arguments.live,
                delay=arguments.round_trip,
            )
        ratio = rate / arguments.live
        print(f"window_records {window:6,}: {rate:9,.0f}/s, {ratio:4.1f} x live, {seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
