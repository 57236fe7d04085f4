"""What services beside the queue's own use of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred

from relay.queue.ledger import Ledger
from relay.queue.view import Command, TransactionView

__all__ = ["Positions", "QueueAccess"]

_Found = TypeVar("_Found")


class QueueAccess(Protocol):
    """Queries and commands, each in a transaction of its own."""

    @property
    def ledgers(self) -> Mapping[str, Ledger]:
        """The accounts as of the last commit."""

    def look(self, reading: Callable[[TransactionView], _Found]) -> Deferred[_Found]: ...

    def operate(self, operation: Command) -> Deferred[Any]: ...

    def append(self, payloads: Mapping[str, Sequence[bytes]]) -> Deferred[None]: ...


class Positions(Protocol):
    """Positions as of the last commit, and how to store new ones."""

    def positions(self, source: str) -> Mapping[str, bytes]: ...

    def sources_with_positions(self) -> list[str]: ...

    def append(
        self, payloads: Mapping[str, Sequence[bytes]], *, positions: Mapping[str, bytes]
    ) -> Deferred[None]: ...
