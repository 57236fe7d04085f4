"""When the configuration is read again, and what is said of it."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from relay.service.process.systemd import Systemd
from relay.service.reloading import reading
from relay.service.reloading.service import Reload, Reloading
from tests.assembled_relay import Relay, reached
from tests.connections import fired
from tests.reloading_relay import ReloadingRelay, tables

pytestmark = pytest.mark.usefixtures("relays_end")


@pytest.fixture
def relay(tmp_path: Path) -> ReloadingRelay:
    relay = ReloadingRelay(tmp_path, tables(tmp_path))
    relay.start()
    return relay


def test_a_file_that_has_not_changed_changes_nothing(relay: ReloadingRelay) -> None:
    services = list(relay.service)
    answer = relay.reload()
    assert (answer["changes"], answer["problems"], answer["failures"]) == ([], [], [])
    assert list(relay.service) == services
    assert relay.ask("status")["reload"]["at"] is not None
    relay.stop()


def test_a_bad_file_changes_nothing_and_all_problems_are_said(
    relay: ReloadingRelay, tmp_path: Path, logged: list[str]
) -> None:
    wrong = tables(tmp_path, sources={"new": {"listen": "upd://:514"}}, relay={"nam": "x"})
    answer = relay.reload(wrong)
    assert (len(answer["problems"]), answer["changes"]) == (2, [])
    assert all(problem.startswith(f"{relay.path}:") for problem in answer["problems"])
    status = relay.ask("status")
    assert status["reload"]["refused"] == answer["problems"]
    assert [line for line in status["degraded"] if "refused: 2 problems" in line]
    assert "reload: nothing is changed, the relay goes on with what it has read" in logged
    relay.send("app", b"<13>app: one")
    assert relay.lines("own.log", 1) == [b"<13>app: one"]
    assert relay.reload(tables(tmp_path))["problems"] == []
    assert relay.ask("status")["degraded"] == []
    relay.stop()


def test_a_dry_run_says_the_same_and_changes_nothing(relay: ReloadingRelay, tmp_path: Path) -> None:
    more = {"new": {"connect": f"file:{tmp_path}/new.log"}}
    configured = tables(tmp_path, destinations=more, relay={"name": "web-2"})
    dry = relay.reload(configured, dry_run=True)
    assert (dry["dry_run"], dry["restart"]) == (True, ["relay.name"])
    assert len(relay.ask("status")["destinations"]) == 2
    assert relay.ask("status")["reload"] == {
        "at": None,
        "restart": [],
        "failures": [],
        "refused": [],
    }
    applied = relay.reload()
    assert applied == {**dry, "dry_run": False}
    wrong = relay.reload({**configured, "relay": {"nam": "x"}}, dry_run=True)
    assert len(wrong["problems"]) == 1
    assert relay.ask("status")["reload"]["refused"] == []
    relay.stop()


def test_what_a_file_includes_is_read_as_well(relay: ReloadingRelay, tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "new.toml").write_text(
        f'[destinations.new]\nconnect = "file:{tmp_path}/new.log"\n'
    )
    relay.path.write_text('include = ["conf.d/*.toml"]\n' + relay.path.read_text())
    assert relay.reload()["changes"] == [{"what": "added", "table": "destinations.new", "keys": []}]
    relay.stop()


def test_a_hangup_reloads_and_logs_what_has_changed(
    relay: ReloadingRelay, tmp_path: Path, logged: list[str]
) -> None:
    relay.write(tables(tmp_path, destinations={"new": {"connect": f"file:{tmp_path}/new.log"}}))
    os.kill(os.getpid(), signal.SIGHUP)
    relay.until(lambda: len(relay.ask("status")["destinations"]) == 3)
    assert f"{relay.path}: read again, 1 change" in logged
    assert "reload: destinations.new added" in logged
    relay.write({"relay": {"nam": 7}})
    os.kill(os.getpid(), signal.SIGHUP)
    relay.until(lambda: relay.ask("status")["reload"]["refused"])
    assert any("unknown key" in line for line in logged)
    relay.stop()


def test_one_reload_at_a_time(relay: ReloadingRelay) -> None:
    (reloading,) = {
        id(each): each for _, each in reached(relay.service) if isinstance(each, Reloading)
    }.values()
    first = reloading.reload(Reload())
    assert relay.ask("reload") == "another reload is under way; ask again when it is done"
    reloading.hang_up()  # not lost: it follows
    relay.reactor.settle(first)
    at = reloading.last.at
    relay.until(lambda: reloading.last.at != at)
    relay.stop()


def test_a_relay_without_a_file_says_so(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    assert "there is no configuration file to read again" in relay.ask("reload")
    os.kill(os.getpid(), signal.SIGHUP)
    relay.reactor.run_next()
    relay.stop()


def test_nothing_is_changed_while_nothing_can_be_stored(relay: ReloadingRelay) -> None:
    queue = relay.service_named("queue")
    queue._parts.admission.set_failure("the disk is full", 0.0)
    assert relay.reload() == ("nothing can be stored now, so nothing is changed: the disk is full")
    queue._parts.admission.clear_failure()
    assert relay.reload()["problems"] == []
    relay.stop()


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    relay = ReloadingRelay(
        tmp_path, tables(tmp_path), systemd=Systemd(notify_socket=str(tmp_path / "notify"))
    )
    relay.reactor.advance(12.5)
    relay.start()
    assert b"READY=1" in manager.recv(1000)
    relay.reload()
    began, ended = manager.recv(1000).split(b"\n"), manager.recv(1000).split(b"\n")
    assert began[:2] == [b"RELOADING=1", b"MONOTONIC_USEC=12500000"]
    assert b"READY=1" in ended
    assert b"STATUS=reloaded" in ended
    relay.reload({"relay": {"nam": 1}})
    assert b"RELOADING=1" in manager.recv(1000)
    assert b"STATUS=reload refused: " in manager.recv(1000)
    relay.reload(dry_run=True)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)
    relay.stop()
    manager.close()


def test_a_defect_is_answered_and_the_manager_is_told_all_the_same(
    relay: ReloadingRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(reading, "difference", broken)
    assert relay.ask("reload") == "internal error; the log has the details"
    monkeypatch.undo()
    assert relay.reload()["problems"] == []
    relay.stop()


def test_a_stop_waits_for_a_reload_that_is_under_way(relay: ReloadingRelay) -> None:
    (reloading,) = {
        id(each): each for _, each in reached(relay.service) if isinstance(each, Reloading)
    }.values()
    under_way = reloading.reload(Reload())
    stopped = fired(relay.service.stopService())
    assert relay.ask("reload") == "the relay is stopping"
    assert relay.service_named("queue").running
    relay.reactor.settle(under_way)
    while not stopped:
        relay.reactor.run_next()
    assert not relay.service_named("queue").running
    relay.running.remove(relay)


def test_a_stop_does_not_wait_for_long(relay: ReloadingRelay) -> None:
    (reloading,) = {
        id(each): each for _, each in reached(relay.service) if isinstance(each, Reloading)
    }.values()
    reloading._is_busy = True  # and it hangs
    finished = fired(reloading.finish())
    relay.reactor.advance(1.1)
    assert finished == []
    relay.reactor.advance(0.2)
    assert len(finished) == 1
    reloading._is_busy = False
    relay.stop()
