from __future__ import annotations

import io
import sys

import pytest

from relay.cli.progress import Progress


def test_a_bar_if_the_total_is_known() -> None:
    line = Progress(2000).line(500, 2.0)
    assert line == "[########                      ]  25% 500 of 2,000 messages, 250/s"
    assert Progress(0).line(1500, 2.0) == "1,500 messages, 750/s"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, is_shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        progress = Progress(10)
        progress.show(5)
        progress.end()
        assert ("5 of 10 messages" in stream.getvalue()) == is_shown


def test_it_is_not_drawn_for_every_message(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(10_000)
    for done in range(10_000):
        progress._drawn_at = max(progress._drawn_at, 1e12 if done else 0)
        progress.show(done)
    assert stream.getvalue().count("\r") == 1
