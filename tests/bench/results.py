"""Tables of what was measured, and their place in RESULTS.md."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.bench.measuring import Numbers
from tests.bench.workloads import WORKLOADS, Case

__all__ = ["Results"]

BEGIN = "<!-- begin of what `make bench` writes -->"
END = "<!-- end of what `make bench` writes -->"


Row = tuple[str, str]
"""Workload, and name of its cases."""
PLAIN, CEE = "rsyslog, memory", "rsyslog, memory, CEE"
RATE, CPU = "messages/s", "CPU µs"
PIVOTED = "a"
"""The workload that has a row for several subjects, and ratios."""


class Results:
    """Numbers of all rounds.

    Args:
        count: Messages of a run.
        peers: Their versions.
        traffic: What the messages are.

    Attributes:
        cut_short: Why not all rounds were run; empty = they were.
        failures: What went wrong, by case.
    """

    def __init__(self, count: int, peers: str, traffic: str = "") -> None:
        self.cut_short = ""
        self.failures: list[str] = []
        self._machine = _machine_and_programs(peers)
        self._messages = f"{count:,} messages a run where nothing else is said{traffic}"
        self._load = os.getloadavg()[0]
        self._cases: dict[Row, dict[str, Case]] = {}
        self._numbers: dict[tuple[Row, str], dict[int, Numbers]] = {}

    def add(self, case: Case, numbers: Numbers, number: int) -> None:
        """What round `number` found."""
        row, name = (case.workload, case.name), case.subject.name
        self._cases.setdefault(row, {})[name] = case
        self._numbers.setdefault((row, name), {})[number] = numbers

    def fail(self, case: Case, why: str) -> None:
        self.failures.append(f"{case.workload}, {case.name}, {case.subject.name}: {why}")

    def text(self) -> str:
        """The section, without its markers."""
        found = [self._heading(), self.cut_short]
        for letter, title in WORKLOADS.items():
            rows = [row for row in self._cases if row[0] == letter]
            if rows:
                tables = self._pivoted(rows) if letter == PIVOTED else [self._table(rows)]
                found += [f"### {letter}) {title}", *tables]
        if self.failures:
            found += ["### Failed", "\n".join(f"* {_first_line(one)}" for one in self.failures)]
        return "\n\n".join(part for part in found if part)

    def json(self) -> str:
        """All numbers of all rounds."""
        cases = [
            {
                "workload": row[0],
                "name": row[1],
                "subject": subject,
                "kept_through": self._cases[row][subject].subject.kept,
                "rounds": [numbers[number] for number in sorted(numbers)],
            }
            for (row, subject), numbers in self._numbers.items()
        ]
        found = {
            "machine": self._machine,
            "messages": self._messages,
            "load": self._load,
            "cut_short": self.cut_short,
            "failures": self.failures,
            "ratios": {name: found for (_, name), found in self._ratios_of_all().items()},
            "cases": cases,
        }
        return json.dumps(found, indent=1, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        """Put the section between its markers into `path`; the rest of the file stays."""
        section = f"{BEGIN}\n\n{self.text()}\n\n{END}"
        old = path.read_text() if path.exists() else ""
        between = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
        new, count = between.subn(lambda _: section, old)
        path.write_text(new if count else f"{old.rstrip()}\n\n{section}\n")

    def _heading(self) -> str:
        day = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        return (
            f"## The relay beside rsyslog and syslog-ng, {day} UTC\n\n"
            f"{self._machine}. {self._messages};"
            " the median of all rounds, in parentheses the lowest and the highest. When it began,"
            f" {self._load:.1f} other processes wanted to run (load average of a minute)."
        )

    def ratios(self, row: Row) -> dict[str, float]:
        """Medians of a row's rates as multiples of rsyslog's of the same round, by subject.

        The one behind "cee to CEE" compares those that do the same job.
        """
        rates = {name: self._rates(row, name) for name in self._cases[row]}
        found = {name: _ratio(rates[name], rates.get(PLAIN, {})) for name in rates if name != PLAIN}
        found["cee to CEE"] = _ratio(rates.get("relay, cee", {}), rates.get(CEE, {}))
        return {name: ratio for name, ratio in found.items() if ratio is not None}

    def _rates(self, row: Row, subject: str) -> dict[int, float]:
        return {number: numbers[RATE] for number, numbers in self._numbers[row, subject].items()}

    def _ratios_of_all(self) -> dict[Row, dict[str, float]]:
        """Of the rows that have any, the one with the worst ratio of the relay first."""
        found = {row: self.ratios(row) for row in self._cases if row[0] == PIVOTED}

        def worst(row: Row) -> float:
            ours = [ratio for name, ratio in found[row].items() if name != CEE]
            return min(ours, default=float("inf"))

        return {row: found[row] for row in sorted(found, key=worst) if found[row]}

    def _pivoted(self, rows: list[Row]) -> list[str]:
        """Ratios, rates and CPU time: a line for each row, the worst first; a column a subject."""
        ratios = self._ratios_of_all()
        ordered = [*ratios, *(row for row in rows if row not in ratios)]
        subjects = list(dict.fromkeys(name for row in rows for name in self._cases[row]))
        names = list(dict.fromkeys(name for found in ratios.values() for name in found))
        cells = [[row[1], *(_optional(ratios[row].get(name)) for name in names)] for row in ratios]
        found = []
        if ratios:
            said = f"Rates as multiples of `{PLAIN}`, `cee to CEE`: of `{CEE}`, in the same round."
            found += [said, _markdown(["", *names], cells)]
        for column in (RATE, CPU):
            lines = [
                [row[1], *(self._cell_of(row, name, column, column == RATE) for name in subjects)]
                for row in ordered
            ]
            found.append(_markdown([column, *subjects], lines))
        return found

    def _cell_of(self, row: Row, subject: str, column: str, has_spread: bool) -> str:
        rounds = self._numbers.get((row, subject), {}).values()
        return _cell([numbers[column] for numbers in rounds if column in numbers], has_spread)

    def _table(self, rows: list[Row]) -> str:
        """A line for each subject of each row."""
        found = [(row, subject) for row in rows for subject in self._cases[row]]
        rounds = [numbers for key in found for numbers in self._numbers[key].values()]
        columns = list(dict.fromkeys(name for numbers in rounds for name in numbers))
        lines = [
            [
                *(row[1], subject, self._cases[row][subject].subject.kept),
                *(self._cell_of(row, subject, name, at == 0) for at, name in enumerate(columns)),
            ]
            for row, subject in found
        ]
        return _markdown(["", "subject", "kept through", *columns], lines, texts=3)


def _ratio(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    """The median of the rounds that both have."""
    both = [ours[number] / theirs[number] for number in ours if number in theirs]
    return statistics.median(both) if both else None


def _optional(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _markdown(head: list[str], lines: list[list[str]], texts: int = 1) -> str:
    """A table whose first `texts` columns are text, and the others numbers."""
    rule = [*["---"] * texts, *["---:"] * (len(head) - texts)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *lines])


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


def _machine_and_programs(peers: str) -> str:
    programs = ", ".join(f"{name} {_version(name)}" for name in ("twisted", "lmdb", "msgspec"))
    relay = f"relay {_version('syslogrelay')} at {_commit()}"
    return (
        f"Machine: {_machine()}. Python {platform.python_version()}, {programs}, {relay};"
        f" Debian's {peers}"
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
