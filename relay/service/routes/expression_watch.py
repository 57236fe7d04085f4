"""Regular expressions of the configuration that were slow."""

from __future__ import annotations

from relay.model.clock import Clock
from relay.model.expression import SECONDS_MAX, TIMEOUTS
from relay.model.text import counted
from relay.service.configuration.table import shown
from relay.service.periodic import PeriodicService
from relay.transport.notices import Notices

_INTERVAL_SECONDS = 10.0
_MILLISECONDS = round(1000 * SECONDS_MAX)


class ExpressionWatch(PeriodicService):
    """Warns of expressions that reached their time limit."""

    name = "expressions"

    def __init__(self, *, notices: Notices, clock: Clock) -> None:
        super().__init__(interval_seconds=_INTERVAL_SECONDS, clock=clock)
        self._notices = notices
        self._seen: dict[str, int] = {}

    def look(self) -> None:
        for pattern, count in TIMEOUTS.items():
            more = count - self._seen.get(pattern, 0)
            self._seen[pattern] = count
            if more:
                self._notices.warn(
                    f"expression {shown(pattern)}",
                    "timeout",
                    f"a search took longer than {_MILLISECONDS} ms for {counted(more, 'value')}, "
                    "and counts as not found; write it without lookaround, references to groups "
                    "and possessive quantifiers",
                )
