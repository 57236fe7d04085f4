"""Alerts and the web server of a relay that reads its configuration again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reloading_relay import ReloadingRelay, tables

pytestmark = pytest.mark.usefixtures("relays_end")
WEB = {"listen": "http://127.0.0.1:0"}


def started(folder: Path, **others: Any) -> ReloadingRelay:
    relay = ReloadingRelay(folder, tables(folder, **others))
    relay.start()
    return relay


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def names(relay: ReloadingRelay) -> list[str | None]:
    return [each.name for each in relay.service]


def test_alerts_come_change_and_go(tmp_path: Path) -> None:
    relay = started(tmp_path)
    before = names(relay)
    relay.reload(tables(tmp_path, alerts={"down_after": 5}))
    assert relay.ask("alerts")["running"] == []
    # The sources and the readiness come after all that looks at them.
    assert names(relay) == [*before[:-4], "alerts", *before[-4:]]
    assert relay.service_named("alerts").limits.down_after == 5.0
    answer = relay.reload(tables(tmp_path, alerts={"down_after": 6, "drops": False}))
    assert answer["changes"] == [
        {"what": "changed", "table": "alerts", "keys": ["down_after", "drops"]}
    ]
    assert relay.service_named("alerts").limits.down_after == 6.0
    relay.reload(tables(tmp_path))
    assert (names(relay), relay.ask("alerts")) == (before, None)
    relay.stop()


def test_alerts_see_an_added_source(tmp_path: Path) -> None:
    relay = started(tmp_path, alerts={})
    more = {"new": {"listen": f"unixgram:{tmp_path}/new"}}
    before = relay.service_named("alerts")
    relay.reload(tables(tmp_path, alerts={}, sources=more))
    assert relay.service_named("alerts") is before
    assert list(before.tables) == list(before._silence.tables) == ["app", "system", "new"]
    relay.stop()


def test_the_web_server_comes_changes_and_goes(tmp_path: Path) -> None:
    relay = started(tmp_path)
    relay.reload(tables(tmp_path, web=WEB))
    assert relay.ask("status")["web"]["ready"]
    web = relay.service_named("web")
    relay.reload(tables(tmp_path, web=WEB, alerts={}))
    assert relay.service_named("web") is web
    (tmp_path / "token").write_text("0123456789abcdef\n")
    relay.reload(tables(tmp_path, web={**WEB, "token_file": f"{tmp_path}/token"}, alerts={}))
    assert (relay.service_named("web") is web, web.running) == (False, False)
    relay.reload(tables(tmp_path))
    assert relay.ask("status")["web"] is None
    relay.stop()


def test_a_web_server_that_cannot_listen_goes_on_as_it_was(tmp_path: Path, taken_port: int) -> None:
    relay = started(tmp_path, web=WEB)
    moved = {"listen": f"http://127.0.0.1:{taken_port}"}
    (failure,) = relay.reload(tables(tmp_path, web=moved))["failures"]
    assert failure.startswith("web: ")
    assert "Address already in use" in failure
    assert relay.ask("status")["web"]["ready"]
    relay.stop()
