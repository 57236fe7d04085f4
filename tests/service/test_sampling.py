from __future__ import annotations

from twisted.internet.task import Clock

from relay.model.counters.watched import RuleCounter
from relay.service.sampling import RateSampler, ReactorDelay


class Sampled:
    """Counts evenly with the time."""

    def __init__(self, *per_second: int) -> None:
        self.id = f"id {id(self)}"
        self.per_second = per_second
        self.more = 0

    def counts(self) -> tuple[int, ...]:
        return tuple(self.more for _ in self.per_second)

    def sample(self, now: float) -> tuple[int, ...]:
        return tuple(int(now * each) for each in self.per_second)


def test_the_rates_of_all_are_those_of_each_together() -> None:
    clock = Clock()
    sampler = RateSampler(
        sources=[Sampled(100, 10, 5, 2), Sampled(50, 0, 1, 0)],
        destinations=[Sampled(150, 140, 3), Sampled(150, 0, 0)],
        clock=clock,
    )
    sampler.startService()
    clock.pump([1.0] * 70)
    expected = {"messages": 150.0, "warnings": 10.0, "errors": 6.0, "drops": 5.0}
    assert sampler.report() == {
        "10s": {**expected, "delivered": 140.0},
        "60s": {**expected, "delivered": 140.0},
    }
    sampler.stopService()
    assert clock.getDelayedCalls() == []


def test_totals_are_those_of_now() -> None:
    source, destination = Sampled(0, 0, 0, 0), Sampled(0, 0, 0)
    sampler = RateSampler(sources=[source], destinations=[destination], clock=Clock())
    sampler.startService()
    source.more, destination.more = 7, 2
    once = {"messages": 7, "warnings": 7, "errors": 7}
    assert sampler.totals == {**once, "drops": 9, "delivered": 2}


def test_totals_go_on_when_members_come_and_go() -> None:
    stays, goes, comes = (Sampled(0, 0, 0, 0) for _ in range(3))
    sources, rules = [stays, goes], [RuleCounter("one", "error")]
    sampler = RateSampler(sources=sources, destinations=[], rules=rules, clock=Clock())
    sampler.startService()
    stays.more, goes.more, comes.more = 7, 5, 100  # the last in an earlier run
    assert sampler.totals["messages"] == 12
    sources[:] = [stays, comes]
    rules.append(RuleCounter("two", "error"))
    sampler.follow()
    assert sampler.totals["messages"] == 12
    comes.more += 1
    assert sampler.totals["messages"] == 13
    assert [rule["id"] for rule in sampler.watch_report()["rules"]] == ["one", "two"]
    again = Sampled(0, 0, 0, 0)
    again.id, again.more = stays.id, 7  # in the place of one, with its counters
    sources[:] = [again, comes]
    sampler.follow()
    assert sampler.totals["messages"] == 13


def test_rules_have_rates_of_their_own() -> None:
    clock = Clock()
    rules = [RuleCounter("logins", "error", per_second_max=3.0), RuleCounter("noise", "ignore")]
    sampler = RateSampler(
        sources=[Sampled(100, 10, 5, 2)], destinations=[], rules=rules, clock=clock
    )
    sampler.startService()
    for second in range(70):
        clock.advance(1.0)
        rules[0].records += 2 if second < 60 else 4
    report = sampler.watch_report()
    assert report["10s"] == {"messages": 100.0, "warnings": 10.0, "errors": 5.0, "drops": 2.0}
    assert set(report) == {"10s", "60s", "rules"}
    logins, noise = report["rules"]
    assert logins["10s"] > logins["60s"] > 2.0
    del logins["10s"], logins["60s"]
    assert logins == {
        "id": "logins",
        "counts_as": "error",
        "records": 160,
        "per_second_max": 3.0,
    }
    assert (noise["records"], noise["10s"], noise["60s"]) == (0, 0.0, 0.0)


def test_without_sources_and_destinations_nothing_happens() -> None:
    clock = Clock()
    sampler = RateSampler(sources=[], destinations=[], clock=clock)
    sampler.startService()
    clock.pump([1.0] * 3)
    assert set(sampler.report()["10s"].values()) == {0.0}


def test_it_is_counted_how_late_the_timer_is() -> None:
    clock = Clock()
    delay = ReactorDelay(clock=clock)
    delay.startService()
    for seconds in (0.5, 0.5, 0.75, 0.5, 2.5):
        clock.rightNow += seconds  # as when the reactor is busy
        clock.advance(0)
    assert (delay.seconds.total, delay.seconds.sum) == (5, 2.25)
    delay.stopService()
    assert clock.getDelayedCalls() == []
