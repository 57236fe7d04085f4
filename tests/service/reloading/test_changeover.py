"""What a reload does with the keys of [relay], and with all parts that look at others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.queue.admission.backpressure import Admission
from relay.queue.files import map_size
from relay.service.destinations.service import DestinationService
from tests.assembled_relay import reached
from tests.reloading_relay import ReloadingRelay, tables

pytestmark = pytest.mark.usefixtures("relays_end")


def started(folder: Path, **others: Any) -> ReloadingRelay:
    relay = ReloadingRelay(folder, tables(folder, **others))
    relay.start()
    return relay


def changed(relay: ReloadingRelay, folder: Path, **keys: Any) -> None:
    answer = relay.reload(tables(folder, relay=keys))
    assert answer["changes"] == [{"what": "changed", "table": "relay", "keys": [*keys]}]
    assert (answer["restart"], answer["failures"]) == ([], [])


def admission_of(relay: ReloadingRelay) -> Admission:
    return next(each for _, each in reached(relay.service) if isinstance(each, Admission))


def test_the_limit_of_the_queue_is_used(tmp_path: Path) -> None:
    relay = started(tmp_path)
    changed(relay, tmp_path, queue_bytes_max=2**20, reserve_bytes=0)
    assert relay.ask("status")["admission"]["queue_bytes_max"] == 2**20
    relay.ask("pause", destination="all")
    for _ in range(30):
        relay.send("app", b"<13>app: " + b"x" * 60_000)
        relay.take()
    relay.until(lambda: not relay.ask("status")["admission"]["open"])
    assert "queue_bytes_max is 1 MiB)" in relay.ask("status")["admission"]["reason"]
    relay.reload(tables(tmp_path))
    assert relay.ask("status")["admission"]["open"]
    relay.stop()


def test_the_limit_of_the_queue_is_raised_above_that_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_size, "_SLACK_BYTES", 2**20)  # else the old limit has room as well
    relay = started(tmp_path, relay={"queue_bytes_max": "1 MiB", "reserve_bytes": 0})
    relay.ask("pause", destination="all")

    def send(count: int) -> None:
        for _ in range(count):
            relay.send("app", b"<13>app: " + b"x" * 60_000)
            relay.take()

    def queued() -> int:
        found: int = relay.report("destinations", "all")["queued_records"]
        return found

    send(30)
    relay.until(lambda: "queue_bytes_max" in relay.ask("status")["admission"]["reason"])
    before = queued()
    higher = {"queue_bytes_max": "64 MiB", "reserve_bytes": 0}
    answer = relay.reload(tables(tmp_path, relay=higher))
    assert (answer["restart"], answer["failures"]) == ([], [])
    send(200)
    relay.until(lambda: queued() >= before + 200)
    assert relay.ask("status")["admission"]["queue_bytes"] > 10 * 2**20
    relay.stop()


def test_a_limit_above_what_the_queue_is_mapped_for_needs_a_restart(tmp_path: Path) -> None:
    relay = started(tmp_path)
    answer = relay.reload(tables(tmp_path, relay={"queue_bytes_max": "513 GiB"}), dry_run=True)
    assert answer["restart"] == ["relay.queue_bytes_max"]
    changed(relay, tmp_path, queue_bytes_max="512 GiB")
    relay.stop()


def test_the_reserve_and_what_may_be_pending_are_used(tmp_path: Path) -> None:
    relay = started(tmp_path)
    admission = admission_of(relay)
    changed(relay, tmp_path, reserve_bytes="512 MiB", pending_bytes_max="64 KiB")
    admission.set_queue_bytes(4 * 2**30 - 2**29)
    assert "reserve_bytes 512 MiB" in admission.reason
    admission.set_queue_bytes(0)
    admission.set_pending_bytes(2**16 + 1)
    assert admission.is_busy
    admission.set_pending_bytes(0)
    relay.stop()


def test_the_room_on_the_disk_is_used(tmp_path: Path) -> None:
    relay = started(tmp_path)
    changed(relay, tmp_path, min_free_bytes="16 TiB")
    relay.reactor.advance(2)
    assert "min_free_bytes is 16 TiB" in relay.ask("status")["admission"]["reason"]
    relay.reload(tables(tmp_path))
    assert relay.ask("status")["admission"]["open"]
    relay.stop()


def test_quarantines_have_other_limits(tmp_path: Path) -> None:
    app = {"listen": f"unixgram:{tmp_path}/app", "oversize": "quarantine", "frame_bytes_max": 500}
    relay = started(tmp_path, sources={"app": app})
    relay.reload(
        tables(
            tmp_path,
            sources={"app": app},
            relay={"quarantine_bytes_max": 700, "quarantine_seconds_max": 5},
        )
    )
    for _ in range(2):
        relay.send("app", b"x" * 600)
    relay.until(lambda: relay.report("sources", "app")["quarantine"]["dropped_records"])
    relay.until(lambda: not relay.report("sources", "app")["quarantine"]["records"])
    dropped = relay.report("sources", "app")["quarantine"]["dropped_records"]
    assert set(dropped) == {"quarantine-full", "quarantine-aged"}
    relay.stop()


def test_a_source_may_begin_to_set_aside(tmp_path: Path) -> None:
    relay = started(tmp_path)
    assert relay.report("sources", "app")["quarantine"] is None
    app = {"listen": f"unixgram:{tmp_path}/app", "oversize": "quarantine", "frame_bytes_max": 500}
    assert relay.reload(tables(tmp_path, sources={"app": app}))["failures"] == []
    relay.send("app", b"x" * 600)
    relay.until(lambda: relay.report("sources", "app")["quarantine"]["records"] == 1)
    relay.stop()


def test_statistics_come_as_often_as_is_wanted_now(tmp_path: Path, logged: list[str]) -> None:
    relay = started(tmp_path, relay={"statistics_seconds": 0})
    changed(relay, tmp_path, statistics_seconds=5)
    relay.reload(
        tables(
            tmp_path,
            relay={"statistics_seconds": 5},
            destinations={"new": {"connect": f"file:{tmp_path}/new.log"}},
        )
    )
    relay.reactor.advance(5)
    relay.reactor.advance(5)
    lines = [line for line in logged if line.startswith("statistics: ")]
    assert len(lines) == 2
    assert "new: delivered 0" in lines[1]
    relay.stop()


def test_the_level_of_the_log_is_used_if_it_has_changed(tmp_path: Path) -> None:
    relay = started(tmp_path)
    relay.ask("log-level", level="debug")
    relay.reload()
    assert relay.ask("log-level")["level"] == "debug"  # as somebody has set it
    changed(relay, tmp_path, log_level="warn")
    assert relay.ask("log-level") == {"level": "warn", "configured": "warn", "namespaces": {}}
    relay.stop()


def test_compaction_and_commits_are_told(tmp_path: Path) -> None:
    relay = started(tmp_path)
    changed(relay, tmp_path, compact_free_percent=7, commit_seconds_min=0.5)
    assert relay.service_named("compaction").free_percent == 7
    assert relay.service_named("queue").committer._delay.seconds == 0.5
    relay.stop()


def test_other_limits_of_lineages_are_used_at_once(tmp_path: Path) -> None:
    relay = started(tmp_path, relay={"lineages_max": 200})
    lineages = relay.service_named("queue").lineages
    assert lineages.lineages_max == 200
    changed(relay, tmp_path, lineages_max=300)
    assert lineages.lineages_max == 300
    found = {
        id(value): value
        for _, value in reached(relay.service)
        if type(value).__name__ == "SourceParts"
    }
    assert {parts.lineages_max() for parts in found.values()} == {300}
    relay.stop()


def test_hops_have_another_limit(tmp_path: Path) -> None:
    relay = started(tmp_path)
    changed(relay, tmp_path, hops_max=3)
    intakes = {
        id(value): value for _, value in reached(relay.service) if type(value).__name__ == "Intake"
    }.values()
    assert {each.reading.guard._hops_max for each in intakes} == {3}
    relay.stop()


def test_local_sources_block_as_long_as_is_wanted_now(tmp_path: Path) -> None:
    local = {"local": {"listen": f"unix:{tmp_path}/local"}}
    relay = started(tmp_path, sources=local)
    answer = relay.reload(tables(tmp_path, sources=local, relay={"local_block_seconds_max": 7}))
    assert answer["failures"] == []
    *_, sources, _, _ = relay.service
    (found,) = (each for each in sources if each.id == "local")
    assert found._factory.limits.block_seconds_max == 7.0
    relay.stop()


def test_rules_of_watch_come_and_go_and_count_on(tmp_path: Path) -> None:
    rules = [{"id": "failures", "counts_as": "error", "match": {"msg": "failed"}}]
    relay = started(tmp_path)
    relay.write(tables(tmp_path))
    relay.path.write_text(relay.path.read_text() + _watch(rules))
    assert relay.reload()["changes"] == [{"what": "added", "table": "watch.failures", "keys": []}]
    relay.send("app", b"<14>app: it failed")
    relay.lines("all.log", 1)
    relay.reactor.advance(1)
    relay.path.write_text(relay.path.read_text() + _watch([{"id": "rest", "counts_as": "ignore"}]))
    relay.reload()
    found = relay.ask("status")["watch"]["rules"]
    assert [(each["id"], each["records"]) for each in found] == [("failures", 1), ("rest", 0)]
    relay.reload(tables(tmp_path))
    assert relay.ask("status")["watch"]["rules"] == []
    relay.stop()


def _watch(rules: list[dict[str, Any]]) -> str:
    text = ""
    for rule in rules:
        text += f'[[watch]]\nid = "{rule["id"]}"\ncounts_as = "{rule["counts_as"]}"\n'
        if "match" in rule:
            text += f'match.msg = "{rule["match"]["msg"]}"\n'
    return text


def test_keys_that_need_a_restart_are_named_until_then(tmp_path: Path, logged: list[str]) -> None:
    relay = started(tmp_path)
    more = {"name": "web-2", "statistics_seconds": 5}
    answer = relay.reload(tables(tmp_path, relay=more))
    assert answer["restart"] == ["relay.name"]
    status = relay.ask("status")
    assert (status["name"], status["reload"]["restart"]) == ("web-1", ["relay.name"])
    assert any("relay.name has changed, and is used after a restart" in line for line in logged)
    assert relay.reload()["restart"] == ["relay.name"]
    assert relay.reload(tables(tmp_path))["restart"] == []
    assert relay.ask("status")["reload"]["restart"] == []
    relay.stop()


def test_one_destination_that_fails_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = started(tmp_path)
    start = DestinationService.startService

    def fail(service: DestinationService) -> None:
        if service.id == "bad":
            raise RuntimeError("it is broken")
        start(service)

    monkeypatch.setattr(DestinationService, "startService", fail)
    more = {id: {"connect": f"file:{tmp_path}/{id}.log"} for id in ("bad", "good")}
    answer = relay.reload(tables(tmp_path, destinations=more))
    assert answer["failures"] == ["destination bad: RuntimeError: it is broken"]
    relay.send("app", b"<13>app: one")
    assert relay.lines("good.log", 1) == [b"<13>app: one"]
    relay.stop()
