"""Regular expressions of the configuration that can be slow, and those that were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from relay.model.clock import Clock
from relay.model.expression import SECONDS_MAX, TIMEOUTS, Expression
from relay.model.words import counted
from relay.rewrite.steps.redaction import KINDS
from relay.service.configuration.table import join_path, shown
from relay.service.periodic import PeriodicService
from relay.transport.notices import Notices

__all__ = ["ExpressionWatch", "backtracking_warnings"]

_INTERVAL_SECONDS = 10.0
_KEYS = ("bad_hostname", "hash", "mask", "multi_line", "pattern", "regex", "subst")
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


def backtracking_warnings(values: object, path: str = "") -> Iterator[str]:
    """Name the expressions below `path` of a configuration that run under a time limit.

    Args:
        values: Tables as TOML has them.
    """
    if isinstance(values, list):
        for index, value in enumerate(values):
            yield from backtracking_warnings(value, f"{path}[{index}]")
    elif isinstance(values, Mapping):
        for key, value in values.items():
            place = join_path(path, key) if path else key
            if isinstance(value, str) and key in _KEYS and _backtracks(value):
                yield (
                    f"{place}: {shown(value)} needs lookaround, references to groups or possessive "
                    f"quantifiers, so a search may be slow; one that takes longer than "
                    f"{_MILLISECONDS} ms counts as not found"
                )
            else:
                yield from backtracking_warnings(value, place)


def _backtracks(pattern: str) -> bool:
    try:
        return pattern not in KINDS and Expression(pattern).backtracks
    except ValueError:
        return False  # reading the configuration says so
