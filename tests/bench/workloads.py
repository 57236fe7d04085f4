"""The workloads.  Each is a list of cases; a case measured once gives named numbers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.bench.load import BenchError, Sink, Tools
from tests.bench.subjects import Ports, Subject, ensure_running, relay, rsyslog, syslog_ng
from tests.bench.tls_proxy import TlsProxy
from tests.bench.usage import Usage, Watch
from tests.certificate_files import CertificateFiles
from tests.interop.packages import PackagesRoot
from tests.processes import Program, free_port

__all__ = ["Bench", "Case", "Numbers", "WORKLOADS", "cases_of"]

Numbers = dict[str, float]
MIB = 1 << 20
RUN_SECONDS_MAX = 60.0  # and as long as the slowest takes for a long queue
RATE_MIN = 50_000
SETTLED_SECONDS = 0.6
POLL_SECONDS = 0.02
LATENCY_RATE = 5000
LATENCY_SECONDS = 3
UDP_SECONDS = 1.5
UDP_RATES = (10_000, 20_000, 30_000, 40_000, 60_000, 80_000, 110_000, 150_000, 200_000, 300_000)
IDLE_SECONDS = 8.0
SYNC_MESSAGES = 20_000

WORKLOADS = {
    "a": "TCP in, queue, RELP or TCP out, steady",
    "b": "intake with the upstream away, then drain",
    "c": "RELP in, queue, RELP out",
    "d": "TLS in, queue, RELP with TLS out",
    "e": "UDP in: highest rate without loss",
    "f": f"latency at {LATENCY_RATE:,} messages a second",
    "g": "a long queue: start and drain",
    "h": "messages of 16 KiB",
    "i": "idle",
}


@dataclass
class Bench:
    """What all cases share."""

    tools: Tools
    folder: Path
    certificates: CertificateFiles
    packages: PackagesRoot | None
    count: int
    queued_count: int
    subjects: str
    """Only subjects with this in their name; empty = all."""
    syncs: dict[str, float] = field(default_factory=dict)
    """Per 1,000 messages, by case."""

    def sink(self, subject: Subject, port: int, count: int, connections: int = 1) -> Sink:
        protocol = "relp" if subject.output == "relp" else "syslog"
        return self.tools.sink(protocol, port, count, connections)

    @contextmanager
    def running(self, subject: Subject, ports: Ports) -> Iterator[Program]:
        """The subject in a fresh folder, which goes with it."""
        folder = self.folder / "subject"
        shutil.rmtree(folder, ignore_errors=True)
        program = subject.start(folder, ports)
        try:
            yield program
        finally:
            if program.is_running:
                program.kill()
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Case:
    workload: str
    name: str
    """What is special, beside the subject."""
    subject: Subject
    measure: Callable[[Bench, Subject], Numbers]
    rounds_max: int = 99


def cases_of(bench: Bench, workloads: str) -> list[Case]:
    """The cases of the `workloads` (letters) in the order in which to run them."""
    found = [case for letter in workloads for case in _CASES[letter](bench)]
    return [case for case in found if bench.subjects in case.subject.name]


# -- measuring ---------------------------------------------------------------------


def steady(
    bench: Bench,
    subject: Subject,
    *,
    share: float = 1.0,
    feed: str = "tcp",
    connections: int = 1,
    size: int = 256,
    tls: bool = False,
) -> Numbers:
    """All at once through the subject; the rate is from the first octet to the last message."""
    count = max(1000, int(bench.count * share))
    listen, upstream = free_port(), free_port()
    with ExitStack() as stack:
        sink = stack.enter_context(bench.sink(subject, upstream, count, connections))
        towards, scheme = upstream, subject.output
        if tls:
            towards, scheme = free_port(), f"{subject.output}+tls"
            stack.enter_context(TlsProxy(towards, upstream, bench.certificates, takes_tls=True))
        ports = Ports((feed, listen), (scheme, towards))
        program = stack.enter_context(bench.running(subject, ports))
        entry = listen
        if tls:
            entry = free_port()
            stack.enter_context(TlsProxy(entry, listen, bench.certificates, takes_tls=False))
        protocol = "relp" if feed == "relp" else "lines"
        options = {"connections": connections, "bytes": size}
        with Watch(program.pid) as watch:
            with bench.tools.generator(protocol, entry, count, **options) as generator:
                sent = generator.wait_report(RUN_SECONDS_MAX)
            _wait_all(sink, subject, program)
        found = sink.end_and_report()
    seconds = (found["last_us"] - sent["began_us"]) / 1e6
    numbers = {"messages/s": count / seconds, **_per_message(watch.usage, count)}
    return {**numbers, **_verified(subject, found)}


def backlog(
    bench: Bench, subject: Subject, *, count: int, connections: int = 1, restart: bool = False
) -> Numbers:
    """Intake without an upstream, perhaps a new start, and the drain when it is there."""
    listen, upstream = free_port(), free_port()
    ports = Ports(("tcp", listen), (subject.output, upstream))
    numbers: Numbers = {}
    with bench.running(subject, ports) as program:
        with Watch(program.pid) as taking:
            began = time.monotonic()
            options = {"connections": connections}
            with bench.tools.generator("lines", listen, count, **options) as generator:
                generator.wait_report(_seconds_max(count))
            ended = _settled(program, taking)
        numbers["intake/s"] = count / (ended - began)
        numbers["intake peak MiB"] = taking.usage.peak_bytes / MIB
        if restart:
            program.stop(RUN_SECONDS_MAX)
            began = time.monotonic()
            program.start()
            numbers["start s"] = time.monotonic() - began
        ensure_running(subject, program)
        with (
            Watch(program.pid) as draining,
            bench.sink(subject, upstream, count, connections) as sink,
        ):
            _wait_all(sink, subject, program, _seconds_max(count))
            found = sink.end_and_report()
    twice = _verified(subject, found)
    numbers["drain/s"] = count / max(1e-6, (found["last_us"] - found["first_us"]) / 1e6)
    both = [taking.usage, draining.usage]
    numbers["CPU µs"] = sum(usage.cpu_seconds for usage in both) / count * 1e6
    numbers["drain peak MiB"] = draining.usage.peak_bytes / MIB
    numbers["own MiB"] = max(usage.anonymous_bytes for usage in both) / MIB
    numbers["octets written"] = sum(usage.written_bytes for usage in both) / count
    return {**numbers, **twice}


def latency(bench: Bench, subject: Subject, *, feed: str) -> Numbers:
    """Milliseconds from when a message was due to its answer, and to its arrival."""
    count = LATENCY_RATE * LATENCY_SECONDS
    listen, upstream = free_port(), free_port()
    with (
        bench.sink(subject, upstream, count) as sink,
        bench.running(subject, Ports((feed, listen), (subject.output, upstream))) as program,
    ):
        protocol = "relp" if feed == "relp" else "lines"
        with Watch(program.pid) as watch:
            options = {"rate": LATENCY_RATE}
            with bench.tools.generator(protocol, listen, count, **options) as generator:
                sent = generator.wait_report(RUN_SECONDS_MAX)
            _wait_all(sink, subject, program)
        found = sink.end_and_report()
    numbers = _verified(subject, found)
    for what, report in (("answered", sent), ("arrived", found)):
        if report["latency_us"]["count"]:
            for name, shown in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9")):
                numbers[f"{what} {shown} ms"] = report["latency_us"][name] / 1000
    return {**numbers, "CPU µs": watch.usage.cpu_seconds / count * 1e6}


def datagrams(bench: Bench, subject: Subject) -> Numbers:
    """The highest of UDP_RATES at which nothing is lost, found by halving; 0 = none."""
    lost: dict[int, float] = {}
    low, high = -1, len(UDP_RATES)
    while high - low > 1:
        middle = (low + high) // 2
        lost[middle] = _lost_datagrams(bench, subject, UDP_RATES[middle])
        low, high = (low, middle) if lost[middle] else (middle, high)
    return {
        "messages/s": UDP_RATES[low] if low >= 0 else 0,
        **({"% lost at the next rate": lost[high] * 100} if high in lost else {}),
    }


def _lost_datagrams(bench: Bench, subject: Subject, rate: int) -> float:
    """The part that is lost when `rate` messages a second come for UDP_SECONDS."""
    count = int(rate * UDP_SECONDS)
    listen, upstream = free_port(), free_port()
    ports = Ports(("udp", listen), (subject.output, upstream))
    with bench.sink(subject, upstream, count) as sink, bench.running(subject, ports) as program:
        with Watch(program.pid) as watch:
            with bench.tools.generator("udp", listen, count, rate=rate) as generator:
                generator.wait_report(RUN_SECONDS_MAX)
            _settled(program, watch, until=lambda: sink.has_all)
        return float(sink.end_and_report()["missing"]) / count


def idle(bench: Bench, subject: Subject) -> Numbers:
    """With its upstream connected and nothing to do."""
    listen, upstream = free_port(), free_port()
    ports = Ports(("tcp", listen), (subject.output, upstream))
    with bench.sink(subject, upstream, 1000) as sink, bench.running(subject, ports) as program:
        with bench.tools.generator("lines", listen, 1000) as generator:
            generator.wait_report(RUN_SECONDS_MAX)
        _wait_all(sink, subject, program)
        time.sleep(1)
        with Watch(program.pid) as watch:
            time.sleep(IDLE_SECONDS)
    return {
        "CPU ms in a second": watch.usage.cpu_seconds / IDLE_SECONDS * 1000,
        "peak MiB": watch.usage.peak_bytes / MIB,
        "own MiB": watch.usage.anonymous_bytes / MIB,
    }


def syncs(bench: Bench, case: Case) -> float | None:
    """fsync and its like for 1,000 messages of a short steady run, counted by strace."""
    count = SYNC_MESSAGES
    listen, upstream = free_port(), free_port()
    folder = bench.folder / "traced"
    with bench.sink(case.subject, upstream, count) as sink:
        ports = Ports(("tcp", listen), (case.subject.output, upstream))
        traced = case.subject.start_counting_syncs(folder, ports)
        if traced is None:
            return None
        try:
            with bench.tools.generator("lines", listen, count) as generator:
                generator.wait_report(RUN_SECONDS_MAX)
            _wait_all(sink, case.subject, traced.program)
        finally:
            traced.end()
        found = traced.syncs() * 1000 / count
    shutil.rmtree(folder, ignore_errors=True)
    return found


def _per_message(usage: Usage, count: int) -> Numbers:
    return {
        "CPU µs": usage.cpu_seconds / count * 1e6,
        "peak MiB": usage.peak_bytes / MIB,
        "own MiB": usage.anonymous_bytes / MIB,
        "octets written": usage.written_bytes / count,
    }


def _seconds_max(count: int) -> float:
    return max(RUN_SECONDS_MAX, count / RATE_MIN)


def _wait_all(
    sink: Sink, subject: Subject, program: Program, seconds_max: float = RUN_SECONDS_MAX
) -> None:
    deadline = time.monotonic() + seconds_max
    while not sink.has_all:
        ensure_running(subject, program)
        if time.monotonic() > deadline:
            found = sink.end_and_report()
            raise BenchError(
                f"{subject.name}: {found['missing']:,} messages missing after {seconds_max:.0f} s"
            )
        time.sleep(POLL_SECONDS)


def _verified(subject: Subject, found: dict[str, int]) -> Numbers:
    """That nothing is missing or strange; how many came twice or late, if any did."""
    wrong = {name: found[name] for name in ("missing", "unknown") if found[name]}
    if wrong:
        raise BenchError(f"{subject.name}: {wrong}")
    shown = {"came twice": found["duplicates"], "out of order": found["out_of_order"]}
    return {name: count for name, count in shown.items() if count}


def _settled(program: Program, watch: Watch, until: Callable[[], bool] = lambda: False) -> float:
    """Wait until the program does nothing any more (or `until`); when that began."""
    began = changed = time.monotonic()
    last = watch.so_far()
    while time.monotonic() < began + RUN_SECONDS_MAX and not until():
        time.sleep(POLL_SECONDS)
        now = watch.so_far()
        # A tick of a timer or an attempt to connect is no work.
        if now[0] > last[0] + 0.011 or now[1] > last[1] + 65536:
            changed, last = time.monotonic(), now
        elif time.monotonic() > changed + SETTLED_SECONDS:
            break
    if not program.is_running:
        raise BenchError(f"{program.name} has ended:\n{program.log()[-2000:]}")
    return changed


# -- cases -------------------------------------------------------------------------


def _peers(bench: Bench, *queues: str, ng: tuple[bool, ...] = ()) -> list[Subject]:
    if bench.packages is None:
        return []
    return [
        *(rsyslog(bench.packages, queue) for queue in queues),
        *(syslog_ng(bench.packages, reliable=reliable) for reliable in ng),
    ]


def _a(bench: Bench) -> Iterator[Case]:
    for connections in (1, 50):
        name = f"{connections} connection{'s' if connections > 1 else ''}"
        measure = partial(steady, connections=connections)
        for mode in ("none", "cee", "ewmm"):
            yield Case("a", name, relay(mode), measure)
        for subject in _peers(bench, "memory", "disk", ng=(True, False)):
            yield Case("a", name, subject, measure)
        if connections == 1:
            for subject in _peers(bench, "disk synced"):
                yield Case("a", name, subject, partial(measure, share=0.1))


def _b(bench: Bench) -> Iterator[Case]:
    peers = _peers(bench, "memory", "disk", ng=(True, False))
    for subject in [relay("none"), relay("cee"), *peers]:
        yield Case("b", "", subject, partial(backlog, count=bench.count))


def _c(bench: Bench) -> Iterator[Case]:
    ours = [relay("none"), relay("cee")]
    for subject in [*ours, *_peers(bench, "memory", "disk")]:
        yield Case("c", "window 5000", subject, partial(steady, feed="relp"))


def _d(bench: Bench) -> Iterator[Case]:
    for mode in ("none", "cee"):
        subject = relay(mode, bench.certificates)
        yield Case("d", "1 connection", subject, partial(steady, feed="tls", tls=True, share=0.5))


def _e(bench: Bench) -> Iterator[Case]:
    for subject in [relay("none"), relay("cee"), *_peers(bench, "memory", ng=(False,))]:
        yield Case("e", f"{UDP_SECONDS:g} s each", subject, datagrams, rounds_max=1)


def _f(bench: Bench) -> Iterator[Case]:
    for subject in [relay("none"), relay("cee"), *_peers(bench, "memory", "disk")]:
        yield Case("f", "RELP in", subject, partial(latency, feed="relp"))
    for subject in [relay("none"), *_peers(bench, ng=(True,))]:
        yield Case("f", "TCP in", subject, partial(latency, feed="tcp"))


def _g(bench: Bench) -> Iterator[Case]:
    count = bench.queued_count
    measure = partial(backlog, count=count, restart=True)
    for subject in [relay("cee"), *_peers(bench, "disk", ng=(True,))]:
        yield Case("g", f"{count:,} messages", subject, measure, rounds_max=1)


def _h(bench: Bench) -> Iterator[Case]:
    for subject in [relay("none"), relay("cee"), *_peers(bench, "memory", "disk", ng=(True,))]:
        yield Case("h", "1 connection", subject, partial(steady, size=16384, share=0.1))


def _i(bench: Bench) -> Iterator[Case]:
    for subject in [relay("none"), *_peers(bench, "disk", ng=(True,))]:
        yield Case("i", f"{IDLE_SECONDS:g} s", subject, idle, rounds_max=1)


_CASES: dict[str, Callable[[Bench], Iterator[Case]]] = {
    "a": _a,
    "b": _b,
    "c": _c,
    "d": _d,
    "e": _e,
    "f": _f,
    "g": _g,
    "h": _h,
    "i": _i,
}
