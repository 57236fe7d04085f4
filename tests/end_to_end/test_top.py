"""`syslogrelay top` on a real terminal, with a real relay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.test_command_line import PROGRAM
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port
from tests.relay_process import RelayProcess

pytest.importorskip("pyte", reason="pyte is not installed: the extra `dev`")
pytest.importorskip("textual", reason="textual is not installed: the extra `top`")
from tests.pty_screen import PtyScreen

EVIL = [
    b"<11>1 - host \x1b[2Jevil - - - \x1b]0;title\x07 [bold red]x",
    b"<11>1 - host [red]nice[/red] - - - x",
]
LEAVE_ALTERNATE_SCREEN = b"\x1b[?1049l"


def test_a_screen_of_eighty_by_twenty_four(programs: Programs, tmp_path: Path) -> None:
    port, away = free_port(), free_port()
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"in": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={
            "file": {"connect": f"file:{tmp_path / 'out.log'}"},
            "away": {"connect": f"relp://127.0.0.1:{away}", "rewrite": {"mode": "none"}},
        },
    )
    feed_lines(port, [b"<14>Oct 11 22:14:15 host app[1]: hello"] * 50)
    command = [PROGRAM, "top", "-d", str(relay.state_dir), "--interval", "0.5"]
    screen = PtyScreen(command, environment={"NO_COLOR": "1"})
    try:
        _panes(screen, port, away)
        _programs(screen, port)
        _restart(screen, relay)
        screen.press("q")
        assert screen.end() == 0
        assert LEAVE_ALTERNATE_SCREEN in screen.written
    finally:
        screen.close()


def _panes(screen: PtyScreen, port: int, away: int) -> None:
    screen.wait_for(f"degraded: away: refused by 127.0.0.1:{away}")
    shown = screen.wait_for("[1 sources]")
    lines = shown.splitlines()
    assert lines[0].startswith("relay  up ")
    assert lines[1].startswith("degraded: away: ")
    assert lines[4].split() == ["source", "msg/s", "warn/s", "err/s", "drop/s", "open", "state"]
    assert lines[5].split()[0] == "in"
    assert lines[5].endswith(f"ok, tcp://127.0.0.1:{port}")
    assert "? help  q quit" in lines[-1]
    screen.press("2")
    screen.wait(has_row("127.0.0.1", "in"), "the peer is shown")
    screen.press("3")
    shown = screen.wait(has_row("away", "0", "50"), "the queue is shown")
    assert shown.index(" away ") < shown.index(" file ")  # the worst first
    screen.press("/")
    screen.wait_for("text in any cell")
    screen.press("file\r")
    screen.wait(lambda text: " away " not in text.split("oldest")[-1], "the filter holds")
    screen.press("\x1b")
    screen.wait(has_row("away"), "all are shown again")
    screen.press("?")
    screen.wait_for("Each key closes this.")
    screen.press("x")
    screen.wait(has_row("away"), "the help is gone")


def _programs(screen: PtyScreen, port: int) -> None:
    screen.press("4")
    screen.wait_for("[4 programs]")

    def is_counted(text: str) -> bool:
        feed_lines(port, [*EVIL, b"<14>Oct 11 22:14:15 host app[1]: hello"])
        return all(word in text for word in (" app ", "[red]nice[/red]", "(none)"))

    shown = screen.wait(is_counted, "the sample has all programs")
    assert "degraded" in shown  # nothing has cleared the screen
    assert b"\x1b]0;title" not in screen.written
    assert b"\x1b[31m" not in screen.written  # NO_COLOR


def _restart(screen: PtyScreen, relay: RelayProcess) -> None:
    relay.kill()
    screen.wait_for("no answer for ")
    screen.wait_for("no relay is running")
    relay.start()
    screen.wait(lambda text: "no answer" not in text, "the relay is back", 30.0)
    screen.wait_for("degraded: away: ")


def has_row(*beginning: str) -> Callable[[str], bool]:
    return lambda text: any(
        line.split()[: len(beginning)] == [*beginning] for line in text.splitlines()
    )
