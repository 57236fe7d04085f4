"""Tables of what was measured, and their place in RESULTS.md."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.bench.workloads import WORKLOADS, Case, Numbers

__all__ = ["Results"]

BEGIN = "<!-- begin of what `make bench` writes -->"
END = "<!-- end of what `make bench` writes -->"


class Results:
    """Numbers of all rounds.

    Args:
        count: Messages of a run.
        peers: Their versions.

    Attributes:
        cut_short: Why not all rounds were run; empty = they were.
        failures: What went wrong, by case.
    """

    def __init__(self, count: int, peers: str, traffic: str = "of 256 octets") -> None:
        self.cut_short = ""
        self.failures: list[str] = []
        self._count = count
        self._peers = peers
        self._traffic = traffic
        self._load = os.getloadavg()[0]
        self._cases: dict[tuple[str, str, str], Case] = {}
        self._numbers: dict[tuple[str, str, str], list[Numbers]] = {}

    def add(self, case: Case, numbers: Numbers) -> None:
        key = (case.workload, case.name, case.subject.name)
        self._cases[key] = case
        self._numbers.setdefault(key, []).append(numbers)

    def fail(self, case: Case, why: str) -> None:
        self.failures.append(f"{case.workload}, {case.name}, {case.subject.name}: {why}")

    def text(self) -> str:
        """The section, without its markers."""
        found = [
            _heading(f"{self._count:,} messages {self._traffic}", self._peers, self._load),
            self.cut_short,
        ]
        for letter, title in WORKLOADS.items():
            rows = [key for key in self._numbers if key[0] == letter]
            if rows:
                found += [f"### {letter}) {title}", self._table(rows)]
        if self.failures:
            found += ["### Failed", "\n".join(f"* {_first_line(one)}" for one in self.failures)]
        return "\n\n".join(part for part in found if part)

    def write(self, path: Path) -> None:
        """Put the section between its markers into `path`; the rest of the file stays."""
        section = f"{BEGIN}\n\n{self.text()}\n\n{END}"
        old = path.read_text() if path.exists() else ""
        between = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
        new, count = between.subn(lambda _: section, old)
        path.write_text(new if count else f"{old.rstrip()}\n\n{section}\n")

    def _table(self, keys: list[tuple[str, str, str]]) -> str:
        columns = list(
            dict.fromkeys(name for key in keys for run in self._numbers[key] for name in run)
        )
        lines = [
            "| | subject | kept through | " + " | ".join(columns) + " |",
            "| --- | --- | --- |" + " ---: |" * len(columns),
        ]
        for key in keys:
            rounds = self._numbers[key]
            cells = [
                _cell([numbers[column] for numbers in rounds if column in numbers], at == 0)
                for at, column in enumerate(columns)
            ]
            case = self._cases[key]
            start = [case.name, case.subject.name, case.subject.kept]
            lines.append("| " + " | ".join([*start, *cells]) + " |")
        return "\n".join(lines)


def _cell(values: list[float], has_spread: bool) -> str:
    """The median, and from where to where the rounds went if that is a rate."""
    if not values:
        return "-"
    median = _shown(statistics.median(values))
    wide = has_spread or max(values) > 1.2 * min(values)
    if len(values) == 1 or not wide or max(values) == min(values):
        return median
    return f"{median} ({_shown(min(values))} to {_shown(max(values))})"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _heading(messages: str, peers: str, load: float) -> str:
    day = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    programs = ", ".join(f"{name} {_version(name)}" for name in ("twisted", "lmdb", "msgspec"))
    relay = f"relay {_version('syslogrelay')} at {_commit()}"
    return (
        f"## The relay beside rsyslog and syslog-ng, {day} UTC\n\n"
        f"Machine: {_machine()}. Python {platform.python_version()}, {programs}, {relay};"
        f" Debian's {peers}. {messages} a run where nothing else is said;"
        " the median of all rounds, in parentheses the lowest and the highest. When it began,"
        f" {load:.1f} other processes wanted to run (load average of a minute)."
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def _machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    kib = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    cores = re.findall(r"^processor", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    name = cpu[1] if cpu else platform.machine()
    memory = int(kib[1]) / 2**20 if kib else 0
    return f"{len(cores)} x {name}, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}"


def _commit() -> str:
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except OSError:
        return "?"
    return done.stdout.strip() or "?"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0]
