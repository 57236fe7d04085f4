from __future__ import annotations

import threading
from collections.abc import Mapping

from relay.service.process.start_signs import StartSigns


class Manager:
    def __init__(self) -> None:
        self.reports: list[Mapping[str, str]] = []
        self.heard = threading.Event()

    def send(self, report: Mapping[str, str]) -> None:
        self.reports.append(report)
        self.heard.set()


def test_a_start_that_gets_on_asks_for_more_time() -> None:
    manager, cpu = Manager(), iter([1.0, 1.5, 1.5, 2.0])
    signs = StartSigns(manager.send, watchdog_seconds=3000, progress=lambda: next(cpu))
    signs.startService()
    for _ in range(3):  # the second without any progress
        signs.look()
    signs.stopService()
    assert manager.reports == [{"EXTEND_TIMEOUT_USEC": "30000000", "WATCHDOG": "1"}] * 2


def test_they_come_from_a_thread_until_the_relay_is_ready() -> None:
    manager, cpu = Manager(), iter(range(1000))
    signs = StartSigns(manager.send, watchdog_seconds=0.003, progress=lambda: float(next(cpu)))
    signs.startService()
    assert manager.heard.wait(10)
    signs.send({"READY": "1"})
    assert {"READY": "1"} in manager.reports
    assert signs._over.is_set()
    signs.stopService()


def test_the_time_of_the_thread_that_starts_the_relay_counts() -> None:
    manager = Manager()
    signs = StartSigns(manager.send, watchdog_seconds=3000)
    signs.startService()
    sum(range(10**6))
    signs.look()
    signs.look()
    signs.stopService()
    assert len(manager.reports) == 1
