"""The rules of `[[watch]]`: one counter for each, and what the intake of a source applies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from relay.model.counters.source import SourceCounters
from relay.model.counters.watched import RuleCounter
from relay.rewrite.conditions import always
from relay.rewrite.watching import Watch, WatchRule
from relay.service.configuration.model import Configuration, SourceConfiguration
from relay.service.routes.stages import Conditions


class WatchRules:
    """The rules of a relay.

    Args:
        zone: Of the spans of time in filters.

    Attributes:
        counters: One of each rule, in their order; `change` does so in place.
    """

    def __init__(self, configuration: Configuration, *, zone: tzinfo) -> None:
        self._zone = zone
        self.counters: list[RuleCounter] = []
        self._rules: list[tuple[Sequence[str], WatchRule]] = []
        self.change(configuration)

    def change(self, configuration: Configuration) -> None:
        """Have the rules of another configuration; one that has kept its id and what it counts as
        goes on counting."""
        name = configuration.name.encode("ascii", "replace")
        conditions = Conditions(relay_name=name, zone=self._zone)
        known = {(each.id, each.counts_as): each for each in self.counters}
        self.counters[:] = [
            known.get((each.id, each.counts_as)) or RuleCounter(each.id, each.counts_as)
            for each in configuration.watch
        ]
        self._rules.clear()
        for each, counter in zip(configuration.watch, self.counters, strict=True):
            counter.per_second_max = each.per_second_max
            condition = conditions.of(each.match) if each.match else always
            self._rules.append((each.sources, WatchRule(condition, counter)))

    def of(self, source: SourceConfiguration, counters: SourceCounters) -> Watch | None:
        """What is applied to the messages of `source`; None if no rule looks at them."""
        rules = [rule for sources, rule in self._rules if not sources or source.id in sources]
        if not rules:
            return None
        return Watch(rules, counters.watched, default_severity=source.parse.default_severity)
