"""The workloads.  Each is a list of cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from tests.bench.kafka_measuring import (
    AWAY_CONNECTIONS,
    AWAY_SECONDS,
    answered,
    away,
    hurried,
    published,
    read,
)
from tests.bench.kafka_subjects import (
    direct_relay,
    reading_relay,
    reading_rsyslog,
    sending_relay,
    sending_rsyslog,
    sending_syslog_ng,
)
from tests.bench.measuring import (
    IDLE_SECONDS,
    LATENCY_RATE,
    UDP_SECONDS,
    Bench,
    Numbers,
    backlog,
    datagrams,
    idle,
    latency,
    paced,
    steady,
)
from tests.bench.subjects import Subject, relay, rsyslog, syslog_ng

__all__ = ["WORKLOADS", "Case", "cases_of", "estimated_seconds", "in_turn", "row_name"]

MIXED = "mixed"
PEERS = (1, 500)
CONNECTIONS = (1, 50)
MANY = 1000
MANY_RATES = (5_000, 30_000, 100_000)
COMPRESSIONS = ("none", "lz4")
DIRECT_LINGER = 0.005
START_SECONDS = 1.5
"""Of a subject and the sink, and the end of both."""

WORKLOADS = {
    "a": "TCP in, queue, RELP out, steady: eight kinds of traffic",
    "b": "intake with the upstream away, then drain",
    "c": "RELP in, queue, RELP out",
    "d": "TLS in, queue, RELP with TLS out",
    "e": "UDP in: loss by rate, mixed traffic",
    "f": f"latency at {LATENCY_RATE:,} messages a second, mixed traffic",
    "g": "a long queue: start and drain",
    "h": "messages of 16 KiB",
    "i": "idle",
    "j": "TCP in, queue, RELP or TCP out, steady: beside queues on disk",
    "k": f"TCP in from {MANY:,} connections, a message a write, mixed traffic",
    "l": "TCP in, a topic of Kafka out, mixed traffic",
    "m": "a topic of Kafka in, RELP out, mixed traffic",
    "n": "RELP in, answered by a topic of Kafka (direct mode), mixed traffic",
}


@dataclass(frozen=True)
class Case:
    workload: str
    name: str
    """What is special, beside the subject."""
    subject: Subject
    measure: Callable[[Bench, Subject], Numbers]
    seconds: float
    """About how long it takes."""
    rounds_max: int = 99


def cases_of(bench: Bench, workloads: str) -> list[Case]:
    """The cases of the `workloads` (letters) in the order in which to run them."""
    found = [case for letter in workloads for case in _CASES[letter](bench)]
    return [case for case in found if bench.choice.subjects in case.subject.name]


def in_turn(cases: Iterable[Case], number: int) -> Iterator[Case]:
    """The cases of round `number` (from 0 on).

    All subjects of a row follow each other, so that a machine that becomes slower does so for
    all of them, and another one begins in each round.
    """
    for _, group in groupby(cases, lambda case: (case.workload, case.name)):
        row = list(group)
        first = number % len(row)
        yield from (case for case in row[first:] + row[:first] if number < case.rounds_max)


def estimated_seconds(cases: Sequence[Case], rounds: int) -> float:
    return sum(case.seconds * min(rounds, case.rounds_max) for case in cases)


def row_name(kind: str, connections: int) -> str:
    """The name of a case of workload a."""
    return f"{kind}, {connections} connection{'s' if connections > 1 else ''}"


def _peers(bench: Bench, *queues: str, ng: tuple[bool, ...] = ()) -> list[Subject]:
    if bench.packages is None:
        return []
    return [
        *(rsyslog(bench.packages, queue) for queue in queues),
        *(syslog_ng(bench.packages, reliable=reliable) for reliable in ng),
    ]


def _with_cee(bench: Bench) -> list[Subject]:
    """rsyslog in memory, with either template."""
    if bench.packages is None:
        return []
    return [rsyslog(bench.packages, "memory", is_cee=is_cee) for is_cee in (False, True)]


def _a(bench: Bench) -> Iterator[Case]:
    seconds = START_SECONDS + bench.count / 150_000
    for kind in bench.choice.kinds:
        for connections in CONNECTIONS:
            measure = partial(steady, kind=kind, connections=connections)
            for subject in [*map(relay, bench.choice.forms), *_with_cee(bench)]:
                yield Case("a", row_name(kind, connections), subject, measure, seconds)


def _b(bench: Bench) -> Iterator[Case]:
    peers = _peers(bench, "memory", "disk", ng=(True, False))
    seconds = START_SECONDS + 2 + bench.count / 100_000
    for subject in [relay("none"), relay("cee"), *peers]:
        yield Case("b", "", subject, partial(backlog, count=bench.count), seconds)


def _c(bench: Bench) -> Iterator[Case]:
    ours = [relay("none"), relay("cee")]
    seconds = START_SECONDS + bench.count / 150_000
    for subject in [*ours, *_peers(bench, "memory", "disk")]:
        yield Case("c", "window 5000", subject, partial(steady, feed="relp"), seconds)


def _d(bench: Bench) -> Iterator[Case]:
    measure = partial(steady, feed="tls", tls=True, share=0.5)
    for form in ("none", "cee"):
        subject = relay(form, bench.certificates)
        yield Case("d", "1 connection", subject, measure, START_SECONDS + bench.count / 800_000)


def _e(bench: Bench) -> Iterator[Case]:
    for peers in PEERS:
        name = f"{peers} peer{'s' if peers > 1 else ''}"
        measure = partial(datagrams, kind=MIXED, peers=peers)
        for subject in [relay("none"), relay("cee"), *_peers(bench, "memory")]:
            yield Case("e", name, subject, measure, 5 * (START_SECONDS + UDP_SECONDS + 1))


def _f(bench: Bench) -> Iterator[Case]:
    measure = partial(latency, kind=MIXED)
    ours = [relay("none"), relay("cee")]
    for subject in [*ours, *_with_cee(bench), *_peers(bench, ng=(True,))]:
        yield Case("f", "TCP in", subject, partial(measure, feed="tcp"), START_SECONDS + 4)
    for subject in [*ours, *_peers(bench, "memory", "disk")]:
        yield Case("f", "RELP in", subject, partial(measure, feed="relp"), START_SECONDS + 4)


def _g(bench: Bench) -> Iterator[Case]:
    count = bench.queued_count
    measure = partial(backlog, count=count, restart=True)
    for subject in [relay("cee"), *_peers(bench, "disk", ng=(True,))]:
        yield Case("g", f"{count:,} messages", subject, measure, 5 + count / 100_000, rounds_max=1)


def _h(bench: Bench) -> Iterator[Case]:
    measure = partial(steady, size=16384, share=0.1)
    for subject in [relay("none"), relay("cee"), *_peers(bench, "memory", "disk", ng=(True,))]:
        yield Case("h", "1 connection", subject, measure, START_SECONDS + bench.count / 150_000)


def _i(bench: Bench) -> Iterator[Case]:
    for subject in [relay("none"), *_peers(bench, "disk", ng=(True,))]:
        yield Case("i", f"{IDLE_SECONDS:g} s", subject, idle, IDLE_SECONDS + 3, rounds_max=1)


def _j(bench: Bench) -> Iterator[Case]:
    seconds = START_SECONDS + bench.count / 100_000
    peers = _peers(bench, "memory", "disk", ng=(True, False))
    for subject in [relay("none"), relay("cee"), *peers]:
        yield Case("j", "1 connection", subject, steady, seconds)
    for subject in _peers(bench, "disk synced"):
        measure = partial(steady, share=0.02)
        yield Case("j", "1 connection", subject, measure, 2 * seconds, rounds_max=1)


def _k(bench: Bench) -> Iterator[Case]:
    for rate in MANY_RATES:
        measure = partial(paced, kind=MIXED, rate=rate, connections=MANY)
        for subject in [relay("none"), relay("cee"), *_peers(bench, "memory")]:
            yield Case("k", f"{rate:,}/s", subject, measure, START_SECONDS + 5)


def _l(bench: Bench) -> Iterator[Case]:
    seconds = START_SECONDS + 3 + bench.count / 80_000
    for compression in COMPRESSIONS:
        subjects = [sending_relay(compression)]
        if bench.packages is not None:
            for queue in ("memory", "disk"):
                subjects.append(sending_rsyslog(bench.packages, queue, compression))
            for on_disk in (False, True):
                found = sending_syslog_ng(bench.packages, compression, on_disk=on_disk)
                subjects.append(found)
        for subject in subjects:
            yield Case("l", compression, subject, published, seconds)


def _m(bench: Bench) -> Iterator[Case]:
    subjects = [reading_relay()]
    if bench.packages is not None:
        subjects.append(reading_rsyslog(bench.packages))
    for subject in subjects:
        yield Case("m", "1 partition", subject, read, START_SECONDS + 8 + bench.count / 80_000)


def _n(bench: Bench) -> Iterator[Case]:
    subject = direct_relay(DIRECT_LINGER)
    yield Case("n", f"{LATENCY_RATE:,}/s", subject, answered, START_SECONDS + 5)
    seconds = START_SECONDS + bench.count / 100_000
    yield Case("n", f"{AWAY_CONNECTIONS} connections", subject, hurried, seconds)
    name = f"broker away for {AWAY_SECONDS:g} s"
    yield Case("n", name, subject, away, START_SECONDS + AWAY_SECONDS + 8)


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
    "j": _j,
    "k": _k,
    "l": _l,
    "m": _m,
    "n": _n,
}
