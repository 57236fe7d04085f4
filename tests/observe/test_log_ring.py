from __future__ import annotations

from typing import Any

import pytest

from relay.observe import log_ring
from relay.observe.log_ring import LogRing


def line_of(event: dict[str, Any]) -> str | None:
    return event["text"]  # type: ignore[no-any-return]


def ring(*texts: str | None) -> LogRing:
    made = LogRing(line_of)
    for text in texts:
        made({"text": text})
    return made


def test_lines_are_kept_as_they_are_written() -> None:
    assert ring("one\n", None, "two\n\tmore\n").lines() == ["one", "two\n\tmore"]


def test_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_ring, "LINES_MAX", 2)
    assert ring("a", "b", "c").lines() == ["b", "c"]
    monkeypatch.setattr(log_ring, "CHARACTERS_MAX", 5)
    assert ring("aaa", "bbb").lines() == ["bbb"]


def test_a_line_is_cut() -> None:
    (line,) = ring("x" * 5000).lines()
    assert len(line) == 2000


def test_an_event_in_the_middle_of_another_one_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may run, or a signal come, wherever a function is called."""
    made, meanwhile = ring(), ["bb"]

    def length(value: list[str] | str) -> int:
        if meanwhile:
            made({"text": meanwhile.pop()})
        return len(value)

    monkeypatch.setattr(log_ring, "len", length, raising=False)
    monkeypatch.setattr(log_ring, "CHARACTERS_MAX", 4)
    made({"text": "aaa"})
    assert sum(map(len, made.lines())) <= 4
