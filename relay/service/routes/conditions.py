"""From filters of the configuration to conditions on messages."""

from __future__ import annotations

from datetime import tzinfo

from relay.rewrite.filters import conditions as filters
from relay.rewrite.filters import pattern
from relay.rewrite.filters.conditions import Condition
from relay.service.configuration import filter_table as table
from relay.service.configuration.filter_table import Filter, TextTest

__all__ = ["Conditions"]

_TESTS = {"glob": pattern.glob, "substring": pattern.substring, "regex": pattern.regex}


class Conditions:
    """Makes conditions.

    Args:
        relay_name: Host of local messages that name none.
        zone: The clock that spans of time are about.
    """

    def __init__(self, *, relay_name: bytes, zone: tzinfo) -> None:
        self._relay_name = relay_name
        self._zone = zone

    def of(self, asked: Filter) -> Condition:
        """The condition that a filter describes."""
        match asked:
            case table.AllOf():
                parts = [self.of(part) for part in asked.parts.values()]
                return filters.all_of(parts) if parts else filters.always
            case table.AnyOf():
                return filters.any_of([self.of(part) for part in asked.parts])
            case table.Not():
                return filters.negated(self.of(asked.part))
            case table.NumberIn("facility"):
                return filters.facility_in(asked.numbers)
            case table.NumberIn():
                return filters.severity_in(asked.numbers)
            case table.FieldFits(tests=None):
                return filters.negated(filters.field_missing(asked.name))
            case table.FieldFits():
                sender = self._relay_name if asked.name == "hostname" else b""
                return filters.field_fits(asked.name, _tests(asked.tests), sender_name=sender)
            case table.TagFits():
                return filters.tag_fits(_tests(asked.tests))
            case table.CameBy():
                return filters.source_in(_tests(asked.tests))
            case table.CameFrom():
                return filters.peer_in(asked.networks)
            case table.OfApp():
                return filters.app_in(asked.apps)
            case table.CameWithin():
                return filters.time_within(
                    asked.start, asked.stop, weekdays=asked.weekdays, zone=self._zone
                )


def _tests(tests: tuple[TextTest, ...] | None) -> list[pattern.TextTest]:
    return [_TESTS[test.kind](test.pattern, ignore_case=test.ignore_case) for test in tests or ()]
