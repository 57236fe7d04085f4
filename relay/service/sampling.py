"""Samples for the status: what sources and destinations count, and how late the reactor is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay.model.counters.histogram import Histogram
from relay.model.counters.rates import SPANS, Rates
from relay.model.counters.watched import RuleCounter
from relay.model.text import Document
from relay.service.periodic import PeriodicService

SOURCE_RATES = ("messages", "warnings", "errors", "drops")
"""What is sampled of a source: frames, those that count as warnings (of severity 4, or by a rule of
`[[watch]]`) and as errors (0 to 3), and lost ones."""
DESTINATION_RATES = ("received", "delivered", "drops")
"""What is sampled of a destination."""
_RELAY_RATES = (*SOURCE_RATES, "delivered")


class Sampled(Protocol):
    """A source or a destination."""

    def counts(self) -> tuple[int, ...]:
        """The counters of now, in the order of their names."""

    def sample(self, now: float) -> tuple[int, ...]:
        """Note these counters, and return them."""


@dataclass(eq=False, repr=False, kw_only=True)
class RateSampler(PeriodicService):
    """Takes a sample each second."""

    name = "rates"

    sources: Sequence[Sampled]
    destinations: Sequence[Sampled]
    rules: Sequence[RuleCounter] = ()
    """Those of `[[watch]]`."""
    interval_seconds: float = 1.0
    _rates: Rates = field(default_factory=lambda: Rates(*_RELAY_RATES), init=False)

    def __post_init__(self) -> None:
        self._of_rules = Rates(*(rule.id for rule in self.rules))

    def follow(self) -> None:
        """There are other rules, sources or destinations: rates begin anew where they would show
        the difference."""
        self._rates = Rates(*_RELAY_RATES)
        self.__post_init__()
        self.look()

    def look(self) -> None:
        now = self.clock.seconds()
        of_sources = [source.sample(now) for source in self.sources]
        of_destinations = [destination.sample(now) for destination in self.destinations]
        self._rates.note(now, _together(of_sources, of_destinations))
        if self.rules:
            self._of_rules.note(now, [rule.records for rule in self.rules])

    @property
    def totals(self) -> dict[str, int]:
        """Counters of all sources and destinations together, as of now."""
        counts = _together(
            [source.counts() for source in self.sources],
            [destination.counts() for destination in self.destinations],
        )
        return dict(zip(_RELAY_RATES, counts, strict=True))

    def report(self) -> Document:
        """Rates of all sources and destinations together."""
        return self._rates.report()

    def watch_report(self) -> Document:
        """What messages count as, and what each rule of `[[watch]]` has decided."""
        rates, of_rules = self._rates.report(), self._of_rules.report()
        spans = [f"{span}s" for span in SPANS]
        return {
            **{span: {name: rates[span][name] for name in SOURCE_RATES} for span in spans},
            "rules": [
                {
                    "id": rule.id,
                    "counts_as": rule.counts_as,
                    "records": rule.records,
                    "per_second_max": rule.per_second_max,
                    **{span: of_rules[span][rule.id] for span in spans},
                }
                for rule in self.rules
            ],
        }


def _together(
    of_sources: Sequence[tuple[int, ...]], of_destinations: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
    """Counters in the order of `_RELAY_RATES`."""
    messages, warnings, errors, drops = (
        sum(column) for column in zip((0, 0, 0, 0), *of_sources, strict=True)
    )
    _, delivered, dropped = (
        sum(column) for column in zip((0, 0, 0), *of_destinations, strict=True)
    )
    return messages, warnings, errors, drops + dropped, delivered


@dataclass(eq=False, repr=False, kw_only=True)
class ReactorDelay(PeriodicService):
    """Counts how late a timer fires, which all that waits for the reactor waits as well.

    Attributes:
        seconds: How late it was each time.
    """

    name = "reactor delay"
    looks_at_once = False

    interval_seconds: float = 0.5
    seconds: Histogram = field(default_factory=Histogram, init=False)
    _due_at: float = field(default=0.0, init=False)

    def _wait(self) -> None:
        super()._wait()
        self._due_at = self.clock.seconds() + self.interval_seconds

    def _look(self) -> None:
        self.seconds.observe(max(0.0, self.clock.seconds() - self._due_at))
        super()._look()

    def look(self) -> None:
        """Nothing more: the time was taken first."""
