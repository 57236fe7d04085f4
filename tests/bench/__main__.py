"""Measure the relay beside rsyslog and syslog-ng: `make bench ARGS="-w a,b -r 3 -n 500000"`.

All programs run on this machine in the same run, one after the other, and again in each round.
Not a test: it says how fast something is, and fails only if messages are lost.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.load import BenchError, Tools
from tests.bench.results import Results
from tests.bench.subjects import versions
from tests.bench.workloads import WORKLOADS, Bench, Case, cases_of, syncs
from tests.certificate_files import make_certificate_files
from tests.interop.packages import unpacked

ALL = ",".join(WORKLOADS)
RESULTS = Path(__file__).with_name("RESULTS.md")


def arguments() -> argparse.Namespace:
    letters = "; ".join(f"{letter} = {text}" for letter, text in WORKLOADS.items())
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("-w", "--workloads", default=ALL, help=letters)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("-n", "--count", type=int, default=100_000, help="messages of a run")
    parser.add_argument("-m", "--minutes", type=float, default=10.0, help="start no run after")
    parser.add_argument("-s", "--subjects", default="", help="only those with this in their name")
    parser.add_argument(
        "--corpus",
        type=Path,
        metavar="FILE",
        help="send the lines of this file (tests.bench.traffic makes some); implies --dry",
    )
    parser.add_argument("--dry", action="store_true", help="leave RESULTS.md as it is")
    given = parser.parse_args()
    if given.corpus is not None:
        if given.workloads == ALL:
            given.workloads = ALL.replace(",h", "")
        if "h" in given.workloads:
            parser.error("workloads: found h, whose messages have 16 KiB: leave it or --corpus out")
        if not given.corpus.is_file():
            parser.error(f"corpus: found no file {given.corpus}")
        given.dry = True  # RESULTS.md is about messages of 256 bytes
    unknown = set(given.workloads.replace(",", "")) - WORKLOADS.keys()
    if unknown:
        parser.error(f"workloads: found {', '.join(sorted(unknown))}, there are {letters}")
    return given


def prepare(given: argparse.Namespace, folder: Path) -> Bench:
    tools = Tools(folder)
    rate = tools.check()
    print(f"generator and sink alone: {rate:,.0f} messages a second", flush=True)
    if given.corpus is not None:
        tools.corpus = given.corpus.resolve()
        print("with a corpus, messages are counted, not recognised")
    packages = unpacked()
    if packages is None:
        print("no rsyslog and syslog-ng (make interop-packages): only the relay is measured")
    queued = int(float(os.environ.get("BENCH_QUEUED", "2")) * 1e6)
    return Bench(
        tools=tools,
        folder=folder,
        certificates=make_certificate_files(folder / "certificates"),
        packages=packages,
        count=given.count,
        queued_count=queued,
        subjects=given.subjects,
    )


def run(bench: Bench, given: argparse.Namespace) -> Results:
    traffic = "of 256 octets" if given.corpus is None else f"of {given.corpus.name}"
    results = Results(given.count, versions(bench.packages), traffic)
    cases = cases_of(bench, given.workloads.replace(",", ""))
    deadline = time.monotonic() + given.minutes * 60
    for number in range(given.rounds):
        for case in cases:
            if number >= case.rounds_max:
                continue
            if time.monotonic() > deadline:
                results.cut_short = f"The time was up in round {number + 1} of {given.rounds}."
                return results
            measure(bench, case, results)
    return results


def measure(bench: Bench, case: Case, results: Results) -> None:
    began = time.monotonic()
    try:
        numbers = case.measure(bench, case.subject)
        if case.workload == "a" and case.name == "1 connection":
            if case.subject.name not in bench.syncs:
                bench.syncs[case.subject.name] = syncs(bench, case) or 0.0
            numbers["syncs of 1,000"] = bench.syncs[case.subject.name]
    except (BenchError, AssertionError) as error:
        results.fail(case, str(error))
        print(f"{case.workload}  {case.name}, {case.subject.name}: {error}"[:300], flush=True)
        return
    results.add(case, numbers)
    shown = ", ".join(f"{name} {value:,.6g}" for name, value in numbers.items())
    seconds = time.monotonic() - began
    print(
        f"{case.workload}  {case.name}, {case.subject.name}: {shown}  [{seconds:.1f} s]", flush=True
    )


def main() -> int:
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        try:
            results = run(prepare(given, Path(name)), given)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    text = results.text()
    print(text)
    if not given.dry:
        results.write(RESULTS)
        print(f"written: {RESULTS}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
