"""Regular expressions of the configuration that were slow."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.model.expression import SECONDS_MAX, TIMEOUTS
from relay.model.text import counted
from relay.service.configuration.table import shown
from relay.service.periodic import PeriodicService
from relay.transport.notices import Notices

_MILLISECONDS = round(1000 * SECONDS_MAX)


@dataclass(eq=False, repr=False, kw_only=True)
class ExpressionWatch(PeriodicService):
    """Warns of expressions that reached their time limit."""

    name = "expressions"

    notices: Notices
    interval_seconds: float = 10.0
    _seen: dict[str, int] = field(default_factory=dict, init=False)

    def look(self) -> None:
        for pattern, count in TIMEOUTS.items():
            more = count - self._seen.get(pattern, 0)
            self._seen[pattern] = count
            if more:
                self.notices.warn(
                    f"expression {shown(pattern)}",
                    "timeout",
                    f"a search took longer than {_MILLISECONDS} ms for {counted(more, 'value')}, "
                    "and counts as not found; write it without lookaround, references to groups "
                    "and possessive quantifiers",
                )
