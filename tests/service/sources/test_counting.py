from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.model.counters.kept import COUNTED, CountsOnDisk
from relay.queue.transaction import Transaction
from relay.service.sources import counting
from tests import queue_files
from tests.assembled_relay import Relay

DAY_SECONDS = 86400.0


def source(relay: Relay, id: str = "app") -> dict[str, Any]:
    return next(each for each in relay.ask("status")["sources"] if each["id"] == id)


def on_disk(folder: Path) -> dict[str, Any]:
    with queue_files.opened(folder / "state" / "queue") as store:
        return {id: json.loads(value) for id, value in store.positions(COUNTED).items()}


def test_counters_go_on_after_a_restart(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.reactor.advance(1000.0)
    relay.start()
    for _ in range(3):
        relay.send("app", b"<11>app: x")
    relay.send("app", b"")
    relay.reactor.advance(1.0)
    relay.stop()
    again = Relay(tmp_path)
    again.reactor.advance(5000.0)
    again.start()
    found = source(again)
    assert (found["received_records"], found["stored_records"]) == (4, 3)
    assert found["dropped_records"] == {"empty": 1}
    assert (found["severities"]["error"], found["since"]) == (3, 1000.0)
    again.send("app", b"<12>app: x")
    again.stop()
    last = Relay(tmp_path)
    last.start()
    found = source(last)
    assert (found["stored_records"], found["severities"]["warning"]) == (4, 1)
    assert source(last, "system")["received_records"] == 0
    last.stop()


def test_what_no_message_takes_along_is_stored_soon(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    keeper: Any = relay.service.getServiceNamed("counters")
    (app, _) = keeper.kept
    relay.ask("status")
    app.counters.pauses += 7
    relay.reactor.advance(counting.CounterKeeper.interval_seconds)
    relay.reactor.settle(relay.service.getServiceNamed("queue").committer.append({"all": [b"x"]}))
    assert not app.has_changed
    relay.stop()
    assert on_disk(tmp_path)["app"]["numbers"]["pauses"] == 7


def test_nothing_is_written_while_nothing_is_counted(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    queue: Any = relay.service.getServiceNamed("queue")
    relay.reactor.advance(10.0)  # since when they count
    relay.reactor.settle(queue.committer.append({"all": [b"x"]}))
    appended: list[object] = []
    queue.committer.append = lambda *_, **__: appended.append(1)
    relay.reactor.advance(30.0)
    del queue.committer.append
    assert appended == []
    relay.stop()


@pytest.fixture
def gone(tmp_path: Path) -> Path:
    """A queue with the counters of three sources that are not configured, one of them damaged."""
    new, old = CountsOnDisk(1.0, {}, {}, []), CountsOnDisk(1.0, {}, {}, [], gone_since=5.0)
    values = {"new": msgspec.json.encode(new), "old": msgspec.json.encode(old), "bad": b"{"}
    positions = {f"{COUNTED}/{id}": value for id, value in values.items()}
    with queue_files.opened(tmp_path / "state" / "queue", "all") as store:
        store.commit(Transaction(0.0, positions=positions))
    return tmp_path


@pytest.mark.parametrize(
    ("at", "left"),
    [
        (10.0, {"new": 10.0, "old": 5.0}),
        (5.0 + counting.GONE_SECONDS_MAX + 1, {"new": 5.0 + counting.GONE_SECONDS_MAX + 1}),
    ],
)
def test_those_of_a_source_that_is_gone_are_forgotten_after_a_month(
    gone: Path, at: float, left: dict[str, float]
) -> None:
    relay = Relay(gone)
    relay.reactor.advance(at - 2.0)
    relay.start()
    relay.reactor.advance(2.0)
    relay.stop()
    found = {id: each.get("gone_since") for id, each in on_disk(gone).items()}
    assert {id: at for id, at in found.items() if at is not None} == left


def test_so_many_of_those_are_kept(gone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "GONE_MAX", 1)
    relay = Relay(gone)
    relay.start()
    relay.reactor.advance(10.0)
    relay.stop()
    assert {*on_disk(gone)} - {"app", "system"} == {"new"}
