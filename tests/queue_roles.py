"""The roles of the queue's service, for fakes that play all of them."""

from __future__ import annotations

from typing import Any

__all__ = ["AllRoles"]


class AllRoles:
    """Is its own view, committer and failures."""

    @property
    def view(self) -> Any:
        return self

    @property
    def committer(self) -> Any:
        return self

    @property
    def failures(self) -> Any:
        return self

    def acknowledge_late(self, destination: str, *_: object) -> None:
        """Of records that were given up: only drains whose tests say so have any."""
        raise NotImplementedError
