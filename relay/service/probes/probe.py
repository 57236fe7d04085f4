"""What a probe of a source or destination finds, and how several run at the same time.

A kind's `probe` is called in a thread of its own with what it may block; it tells what it finds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

T = TypeVar("T")

_STEPS_MAX = 6
"""Waits of a probe, one after the other: a name, a connection, TLS, a greeting and more."""


class Severity(IntEnum):
    """How bad a finding is; the worst one is the exit status."""

    OK = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Finding:
    severity: Severity
    step: str
    """What was tried, in one word: dns, tcp, tls."""
    text: str
    fault: str = ""
    """The name of the fault, for programs: ``tcp-refused``; empty = there is none."""
    remedy: str = ""


@dataclass(slots=True)
class Probe:
    """What has been found of one subject.

    Args:
        subject: A source, a destination, or the relay.
        seconds_max: Longest wait of one step.
        relay_pid: The process of the relay that runs with this configuration; 0 = none does.
    """

    subject: str
    seconds_max: float
    relay_pid: int = 0
    findings: list[Finding] = field(default_factory=list)

    def passed(self, step: str, text: str) -> None:
        self.findings.append(Finding(Severity.OK, step, text))

    def warn(self, step: str, fault: str, text: str, remedy: str) -> None:
        self.findings.append(Finding(Severity.WARNING, step, text, fault, remedy))

    def fail(self, step: str, fault: str, text: str, remedy: str) -> None:
        self.findings.append(Finding(Severity.ERROR, step, text, fault, remedy))

    def part(self) -> Probe:
        """A probe of a part of the subject; its findings are the caller's to take over."""
        return Probe(self.subject, self.seconds_max, self.relay_pid)


def run_probes(probes: Sequence[tuple[Probe, Callable[[Probe], None]]]) -> None:
    """Run all at the same time; one that takes too long keeps what it has found until then."""
    threads = [
        threading.Thread(target=call, args=(probe,), name=probe.subject, daemon=True)
        for probe, call in probes
    ]
    for thread in threads:
        thread.start()
    seconds_max = _STEPS_MAX * max((probe.seconds_max for probe, _ in probes), default=0.0)
    deadline = time.monotonic() + seconds_max
    for thread, (probe, _) in zip(threads, probes, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            probe.findings = [*probe.findings]  # what comes from now on is not waited for
            probe.fail(
                "probe",
                "probe-timeout",
                f"the probe has not ended within {seconds_max:g} s",
                "look at the last line above, or allow more with --timeout",
            )


def within(seconds_max: float, call: Callable[[], T]) -> T:
    """The result of what cannot be given a time limit itself, such as getaddrinfo(3).

    Raises:
        TimeoutError: It takes longer; its thread is left alone.
        OSError: It has failed so.
    """
    results: list[T] = []
    errors: list[OSError] = []

    def work() -> None:
        try:
            results.append(call())
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds_max)
    for error in errors:
        raise error
    for result in results:
        return result
    raise TimeoutError(f"no answer within {seconds_max:g} s")
