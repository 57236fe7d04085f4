from __future__ import annotations

import threading

import pytest

from relay.service.probes.probe import Finding, Probe, Severity, run_probes, within


def test_probes_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3)

    def meet(probe: Probe) -> None:
        meeting.wait(20)
        probe.passed("meet", probe.subject)

    probes = [Probe(name, 10) for name in "abc"]
    run_probes([(probe, meet) for probe in probes])
    assert [probe.findings for probe in probes] == [
        [Finding(Severity.OK, "meet", name)] for name in "abc"
    ]


def test_one_that_does_not_end_keeps_what_it_has_found() -> None:
    release, ended = threading.Event(), threading.Event()

    def hang(probe: Probe) -> None:
        release.wait(20)
        probe.passed("tcp", "too late")
        ended.set()

    probe = Probe("central", 0.0)
    probe.passed("dns", "known")
    run_probes([(probe, hang)])
    found = [(each.step, each.fault) for each in probe.findings]
    release.set()
    assert ended.wait(20)
    assert found == [("dns", ""), ("probe", "probe-timeout")]


def test_no_probes() -> None:
    run_probes([])


def test_a_part_knows_the_relay() -> None:
    part = Probe("source udp", 3, relay_pid=12).part()
    assert (part.subject, part.seconds_max, part.relay_pid, part.findings) == (
        *("source udp", 3, 12),
        [],
    )


def test_within() -> None:
    release = threading.Event()
    assert within(20, lambda: 7) == 7
    with pytest.raises(TimeoutError, match="within 0 s"):
        within(0.0, lambda: release.wait(20))
    release.set()

    def fail() -> None:
        raise PermissionError("no")

    with pytest.raises(PermissionError, match="no"):
        within(20, fail)
