"""Measures a subject once, in several ways; each gives named numbers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.corpora import Corpora
from tests.bench.load import BenchError, Sink, Tools, arrived
from tests.bench.subjects import Ports, Subject, ensure_running
from tests.bench.tls_proxy import TlsProxy
from tests.bench.usage import Usage, Watch
from tests.certificate_files import CertificateFiles
from tests.interop.packages import PackagesRoot
from tests.processes import Program, free_port

__all__ = [
    "IDLE_SECONDS",
    "LATENCY_RATE",
    "LATENCY_SECONDS",
    "MIB",
    "RUN_SECONDS_MAX",
    "UDP_SECONDS",
    "Bench",
    "Choice",
    "Numbers",
    "backlog",
    "datagrams",
    "idle",
    "latency",
    "latenesses",
    "paced",
    "per_message",
    "steady",
    "syncs",
    "verified",
    "wait_all",
]

Numbers = dict[str, float]
UNIFORM = "uniform"
"""The kind that the generator makes by itself."""
MIB = 1 << 20
RUN_SECONDS_MAX = 60.0  # and as long as the slowest takes for a long queue
RATE_MIN = 50_000
SETTLED_SECONDS = 0.6
POLL_SECONDS = 0.02
LATENCY_RATE = 5000
LATENCY_SECONDS = 3
PACED_SECONDS = 3.0
ACCEPT_SECONDS = 0.5
UDP_SECONDS = 2.0
UDP_RATES = (30_000, 60_000, 100_000, 150_000, 200_000)
IDLE_SECONDS = 8.0
SYNC_MESSAGES = 10_000
RATE_SHARE_MIN = 0.97
"""Of a rate: with less, what was sent a second is shown."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What of all is measured."""

    kinds: Sequence[str]
    """Of traffic, for workload a."""
    forms: Sequence[str]
    """What the relay makes of messages there: some of FORMS."""
    subjects: str = ""
    """Only those with this in their name."""


@dataclass
class Bench:
    """What all cases share."""

    tools: Tools
    folder: Path
    certificates: CertificateFiles
    packages: PackagesRoot | None
    count: int
    queued_count: int
    corpora: Corpora
    choice: Choice
    syncs: dict[str, float] = field(default_factory=dict, init=False)
    """Per 1,000 messages, by subject."""

    def corpus(self, kind: str = UNIFORM) -> Path | None:
        """A file with messages of `kind`; None = the generator makes them, with numbers."""
        return self.corpora.given if kind == UNIFORM else self.corpora.path(kind)

    def sink(self, subject: Subject, port: int, count: int, **options: Any) -> Sink:
        protocol = "relp" if subject.output == "relp" else "syslog"
        return self.tools.sink(protocol, port, count, **options)

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


def steady(
    bench: Bench,
    subject: Subject,
    *,
    kind: str = UNIFORM,
    share: float = 1.0,
    feed: str = "tcp",
    connections: int = 1,
    size: int = 256,
    tls: bool = False,
) -> Numbers:
    """All at once through the subject; the rate is from the first octet to the last message."""
    count = max(1000, int(bench.count * share))
    corpus = bench.corpus(kind)
    listen, upstream = free_port(), free_port()
    with ExitStack() as stack:
        options: dict[str, Any] = {"connections": connections, "corpus": corpus}
        checked = bench.sink(subject, upstream, count, is_ordered=connections == 1, **options)
        sink = stack.enter_context(checked)
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
        with Watch(program.pid) as watch:
            with bench.tools.generator(protocol, entry, count, bytes=size, **options) as generator:
                sent = generator.wait_report(RUN_SECONDS_MAX)
            wait_all(sink, subject, program)
        found = sink.end_and_report()
    seconds = (found["last_us"] - sent["began_us"]) / 1e6
    numbers = {"messages/s": count / seconds, **per_message(watch.usage, count)}
    return {**numbers, **verified(subject, found, sent if corpus else None)}


def backlog(
    bench: Bench, subject: Subject, *, count: int, connections: int = 1, restart: bool = False
) -> Numbers:
    """Intake without an upstream, perhaps a new start, and the drain when it is there."""
    listen, upstream = free_port(), free_port()
    ports = Ports(("tcp", listen), (subject.output, upstream))
    options: dict[str, Any] = {"connections": connections, "corpus": bench.corpus()}
    numbers: Numbers = {}
    with bench.running(subject, ports) as program:
        with Watch(program.pid) as taking:
            began = time.monotonic()
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
            bench.sink(subject, upstream, count, **options) as sink,
        ):
            wait_all(sink, subject, program, _seconds_max(count))
            found = sink.end_and_report()
    twice = verified(subject, found)
    numbers["drain/s"] = count / max(1e-6, (found["last_us"] - found["first_us"]) / 1e6)
    both = [taking.usage, draining.usage]
    numbers["CPU µs"] = sum(usage.cpu_seconds for usage in both) / count * 1e6
    numbers["drain peak MiB"] = draining.usage.peak_bytes / MIB
    numbers["own MiB"] = max(usage.anonymous_bytes for usage in both) / MIB
    numbers["octets written"] = sum(usage.written_bytes for usage in both) / count
    return {**numbers, **twice}


def latency(bench: Bench, subject: Subject, *, kind: str, feed: str) -> Numbers:
    """Milliseconds from when a message was due to its answer, and to its arrival."""
    count = LATENCY_RATE * LATENCY_SECONDS
    corpus, arrivals = bench.corpus(kind), bench.folder / "arrivals"
    listen, upstream = free_port(), free_port()
    options: dict[str, Any] = {"corpus": corpus, "is_ordered": True, "arrivals": arrivals}
    with (
        bench.sink(subject, upstream, count, **options) as sink,
        bench.running(subject, Ports((feed, listen), (subject.output, upstream))) as program,
    ):
        protocol = "relp" if feed == "relp" else "lines"
        with Watch(program.pid) as watch:
            paces: dict[str, Any] = {"corpus": corpus, "rate": LATENCY_RATE}
            with bench.tools.generator(protocol, listen, count, **paces) as generator:
                sent = generator.wait_report(RUN_SECONDS_MAX)
            wait_all(sink, subject, program)
        found = sink.end_and_report()
    numbers = verified(subject, found, sent)
    if sent["latency_us"]["count"]:
        for name, shown in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9")):
            numbers[f"answered {shown} ms"] = sent["latency_us"][name] / 1000
    late = latenesses(arrived(arrivals), sent["began_us"], LATENCY_RATE)
    for share, shown in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")):
        numbers[f"arrived {shown} ms"] = late[int(share * len(late))] / 1000
    return {**numbers, "CPU µs": watch.usage.cpu_seconds / count * 1e6}


def latenesses(arrivals: Sequence[int], began_us: int, rate: int) -> list[int]:
    """Microseconds from when messages were due to their arrival, sorted.

    Messages arrive in the order in which they were sent, and the first was due at `began_us`.
    """
    return sorted(
        at - (began_us + number * 1_000_000 // rate) for number, at in enumerate(arrivals)
    )


def paced(bench: Bench, subject: Subject, *, kind: str, rate: int, connections: int) -> Numbers:
    """`rate` messages a second over all connections, each in a write of its own.

    What it costs to accept the connections does not count.
    """
    count = int(rate * PACED_SECONDS)
    listen, upstream = free_port(), free_port()
    options: dict[str, Any] = {"connections": connections, "corpus": bench.corpus(kind)}
    paces: dict[str, Any] = {"rate": rate, "settle": int(2000 * ACCEPT_SECONDS), **options}
    ports = Ports(("tcp", listen), (subject.output, upstream))
    with (
        bench.sink(subject, upstream, count, **options) as sink,
        bench.running(subject, ports) as program,
        bench.tools.generator("lines", listen, count, **paces) as generator,
    ):
        generator.wait_connected(RUN_SECONDS_MAX)
        time.sleep(ACCEPT_SECONDS)
        with Watch(program.pid) as watch:
            sent = generator.wait_report(RUN_SECONDS_MAX)
            wait_all(sink, subject, program)
        found = sink.end_and_report()
    return {
        **per_message(watch.usage, count),
        **verified(subject, found, sent),
        **_sent_too_slowly(sent, rate),
    }


def datagrams(bench: Bench, subject: Subject, *, kind: str, peers: int) -> Numbers:
    """Per cent that are lost of what `peers` send for UDP_SECONDS, at each of UDP_RATES."""
    numbers: Numbers = {}
    for rate in UDP_RATES:
        numbers |= _lost_datagrams(bench, subject, kind, peers, rate)
    return numbers


def _lost_datagrams(bench: Bench, subject: Subject, kind: str, peers: int, rate: int) -> Numbers:
    count = int(rate * UDP_SECONDS)
    listen, upstream = free_port(), free_port()
    ports = Ports(("udp", listen), (subject.output, upstream))
    options: dict[str, Any] = {"connections": peers, "corpus": bench.corpus(kind)}
    with (
        bench.sink(subject, upstream, count, **options) as sink,
        bench.running(subject, ports) as program,
    ):
        with Watch(program.pid) as watch:
            with bench.tools.generator("udp", listen, count, rate=rate, **options) as generator:
                sent = generator.wait_report(RUN_SECONDS_MAX)
            _settled(program, watch, until=lambda: sink.has_all)
        found = sink.end_and_report()
    if not found["missing"]:
        verified(subject, found, sent)
    lost = found["missing"] / count * 100
    return {f"% lost at {rate:,}/s": lost, **_sent_too_slowly(sent, rate)}


def _sent_too_slowly(sent: dict[str, Any], rate: int) -> Numbers:
    """What was sent a second, if the generator did not manage `rate`."""
    reached = sent["sent"] / max(1, sent["ended_us"] - sent["began_us"]) * 1e6
    return {f"sent instead of {rate:,}/s": reached} if reached < rate * RATE_SHARE_MIN else {}


def idle(bench: Bench, subject: Subject) -> Numbers:
    """With its upstream connected and nothing to do."""
    listen, upstream = free_port(), free_port()
    ports = Ports(("tcp", listen), (subject.output, upstream))
    with bench.sink(subject, upstream, 1000) as sink, bench.running(subject, ports) as program:
        with bench.tools.generator("lines", listen, 1000) as generator:
            generator.wait_report(RUN_SECONDS_MAX)
        wait_all(sink, subject, program)
        time.sleep(1)
        with Watch(program.pid) as watch:
            time.sleep(IDLE_SECONDS)
    return {
        "CPU ms in a second": watch.usage.cpu_seconds / IDLE_SECONDS * 1000,
        "peak MiB": watch.usage.peak_bytes / MIB,
        "own MiB": watch.usage.anonymous_bytes / MIB,
    }


def syncs(bench: Bench, subject: Subject) -> float | None:
    """fsync and its like for 1,000 messages of a short steady run, counted by strace."""
    count = SYNC_MESSAGES
    listen, upstream = free_port(), free_port()
    folder = bench.folder / "traced"
    with bench.sink(subject, upstream, count) as sink:
        ports = Ports(("tcp", listen), (subject.output, upstream))
        traced = subject.start_counting_syncs(folder, ports)
        if traced is None:
            return None
        try:
            with bench.tools.generator("lines", listen, count) as generator:
                generator.wait_report(RUN_SECONDS_MAX)
            wait_all(sink, subject, traced.program)
        finally:
            traced.end()
        found = traced.syncs() * 1000 / count
    shutil.rmtree(folder, ignore_errors=True)
    return found


def per_message(usage: Usage, count: int) -> Numbers:
    return {
        "CPU µs": usage.cpu_seconds / count * 1e6,
        "peak MiB": usage.peak_bytes / MIB,
        "own MiB": usage.anonymous_bytes / MIB,
        "octets written": usage.written_bytes / count,
    }


def _seconds_max(count: int) -> float:
    return max(RUN_SECONDS_MAX, count / RATE_MIN)


def wait_all(
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


def verified(
    subject: Subject, found: dict[str, Any], sent: dict[str, Any] | None = None
) -> Numbers:
    """That nothing is missing or strange; how many came twice or late, if any did.

    `sent` is the generator's report if the messages are those of a corpus.  Where the subject
    passes them on as they came the sums of their hashes have to be equal.  Where it does not they
    are only counted, or seen in their order, so that one that comes twice would hide a missing one.
    """
    wrong: dict[str, Any] = {name: found[name] for name in ("missing", "unknown") if found[name]}
    if sent is not None and subject.is_verbatim and found["checksum"] != sent["checksum"]:
        wrong["other octets than were sent"] = True
    if sent is not None and not subject.is_verbatim and found["accepted"] > 1:
        wrong["connections, over which messages may have come twice"] = found["accepted"]
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
