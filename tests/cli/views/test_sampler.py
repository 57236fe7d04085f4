from __future__ import annotations

from collections import Counter
from pathlib import Path

from relay.cli.views.sampler import NAMES_MAX, SECONDS, Sample, Sampler
from tests.cli.views.test_tap import Relay, item
from tests.processes import wait_until


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def message(program: str, severity: int = 6) -> bytes:
    return b"<%d>Oct 11 22:14:15 host %s[1]: text" % (8 + severity, program.encode())


def test_programs_and_their_errors_are_counted() -> None:
    sample = Sample(Time())
    for program, severity in (("a", 6), ("a", 3), ("b", 4), ("a", 0)):
        sample.note(message(program, severity))
    counted = sample.counted()
    assert counted.programs == Counter(a=3, b=1)
    assert +counted.errors == Counter(a=2)


def test_a_minute_is_remembered() -> None:
    time = Time()
    sample = Sample(time)
    sample.note(message("old"))
    time.now += SECONDS / 2
    sample.note(message("new"))
    time.now += SECONDS / 2
    assert sample.counted().programs == Counter(new=1)
    time.now += SECONDS
    assert sample.counted().programs == Counter()


def test_names_are_bounded() -> None:
    sample = Sample(Time())
    for number in range(NAMES_MAX + 10):
        sample.note(message(f"p{number}"))
    counted = sample.counted().programs
    assert (len(counted), counted["(others)"]) == (NAMES_MAX + 1, 10)


def test_names_are_printable_and_short() -> None:
    sample = Sample(Time())
    sample.note(b"<13>1 - h \x1b[31mred - - - x")
    sample.note(b"<13>1 - h " + b"x" * 100 + b" - - - x")
    sample.note(b"nothing like syslog")
    assert all(name.isprintable() and len(name) <= 48 for name in sample.counted().programs)


def test_it_reads_a_tap_in_a_thread(tmp_path: Path) -> None:
    first = [{"result": None}, {"item": item(message("nginx"))}, {"item": {"left_out": 3}}]
    relay = Relay(tmp_path, first, [{"error": "8 taps are open"}])
    sampler = Sampler(str(tmp_path))
    sampler.start()
    sampler.start()
    relay.serve()
    wait_until(lambda: sampler.sample.counted().programs["nginx"] == 1, "the sample is counted")
    wait_until(lambda: "8 taps are open" in sampler.failure, "the failure is known")
    assert relay.requests[0]["arguments"] == {"stage": "received", "rate": 200.0}
    thread = sampler._thread
    sampler.stop()
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
