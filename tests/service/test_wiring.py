"""What each part of an assembled relay is there for happens, so it was started and told all."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from relay.flow.exactly_once.lineages import Lineages
from relay.model.clock import WallClock
from relay.model.seq import SeqRange
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.watermark import Watermark
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from relay.queue.transaction import Removal, SetAside, Transaction
from relay.service.configuration.model import (
    AlertLimits,
    AlertsConfiguration,
    DestinationConfiguration,
    RewriteConfiguration,
    TlsConfiguration,
    Url,
    WatchConfiguration,
)
from relay.service.configuration.tables.filter import AllOf, FieldFits, TextTest
from relay.service.exit_status import ExitStatus
from relay.service.prerequisite import Prerequisite
from relay.service.queue import compaction
from relay.service.queue.service import QueueService
from relay.transport.notices import Notices
from tests.assembled_relay import Relay, reached
from tests.certificate_files import make_certificate_files
from tests.configurations import new_destination, new_source
from tests.threads import Reactor
from tests.written import steps_of

pytestmark = pytest.mark.usefixtures("relays_end")
FAILED = TextTest("failed", "substring")


def away(folder: Path, **keywords: Any) -> DestinationConfiguration:
    """A destination that takes nothing: its file is a directory."""
    url = Url("file", path=str(folder))
    return new_destination("all", url, ("app", "system"), **keywords)


def queue_before(folder: Path, *transactions: Transaction) -> None:
    """What an earlier run has left in the queue of the destination `all`."""
    path = folder / "state" / "queue"
    path.parent.mkdir()
    store = QueueStore.open(str(path), destinations=["all"], map_bytes=2**30)
    for transaction in transactions:
        store.commit(transaction)
    store.close()


def ledger_of(relay: Relay, account: str = "all") -> Ledger:
    (queue,) = [service for service in relay.service if service.name == "queue"]
    found: Ledger = queue.view.ledgers[account]
    return found


def run_until(relay: Relay, done: Callable[[], bool]) -> None:
    """Run what threads hand over; time only moves when none of them has anything to do."""
    while not done():
        relay.reactor.run_next()


def test_missing_numbers_are_looked_for_where_that_is_wanted(
    tmp_path: Path, logged: list[str]
) -> None:
    relay = Relay(tmp_path, app={"check_sequence": True})
    relay.start()
    for number in (b"1", b"4"):
        for source in ("app", "system"):
            counted = b'[meta sequenceId="%s"][syslogrelay@32473 from="hub"]' % number
            relay.send(source, b"<13>1 - host app - - %s text" % counted)
    relay.stop()
    text = "missing: 2 messages that hub has numbered"
    assert [line for line in logged if text in line] == [f"source app: {text}"]
    *_, sources, _, _ = relay.service
    assert [source.counters.missing_records for source in sources] == [2, 0]


def test_rules_say_what_messages_of_their_sources_count_as(tmp_path: Path) -> None:
    rules = (
        WatchConfiguration("failures", "error", AllOf({"msg": FieldFits("msg", (FAILED,))})),
        WatchConfiguration("rest", "ignore", sources=("app",)),
    )
    relay = Relay(tmp_path, watch=rules)
    relay.start()
    for source in ("app", "system"):
        relay.send(source, b"<14>a: it failed")
        relay.send(source, b"<11>a: an error says the device")
    rates: Any = relay.service.getServiceNamed("rates")
    assert relay.ask("status")["watch"]["rules"] == rates.watch_report()["rules"]
    *_, sources, _, _ = relay.service
    relay.stop()
    found = {rule["id"]: rule["records"] for rule in rates.watch_report()["rules"]}
    assert found == {"failures": 2, "rest": 1}
    assert [source.sample(9.0)[2] for source in sources] == [1, 2]


def test_alerts_are_raised_shown_first_and_kept_over_a_restart(
    tmp_path: Path, logged: list[str]
) -> None:
    alerts = AlertsConfiguration(AlertLimits(down_after=5.0))
    relay = Relay(tmp_path, alerts=alerts, destinations=(away(tmp_path),))
    relay.start()
    for _ in range(3):
        relay.reactor.advance(5)
    status = relay.ask("status")
    (alert,) = status["alerts"]
    assert (alert["rule"], alert["subject"]) == ("down", "destination all")
    assert status["degraded"] == [f"destination all: {alert['text']} (alert down)"]
    assert relay.ask("alerts") == {
        "running": [alert],
        "ended": [],
        "left_out": {},
        "outlets": [],
    }
    relay.stop()
    relay = Relay(tmp_path, alerts=alerts, destinations=(away(tmp_path),))
    relay.start()
    assert relay.ask("status")["alerts"][0]["since"] == alert["since"]
    relay.stop()
    assert len([line for line in logged if line.startswith("alert: ")]) == 1


def test_without_a_table_there_are_no_alerts(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    status = relay.ask("status")
    assert (status["alerts"], status["alerts_ended"], status["alert_outlets"]) == ([], [], [])
    assert relay.ask("alerts") is None
    assert not (tmp_path / "state" / "alerts.json").exists()
    relay.stop()


def test_a_destination_s_quarantine_is_kept_to_its_size(tmp_path: Path) -> None:
    aside = [SetAside(SeqRange(seq, seq + 1), "refused") for seq in (1, 2, 3)]
    queue_before(
        tmp_path,
        Transaction(1.0, {"all": [b"x" * 400] * 3}),
        Transaction(2.0, removals={"all": Removal(4, aside)}),
    )
    relay = Relay(tmp_path, destinations=(away(tmp_path),), quarantine_bytes_max=1000)
    relay.start()
    run_until(relay, lambda: bool(ledger_of(relay).dropped))
    ledger = ledger_of(relay)
    assert ledger.dropped == {"quarantine-full": 3 - ledger.quarantined}
    assert 0 < ledger.quarantine_bytes <= 1000
    relay.stop()


def test_a_source_s_quarantine_is_kept_to_its_age(tmp_path: Path) -> None:
    strict = {"frame_bytes_max": 500, "oversize": "quarantine"}
    relay = Relay(tmp_path, app=strict, quarantine_seconds_max=60.0)
    relay.start()
    relay.send("app", b"x" * 600)
    relay.stop()
    relay = Relay(tmp_path, app=strict, quarantine_seconds_max=60.0)
    relay.reactor.advance(30)
    relay.start()
    relay.reactor.advance(25)
    assert ledger_of(relay, "source/app").quarantined == 1
    relay.reactor.advance(15)
    run_until(relay, lambda: not ledger_of(relay, "source/app").quarantined)
    assert ledger_of(relay, "source/app").dropped == {"quarantine-aged": 1}
    relay.stop()


def test_of_a_queue_that_is_nearly_full_local_sources_have_the_rest(tmp_path: Path) -> None:
    queue_before(tmp_path, Transaction(1.0, {"all": [b"x" * 1000] * 1000}))
    relay = Relay(
        tmp_path,
        app={"reserved": False},
        destinations=(away(tmp_path),),
        queue_bytes_max=1_100_000,
        reserve_bytes=200_000,
        min_free_bytes=0,
    )
    relay.start()
    for source in ("app", "system"):
        relay.send(source, b"<13>x: y")
    relay.stop()
    *_, sources, _, _ = relay.service
    assert {source.id: source.counters.stored_records for source in sources} == {
        "app": 0,
        "system": 1,
    }


def test_the_file_is_compacted_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr(compaction, "_FREE_BYTES_MIN", 2**20)
    queue_before(
        tmp_path,
        Transaction(1.0, {"all": [b"x" * 1000] * 4000}),
        Transaction(2.0, removals={"all": Removal(4001)}),
    )
    relay = Relay(tmp_path, destinations=(away(tmp_path),))
    relay.start()
    before = (tmp_path / "state/queue/data.mdb").stat().st_size
    for _ in range(3):
        relay.reactor.advance(60)
    run_until(relay, lambda: any("was compacted" in line for line in logged))
    assert (tmp_path / "state/queue/data.mdb").stat().st_size < before / 2
    relay.stop()


def test_new_certificates_are_in_use_after_a_minute(tmp_path: Path, logged: list[str]) -> None:
    files = make_certificate_files(tmp_path / "old")
    later = make_certificate_files(tmp_path / "new")
    tls = TlsConfiguration(
        trusted_ca=files.ca, certificate=files.server_certificate, private_key=files.server_key
    )
    url = Url("relp+tls", host="127.0.0.1")  # whichever port is free
    relay = Relay(tmp_path, sources=(new_source("app", url, tls=tls),))
    relay.start()
    shutil.copy(later.ca, files.ca)
    relay.reactor.advance(59)
    assert not any("TLS" in line for line in logged)
    relay.reactor.advance(1)
    assert "source app: new TLS files are in use" in logged
    relay.stop()


@pytest.mark.parametrize("how", ["SIGHUP", "a minute"])
def test_lookup_tables_are_read_again(tmp_path: Path, logged: list[str], how: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text("web,1\n")
    looks = {"map": str(table), "key": "$HOST", "into": ".team"}
    mapped = away(tmp_path, rewrite=RewriteConfiguration(steps=steps_of(looks)))
    relay = Relay(tmp_path, destinations=(mapped,))
    relay.start()
    relay.reactor.run_handed_over()  # the first look
    table.write_text("web,1\ndb,2\n")
    if how == "SIGHUP":
        os.kill(os.getpid(), signal.SIGHUP)
        relay.reactor.run_handed_over()
    else:
        relay.reactor.advance(60)
    relay.reactor.run_handed_over()
    assert f"{table}: read again, 2 keys" in logged
    assert relay.ask("status")["tables"] == []
    table.write_text("web\n")
    relay.reactor.advance(60)
    relay.reactor.run_handed_over()
    assert [each["path"] for each in relay.ask("status")["tables"]] == [str(table)]
    relay.stop()


SHARED = {
    "clock": Reactor,
    "reactor": Reactor,
    "notices": Notices,
    "wall": WallClock,
    "queue": (QueueService, Watermark, str),
    "notify": object,
    "exit_status": ExitStatus,
    "tls_files": (Prerequisite, FunctionType),  # and the check of those of a file
    "certificates": object,
    "admission": object,
    "now": object,
    "elapsed": object,
    "lookup": object,
    "limits": object,
    "positions": object,
    "quarantine": object,
    "argument": object,
    "step_bytes": object,
    "tokens": object,
    "sequences": object,
    "authorise": object,
}
"""What parts of a relay call the things that they share, and what each of those is."""


@pytest.fixture
def tls(tmp_path: Path) -> TlsConfiguration:
    files = make_certificate_files(tmp_path / "certificates")
    return TlsConfiguration(
        trusted_ca=files.ca, certificate=files.server_certificate, private_key=files.server_key
    )


def everything(folder: Path, tls: TlsConfiguration) -> Relay:
    """A relay with a source and a destination of each kind."""
    local = {"path": str(folder / "local")}
    urls = [
        *(Url(scheme, **local) for scheme in ("unix", "unixgram", "file", "journald")),  # type: ignore[arg-type]
        *(Url(scheme, host="127.0.0.1") for scheme in ("udp", "tcp", "tls", "relp", "relp+tls")),
    ]
    sources = [
        new_source(
            url.scheme,
            url,
            tls=tls,
            check_sequence=True,
            authorise=("network",),
            proxy_protocol=url.scheme == "tcp",
        )
        for url in urls
    ]
    ids = tuple(source.id for source in sources)
    destinations = [
        new_destination(
            scheme,
            Url(scheme, host="192.0.2.1", port=20514, **(local if scheme == "file" else {})),  # type: ignore[arg-type]
            ids,
            tls=tls,
            queue_bytes_max=2**20,
            when_full="drop-oldest",
            order="live-first",
            history=60.0,
            rewrite=RewriteConfiguration("ewmm"),
        )
        for scheme in ("file", "udp", "tcp", "tls", "relp", "relp+tls")
    ]
    region = Url("sematext", host="eu", is_bare=True)
    destinations.append(new_destination("sematext", region, ids, tls=tls, via="relp"))
    return Relay(folder, sources=tuple(sources), destinations=tuple(destinations))


def test_all_parts_have_one_clock_one_queue_and_one_place_for_warnings(
    tmp_path: Path, tls: TlsConfiguration
) -> None:
    relay = everything(tmp_path, tls)
    held = list(reached(relay.service))
    assert len(held) > 3000
    for name, value in held:
        kind = SHARED.get(name.lstrip("_"), object)
        assert isinstance(value, kind), (name, value)  # type: ignore[arg-type]
        assert value is not None or name.lstrip("_") not in SHARED, name
    for one in (Reactor, Notices, QueueService, WallClock, Admission, Lineages):
        assert len({id(value) for _, value in held if isinstance(value, one)}) == 1, one


def test_what_a_limit_drops_is_in_the_log(tmp_path: Path, logged: list[str]) -> None:
    relay = Relay(tmp_path, destinations=(away(tmp_path, queue_seconds_max=60.0),))
    relay.start()
    relay.send("app", b"<13>app: old")
    (reader,) = [each for each in relay.reactor.getReaders() if "source app" in each.logPrefix()]
    reader.doRead()
    run_until(relay, lambda: bool(ledger_of(relay).queued))
    for _ in range(40):
        relay.reactor.advance(2)
    text = "destination all: 1 message dropped (too-old)"
    run_until(relay, lambda: any(text in line for line in logged))  # after the commit
    assert ledger_of(relay).dropped == {"too-old": 1}
    relay.stop()


def test_the_statistics_line_comes_by_the_interval(tmp_path: Path, logged: list[str]) -> None:
    relay = Relay(tmp_path, destinations=(away(tmp_path),), statistics_seconds=7.0)
    relay.start()
    relay.reactor.advance(6)
    assert not any(line.startswith("statistics: ") for line in logged)
    relay.reactor.advance(1)
    assert any(line.startswith("statistics: app: received 0; system: ") for line in logged)
    relay.stop()
