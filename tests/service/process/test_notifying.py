from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.testing import MemoryReactorClock

from relay.service.process.notifying import NotifyService


class Reports:
    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, report: Mapping[str, str]) -> None:
        self.sent += [f"{name}={value}" for name, value in report.items()]


def started(
    watchdog_seconds: float, is_well: Callable[[], bool] = lambda: True
) -> tuple[NotifyService, Reports, MemoryReactorClock]:
    reports, reactor = Reports(), MemoryReactorClock()
    service = NotifyService(
        notify=reports, watchdog_seconds=watchdog_seconds, reactor=reactor, is_well=is_well
    )
    assert reports.sent == []
    service.startService()
    return service, reports, reactor


def test_ready_and_stopping() -> None:
    service, reports, reactor = started(0)
    assert reports.sent == ["READY=1", "STATUS=ready"]
    reactor.advance(1000)
    service.stopService()
    assert reports.sent[2:] == ["STOPPING=1", "STATUS=stopping"]
    assert reactor.getDelayedCalls() == []


def test_the_watchdog_hears_from_us_twice_in_its_time() -> None:
    service, reports, reactor = started(10)
    reactor.advance(0)
    assert reports.sent.count("WATCHDOG=1") == 1
    reactor.advance(4.9)
    assert reports.sent.count("WATCHDOG=1") == 1
    for _ in range(4):
        reactor.advance(5)
    assert reports.sent.count("WATCHDOG=1") == 5
    service.stopService()
    assert reactor.getDelayedCalls() == []


def test_the_watchdog_hears_nothing_while_something_is_stuck() -> None:
    well = [True]
    service, reports, reactor = started(10, lambda: well[0])
    well[0] = False
    for _ in range(4):
        reactor.advance(5)
    assert reports.sent.count("WATCHDOG=1") == 1
    well[0] = True
    reactor.advance(5)
    assert reports.sent.count("WATCHDOG=1") == 2
    service.stopService()
