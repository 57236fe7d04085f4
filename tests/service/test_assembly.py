from __future__ import annotations

import base64
import contextlib
import shutil
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay import __version__
from relay.codec import IS_COMPILED
from relay.flow.intake import Intake, Quarantine
from relay.model.clock import WallClock
from relay.model.counters.source import BELIEVED_RECORDS_MAX
from relay.model.origin import Arrival, Origin, Transport
from relay.model.parse_options import ParseOptions
from relay.model.token import Token
from relay.observe.log_levels import LOG_LEVELS
from relay.queue.inspect.queries import QUERIES
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction
from relay.service import assembly
from relay.service.assembly import assemble
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import (
    AppConfiguration,
    Configuration,
    DestinationLimits,
    RewriteConfiguration,
    TlsConfiguration,
    UnreadToken,
    Url,
)
from relay.service.destinations.service import DestinationService
from relay.service.destinations.stall_detector import StallDetector
from relay.service.kinds import KINDS
from relay.service.observing import HangupService
from relay.service.process.systemd import Systemd
from relay.service.queue.service import QueueService
from relay.service.queue.view import QueueView
from relay.service.refusal import StartRefused
from relay.service.reloading import intakes, routes, source_parts
from relay.service.routes.rewriting import Rewriting
from relay.service.sources.service import KeptPositions
from relay.transport.notices import Notices
from relay.wire.parse import read_lines
from tests import queue_files
from tests.assembled_relay import Relay, configuration, reached
from tests.certificate_files import make_certificate_files
from tests.configurations import new_destination, new_source
from tests.lines import read_by
from tests.threads import Reactor
from tests.written import filter_of, steps_of

pytestmark = pytest.mark.usefixtures("relays_end")


def _queue_of(relay: Relay) -> QueueService:
    (queue,) = (each for each in relay.service if isinstance(each, QueueService))
    return queue


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

    monkeypatch.setattr(source_parts, "Intake", intake)
    source = new_source("app", Url(scheme, host="127.0.0.1", port=20514))
    assemble(Reactor(), replace(configuration(tmp_path), sources=(source,)), now=float)
    assert told == [answers]


def test_stamps_go_by_the_time_of_day_and_rates_by_the_clock_that_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks: list[tuple[float, float]] = []
    reactor = Reactor()
    reactor.advance(7.0)

    def intake(*, wall: WallClock, **keywords: Any) -> Intake:
        clocks.append((wall.now(), wall.elapsed()))
        return Intake(wall=wall, **keywords)

    monkeypatch.setattr(source_parts, "Intake", intake)
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
    *_, sources, _, _ = relay.service
    app, system = sources
    for size in (600, 500, 600):
        relay.send("app", b"x" * size)
    relay.stop()  # takes what is in the sockets, and commits it
    account = app.report()["quarantine"]
    assert (account["records"], account["dropped_records"]) == (1, {"quarantine-full": 1})
    assert (app.counters.stored_records, system.report()["quarantine"]) == (1, None)


def test_it_answers_on_the_control_socket(tmp_path: Path) -> None:
    with queue_files.opened(tmp_path / "state" / "queue", "all", "old") as store:
        store.commit(Transaction(0.0, {"old": [b"x"]}, positions={"gone/1": b"1"}))
    relay = Relay(tmp_path)
    relay.start()
    relay.reactor.advance(7.0)
    document = relay.ask("status")
    assert (document["name"], document["version"]) == ("web-1", __version__)
    assert document["compiled"] is IS_COMPILED
    assert document["state_dir"] == str(tmp_path / "state")
    assert document["uptime_seconds"] == 7.0
    assert [source["id"] for source in document["sources"]] == ["app", "system"]
    assert [each["id"] for each in document["destinations"]] == ["all", "wrapped"]
    assert document["admission"]["open"]
    assert document["admission"]["queue_bytes_max"] == 4 * 2**30
    # Counters may be on their way to disk.
    assert 0 < document["admission"]["allocated_bytes"] <= _queue_of(relay).view.allocated_bytes
    assert (document["orphans"], document["sources_gone"]) == (["old"], ["gone"])
    assert document["damaged_files"] == []
    relay.stop()


def test_the_status_has_what_was_said_last_of_each_part(tmp_path: Path) -> None:
    (tmp_path / "all.log").mkdir()
    relay = Relay(tmp_path)
    relay.start()
    relay.reactor.advance(1.0)
    queue = _queue_of(relay)
    (notices,) = {
        id(each): each for _, each in reached(queue) if isinstance(each, Notices)
    }.values()
    notices.warn("source app, 192.0.2.1:5", "tls", "says no")
    notices.warn("destination all", "down", "is away")
    document = relay.ask("status")
    app, system = (source["last_errors"] for source in document["sources"])
    assert ([(each["peer"], each["text"]) for each in app], system) == (
        [("192.0.2.1:5", "says no")],
        [],
    )
    assert "is away" in [each["text"] for each in document["destinations"][0]["last_errors"]]
    relay.stop()


def test_the_status_has_histories_damaged_files_and_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_certificate_files(tmp_path / "certificates")
    tls = TlsConfiguration(
        trusted_ca=files.ca, certificate=files.server_certificate, private_key=files.server_key
    )
    source = new_source("in", Url("tls", host="127.0.0.1"), tls=tls)
    relay = Relay(tmp_path, sources=(source,))
    relay.start()
    queue = _queue_of(relay)
    queue.histories.used_bytes = 77
    monkeypatch.setattr(QueueView, "damaged_files", ["/x/data.mdb.damaged"])
    document = relay.ask("status")
    assert document["admission"]["history_bytes"] == 77
    assert document["damaged_files"] == ["/x/data.mdb.damaged"]
    assert [each["certificate"] for each in document["certificates"]] == [files.server_certificate]
    relay.stop()


def test_the_control_socket_offers_all_commands(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    _, _, known = relay.ask("?").partition("commands: ")
    assert known.split(", ") == sorted(
        [
            *("status", "queue-append", "queue-purge", "queue-adopt", "queue-compact", *QUERIES),
            *("quarantine-purge", "quarantine-replay", "history-replay"),
            *("connect", "pause", "resume", "requeue", "peers", "samples", "tap", "alerts"),
            *("configuration", "log-level", "log-lines", "reload"),
            *("upgrade", "handover"),
        ]
    )
    assert "no destination 'x'; there is: all, wrapped" in relay.ask(
        "history-replay",
        queue="all",
        to="x",
        period={},
    )
    relay.stop()


def test_the_level_of_the_log_can_be_changed_and_shows_in_the_status(tmp_path: Path) -> None:
    relay = Relay(tmp_path, log_level="warn")
    relay.start()
    assert relay.ask("status")["log"] == {"level": "warn", "configured": "warn", "namespaces": {}}
    assert relay.ask("log-level", level="debug")["level"] == "debug"
    relay.send("app", b"<13>1 - host app - - - text")
    (reader,) = [each for each in relay.reactor.getReaders() if "source app" in each.logPrefix()]
    reader.doRead()
    relay.reactor.advance(1.0)
    while not any("debug: commit: " in line for line in relay.ask("log-lines")):
        relay.reactor.run_next()
    assert relay.ask("status")["log"]["level"] == "debug"
    relay.stop()
    assert LOG_LEVELS.level == "info"


def test_the_configuration_can_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text(
        f"""
        [relay]
        state_dir = "{tmp_path}/state"
        [sources.app]
        listen = "unixgram:app.sock"
        [destinations.all]
        connect = "file:copy"
        """
    )
    read = read_configuration(str(tmp_path / "relay.toml"), KINDS)
    relay = Relay(tmp_path, origin=read.origin, path=read.path)
    relay.start()
    answer = relay.ask("configuration")
    assert answer["files"] == [str(tmp_path / "relay.toml")]
    assert ["sources", "app"] in [each["path"] for each in answer["sections"]]
    relay.stop()


def test_a_pause_by_hand_has_the_time_of_day(tmp_path: Path, logged: list[str]) -> None:
    relay = Relay(tmp_path)
    relay.start()
    relay.reactor.advance(3600.0)
    assert relay.ask("pause", destination="all") is None
    relay.stop()
    again = Relay(tmp_path)
    again.start()
    assert any("all: paused by hand since 1970-01-01 01:00:00 UTC" in line for line in logged)
    again.stop()


def test_what_is_put_into_a_queue_by_hand_keeps_to_its_limit(tmp_path: Path) -> None:
    limited = new_destination(
        "all",
        Url("file", path=str(tmp_path)),
        ("app",),
        queue_bytes_max=2**20,
        when_full="drop-newest",
    )
    relay = Relay(tmp_path, destinations=(limited,))
    relay.start()
    payload = base64.b64encode(b"x" * 2**21).decode()
    answer = relay.ask("queue-append", destination="all", payloads=[payload])
    assert "the queue of all has room for" in str(answer)
    relay.stop()


def test_its_services_start_in_their_order(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    assert [type(each).__name__ for each in relay.service] == [
        *("LogService", "StopGuard", "StartSigns", "HangupService"),
        *("CertificateWatch", "TokenWatch", "LookupFiles"),
        *("QueueService", "ClockWatch", "CounterKeeper", "KeptPositions", "CompactionService"),
        *("FlushService", "ConcurrentService", "DestinationTools", "StallDetector"),
        *("ExpressionWatch", "PlaceWatch", "QuarantineLimits", "QueueWatch", "HistoryWatch"),
        *("RateSampler", "ReactorDelay", "ControlService", "StatisticsService"),
        *("_Part", "ConcurrentService", "_Part", "NotifyService"),
    ]


def test_rates_and_times_are_sampled(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    for severity in (4, 3, 6, 6):
        relay.send("app", b"<%d>1 - host app - - - text" % (8 + severity))

    def received() -> int:
        found: int = relay.ask("status")["destinations"][0]["received_records"]
        return found

    (reader,) = [each for each in relay.reactor.getReaders() if "source app" in each.logPrefix()]
    reader.doRead()
    relay.reactor.advance(1.0)  # hands over what was read
    while not (relay.ask("status")["commit_seconds"]["count"] and received() == 4):
        relay.reactor.run_next()
    relay.reactor.advance(1.0)
    status = relay.ask("status")
    (app, system), (everything, _) = status["sources"], status["destinations"]
    rates = {"messages": 2.0, "warnings": 0.5, "errors": 0.5, "drops": 0.0}
    assert app["rates"] == {"10s": rates, "60s": rates}
    assert set(system["rates"]["60s"].values()) == {0.0}
    assert everything["rates"]["10s"]["received"] == 2.0
    assert {**status["rates"]["10s"], **rates} == status["rates"]["10s"]
    for name in ("reactor_delay_seconds", "commit_seconds", "commit_writing_seconds"):
        assert status[name]["count"] > 0, name
    relay.stop()


def test_systemd_is_told_how_the_relay_is(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.setblocking(False)

        def told() -> list[str]:
            found = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    found.append(manager.recv(4096).decode())
            return found

        relay = Relay(tmp_path, Systemd(notify_socket=path, watchdog_seconds=20.0))
        relay.start()
        assert told() == ["READY=1\nSTATUS=ready", "WATCHDOG=1"]
        relay.reactor.advance(10.0)
        assert told() == ["WATCHDOG=1"]
        *_, progress = (each for each in relay.service if isinstance(each, StallDetector))
        progress.destinations[0].lanes[0].progress.stuck = True
        relay.reactor.advance(10.0)
        assert told() == []
        relay.reactor.pump([10.0] * 4)
        status = [each for each in told() if each.startswith("STATUS=")]
        assert len(status) == 1
        assert status[0].startswith("STATUS=statistics: app: received 0; ")
        relay.stop()
        assert "STOPPING=1\nSTATUS=stopping" in told()


def test_a_hangup_opens_files_and_looks_for_tokens_and_certificates(
    tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(DestinationService, "reopen", lambda each: opened.append(each.id))
    files = make_certificate_files(tmp_path / "certificates")
    tls = TlsConfiguration(
        trusted_ca=files.ca, certificate=files.server_certificate, private_key=files.server_key
    )
    token = UnreadToken("it is not there", file=str(tmp_path / "token"))
    appended = new_destination(
        "all",
        Url("file", path=str(tmp_path / "all.log")),
        ("in",),
        rewrite=RewriteConfiguration("cee", token=token),
    )
    plain = replace(appended, id="plain", rewrite=RewriteConfiguration())
    relay = Relay(
        tmp_path,
        sources=(new_source("in", Url("tls", host="127.0.0.1"), tls=tls),),
        destinations=(appended, plain),
    )
    (hangup,) = (each for each in relay.service if isinstance(each, HangupService))
    relay.start()
    (tmp_path / "token").write_text("0123456789abcdef\n")
    later = make_certificate_files(tmp_path / "later")
    shutil.copy(later.ca, files.ca)
    hangup._run()
    assert "source in: new TLS files are in use" in logged
    assert "destination all: its token is in use" in logged
    assert opened == ["all", "plain"]
    relay.stop()


def test_tokens_are_looked_for_each_minute(tmp_path: Path, logged: list[str]) -> None:
    token = UnreadToken("it is not there", file=str(tmp_path / "token"))
    late = new_destination(
        "all",
        Url("file", path=str(tmp_path)),
        ("app",),
        rewrite=RewriteConfiguration("cee", token=token),
    )
    relay = Relay(tmp_path, destinations=(late,))
    relay.start()
    relay.reactor.advance(60)
    (tmp_path / "token").write_text("0123456789abcdef\n")
    relay.reactor.advance(60)
    assert "destination all: its token is in use" in logged
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
    assemble(Reactor(), configuration(tmp_path), Systemd({3: "a", 4: "a"}), now=float)
    assert [line for line in logged if "no source listens on it" in line] == [
        "systemd: passed the socket a (number 3), and no source listens on it",
        "systemd: passed the socket a (number 4), and no source listens on it",
    ]


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
    assert any(line.endswith(": relay.x: is old") for line in logged)


def test_a_refused_start_leaves_no_thread_that_keeps_the_process(tmp_path: Path) -> None:
    (tmp_path / "state" / "control.sock").mkdir(parents=True)
    relay = Relay(tmp_path)
    with pytest.raises(StartRefused, match="control socket"):
        relay.start()
    assert not any("queue" in thread.name for thread in threading.enumerate())


def test_a_queue_beside_a_relay_that_answers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "state" / "control.sock"))
        other.listen()
        with pytest.raises(StartRefused, match="queue is in use by process"):
            Relay(tmp_path).start()


@pytest.mark.parametrize("allowed", [False, True])
def test_memory_is_no_place_for_a_queue_unless_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.setattr("relay.service.queue.state_dir.file_system_of", lambda path, text: "tmpfs")
    relay = Relay(tmp_path, allow_volatile_state=allowed)
    if allowed:
        relay.start()
        relay.stop()
    else:
        with pytest.raises(StartRefused, match="queue would lie on tmpfs"):
            relay.start()


def test_sources_that_authorise_feed_by_app_and_set_aside_the_rest(tmp_path: Path) -> None:
    token = b"web-token-0123456789"
    app = Url("unixgram", path=str(tmp_path / "app"))
    relay = Relay(
        tmp_path,
        sources=(new_source("app", app, authorise=("token",), unauthorised="quarantine"),),
        destinations=tuple(
            new_destination(name, Url("file", path=str(tmp_path / name)), ("app",), apps=apps)
            for name, apps in (("web", ("web",)), ("shop", ("shop",)), ("all", ()))
        ),
        apps=(
            AppConfiguration("web", (Token(token),)),
            AppConfiguration("shop", (Token(b"shop-token-0123456789"),)),
        ),
    )
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
    wrapped = replace(
        wrapped, limits=DestinationLimits(2**20), connect=Url("udp", host="127.0.0.1", port=9)
    )
    relay = Relay(tmp_path, destinations=(everything, wrapped), reserve_bytes=0)
    relay.start()
    app, system = (
        reader._admission
        for reader in relay.reactor.getReaders()
        if reader.logPrefix().startswith("source")
    )
    (watermark,) = {*app._watermarks} ^ {*system._watermarks}
    watermark.set(2**20)
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


def _told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, **keywords: Any
) -> list[dict[str, Any]]:
    """What each `name` of an assembled relay is told, which the module `place` makes."""
    told: list[dict[str, Any]] = []
    made = getattr(place, name)

    def make(*arguments: Any, **given: Any) -> Any:
        told.append({**given, "arguments": arguments})
        return made(*arguments, **given)

    monkeypatch.setattr(place, name, make)
    assemble(Reactor(), configuration(folder, **keywords), now=float)
    return told


def test_an_intake_is_told_what_its_source_is_configured_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = {
        "oversize": "quarantine",
        "unauthorised": "quarantine",
        "authorise": ("network",),
        "check_sequence": True,
        "parse": ParseOptions(no_parse=True, encoding="latin-1"),
    }
    app, system = _told(
        tmp_path, monkeypatch, source_parts, "Intake", app=strict, quarantine_bytes_max=999
    )
    for told, is_strict in ((app, True), (system, False)):
        assert told["quarantine"] == Quarantine(is_strict, is_strict, bytes_max=999)
        assert (told["reading"].authorise is not None) is is_strict
        assert (told["reading"].sequences is not None) is is_strict
    assert app["counters"] is not system["counters"]
    line = [b"<13>1 - host app - - - text"]
    (message,) = read_by(app["reading"].parser, line, Origin("app", Transport.UNIX))
    assert message.hostname is None
    (message,) = read_by(system["reading"].parser, line, Origin("system", Transport.UNIX))
    assert message.hostname == b"host"


def test_an_encoding_alone_does_not_change_how_messages_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = ParseOptions(encoding="latin-1")
    app, system = _told(tmp_path, monkeypatch, source_parts, "Intake", app={"parse": parse})
    frames, origin = [b"<13>caf\xc3\xa9: x", b"no pri"], Origin("app", Transport.TCP, "192.0.2.1")
    found = app["reading"].parser(frames, Arrival.of_one(2, origin))
    assert type(found) is type(read_lines(frames))
    assert found.messages() == read_by(system["reading"].parser, frames, origin)


def test_stamps_without_a_zone_are_in_the_zone_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    zones = [str(told["zone"]) for told in _told(tmp_path, monkeypatch, intakes, "new_parser")]
    assert zones == ["America/New_York"] * 2


def test_only_limits_that_drop_are_in_the_way_and_local_sources_use_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, wrapped = configuration(tmp_path).destinations
    full = replace(full, limits=DestinationLimits(2**20, when_full="drop-newest"))
    app, system = _told(
        tmp_path,
        monkeypatch,
        source_parts,
        "Intake",
        app={"reserved": False},
        destinations=(full, replace(wrapped, limits=DestinationLimits(2**20))),
    )
    ways = [
        {way.destination: (way.limit is not None, way.reserved) for way in told["routes"]}
        for told in (app, system)
    ]
    assert ways == [{"all": (True, False), "wrapped": (False, False)}, {"all": (True, True)}]


def test_what_is_held_back_keeps_to_the_limit_without_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = steps_of({"suppress_repeats": 10})
    full = new_destination(
        "all",
        Url("file", path=str(tmp_path / "all.log")),
        ("app",),
        queue_bytes_max=2**20,
        when_full="drop-newest",
        rewrite=RewriteConfiguration(steps=steps),
    )
    (told,) = _told(tmp_path, monkeypatch, assembly, "FlushService", destinations=(full,))
    (way,) = told["routes"].values()
    assert (way.limit.destination, way.reserved) == ("all", False)


def test_rewrites_are_told_of_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    (told,) = _told(
        tmp_path,
        monkeypatch,
        routes,
        "Rewriting",
        apps=(AppConfiguration("shop"),),
        path="/etc/relay/relay.toml",
    )
    (given,) = told["arguments"]
    assert (given.name, given.apps) == ("web-1", (AppConfiguration("shop"),))
    assert str(told["zone"]) == "America/New_York"
    assert (told["now"](), told["started_at"]) == (0.0, 0.0)
    told["warn"]("all", "cast", "does not fit")
    assert "destination all: does not fit" in logged


def test_the_uptime_begins_with_the_relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    def rewriting(of: Configuration, *, started_at: float, **keywords: Any) -> Rewriting:
        told.append(started_at)
        return Rewriting(of, started_at=started_at, **keywords)

    monkeypatch.setattr(routes, "Rewriting", rewriting)
    reactor = Reactor()
    reactor.advance(5.0)
    assemble(reactor, configuration(tmp_path), now=float)
    assert told == [5.0]


def test_a_rewrite_that_has_become_wrong_refuses_the_start(tmp_path: Path) -> None:
    looks = {"map": str(tmp_path / "missing.csv"), "key": "$HOST", "into": ".team"}
    wrong, other = configuration(tmp_path).destinations
    wrong = replace(wrong, rewrite=RewriteConfiguration(steps=steps_of(looks)))
    twice = (wrong, replace(wrong, id="second"), other)
    with pytest.raises(StartRefused) as caught:
        assemble(Reactor(), configuration(tmp_path, destinations=twice), now=float)
    first, second = caught.value.text.split("\n")
    assert "missing.csv" in first
    assert "destinations.second" in second


def test_messages_that_no_destination_takes_are_warned_of(
    tmp_path: Path, logged: list[str]
) -> None:
    picky = replace(configuration(tmp_path).destinations[0], match=filter_of({"severity": "err"}))
    relay = Relay(tmp_path, destinations=(picky,))
    relay.start()
    relay.send("app", b"<13>app: of no use")
    relay.stop()
    assert (
        "source app: 1 message dropped: no destination takes them; if they are wanted, add a "
        "destination without match, or widen one"
    ) in logged


def test_gaps_that_cannot_be_true_are_warned_of_in_words(tmp_path: Path, logged: list[str]) -> None:
    relay = Relay(tmp_path, app={"check_sequence": True})
    relay.start()
    for number in (b"1", b"2000000000"):
        counted = b'[meta sequenceId="%s"][syslogrelay@32473 from="hub"]' % number
        relay.send("app", b"<13>1 - host app - - %s text" % counted)
    relay.stop()
    assert (
        f"source app: the numbers of hub jump by more than {BELIEVED_RECORDS_MAX:,}: that many "
        "are not believed to be missing, and none is counted"
    ) in logged


def test_each_counter_of_numbers_is_warned_of_by_itself(tmp_path: Path, logged: list[str]) -> None:
    relay = Relay(tmp_path, app={"check_sequence": True})
    relay.start()
    for number in (b"1", b"4"):
        for hub in (b"hub", b"tub"):
            counted = b'[meta sequenceId="%s"][syslogrelay@32473 from="%s"]' % (number, hub)
            relay.send("app", b"<13>1 - host app - - %s text" % counted)
    relay.stop()
    expected = [line for line in logged if line.startswith("source app: missing: 2 messages")]
    assert len(expected) == 2
    (notices,) = {
        id(each): each for _, each in reached(relay.service) if isinstance(each, Notices)
    }.values()
    assert [last["kind"] for last in notices.last_of("source app")] == ["sequence"]


def test_too_few_open_files_and_warnings_of_the_command_line_are_logged(
    tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def warning(sources: Any, destinations: int) -> str:
        asked.append((len(sources), destinations))
        return "too few files"

    monkeypatch.setattr(assembly, "open_files_warning", warning)
    assemble(Reactor(), configuration(tmp_path, warnings=("name: is odd",)), now=float)
    assert asked == [(2, 2)]
    assert {"too few files", "command line: name: is odd"} <= {*logged}


def test_a_socket_that_a_source_listens_on_is_not_said(tmp_path: Path, logged: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        systemd = Systemd({made.fileno(): "net"})
        source = new_source("app", Url("systemd", inherited="net"))
        assemble(Reactor(), configuration(tmp_path, sources=(source,)), systemd, now=float)
    assert not any("no source listens on it" in line for line in logged)


def test_sources_are_told_of_the_relay(tmp_path: Path) -> None:
    relp = KINDS.source("relp")
    told: list[Any] = []

    def make(source: Any, receiving: Any, parts: Any) -> Any:
        told.extend((receiving, parts))
        return relp.make(source, receiving, parts)

    kinds = replace(KINDS, sources=(replace(relp, make=make),))
    source = new_source("app", Url("relp", host="127.0.0.1"))
    keys = {"sources": (source,), "local_block_seconds_max": 7.5}
    assemble(Reactor(), configuration(tmp_path, **keys), now=float, kinds=kinds)
    receiving, parts = told
    assert receiving.quarantine.args == ("app",)
    assert (parts.relay_name, parts.local_block_seconds_max) == ("web-1", 7.5)
    assert parts.positions.__name__ == "positions"
    assert parts.lineages is not None
