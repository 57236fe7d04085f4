"""Stand-ins that keep what they were made with, for tests of what is put together."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

__all__ = ["Made", "record"]


class Made:
    """What a class was called with; any method may be called and returns None."""

    room = 0  # as a session, it takes nothing

    def __init__(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.arguments = arguments
        self.keywords = keywords

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def record(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[Made]:
    """Put a stand-in in the place of the class `name`; returns what is made of it."""
    made: list[Made] = []

    def make(*arguments: Any, **keywords: Any) -> Made:
        made.append(Made(arguments, keywords))
        return made[-1]

    monkeypatch.setattr(module, name, make)
    return made
