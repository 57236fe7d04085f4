from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from copy import deepcopy
from typing import Any

import pytest

from relay.cli.control_client import AskFailed
from relay.cli.views import top_app
from tests.cli.views.test_panes import DESTINATION, DOCUMENT, EVIL, FLEET, SOURCE, peers

pytest.importorskip("textual", reason="textual is not installed: the extra `top`")
from textual.pilot import Pilot
from textual.widgets import DataTable, Static


class Asked:
    """What the control socket is asked, and answers."""

    def __init__(self) -> None:
        self.document: Any = deepcopy(DOCUMENT)
        self.peers: Any = peers(100)
        self.failure = ""
        self.commands: list[str] = []

    def __call__(self, state_dir: str, command: str, arguments: Any = None) -> Any:
        self.commands.append(command)
        if self.failure:
            raise AskFailed(self.failure)
        return deepcopy(self.document if command == "status" else self.peers)


class Screen:
    """`top` at 80x24, without a terminal."""

    def __init__(self, pilot: Pilot[None], asked: Asked) -> None:
        self.app: Any = pilot.app
        self.pilot = pilot
        self.asked = asked

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.look()

    async def look(self) -> None:
        self.app._look()
        await self.app.workers.wait_for_complete()
        await self.pilot.pause()

    def line(self, id: str) -> str:
        return str(self.app.query_one(f"#{id}", Static).content)

    def rows(self) -> list[list[str]]:
        table = self.app.query_one(DataTable)
        return [[str(cell) for cell in table.get_row_at(at)] for at in range(table.row_count)]

    def titles(self) -> list[str]:
        return [str(column.label) for column in self.app.query_one(DataTable).ordered_columns]


Dialogue = Callable[[Screen], Awaitable[None]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Dialogue], None]:
    asked = Asked()
    monkeypatch.setattr(top_app, "ask", asked)

    def run(dialogue: Dialogue) -> None:
        async def all_of_it() -> None:
            app = top_app.TopApp("/nowhere", 60.0)
            async with app.run_test(size=(80, 24)) as pilot:
                screen = Screen(pilot, asked)
                await screen.look()
                await dialogue(screen)

        asyncio.run(all_of_it())

    return run


def two_destinations() -> Any:
    down = {**DESTINATION, "id": "siem", "ready": False, "state": "refused by x, next try in 4 s"}
    return {
        **DOCUMENT,
        "destinations": [DESTINATION, {**down, "queued_records": 5}],
        "degraded": ["siem: refused by x", "more"],
    }


def test_four_panes(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        assert "[1 sources]" in screen.line("panes")
        assert screen.rows()[0][0] == "app"
        assert screen.line("health") == "healthy"
        assert screen.line("summary").startswith("web-1  up 1h1m")
        await screen.press("2")
        assert screen.rows()[0][:2] == ["192.0.2.1", "app"]
        await screen.press("3")
        assert screen.rows()[0][0] == "central"
        await screen.press("tab")
        assert "[4 programs]" in screen.line("panes")
        assert screen.rows() == []
        await screen.press("tab")
        assert "[1 sources]" in screen.line("panes")
        assert screen.app._sampler._thread is None

    run(dialogue)


def test_peers_are_asked_for_only_where_they_are_shown(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        assert set(screen.asked.commands) == {"status"}
        await screen.press("2")
        assert "peers" in screen.asked.commands

    run(dialogue)


def test_the_worst_is_first_and_said_in_words(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        screen.asked.document = two_destinations()
        await screen.press("3")
        assert [row[0] for row in screen.rows()] == ["siem", "central"]
        assert screen.line("health") == "degraded: siem: refused by x (+1 more)"
        assert screen.line("detail") == "siem: refused by x, next try in 4 s"
        await screen.press("down")
        assert screen.line("detail") == "central: connected"
        await screen.look()
        assert screen.line("detail") == "central: connected"

    run(dialogue)


def test_sorting_by_keys(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        screen.asked.document = two_destinations()
        await screen.press("3", "s")
        assert screen.titles()[0] == "destination▲"
        assert [row[0] for row in screen.rows()] == ["central", "siem"]
        await screen.press("r")
        assert screen.titles()[0] == "destination▼"
        assert [row[0] for row in screen.rows()] == ["siem", "central"]
        await screen.press("r", "s", "s")
        assert screen.titles()[2] == "queued▼"
        assert [row[2] for row in screen.rows()] == ["1,234", "5"]
        await screen.press("S")
        assert [row[0] for row in screen.rows()] == ["siem", "central"]

    run(dialogue)


def test_sorting_by_mouse(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        screen.asked.document = two_destinations()
        await screen.press("3")
        await screen.pilot.click(DataTable, offset=(3, 0))
        assert screen.titles()[0] == "destination▲"
        await screen.pilot.click(DataTable, offset=(3, 0))
        assert screen.titles()[0] == "destination▼"

    run(dialogue)


def test_relays_have_a_pane_if_there_are_any(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        await screen.press("5")
        assert "[1 sources]" in screen.line("panes")
        assert "relays" not in screen.line("panes")
        screen.asked.document["fleet"] = FLEET
        await screen.look()
        await screen.press("5")
        assert "[5 relays]" in screen.line("panes")
        assert [row[1] for row in screen.rows()] == ["192.0.2.1", "web-1.example"]
        await screen.press("tab")
        assert "[1 sources]" in screen.line("panes")

    run(dialogue)


def test_a_filter_and_its_end(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        screen.asked.document = two_destinations()
        await screen.press("3", "slash", *"refused", "enter")
        assert [row[0] for row in screen.rows()] == ["siem"]
        assert "filter: refused" in screen.line("panes")
        await screen.press("slash", "z", "z")
        assert screen.rows() == []
        assert "no row of 2" in screen.line("detail")
        await screen.press("escape")
        assert len(screen.rows()) == 2
        await screen.press("1")
        assert "[1 sources]" in screen.line("panes")

    run(dialogue)


def test_a_pause_keeps_what_is_shown(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        await screen.press("p")
        assert "paused" in screen.line("panes")
        screen.asked.document["degraded"] = ["bad"]
        await screen.look()
        assert screen.line("health") == "healthy"
        await screen.press("p")
        assert screen.line("health") == "degraded: bad"

    run(dialogue)


def test_help_is_shown_and_goes_with_any_key(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        await screen.press("question_mark")
        assert isinstance(screen.app.screen, top_app.HelpScreen)
        await screen.press("q")
        assert not isinstance(screen.app.screen, top_app.HelpScreen)
        assert screen.app.is_running
        await screen.press("q")
        assert screen.app.return_code == 0

    run(dialogue)


def test_a_relay_that_goes_away_and_comes_back(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        screen.asked.failure = f"no relay is running {EVIL}"
        await screen.look()
        assert screen.line("health") == (
            r"no answer for 0 s: no relay is running \x1b[2J[red]x\u202e"
        )
        assert screen.rows()[0][0] == "app"
        screen.asked.failure = ""
        await screen.look()
        assert screen.line("health") == "healthy"

    run(dialogue)


def test_text_of_others_is_neither_markup_nor_escapes(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        screen.asked.document["name"] = EVIL
        screen.asked.document["sources"] = [{**SOURCE, "id": EVIL}]
        screen.asked.document["degraded"] = [EVIL]
        await screen.look()
        safe = r"\x1b[2J[red]x\u202e"
        assert screen.rows()[0][0] == safe
        assert screen.line("summary").startswith(safe)
        assert screen.line("health") == f"degraded: {safe}"
        assert screen.line("detail").startswith(safe)

    run(dialogue)


def test_all_fits_on_a_small_screen(run: Callable[[Dialogue], None]) -> None:
    async def dialogue(screen: Screen) -> None:
        screen.asked.document["sources"] = [{**SOURCE, "id": f"source-{at}"} for at in range(900)]
        await screen.look()
        table = screen.app.query_one(DataTable)
        assert table.row_count == 500
        assert table.virtual_size.width <= 80
        assert "the first 500 of 900" in screen.line("detail")
        assert len(screen.line("keys")) <= 80

    run(dialogue)
