from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from relay.service.process.stop_guard import StopGuard


@pytest.fixture
def told() -> Iterator[list[int]]:
    """What a reactor would be told of signals."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    yield heard
    signal.signal(signal.SIGTERM, before)
    signal.setitimer(signal.ITIMER_REAL, 0)


def test_a_signal_reaches_the_reactor_and_starts_the_kernels_timer(told: list[int]) -> None:
    clock = Clock()
    guard = StopGuard(reactor=clock)
    guard.startService()
    clock.advance(0)
    signal.raise_signal(signal.SIGTERM)
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    assert told == [signal.SIGTERM]
    assert 0 < left <= 4.8


def test_what_was_installed_before_is_put_back(told: list[int]) -> None:
    clock, before = Clock(), signal.getsignal(signal.SIGTERM)
    guard = StopGuard(reactor=clock)
    guard.startService()
    clock.advance(0)
    assert signal.getsignal(signal.SIGTERM) is not before
    guard.stopService()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_relay_that_has_stopped_already_installs_nothing(told: list[int]) -> None:
    clock, before = Clock(), signal.getsignal(signal.SIGTERM)
    guard = StopGuard(reactor=clock)
    guard.startService()
    guard.stopService()
    clock.advance(0)
    assert signal.getsignal(signal.SIGTERM) is before
