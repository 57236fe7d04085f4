from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from relay.service.configuration.model import Url
from relay.service.process.systemd import (
    NO_SYSTEMD,
    NotifyService,
    Systemd,
    initial_environment,
    take_systemd,
)

FAR = 1_000_000  # no descriptor of the tests is touched


@pytest.fixture(autouse=True)
def no_real_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.set_inheritable", lambda number, flag: None)


def taken(environment: dict[str, str], initial: Mapping[str, str] | None = None) -> Systemd:
    return take_systemd(environment, initial=initial or {}, pid=77)


def listening(**variables: str) -> Systemd:
    return taken({"LISTEN_PID": "77", **variables})


def test_names_and_descriptors() -> None:
    assert listening(LISTEN_FDS="2", LISTEN_FDNAMES="syslog:net").sockets == {3: "syslog", 4: "net"}


def test_what_has_no_name_is_unknown() -> None:
    assert listening(LISTEN_FDS="2").sockets == {3: "unknown", 4: "unknown"}
    assert listening(LISTEN_FDS="2", LISTEN_FDNAMES="a").sockets == {3: "a", 4: "unknown"}


def test_what_twisted_has_removed_is_in_the_initial_environment() -> None:
    initial = {"LISTEN_PID": "77", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a"}
    assert taken({"LISTEN_FDNAMES": "a"}, initial).sockets == {3: "a"}


def test_the_initial_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.environ["PATH"]
    monkeypatch.delenv("PATH")
    assert initial_environment()["PATH"] == before
    assert Path("/proc/self/environ").exists()


@pytest.mark.parametrize("count", ["", "0", "-1", "x", "٣"])
def test_no_sockets(count: str) -> None:
    assert listening(LISTEN_FDS=count, LISTEN_FDNAMES="a").sockets == {}


def test_a_count_is_not_believed_without_limit() -> None:
    assert len(listening(LISTEN_FDS="9" * 30).sockets) == 4096


def test_sockets_for_another_process_are_not_ours() -> None:
    assert taken({"LISTEN_PID": "78", "LISTEN_FDS": "1"}) == NO_SYSTEMD
    assert taken({"LISTEN_FDS": "1"}) == NO_SYSTEMD


def test_children_see_nothing_of_it() -> None:
    environment = {
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "a",
        "LISTEN_PIDFDID": "5",
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "PATH": "/bin",
    }
    taken(environment)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "77"}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, 0.0),
        ({"WATCHDOG_USEC": "never"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_watchdog(variables: dict[str, str], seconds: float) -> None:
    assert taken(dict(variables)).watchdog_seconds == seconds


def test_where_to_report() -> None:
    assert taken({"NOTIFY_SOCKET": "@abc"}).notify_socket == "@abc"


# Which socket is meant.


def test_a_socket_is_found_by_name_and_by_number() -> None:
    systemd = Systemd({3: "syslog.socket", 4: "net", 5: "3"})
    assert systemd.descriptor_of("net") == 4
    assert systemd.descriptor_of("4") == 4
    assert systemd.descriptor_of("3") == 5  # a name comes first


def test_a_wrong_name_lists_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"only syslog\.socket \(number 3\), net \(number 4\)"):
        Systemd({3: "syslog.socket", 4: "net"}).descriptor_of("sylog.socket")
    with pytest.raises(ValueError, match="no socket of this name"):
        Systemd({3: "a"}).descriptor_of("4")


def test_a_name_of_two_sockets_does_not_do() -> None:
    systemd = Systemd({3: "a", 4: "b", 5: "a"})
    with pytest.raises(ValueError, match=r"2 sockets .*a \(number 3\), a \(number 5\).*FileDescr"):
        systemd.descriptor_of("a")


def test_without_systemd() -> None:
    with pytest.raises(ValueError, match="systemd passed no sockets to this process"):
        NO_SYSTEMD.descriptor_of("a")


def test_sockets_that_nobody_uses() -> None:
    systemd = Systemd({3: "a", 4: "b", 5: "c"})
    listening = [Url("relp", inherited="a"), Url("systemd", inherited="5"), Url("udp", port=514)]
    assert systemd.unused(listening) == ["b (number 4)"]


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
        send=reports.send, watchdog_seconds=watchdog_seconds, clock=reactor, is_well=is_well
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


def test_another_program_in_our_place_is_told_the_same() -> None:
    said = {
        "NOTIFY_SOCKET": "/run/n",
        "WATCHDOG_USEC": "2500000",
        "WATCHDOG_PID": "77",
        "FDSTORE": "9",
    }
    environment = dict(said)
    found = taken(environment)
    assert (found.descriptors_max, environment) == (9, {})
    assert found.environment(77) == said
    assert taken(found.environment(77)) == found
    assert NO_SYSTEMD.environment(77) == {}


def test_a_store_needs_a_way_to_it() -> None:
    assert taken({"FDSTORE": "9"}).descriptors_max == 0
    assert taken({"FDSTORE": "x", "NOTIFY_SOCKET": "/n"}).descriptors_max == 0


def test_a_stop_may_say_something_else() -> None:
    reports = Reports()
    service = NotifyService(
        send=reports.send,
        watchdog_seconds=0,
        clock=MemoryReactorClock(),
        farewell=lambda: {"RELOADING": "1"},
    )
    service.startService()
    service.stopService()
    assert reports.sent[2:] == ["RELOADING=1"]
