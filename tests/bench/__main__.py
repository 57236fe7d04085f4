"""Measure the relay beside rsyslog and syslog-ng: `make bench ARGS="-w a,e --kinds mixed -r 1"`.

All programs run on this machine in the same run, one after the other, and again in each round.
Workload a sends eight kinds of traffic (`tests.bench.traffic`), e, f and k the mixed one, and the
others one message with another number each time.  Not a test: it says how fast something is, and
fails only if messages are lost, or are not what was sent.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.corpora import Corpora
from tests.bench.load import BenchError, Tools
from tests.bench.measuring import Bench, Choice, syncs
from tests.bench.results import Results
from tests.bench.subjects import FORMS, versions
from tests.bench.traffic import KINDS
from tests.bench.workloads import WORKLOADS, Case, cases_of, estimated_seconds, in_turn
from tests.certificate_files import make_certificate_files
from tests.interop.packages import unpacked

ALL = ",".join(WORKLOADS)
FORMS_MEASURED = "none,cee,ewmm"
RESULTS = Path(__file__).with_name("RESULTS.md")
NUMBERS = Path(".cache/bench.json")


def parser() -> argparse.ArgumentParser:
    letters = "; ".join(f"{letter} = {text}" for letter, text in WORKLOADS.items())
    found = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        epilog="Over long lines: python -m tests.bench.long_line -h (compression) and "
        "python -m tests.bench.round_trip -h (the window).  Of many connections: "
        "python -m tests.bench.connections -h (memory, handshakes, answers).",
    )
    found.add_argument("-w", "--workloads", default=ALL, help=letters)
    found.add_argument("-r", "--rounds", type=int, default=3)
    found.add_argument("-n", "--count", type=int, default=300_000, help="messages of a run")
    found.add_argument("-m", "--minutes", type=float, default=40.0, help="start no run after")
    found.add_argument("-s", "--subjects", default="", help="only those with this in their name")
    found.add_argument(
        "--kinds", default=",".join(KINDS), help="of traffic, for workload a (%(default)s)"
    )
    found.add_argument(
        "--forms",
        default=FORMS_MEASURED,
        help=f"of the relay's messages in workload a, of {','.join(FORMS)} (%(default)s)",
    )
    found.add_argument("--seed", type=int, default=1, help="of the traffic (1)")
    found.add_argument(
        "--corpus",
        type=Path,
        metavar="FILE",
        help="send the lines of this file instead of all other traffic",
    )
    found.add_argument(
        "--json", type=Path, default=NUMBERS, help="file for all numbers (%(default)s)"
    )
    found.add_argument(
        "--dry", action="store_true", help="leave RESULTS.md as it is, as if a part were left out"
    )
    return found


def arguments() -> argparse.Namespace:
    parsing = parser()
    given = parsing.parse_args()
    if given.corpus is not None:
        if given.workloads == ALL:
            given.workloads = ALL.replace(",h", "")
        if "h" in given.workloads:
            parsing.error(
                "workloads: found h, whose messages have 16 KiB: leave it or --corpus out"
            )
        if not given.corpus.is_file():
            parsing.error(f"corpus: found no file {given.corpus}")
    for name, allowed in (("workloads", WORKLOADS), ("kinds", KINDS), ("forms", FORMS)):
        found = _names(getattr(given, name))
        if name == "workloads":
            found = list("".join(found))
        unknown = sorted(set(found) - set(allowed))
        if unknown or not found:
            shown = ", ".join(unknown) or "nothing"
            parsing.error(f"{name}: found {shown}, there are {', '.join(allowed)}")
        setattr(given, name, found)
    if min(given.rounds, given.count) < 1:
        parsing.error("rounds and count: allowed 1 or more")
    given.dry |= leaves_something_out(given)
    return given


def leaves_something_out(given: argparse.Namespace) -> bool:
    """RESULTS.md is about all that there is."""
    wanted = (
        (WORKLOADS, given.workloads),
        (KINDS, given.kinds),
        (_names(FORMS_MEASURED), given.forms),
    )
    return bool(
        given.corpus or given.subjects or any(set(all_) - set(found) for all_, found in wanted)
    )


def _names(text: str) -> list[str]:
    return [name for name in dict.fromkeys(text.split(",")) if name]


def prepare(given: argparse.Namespace, folder: Path) -> Bench:
    tools = Tools(folder)
    rate = tools.check()
    print(f"generator and sink alone: {rate:,.0f} messages a second", flush=True)
    corpora = Corpora(folder, given.count, given.seed, given.corpus and given.corpus.resolve())
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
        corpora=corpora,
        choice=Choice(corpora.kinds(given.kinds), given.forms, given.subjects),
    )


def run(bench: Bench, given: argparse.Namespace) -> Results:
    traffic = "" if given.corpus is None else f" of {given.corpus.name}"
    results = Results(given.count, versions(bench.packages), traffic)
    cases = cases_of(bench, "".join(given.workloads))
    if not cases:
        raise BenchError(f"no subject has {given.subjects!r} in its name")
    seconds = estimated_seconds(cases, given.rounds) + bench.corpora.seconds(len(given.kinds))
    rounds = f"{given.rounds} round{'s' if given.rounds > 1 else ''}"
    print(f"{rounds}: about {seconds / 60:.1f} minutes, at most {given.minutes:g}", flush=True)
    deadline = time.monotonic() + given.minutes * 60
    for number in range(given.rounds):
        for case in in_turn(cases, number):
            if time.monotonic() > deadline:
                results.cut_short = f"The time was up in round {number + 1} of {given.rounds}."
                return results
            measure(bench, case, results, number)
    return results


def measure(bench: Bench, case: Case, results: Results, number: int) -> None:
    began = time.monotonic()
    try:
        numbers = case.measure(bench, case.subject)
        if case.workload == "j":
            if case.subject.name not in bench.syncs:
                bench.syncs[case.subject.name] = syncs(bench, case.subject) or 0.0
            numbers["syncs of 1,000"] = bench.syncs[case.subject.name]
    except (BenchError, AssertionError) as error:
        results.fail(case, str(error))
        print(f"{case.workload}  {case.name}, {case.subject.name}: {error}"[:300], flush=True)
        return
    results.add(case, numbers, number)
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
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(results.json())
    print(f"written: {given.json}")
    if not given.dry:
        results.write(RESULTS)
        print(f"written: {RESULTS}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
