from __future__ import annotations

import json
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.flow.intake import Intake
from relay.model.token import Token
from relay.queue.store import QueueStore, Transaction
from relay.service import assembly
from relay.service.assembly import assemble
from relay.service.configuration import (
    AppConfiguration,
    Configuration,
    DestinationConfiguration,
    SourceConfiguration,
    Url,
)
from relay.service.kept_positions import KeptPositions
from relay.service.observing import HangupService
from relay.service.refusal import StartRefused
from relay.service.systemd import Systemd
from tests import queue_files
from tests.assembled_relay import Relay, configuration
from tests.connections import Wire
from tests.threads import Reactor

pytestmark = pytest.mark.usefixtures("relays_end")


def test_assembling_opens_nothing(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert relay.reactor.getReaders() == []
    assert relay.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(("scheme", "answers"), [("relp", True), ("tcp", False), ("udp", False)])
def test_the_queue_is_told_who_waits_for_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, answers: bool
) -> None:
    told: list[bool] = []

    def intake(*, answers: bool, **keywords: Any) -> Intake:
        told.append(answers)
        return Intake(answers=answers, **keywords)

    monkeypatch.setattr(assembly, "Intake", intake)
    source = SourceConfiguration("app", Url(scheme, host="127.0.0.1", port=20514))
    assemble(Reactor(), replace(configuration(tmp_path), sources=(source,)), now=float)
    assert told == [answers]


def test_stamps_go_by_the_time_of_day_and_rates_by_the_clock_that_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks: list[tuple[float, float]] = []
    reactor = Reactor()
    reactor.advance(7.0)

    def intake(*, now: Any, elapsed: Any, **keywords: Any) -> Intake:
        clocks.append((now(), elapsed()))
        return Intake(now=now, elapsed=elapsed, **keywords)

    monkeypatch.setattr(assembly, "Intake", intake)
    assemble(reactor, configuration(tmp_path), now=lambda: 1e9)
    assert clocks == [(1e9, 7.0)] * 2


def test_every_source_feeds_its_destinations(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    relay.send("app", b"<13>app: one")
    relay.send("system", b"<13>system: two")
    relay.stop()  # takes what is in the sockets, and commits it
    again = Relay(tmp_path)
    again.start()
    files = [tmp_path / "all.log", tmp_path / "wrapped.log"]
    while not all(file.exists() and file.stat().st_size for file in files):
        again.reactor.run_next()
    again.stop()
    everything = (tmp_path / "all.log").read_bytes().splitlines()
    assert sorted(everything) == [b"<13>app: one", b"<13>system: two"]
    wrapped = (tmp_path / "wrapped.log").read_bytes()
    assert wrapped.count(b"\n") == 1
    assert b"@syslog-ng" in wrapped
    assert b"web-1" in wrapped
    assert b"two" not in wrapped


def test_a_source_can_set_long_messages_aside(tmp_path: Path) -> None:
    strict = {"frame_bytes_max": 500, "oversize": "quarantine"}
    relay = Relay(tmp_path, app=strict, quarantine_bytes_max=1000)
    relay.start()
    *_, sources, _ = relay.service
    app, system = sources
    for size in (600, 500, 600):
        relay.send("app", b"x" * size)
    relay.stop()  # takes what is in the sockets, and commits it
    account = app.report()["quarantine"]
    assert (account["records"], account["dropped_records"]) == (1, {"quarantine-full": 1})
    assert (app.counters.stored_records, system.report()["quarantine"]) == (1, None)


def test_it_answers_on_the_control_socket(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    control = next(
        reader for reader in relay.reactor.getReaders() if "control" in reader.logPrefix()
    )
    protocol = control._factory.buildProtocol(None)
    protocol.makeConnection(wire := Wire())
    protocol.dataReceived(b'{"command": "status"}\n')
    document = json.loads(wire.value())["result"]
    assert document["name"] == "web-1"
    assert [source["id"] for source in document["sources"]] == ["app", "system"]
    assert [each["id"] for each in document["destinations"]] == ["all", "wrapped"]
    relay.stop()


def test_a_stop_leaves_nothing_running(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    relay.stop()
    assert relay.reactor.getReaders() == []
    assert not any("queue" in thread.name for thread in threading.enumerate())
    assert not (tmp_path / "app").exists()
    assert not (tmp_path / "state" / "control.sock").exists()
    assert relay.ended == []


def test_a_socket_that_nobody_listens_on_is_said(tmp_path: Path, logged: list[str]) -> None:
    assemble(Reactor(), configuration(tmp_path), Systemd({3: "syslog.socket"}), now=float)
    assert [line for line in logged if "syslog.socket (number 3)" in line]


def test_a_hangup_says_that_the_configuration_has_changed(
    tmp_path: Path, logged: list[str]
) -> None:
    path = tmp_path / "relay.toml"
    path.write_text("one")
    service = assemble(Reactor(), configuration(tmp_path, path=str(path)), now=float)
    (hangup,) = (child for child in service if isinstance(child, HangupService))
    path.write_text("two")
    hangup._callbacks[-1]()
    assert f"{path}: the configuration has changed; restart to use it" in logged


def test_a_source_that_is_gone_is_in_the_status(tmp_path: Path) -> None:
    with queue_files.opened(tmp_path / "state" / "queue", "all") as store:
        store.commit(Transaction(0.0, positions={"gone/1": b"1", "app/1": b"1"}))
    relay = Relay(tmp_path)
    relay.start()
    (kept,) = (child for child in relay.service if isinstance(child, KeptPositions))
    assert kept.gone == ["gone"]
    relay.stop()


def test_warnings_of_the_configuration_are_logged(tmp_path: Path, logged: list[str]) -> None:
    warned = configuration(tmp_path, warnings=("relay.x: is old",), path="/etc/r.toml")
    assemble(Reactor(), warned, now=float)
    assert "/etc/r.toml: relay.x: is old" in logged


def test_a_refused_start_leaves_no_thread_that_keeps_the_process(tmp_path: Path) -> None:
    (tmp_path / "state" / "control.sock").mkdir(parents=True)
    relay = Relay(tmp_path)
    with pytest.raises(StartRefused, match="control socket"):
        relay.start()
    assert not any("queue" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("allowed", [False, True])
def test_memory_is_no_place_for_a_queue_unless_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    def refuse(path: str) -> None:
        raise StartRefused(f"{path} is on tmpfs")

    monkeypatch.setattr("relay.service.queue_assembly.refuse_volatile", refuse)
    relay = Relay(tmp_path, allow_volatile_state=allowed)
    if allowed:
        relay.start()
        relay.stop()
    else:
        with pytest.raises(StartRefused, match="queue is on tmpfs"):
            relay.start()


def test_sources_that_authorise_feed_by_app_and_set_aside_the_rest(tmp_path: Path) -> None:
    token = b"web-token-0123456789"
    local = SourceConfiguration(
        "app",
        Url("unixgram", path=str(tmp_path / "app")),
        authorise=("token",),
        unauthorised="quarantine",
    )
    files = [
        DestinationConfiguration(
            name, Url("file", path=str(tmp_path / f"{name}.log")), ("app",), apps=apps
        )
        for name, apps in (("web", ("web",)), ("shop", ("shop",)), ("all", ()))
    ]
    reactor = Reactor()
    service = assemble(
        reactor,
        Configuration(
            name="central",
            state_dir=str(tmp_path / "state"),
            sources=(local,),
            destinations=tuple(files),
            apps=(
                AppConfiguration("web", (Token(token),)),
                AppConfiguration("shop", (Token(b"shop-token-0123456789"),)),
            ),
            allow_volatile_state=True,
        ),
        now=float,
    )
    relay = Relay(tmp_path)
    relay.reactor, relay.service, service._end_process = reactor, service, relay.ended.append
    relay.start()
    relay.send("app", b"<13>" + token + b": one")
    relay.send("app", b"<13>two: by nobody")
    relay.stop()
    store = QueueStore.open(
        str(tmp_path / "state" / "queue"), destinations=(), sources=(), map_bytes=2**30
    )
    received = {name: ledger.received for name, ledger in store.ledgers.items()}
    assert received == {"web": 1, "all": 1, "source/app": 1}
    store.close()


def test_a_full_destination_holds_up_those_who_feed_it_and_nobody_else(tmp_path: Path) -> None:
    base = configuration(tmp_path)
    everything, wrapped = base.destinations
    wrapped = replace(wrapped, queue_bytes_max=2**20, connect=Url("udp", host="127.0.0.1", port=9))
    relay = Relay(tmp_path, destinations=(everything, wrapped), reserve_bytes=0)
    relay.start()
    app, system = (
        reader._admission
        for reader in relay.reactor.getReaders()
        if reader.logPrefix().startswith("source")
    )
    (gauge,) = {*app._gauges} ^ {*system._gauges}
    gauge.set(2**20)
    assert [app.closed, system.closed].count(True) == 1
    relay.stop()


def test_slow_expressions_are_watched_and_a_stop_is_guarded(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    assert relay.service.getServiceNamed("expressions").running

    def heard(number: int, frame: object) -> None:
        """As the reactor's own, which a unit test has not."""

    before = signal.signal(signal.SIGTERM, heard)
    try:
        relay.reactor.advance(0)
        guarded = signal.getsignal(signal.SIGTERM)
        relay.stop()
        assert (guarded is heard, signal.getsignal(signal.SIGTERM) is heard) == (False, True)
    finally:
        signal.signal(signal.SIGTERM, before)
