"""What a kind of destination is, and how the service of one is made.

A kind is a module here that declares a `DestinationKind`, and a line in `relay/service/kinds.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from relay.service.configuration.kinds import UrlKind
from relay.service.configuration.model import DestinationConfiguration
from relay.service.destinations.service import DestinationParts, DestinationService, NewLink
from relay.service.prerequisite import Prerequisite
from relay.service.routes.late_tokens import LateTokens

__all__ = ["DestinationKind"]

C = TypeVar("C", bound=DestinationConfiguration)


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationKind(UrlKind[C]):
    """One kind of destination."""

    make: Callable[[C, DestinationParts, Prerequisite], NewLink]
    """Makes what connects a destination; the prerequisite is for files that it needs."""

    def service(
        self, configuration: C, parts: DestinationParts, tokens: LateTokens
    ) -> DestinationService:
        """The service of one destination.

        Args:
            tokens: Those of its form.
        """
        files = Prerequisite("its messages are queued until the files are right")
        return DestinationService(
            configuration,
            parts,
            new_link=self.make(configuration, parts, files),
            prerequisites=(files, tokens.needed),
            fill=tokens.fill,
        )
