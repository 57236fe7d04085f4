from __future__ import annotations

import faulthandler
import io
import re
import resource
import shutil
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import pytest
from twisted.application.service import Application, IServiceCollection, Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogPublisher

from relay.service import relay_service
from relay.service.destinations import link
from relay.service.direct import answering
from relay.service.exit_status import ExitStatus
from relay.service.refusal import StartRefused
from relay.service.relay_service import (
    ConcurrentService,
    RelayService,
    SequentialService,
    StopGuard,
    local_zone,
)
from relay.service.sources import service as sources
from relay.service.stop_lead import StopLead
from relay.transport.kafka import reader as kafka_reader
from relay.transport.kafka import session as kafka_session
from tests.connections import fired
from tests.threads import Reactor


class Child(Service):
    """Writes down what happens to it, and stops when told."""

    def __init__(self, label: str, events: list[str], *, slow: bool = False) -> None:
        self.label = label
        self.events = events
        self.stopping: Deferred[None] | None = Deferred() if slow else None
        self.error: BaseException | None = None

    def startService(self) -> None:
        if self.error is not None:
            raise self.error
        super().startService()
        self.events.append(f"start {self.label}")

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        self.events.append(f"stop {self.label}")
        if self.error is not None:
            raise self.error
        return self.stopping


@pytest.fixture
def events() -> list[str]:
    return []


def test_children_start_in_order_and_stop_one_after_the_other(events: list[str]) -> None:
    children = [Child(label, events, slow=True) for label in ("a", "b", "c")]
    tree: Any = SequentialService(children)
    tree.startService()
    assert tree.running
    assert events == ["start a", "start b", "start c"]
    events.clear()
    stopped = fired(tree.stopService())
    for child in reversed(children):
        assert events[-1] == f"stop {child.label}"
        assert stopped == []
        assert child.stopping is not None
        child.stopping.callback(None)
    assert events == ["stop c", "stop b", "stop a"]
    assert (stopped, tree.running) == ([None], False)


def test_concurrent_children_stop_at_once_and_are_all_waited_for(events: list[str]) -> None:
    children = [Child(label, events, slow=True) for label in ("a", "b")]
    tree: Any = ConcurrentService(children)
    tree.startService()
    events.clear()
    stopped = fired(tree.stopService())
    assert events == ["stop b", "stop a"]
    for child in children:
        assert stopped == []
        assert child.stopping is not None
        child.stopping.callback(None)
    assert (stopped, tree.running) == ([None], False)


@pytest.mark.parametrize("kind", [SequentialService, ConcurrentService])
def test_one_that_fails_to_stop_does_not_keep_the_others(kind: Any, events: list[str]) -> None:
    children = [Child(label, events) for label in ("a", "b", "c")]
    tree = kind(children)
    tree.startService()
    children[1].error = ZeroDivisionError()
    events.clear()
    assert fired(tree.stopService()) == [None]
    assert events == ["stop c", "stop b", "stop a"]


@pytest.mark.parametrize("kind", [SequentialService, ConcurrentService])
def test_a_refused_start_stops_what_has_started(kind: Any, events: list[str]) -> None:
    children = [Child(label, events, slow=True) for label in ("a", "b", "c", "d")]
    tree = kind([kind(children[:2]), *children[2:]])
    children[2].error = StartRefused("no")
    with pytest.raises(StartRefused):
        tree.startService()
    assert events[:2] == ["start a", "start b"]
    assert events[2] == "stop b"  # its parent waits, where it is sequential, or goes on
    assert "stop c" not in events
    assert "start d" not in events


@pytest.mark.parametrize("kind", [SequentialService, ConcurrentService])
def test_children_come_and_go_while_it_runs(kind: Any, events: list[str]) -> None:
    first, last = Child("first", events, slow=True), Child("last", events)
    tree = kind([first, last])
    tree.startService()
    events.clear()
    between = Child("between", events)
    between.name = "named"
    tree.take_in(between, before=last)
    assert (events, list(tree)) == (["start between"], [first, between, last])
    assert tree.getServiceNamed("named") is between
    gone = fired(ensureDeferred(tree.let_go(first)))
    assert (events[-1], gone, list(tree)) == ("stop first", [], [between, last])
    assert first.stopping is not None
    first.stopping.callback(None)
    assert gone == [None]


def test_a_tree_that_does_not_run_takes_nobody_in(events: list[str]) -> None:
    tree = ConcurrentService()
    with pytest.raises(StartRefused, match="the relay is stopping"):
        tree.take_in(Child("late", events))
    assert (events, list(tree)) == ([], [])


def test_an_empty_tree(events: list[str]) -> None:
    for tree in (SequentialService(), ConcurrentService()):
        tree.startService()
        assert fired(tree.stopService()) == [None]


class Slow(Service):
    def __init__(self) -> None:
        self.stopping: Deferred[None] = Deferred()
        self.was_asked = False

    def stopService(self) -> Deferred[None]:
        self.was_asked = True
        return self.stopping


class Timer:
    """A threading.Timer whose time comes when the test says so."""

    made: list[Timer]

    def __init__(self, seconds: float, call: Any) -> None:
        self.seconds, self.call, self.daemon, self.started = seconds, call, False, False
        Timer.made.append(self)

    def start(self) -> None:
        self.started = True


@pytest.fixture
def statuses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    Timer.made = []
    monkeypatch.setattr(threading, "Timer", Timer)
    return []


def test_a_stop_that_hangs_ends_the_process_within_five_seconds(statuses: list[int]) -> None:
    child = Slow()
    relay = RelayService([child], end_process=statuses.append)
    relay.startService()
    stopped = fired(relay.stopService())
    (timer,) = Timer.made
    assert (timer.seconds <= 5, timer.daemon, timer.started) == (True, True, True)
    timer.call()
    assert (stopped, statuses) == ([], [1])


def test_the_five_seconds_of_a_stop_begin_after_its_lead(statuses: list[int]) -> None:
    child, lead = Slow(), Deferred[None]()
    relay = RelayService([child], end_process=statuses.append)
    relay.lead = lambda: lead
    relay.startService()
    relay.stopService()
    assert (Timer.made, child.was_asked) == ([], False)
    lead.callback(None)
    assert (len(Timer.made), child.was_asked) == (1, True)


def test_after_a_clean_stop_a_thread_that_hangs_is_no_failure(statuses: list[int]) -> None:
    child = Slow()
    relay = RelayService([child], end_process=statuses.append)
    relay.startService()
    stopped = fired(relay.stopService())
    child.stopping.callback(None)
    assert stopped == [None]
    Timer.made[0].call()
    assert statuses == [0]


def test_a_failure_is_in_the_status_of_a_process_that_has_to_be_ended(statuses: list[int]) -> None:
    exit_status = ExitStatus(Reactor())
    relay = RelayService(exit_status=exit_status, end_process=statuses.append)
    exit_status.fail()
    relay.startService()
    assert fired(relay.stopService()) == [None]
    Timer.made[0].call()
    assert statuses == [1]


def test_the_log_says_how_long_a_stop_took(statuses: list[int], logged: list[str]) -> None:
    relay = RelayService()
    relay.startService()
    relay.stopService()
    assert logged[-2] == "stopping"
    assert re.fullmatch(r"stopped after 0\.\d s", logged[-1])


def test_an_application_logs_by_the_observer_of_its_relay() -> None:
    application = Application("relay")
    relay = RelayService()
    relay.log_observer = LogPublisher()  # type: ignore[assignment]  # zope: it provides it
    services: Any = IServiceCollection(application)
    relay.setServiceParent(application)
    assert list(services) == [relay]
    assert ILogObserver(application) is relay.log_observer


def test_without_an_observer_an_application_logs_as_twistd_says() -> None:
    application: Any = Application("relay")
    RelayService().setServiceParent(application)
    assert application.getComponent(ILogObserver) is None


def test_a_crash_shows_where_it_was_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    to: list[int] = []
    monkeypatch.setattr(faulthandler, "enable", to.append)
    RelayService().startService()
    assert to == [2]


def test_a_start_takes_as_many_open_files_as_there_may_be() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1000), hard))
        RelayService().startService()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("name", "hours"),
    [
        ("Europe/Budapest", 2),
        (":Europe/Budapest", 2),
        ("America/New_York", -4),
        ("Nowhere/X", 0),
        ("../x", 0),
    ],
)
def test_the_zone_of_this_host(monkeypatch: pytest.MonkeyPatch, name: str, hours: int) -> None:
    monkeypatch.setenv("TZ", name)
    summer = datetime(2026, 7, 1, tzinfo=UTC).astimezone(local_zone())
    assert summer.utcoffset() == timedelta(hours=hours)


def test_a_host_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TZ", str(tmp_path / "missing"))
    assert local_zone() is UTC


def test_the_zone_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = ZoneInfo("Europe/Budapest")
    shutil.copy("/usr/share/zoneinfo/Europe/Budapest", tmp_path / "localtime")
    monkeypatch.setenv("TZ", f":{tmp_path}/localtime")
    summer = datetime(2026, 7, 1, tzinfo=UTC)
    assert summer.astimezone(local_zone()).utcoffset() == summer.astimezone(zone).utcoffset()


def test_without_tz_it_is_that_of_etc_localtime(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: str, mode: str) -> IO[bytes]:
        assert (path, mode) == ("/etc/localtime", "rb")
        return io.BytesIO(Path("/usr/share/zoneinfo/Europe/Budapest").read_bytes())

    monkeypatch.setattr(relay_service, "open", opened, raising=False)
    monkeypatch.delenv("TZ", raising=False)
    offset = datetime(2026, 7, 1, tzinfo=UTC).astimezone(local_zone()).utcoffset()
    assert offset == timedelta(hours=2)


def test_its_start_sets_the_interpreter_for_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr("relay.service.relay_service.set_for_batches", lambda: called.append("set"))
    RelayService([]).startService()
    assert called == ["set"]


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


def test_the_kernels_timer_comes_after_the_lead_and_a_second_signal_cuts_it(
    told: list[int],
) -> None:
    clock, tries = Reactor(), list[str]()
    lead = StopLead(seconds=lambda: 30.0, tell=lambda fields: None, clock=Clock())
    lead.cut = lambda: tries.append("cut")  # type: ignore[method-assign]
    guard = StopGuard(reactor=clock, lead=lead)
    guard.startService()
    clock.advance(0)
    signal.raise_signal(signal.SIGTERM)
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    assert (told, tries) == ([signal.SIGTERM], [])
    assert 30 < left <= 34.8
    signal.raise_signal(signal.SIGTERM)
    while not tries:
        clock.run_next()
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


def test_the_longest_waits_of_a_stop_together_end_before_the_process_does() -> None:
    """Sources stop at once, then what answers them, then destinations: each has threads that may
    hang, and the queue is closed after them."""
    waits = [
        max(kafka_reader.STOP_SECONDS_MAX, sources._FINISH_SECONDS_MAX),
        answering._CLOSE_SECONDS_MAX,
        max(kafka_session.CLOSE_SECONDS_MAX, link._CLOSE_SECONDS_MAX),
    ]
    assert sum(waits) <= relay_service._STOP_SECONDS_MAX - 0.5
