"""Where the time goes in the relay's reactor thread: `python -m tests.bench.profile`.

TCP in (one connection), cee, queue, RELP out, under cProfile, which sees only the main thread
and slows it down, calls of Python functions most: read the shares, not the sums.
"""

from __future__ import annotations

import argparse
import io
import pstats
import re
import tempfile
from pathlib import Path

from tests.bench.load import Tools
from tests.bench.subjects import Ports, relay
from tests.processes import free_port, wait_until

COUNT = 300_000
LINES = 30


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profile", description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=COUNT)
    parser.add_argument("--rewrite", default="cee")
    parser.add_argument("--rate", type=int, default=0, help="messages a second; 0 = all at once")
    parser.add_argument("--sort", default="tottime", choices=["tottime", "cumtime"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        profile = folder / "profile"
        tools = Tools(folder)
        subject = relay(given.rewrite, arguments=profiling(profile))
        listen, upstream = free_port(), free_port()
        with tools.sink("relp", upstream, given.count) as sink:
            program = subject.start(folder / "relay", Ports(("tcp", listen), ("relp", upstream)))
            options = {"rate": given.rate}
            with tools.generator("lines", listen, given.count, **options) as generator:
                generator.wait_report(120)
            wait_until(lambda: sink.has_all, "all have come", 120)
            program.stop(30)
        print(report(profile, given.count, given.sort))


def report(profile: Path, count: int, order: str) -> str:
    text = io.StringIO()
    pstats.Stats(str(profile), stream=text).sort_stats(order).print_stats(LINES)
    lines = [f"{'ns a message':>14} {'calls a message':>16}  function"]
    for line in text.getvalue().splitlines():
        found = re.match(r"\s*(\d+)(?:/\d+)?\s+([\d.]+)\s+[\d.]+\s+([\d.]+)\s+[\d.]+\s+(.*)", line)
        if found:
            seconds = float(found[2] if order == "tottime" else found[3])
            where = re.sub(r"^.*/(?=(relay|twisted)/)", "", found[4])
            lines.append(f"{seconds / count * 1e9:14.0f} {int(found[1]) / count:16.4f}  {where}")
    return "\n".join(lines)


def profiling(path: Path) -> tuple[str, ...]:
    """twistd's arguments."""
    return (
        *("--nodaemon", "--pidfile=", f"--profile={path}"),
        *("--profiler=cprofile", "--savestats"),
    )


if __name__ == "__main__":
    main()
