from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from tests.assembled_relay import Relay


@pytest.fixture
def relays_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Relays of a test that failed are stopped: their threads would keep the process.

    The last resort of a stop would run in real time.
    """

    class Timer:
        def __init__(self, seconds: float, call: Any) -> None:
            pass

        def start(self) -> None:
            pass

    monkeypatch.setattr(threading, "Timer", Timer)
    yield
    while Relay.running:
        Relay.running[-1].stop()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The lines of the log."""
    lines: list[str] = []

    class Observer:
        def __call__(self, event: LogEvent) -> None:
            lines.append(formatEvent(event))

    observer = Observer()
    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)
