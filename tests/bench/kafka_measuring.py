"""Measures subjects that send to a topic, or read one."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.bench.kafka_topic import Topic
from tests.bench.load import BenchError, Generator
from tests.bench.measuring import (
    LATENCY_RATE,
    LATENCY_SECONDS,
    MIB,
    RUN_SECONDS_MAX,
    Bench,
    Numbers,
    per_message,
    verified,
    wait_all,
)
from tests.bench.subjects import Ports, Subject, ensure_running
from tests.bench.usage import Watch
from tests.processes import Program, free_port

__all__ = [
    "AWAY_CONNECTIONS",
    "AWAY_SECONDS",
    "WARM_UP",
    "answered",
    "away",
    "compared",
    "hurried",
    "published",
    "read",
]

MIXED = "mixed"
WARM_UP = 1000
"""Messages that are sent before: an idempotent producer waits half a second for its id."""
JOIN_SECONDS = 5.0
"""More than it takes to join a group."""
AWAY_SECONDS = 8.0
"""As long as an election and a little."""
AWAY_RATE = 100_000
AWAY_CONNECTIONS = 50


def published(bench: Bench, subject: Subject) -> Numbers:
    """Mixed traffic over TCP into the topic, from the first octet to the last record."""
    corpus = bench.corpus(MIXED)
    assert corpus is not None
    listen = free_port()
    with Topic.running(bench.folder) as topic:
        ports = Ports(("tcp", listen), ("kafka", topic.broker.port))
        with bench.running(subject, ports) as program:

            def send(count: int, before: int) -> float:
                """Seconds from the first octet to the last record."""
                with bench.tools.generator("lines", listen, count, corpus=corpus) as generator:
                    sent = generator.wait_report(RUN_SECONDS_MAX)
                arrived = topic.wait_count(
                    before + count, RUN_SECONDS_MAX, lambda: ensure_running(subject, program)
                )
                return arrived - sent["began_us"] / 1e6

            send(WARM_UP, 0)
            with Watch(program.pid) as watch:
                seconds = send(bench.count, WARM_UP)
        twice = compared(subject, corpus, topic.payloads())
    return {"messages/s": bench.count / seconds, **per_message(watch.usage, bench.count), **twice}


def compared(subject: Subject, corpus: Path, found: Counter[bytes]) -> Numbers:
    """That each message is in the topic, and those of WARM_UP again; how many more there are."""
    lines = corpus.read_bytes().splitlines()
    expected = Counter(lines) + Counter(lines[:WARM_UP])
    missing, more = expected - found, found - expected
    strange = sum(number for payload, number in more.items() if payload not in expected)
    if missing or strange:
        raise BenchError(
            f"{subject.name}: {sum(missing.values()):,} messages missing, {strange:,} strange:"
            f" {next(iter(missing), b'')[:200]!r}, {next(iter(more), b'')[:200]!r}"
        )
    return {"came twice": more.total()} if more else {}


def read(bench: Bench, subject: Subject) -> Numbers:
    """A full topic to RELP, from when the subject may run to the last message that arrives.

    It has joined its group, and read WARM_UP of the messages, before it is stopped and the topic
    is filled.
    """
    corpus = bench.corpus(MIXED)
    assert corpus is not None
    payloads = corpus.read_bytes().splitlines()
    count, upstream = len(payloads) - WARM_UP, free_port()
    with Topic.running(bench.folder) as topic:
        topic.fill(payloads[:WARM_UP])
        options: dict[str, Any] = {"corpus": corpus, "is_ordered": True}
        with bench.sink(subject, upstream, len(payloads), **options) as sink:
            ports = Ports(("kafka", topic.broker.port), (subject.output, upstream))
            with bench.running(subject, ports) as program:
                time.sleep(JOIN_SECONDS)
                ensure_running(subject, program)
                program.signal(signal.SIGSTOP)
                topic.fill(payloads[WARM_UP:])
                with Watch(program.pid) as watch:
                    began = time.monotonic()
                    program.signal(signal.SIGCONT)
                    wait_all(sink, subject, program)
                found = sink.end_and_report()
    seconds = found["last_us"] / 1e6 - began
    numbers = {"messages/s": count / seconds, **per_message(watch.usage, count)}
    return {**numbers, **verified(subject, found)}


def answered(bench: Bench, subject: Subject) -> Numbers:
    """Milliseconds from when a message was due to its answer, LATENCY_RATE of mixed a second."""
    count = LATENCY_RATE * LATENCY_SECONDS
    listen = free_port()
    with Topic.running(bench.folder) as topic:
        ports = Ports(("relp", listen), ("kafka", topic.broker.port))
        with bench.running(subject, ports) as program:
            _warm_up(bench, listen)
            with Watch(program.pid) as watch:
                paces = {"corpus": bench.corpus(MIXED), "rate": LATENCY_RATE}
                with bench.tools.generator("relp", listen, count, **paces) as generator:
                    sent = generator.wait_report(RUN_SECONDS_MAX)
    names = (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"))
    numbers = {f"answered {shown} ms": sent["latency_us"][name] / 1000 for name, shown in names}
    return {**numbers, "CPU µs": watch.usage.cpu_seconds / count * 1e6}


def hurried(bench: Bench, subject: Subject) -> Numbers:
    """As fast as AWAY_CONNECTIONS are answered."""
    listen = free_port()
    with Topic.running(bench.folder) as topic:
        ports = Ports(("relp", listen), ("kafka", topic.broker.port))
        with bench.running(subject, ports) as program:
            _warm_up(bench, listen)
            options: dict[str, Any] = {"corpus": bench.corpus(MIXED)}
            options["connections"] = AWAY_CONNECTIONS
            generator = bench.tools.generator("relp", listen, bench.count, **options)
            with Watch(program.pid) as watch, generator:
                sent = generator.wait_report(RUN_SECONDS_MAX)
    seconds = (sent["ended_us"] - sent["began_us"]) / 1e6
    return {"messages/s": bench.count / seconds, **per_message(watch.usage, bench.count)}


def _warm_up(bench: Bench, listen: int) -> None:
    with bench.tools.generator("relp", listen, WARM_UP, corpus=bench.corpus(MIXED)) as generator:
        generator.wait_report(RUN_SECONDS_MAX)


def away(bench: Bench, subject: Subject) -> Numbers:
    """The broker stands still for AWAY_SECONDS under load; then everything is answered."""
    count = int(AWAY_RATE * (AWAY_SECONDS + 1))
    listen = free_port()
    with Topic.running(bench.folder) as topic:
        ports = Ports(("relp", listen), ("kafka", topic.broker.port))
        with bench.running(subject, ports) as program:
            _warm_up(bench, listen)
            with Watch(program.pid) as before:
                time.sleep(1.0)
            paces = {"rate": AWAY_RATE, "connections": AWAY_CONNECTIONS}
            generator = bench.tools.generator(
                "relp", listen, count, corpus=bench.corpus(MIXED), **paces
            )
            with generator, Watch(program.pid) as watch:
                sent = _paused(topic, generator, subject, program)
    grown = watch.usage.anonymous_bytes - before.usage.anonymous_bytes
    return {
        "own MiB before": before.usage.anonymous_bytes / MIB,
        "own MiB at most": watch.usage.anonymous_bytes / MIB,
        "grown MiB": grown / MIB,
        "longest answer ms": sent["latency_us"]["max"] / 1000,
    }


def _paused(
    topic: Topic, generator: Generator, subject: Subject, program: Program
) -> dict[str, dict[str, float]]:
    time.sleep(0.5)
    topic.broker.pause()
    try:
        time.sleep(AWAY_SECONDS)
        ensure_running(subject, program)
        assert generator.is_running, generator.log()
    finally:
        topic.broker.resume()
    return generator.wait_report(RUN_SECONDS_MAX)
