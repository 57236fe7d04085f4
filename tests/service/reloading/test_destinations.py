"""Destinations that stay, change, come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.reloading_relay import ReloadingRelay, tables

pytestmark = pytest.mark.usefixtures("relays_end")


def started(folder: Path, **others: Any) -> ReloadingRelay:
    relay = ReloadingRelay(folder, tables(folder, **others))
    relay.start()
    return relay


def services(relay: ReloadingRelay) -> dict[str, Any]:
    return {each.id: each for each in relay.service_named("destination-tools")._all}


def with_own(folder: Path, **keys: Any) -> dict[str, Any]:
    own = {"connect": f"file:{folder}/own.log", "sources": ["app"], **keys}
    return tables(folder, destinations={"own": own})


def test_a_destination_that_is_added_gets_messages(tmp_path: Path) -> None:
    relay = started(tmp_path)
    before = services(relay)
    more = {"new": {"connect": f"file:{tmp_path}/new.log", "sources": ["app"]}}
    answer = relay.reload(tables(tmp_path, destinations=more))
    assert answer["changes"] == [{"what": "added", "table": "destinations.new", "keys": []}]
    relay.send("app", b"<13>app: one")
    relay.send("system", b"<13>system: two")
    assert relay.lines("new.log", 1) == [b"<13>app: one"]
    assert len(relay.lines("all.log", 2)) == 2
    assert before.items() < services(relay).items()
    relay.stop()


def test_an_added_destination_is_seen_everywhere(tmp_path: Path) -> None:
    web = {"listen": "http://127.0.0.1:0"}
    relay = started(tmp_path, web=web)
    more = {
        "new": {
            "connect": f"file:{tmp_path}/none/such/new.log",
            "queue_bytes_max": "1 MiB",
            "when_full": "drop-newest",
            "history": "1h",
        }
    }
    relay.reload(tables(tmp_path, destinations=more, web=web))
    status = relay.ask("status")
    assert [each["id"] for each in status["destinations"]] == ["all", "own", "new"]
    assert relay.ask("connect").keys() == {"all", "own", "new"}
    assert relay.ask("queue-append", destination="new", payloads=["eA=="]) == 1
    assert {each.id for each in relay.service_named("stall detector").destinations} == {
        *("all", "own", "new")
    }
    assert "new" in relay.service_named("queue watch").limits
    assert relay.service_named("rates").destinations == [
        each.status for each in services(relay).values()
    ]
    live = relay.service_named("web")._factory._pages["/events"].open.__self__._event.__self__
    assert live.document()["destinations"][-1]["sources"] == ["app", "system"]
    assert "new" in relay.service_named("queue").histories.databases
    assert "destination new" in relay.ask("samples")
    relay.stop()


def test_a_destination_that_is_removed_leaves_an_orphan_which_the_same_id_adopts(
    tmp_path: Path,
) -> None:
    relay = started(tmp_path)
    without = tables(tmp_path)
    relay.ask("pause", destination="own")
    relay.send("app", b"<13>app: waits")
    relay.lines("all.log", 1)
    del without["destinations"]["own"]
    answer = relay.reload(without)
    assert answer["changes"] == [{"what": "removed", "table": "destinations.own", "keys": []}]
    assert relay.ask("status")["orphans"] == ["own"]
    relay.send("app", b"<13>app: not for it")
    relay.lines("all.log", 2)
    relay.reload(tables(tmp_path))
    assert relay.ask("status")["orphans"] == []
    assert relay.report("destinations", "own")["paused"]
    relay.ask("resume", destination="own")
    relay.send("app", b"<13>app: later")
    assert relay.lines("own.log", 2) == [b"<13>app: waits", b"<13>app: later"]
    relay.stop()


def test_a_change_of_the_way_in_keeps_the_sessions(tmp_path: Path) -> None:
    relay = started(tmp_path)
    before = services(relay)
    relay.send("app", b"<13>app: one")
    relay.lines("own.log", 1)
    answer = relay.reload(with_own(tmp_path, match={"msg": "good"}, final=True))
    assert answer["problems"] == []
    relay.send("app", b"<13>app: bad")
    relay.send("app", b"<13>app: good")
    assert relay.lines("own.log", 2) == [b"<13>app: one", b"<13>app: good"]
    assert services(relay) == before
    relay.stop()


def test_a_destination_with_another_address_goes_on_with_its_queue(tmp_path: Path) -> None:
    relay = started(tmp_path)
    before = services(relay)
    for count in (1, 2, 3):
        relay.send("app", b"<13>app: %d" % count)
    relay.lines("own.log", 3)
    relay.ask("pause", destination="own")
    relay.send("app", b"<13>app: 4")
    relay.lines("all.log", 4)
    answer = relay.reload(with_own(tmp_path, connect=f"file:{tmp_path}/moved.log"))
    assert answer["changes"] == [
        {"what": "changed", "table": "destinations.own", "keys": ["connect"]}
    ]
    assert relay.report("destinations", "own")["paused"]
    relay.ask("resume", destination="own")
    relay.send("app", b"<13>app: 5")
    assert relay.lines("moved.log", 2) == [b"<13>app: 4", b"<13>app: 5"]
    assert len(relay.lines("own.log", 3)) == 3  # nothing twice
    relay.reactor.advance(1)  # acknowledgements are committed
    relay.until(lambda: relay.report("destinations", "own")["delivered_records"] == 5)
    now = services(relay)
    assert (now["all"] is before["all"], now["own"] is before["own"]) == (True, False)
    relay.stop()


def test_a_second_lane_comes_and_goes_without_a_loss(tmp_path: Path) -> None:
    relay = started(tmp_path)
    relay.send("app", b"<13>app: 1")
    relay.lines("own.log", 1)
    relay.reload(with_own(tmp_path, order="live-first"))
    assert relay.report("destinations", "own")["lanes"] is not None
    relay.ask("pause", destination="own")
    relay.send("app", b"<13>app: 2")
    relay.lines("all.log", 2)
    relay.reload(with_own(tmp_path))
    assert relay.report("destinations", "own")["lanes"] is None
    relay.send("app", b"<13>app: 3")
    relay.lines("all.log", 3)
    relay.ask("resume", destination="own")
    found = relay.lines("own.log", 3)
    assert sorted(found) == [b"<13>app: 1", b"<13>app: 2", b"<13>app: 3"]
    assert relay.ask("status")["orphans"] == []
    relay.stop()


def test_limits_of_a_queue_change_while_it_is_in_use(tmp_path: Path) -> None:
    relay = started(tmp_path)
    before = services(relay)
    relay.ask("pause", destination="own")
    relay.reload(with_own(tmp_path, queue_bytes_max="1 MiB", when_full="drop-newest"))
    for _ in range(40):
        relay.send("app", b"<13>app: " + b"x" * 60_000)
        relay.take()
    relay.until(lambda: relay.report("destinations", "own")["dropped_records"])
    dropped = relay.report("destinations", "own")["dropped_records"]
    assert set(dropped) == {"queue-full"}
    assert relay.report("destinations", "own")["limit"]["queue_bytes_max"] == 2**20
    relay.reload(with_own(tmp_path, queue_bytes_max="1 MiB"))
    assert relay.ask("status")["destinations"][1]["limit"]["blocks_sources"]
    app = relay.service_named("counters").sources[0]
    relay.reload(with_own(tmp_path))
    assert not relay.ask("status")["destinations"][1]["limit"]["blocks_sources"]
    assert services(relay) == before
    assert app.report()["received_records"]
    relay.stop()


def test_the_age_of_a_queue_is_limited(tmp_path: Path) -> None:
    relay = started(tmp_path)
    relay.ask("pause", destination="own")
    relay.send("app", b"<13>app: old")
    relay.lines("all.log", 1)
    relay.reactor.advance(100)
    relay.reload(with_own(tmp_path, queue_seconds_max=60))
    relay.until(lambda: relay.report("destinations", "own")["dropped_records"])
    assert relay.report("destinations", "own")["dropped_records"] == {"too-old": 1}
    relay.stop()
