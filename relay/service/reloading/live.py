"""Mappings that follow lists which change while the relay runs."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Live(Mapping[K, V]):
    """A function's present result, as a mapping for parts that keep one for good.

    Args:
        found: Makes a new dictionary, or returns one.
    """

    __slots__ = ("_found",)

    def __init__(self, found: Callable[[], dict[K, V]]) -> None:
        self._found = found

    def __getitem__(self, key: K) -> V:
        return self._found()[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())

    # At once, not key by key.

    def items(self) -> ItemsView[K, V]:
        return self._found().items()

    def values(self) -> ValuesView[V]:
        return self._found().values()
