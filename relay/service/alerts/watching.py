"""The rules of `[[watch]]`: one counter for each, and what the intake of a source applies."""

from __future__ import annotations

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
        counters: One of each rule, in their order.
    """

    def __init__(self, configuration: Configuration, *, zone: tzinfo) -> None:
        name = configuration.name.encode("ascii", "replace")
        conditions = Conditions(relay_name=name, zone=zone)
        self.counters = [
            RuleCounter(each.id, each.counts_as, per_second_max=each.per_second_max)
            for each in configuration.watch
        ]
        self._rules = [
            (each.sources, WatchRule(conditions.of(each.match) if each.match else always, counter))
            for each, counter in zip(configuration.watch, self.counters, strict=True)
        ]

    def of(self, source: SourceConfiguration, counters: SourceCounters) -> Watch | None:
        """What is applied to the messages of `source`; None if no rule looks at them."""
        rules = [rule for sources, rule in self._rules if not sources or source.id in sources]
        if not rules:
            return None
        return Watch(rules, counters.watched, default_severity=source.parse.default_severity)
