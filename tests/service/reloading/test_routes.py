"""Routes, forms, tables and groups of a relay that reads its configuration again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.service.reloading.routes import RouteTable
from tests.assembled_relay import reached
from tests.reloading_relay import ReloadingRelay, tables

pytestmark = pytest.mark.usefixtures("relays_end")


def started(folder: Path, **keys: Any) -> ReloadingRelay:
    relay = ReloadingRelay(folder, with_own(folder, **keys))
    relay.start()
    return relay


def with_own(folder: Path, **keys: Any) -> dict[str, Any]:
    own = {"connect": f"file:{folder}/own.log", "sources": ["app"], **keys}
    return tables(folder, destinations={"own": own})


def routes_of(relay: ReloadingRelay) -> RouteTable:
    return next(each for _, each in reached(relay.service) if isinstance(each, RouteTable))


def test_a_route_that_has_not_changed_keeps_its_state(tmp_path: Path) -> None:
    slow = [{"rate": 1, "burst": 1}]
    relay = started(tmp_path, rewrite=slow)
    relay.send("app", b"<13>app: 1")
    relay.lines("own.log", 1)
    before = routes_of(relay).routes["own"]
    relay.reload(with_own(tmp_path, rewrite=slow, history="1h"))
    assert routes_of(relay).routes["own"] is before
    relay.reload(with_own(tmp_path, rewrite=[{"rate": 2, "burst": 1}], history="1h"))
    assert routes_of(relay).routes["own"] is not before
    relay.stop()


def test_another_form_is_used_for_the_next_message(tmp_path: Path) -> None:
    relay = started(tmp_path)
    relay.send("app", b"<13>Nov 30 10:00:00 web app: 1")
    relay.lines("own.log", 1)
    relay.reload(with_own(tmp_path, format="rfc5424"))
    relay.send("app", b"<13>Nov 30 10:00:00 web app: 2")
    one, two = relay.lines("own.log", 2)
    assert one == b"<13>Nov 30 10:00:00 web app: 1"
    assert two.startswith(b"<13>1 ")
    relay.stop()


def test_a_named_filter_that_changes_changes_who_uses_it(tmp_path: Path) -> None:
    def filtered(text: str) -> dict[str, Any]:
        own = with_own(tmp_path, match={"filter": "wanted"})
        return {**own, "filters": {"wanted": {"msg": text}}}

    relay = ReloadingRelay(tmp_path, filtered("good"))
    relay.start()
    answer = relay.reload(filtered("better"))
    assert answer["changes"] == [
        {"what": "changed", "table": "destinations.own", "keys": ["match"]}
    ]
    for text in (b"good", b"better"):
        relay.send("app", b"<13>app: " + text)
    assert relay.lines("own.log", 1) == [b"<13>app: better"]
    relay.lines("all.log", 2)
    assert len(relay.lines("own.log", 1)) == 1
    relay.stop()


def test_a_table_in_another_file_is_used(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text(f"app,{name}\n")

    def mapped(name: str) -> dict[str, Any]:
        looks = {"map": f"{tmp_path}/{name}.csv", "key": "$PROGRAM", "into": ".team"}
        form = {"name": "template", "template": "$MESSAGE ${.team}"}
        return with_own(tmp_path, rewrite=[looks], format=form)

    relay = ReloadingRelay(tmp_path, mapped("one"))
    relay.start()
    relay.send("app", b"<13>app: x")
    relay.lines("own.log", 1)
    answer = relay.reload(mapped("two"))
    assert answer["problems"] == []
    relay.send("app", b"<13>app: x")
    first, second = relay.lines("own.log", 2)
    assert (first[-3:], second[-3:]) == (b"one", b"two")
    assert [path for path, _ in relay.service_named("lookups")._files] == [f"{tmp_path}/two.csv"]
    relay.stop()


def grouped(folder: Path, **keys: Any) -> dict[str, Any]:
    group = {"group_by": "$PROGRAM", "seconds_max": 60, **keys}
    return with_own(folder, rewrite=[group])


def test_groups_of_a_route_that_stays_go_on(tmp_path: Path) -> None:
    relay = ReloadingRelay(tmp_path, grouped(tmp_path))
    relay.start()
    relay.send("app", b"<13>app: 1")
    relay.lines("all.log", 1)
    relay.reload(grouped(tmp_path) | {"watch": [{"id": "all", "counts_as": "ignore"}]})
    assert relay.ask("status")["waiting_in_groups"] == {"own": 1}
    relay.send("app", b"<13>app: 2")
    relay.lines("all.log", 2)
    assert relay.ask("status")["waiting_in_groups"] == {"own": 2}
    relay.stop()


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_members_of_groups_are_stored_when_their_route_goes(tmp_path: Path, how: str) -> None:
    relay = ReloadingRelay(tmp_path, grouped(tmp_path))
    relay.start()
    for text in (b"1", b"2"):
        relay.send("app", b"<13>app: " + text)
    relay.lines("all.log", 2)
    assert not (tmp_path / "own.log").exists() or not (tmp_path / "own.log").read_bytes()
    after = grouped(tmp_path, seconds_max=30) if how == "changed" else with_own(tmp_path)
    assert relay.reload(after)["problems"] == []
    found = b"".join(relay.lines("own.log", 1))
    relay.until(lambda: not relay.service_named("queue").view.positions("/groups"))
    assert found.count(b"1") >= 1
    assert b"2" in (tmp_path / "own.log").read_bytes()
    relay.stop()


def test_members_of_groups_are_queued_for_a_destination_that_goes(tmp_path: Path) -> None:
    relay = ReloadingRelay(tmp_path, grouped(tmp_path))
    relay.start()
    relay.send("app", b"<13>app: 1")
    relay.lines("all.log", 1)
    without = grouped(tmp_path)
    del without["destinations"]["own"]
    relay.reload(without)
    relay.until(lambda: relay.ask("status")["orphans"] == ["own"])
    relay.reload(grouped(tmp_path))
    assert b"1" in relay.lines("own.log", 1)[0]
    relay.stop()


def test_tokens_of_a_configuration_before_are_masked_still(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\n")
    cee = {"mode": "cee", "token_file": f"{tmp_path}/token"}
    relay = started(tmp_path, rewrite=cee)
    routes = routes_of(relay)
    assert routes.secrets() == {b"0123456789abcdef"}
    relay.reload(with_own(tmp_path))
    assert routes.secrets() == {b"0123456789abcdef"}
    assert list(routes.tokens) == ["all", "own"]
    relay.stop()
