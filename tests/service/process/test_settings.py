from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.base import ReactorBase

import relay
from relay.service.configuration.model import Url
from relay.service.process.settings import open_files_warning, run_steadily, set_for_batches
from tests.configurations import new_source

WAS_BUILT = bool(list(Path(relay.__file__).parent.glob("codec/lines.*.so")))
PRINT = "from relay.codec import IS_COMPILED; print(IS_COMPILED)"


@pytest.mark.slow
@pytest.mark.parametrize("value", ["1", ""])
def test_what_is_compiled_is_used_unless_the_environment_says_otherwise(value: str) -> None:
    environment = {**os.environ, "SYSLOGRELAY_PURE": value}
    done = subprocess.run(
        [sys.executable, "-c", PRINT], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{not value and WAS_BUILT}\n"


def test_garbage_is_not_looked_for_in_each_batch_and_threads_take_turns_quickly() -> None:
    thresholds, seconds = gc.get_threshold(), sys.getswitchinterval()
    try:
        set_for_batches()
        young, middle, old = gc.get_threshold()
        assert young >= 10_000
        assert young * (middle + 1) * (old + 1) <= 1_000_000  # or garbage would pile up
        assert gc.get_freeze_count() > 0
        assert sys.getswitchinterval() < 0.001
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        sys.setswitchinterval(seconds)


class Waiting(ReactorBase):
    """Twisted's own timers, with nothing to wait for beside them."""

    def installWaker(self) -> None:
        pass


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time of day, as every reactor asks for it."""
    offset = 0.0
    monkeypatch.setattr(ReactorBase, "seconds", staticmethod(lambda: time.monotonic() + offset))

    def set_by(seconds: float) -> None:
        nonlocal offset
        offset += seconds

    return set_by


@pytest.mark.parametrize("step", [-30 * 86400.0, -3600.0, 365 * 86400.0])
def test_a_timer_takes_as_long_as_it_should_when_the_clock_is_set(
    wall: Callable[[float], None], step: float
) -> None:
    reactor: Any = Waiting()
    called: list[str] = []
    wall(1e9)
    reactor.callLater(1000.0, called.append, "made before")
    run_steadily(reactor)
    reactor.callLater(500.0, called.append, "made afterwards")
    reactor.callLater(0.0, called.append, "due")
    wall(step)
    assert reactor.timeout() == 0
    reactor.runUntilCurrent()
    assert called == ["due"]
    assert 490 < reactor.timeout() <= 500
    remaining = sorted(call.getTime() - reactor.seconds() for call in reactor.getDelayedCalls())
    assert remaining == pytest.approx([500, 1000], abs=10)


def test_it_is_done_once() -> None:
    reactor: Any = Waiting()
    run_steadily(reactor)
    call = reactor.callLater(5.0, list)
    due = call.getTime()
    run_steadily(reactor)
    assert call.getTime() == due


SOURCES = [
    new_source("a", Url("tcp", port=514), connections_max=700),
    new_source("b", Url("relp+tls", port=601), connections_max=300),
    new_source("c", Url("udp", port=514), connections_max=9000),
    new_source("d", Url("file", path="/var/log/*.log"), files_max=50),
]


@pytest.mark.parametrize("hard", [1107, 1108, resource.RLIM_INFINITY])
def test_a_limit_below_what_sources_may_open_is_said(
    monkeypatch: pytest.MonkeyPatch, hard: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, hard))
    message = open_files_warning(SOURCES, 6)
    if hard != 1107:
        assert message == ""
        return
    assert message == (
        "this process may have 1,107 files open, and could need 1,108: 1,000 for connections "
        "(connections_max of all sources), 50 for files that are read (files_max), 58 of its own; "
        "raise LimitNOFILE= of the unit or ulimit -n, or lower connections_max"
    )
