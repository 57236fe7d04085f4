"""What the relay writes for a message, by kind of page: `python -m tests.bench.writes`.

TCP in (one connection), queue, RELP out.  The relay runs with tests/crash/interposer.py between
LMDB and the kernel, which slows it down: read the octets, not the rate.

    block      pages of blocks that take whole pages of their own
    free list  pages that say which pages are free, likewise
    leaf       pages with keys and short values of all databases, free list and small blocks too
    branch     pages above them
    meta       the page that ends a commit
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench.load import Tools
from tests.bench.subjects import Ports, relay
from tests.crash.interposer import interpose
from tests.processes import free_port, wait_until

PAGE = 4096
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_FLAGS = struct.Struct("<10xH")
_REPORT = "WRITES_REPORT"


class _Pages:
    """Counts octets by kind of page; LMDB writes runs of whole pages."""

    def __init__(self, report: str) -> None:
        self.octets: Counter[str] = Counter()
        self.commits = 0
        self._report = os.open(report, os.O_WRONLY | os.O_CREAT, 0o600)

    def write(self, fd: int, offset: int, octets: bytes) -> int:
        if len(octets) < PAGE:  # part of a meta page, by itself
            self.octets["meta"] += PAGE
            self.commits += 1
            counts = {"commits": self.commits, **self.octets}
            os.pwrite(self._report, json.dumps(counts).encode(), 0)  # only ever longer
            return 0
        place = 0
        while place < len(octets):
            (flags,) = _FLAGS.unpack_from(octets, place)
            size = PAGE
            if flags & _OVERFLOW:
                size *= struct.unpack_from("<I", octets, place + 12)[0]
                # A block begins with its version; a list of pages with how many there are.
                first, count = octets[place + 16], struct.unpack_from("<Q", octets, place + 16)[0]
                kind = "free list" if count * 8 <= size and first != 1 else "block"
            else:
                kind = "leaf" if flags & _LEAF else "branch" if flags & _BRANCH else "meta"
            self.octets[kind] += size
            place += size
        return 0

    def sync(self, fd: int) -> int:
        return 0

    def other(self, name: str) -> int:
        return 0

    def done(self, fd: int) -> None:
        pass


def run_counting(report: str, arguments: list[str]) -> None:
    """twistd with `arguments`, in this process; `report` has the counts."""
    from twisted.scripts.twistd import run

    alive = interpose(_Pages(report))
    sys.argv[:] = arguments
    run()
    del alive


def measure(rewrite: str, count: int, size: int, rate: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        report = folder / "writes"
        tools = Tools(folder)
        listen, upstream = free_port(), free_port()
        subject = relay(rewrite)
        make = subject.make

        def counting(place: Path, ports: Ports) -> Any:
            program = make(place, ports)
            at = next(i for i, word in enumerate(program.command) if word.endswith("twistd"))
            inside = [sys.executable, "-m", "tests.bench.writes", "--inside", str(report)]
            program.command[: at + 1] = [*inside, program.command[at]]
            return program

        subject = replace(subject, make=counting)
        with tools.sink("relp", upstream, count) as sink:
            program = subject.start(folder / "relay", Ports(("tcp", listen), ("relp", upstream)))
            options = {"rate": rate, "bytes": size}
            with tools.generator("lines", listen, count, **options) as generator:
                generator.wait_report(120)
            wait_until(lambda: sink.has_all, "all have come", 120)
            program.stop(30)
            return dict(json.loads(report.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.writes", description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rate", type=int, default=0, help="messages a second; 0 = all at once")
    parser.add_argument("--rewrite", default="none")
    given = parser.parse_args()
    found = measure(given.rewrite, given.count, given.size, given.rate)
    commits = found.pop("commits")
    kinds = ", ".join(f"{kind} {octets / given.count:,.0f}" for kind, octets in found.items())
    total = sum(found.values()) / given.count
    print(f"{total:,.0f} octets a message in {commits} commits: {kinds}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        run_counting(sys.argv[2], sys.argv[3:])
    else:
        main()
