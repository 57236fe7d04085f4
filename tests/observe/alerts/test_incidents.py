from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from relay.observe.alerts.incidents import (
    BEGINS_MAX,
    ENDED_MAX,
    QUIET_SECONDS,
    RUNNING_MAX,
    Alert,
    Finding,
    Incidents,
)

TROUBLE = Finding("down", "destination out", "refused", "error")
MILD = TROUBLE._replace(begins=False)


class Setup:
    """Looks every 5 s."""

    def __init__(self, **holds: float) -> None:
        self.incidents = Incidents(holds)
        self.now = 0.0

    def look(self, *findings: Finding) -> list[str]:
        """What has begun and ended."""
        self.now += 5.0
        changed = self.incidents.look(self.now, 1e9 + self.now, findings)
        return [f"{alert.rule} {'begins' if alert.ended is None else 'ends'}" for alert in changed]

    def looks(self, seconds: float, *findings: Finding) -> list[str]:
        return [each for _ in range(int(seconds / 5)) for each in self.look(*findings)]


def test_an_incident_begins_once_and_ends_once() -> None:
    setup = Setup()
    assert setup.look(TROUBLE) == ["down begins"]
    (alert,) = setup.incidents.running
    assert alert.report() == {
        "rule": "down",
        "subject": "destination out",
        "text": "refused",
        "severity": "error",
        "since": 1e9 + 5,
    }
    assert setup.looks(600, TROUBLE) == []
    assert setup.looks(QUIET_SECONDS - 5) == []
    assert setup.looks(10) == ["down ends"]
    assert setup.incidents.running == []
    assert [each.ended for each in setup.incidents.ended] == [1e9 + setup.now - 5]
    assert setup.look(TROUBLE) == ["down begins"]


def test_what_flaps_is_one_incident() -> None:
    setup = Setup()
    found = [each for _ in range(50) for each in (*setup.look(TROUBLE), *setup.looks(40))]
    assert found == ["down begins"]


def test_between_two_limits_nothing_begins_and_nothing_ends() -> None:
    setup = Setup()
    assert setup.looks(100, MILD) == []
    assert setup.look(TROUBLE) == ["down begins"]
    assert setup.looks(600, MILD) == []
    assert setup.looks(QUIET_SECONDS) == ["down ends"]


def test_what_has_to_last_begins_when_it_has() -> None:
    setup = Setup(down=300.0)
    assert setup.looks(300, TROUBLE) == []
    assert setup.look(TROUBLE) == ["down begins"]


def test_a_short_break_does_not_matter_to_what_has_to_last_a_long_one_does() -> None:
    setup = Setup(down=100.0)
    setup.looks(90, TROUBLE)
    setup.looks(10)
    assert setup.looks(20, TROUBLE) == ["down begins"]
    setup.looks(QUIET_SECONDS)
    setup.looks(90, TROUBLE)
    setup.looks(20)
    assert setup.looks(90, TROUBLE) == []


def test_it_may_become_worse_and_says_what_was_found_last() -> None:
    setup = Setup()
    setup.look(TROUBLE._replace(severity="warning"))
    setup.look(TROUBLE._replace(text="timeout"))
    setup.look(TROUBLE._replace(text="refused\x1b[2J", severity="warning"))
    (alert,) = setup.incidents.running
    assert (alert.text, alert.severity) == ("refused\\x1b[2J", "error")


def test_the_worst_and_then_the_oldest_come_first() -> None:
    setup = Setup()
    for rule, severity in (("a", "warning"), ("b", "error"), ("c", "error"), ("d", "warning")):
        setup.look(Finding(rule, "x", "y", severity))
    assert [alert.rule for alert in setup.incidents.running] == ["b", "c", "a", "d"]


def test_too_many_of_one_rule_are_left_out_and_others_are_told() -> None:
    setup = Setup()
    many = [Finding("silent", f"source net, {number}", "x") for number in range(500)]
    assert len(setup.look(*many)) == RUNNING_MAX
    assert setup.incidents.left_out == {"silent": 500 - RUNNING_MAX}
    assert setup.look(*many, TROUBLE) == ["down begins"]
    assert setup.looks(QUIET_SECONDS + 5, TROUBLE).count("silent ends") == RUNNING_MAX
    assert setup.incidents.left_out == {}


def test_within_an_hour_few_begin() -> None:
    setup = Setup()
    begun = 0
    for round in range(20):
        many = [Finding("silent", f"{round}.{number}", "x") for number in range(20)]
        begun += setup.looks(10, *many).count("silent begins")
        setup.looks(QUIET_SECONDS + 5)
    assert begun == BEGINS_MAX
    setup.looks(3600)
    assert setup.look(Finding("silent", "new", "x")) == ["silent begins"]


def test_incidents_of_an_earlier_process_go_on_or_end() -> None:
    setup = Setup()
    before = [
        Alert("down", "destination out", "refused", "error", 5.0),
        Alert("silent", "source net", "nothing", "warning", 6.0),
    ]
    ended = [Alert("drops", "source net", "lost", "error", 1.0, 2.0)]
    setup.incidents.restore(before, ended, setup.now)
    found = setup.looks(QUIET_SECONDS + 5, TROUBLE)
    assert found == ["silent ends"]
    assert [alert.since for alert in setup.incidents.running] == [5.0]
    assert [alert.rule for alert in setup.incidents.ended] == ["drops", "silent"]


FINDINGS = st.lists(
    st.builds(
        Finding,
        st.sampled_from(["silent", "increase", "down"]),
        st.text(),
        st.text(),
        st.sampled_from(["warning", "error"]),
        st.booleans(),
    ),
    max_size=20,
)


@given(st.lists(st.tuples(FINDINGS, st.floats(0, 2000)), max_size=10))
def test_alerts_and_memory_are_bounded_whatever_is_found(
    looks: list[tuple[list[Finding], float]],
) -> None:
    incidents, now = Incidents({"down": 30.0}), 0.0
    running: set[tuple[str, str]] = set()
    for findings, seconds in looks:
        now += seconds
        for alert in incidents.look(now, now, findings):
            assert (alert.key in running) is (alert.ended is not None)  # in turn
            running ^= {alert.key}
        assert {alert.key for alert in incidents.running} == running
        assert len(running) <= 3 * RUNNING_MAX
        assert len(incidents) <= 3 * RUNNING_MAX + 1000
        assert len(incidents.ended) <= ENDED_MAX
        assert all(alert.subject.isprintable() for alert in incidents.running)


def test_a_flood_of_subjects_that_have_to_last_is_bounded() -> None:
    incidents = Incidents({"down": 30.0})

    def flood(start: int) -> Iterable[Finding]:
        return (Finding("down", str(start + number), "x") for number in range(2000))

    for second in range(50):
        incidents.look(second, second, flood(2000 * second))
    assert len(incidents) <= 1000 + RUNNING_MAX


def test_of_ended_alerts_the_last_hundred_are_kept_and_say_when() -> None:
    setup = Setup()
    for number in range(130):
        rule = f"rule {number % 10}"  # each of which may begin only so often
        assert setup.look(Finding(rule, str(number), "x" * 10_000)) == [f"{rule} begins"]
        assert len(setup.incidents.running[0].text) == 500
        assert setup.looks(QUIET_SECONDS) == [f"{rule} ends"]
    assert len(setup.incidents.ended) == ENDED_MAX == 100
    assert [alert.subject for alert in setup.incidents.ended] == [str(n) for n in range(30, 130)]
    report = setup.incidents.ended[-1].report()
    assert (report["since"], report["ended"]) == (1e9 + setup.now - 60, 1e9 + setup.now)


def test_an_incident_that_is_restored_twice_is_one() -> None:
    setup = Setup()
    alert = Alert("down", "destination out", "refused", "error", 1e9)
    setup.incidents.restore([alert, alert], [], setup.now)
    setup.looks(QUIET_SECONDS)
    others = [TROUBLE._replace(subject=str(number)) for number in range(RUNNING_MAX + 1)]
    assert len(setup.look(*others)) == RUNNING_MAX
