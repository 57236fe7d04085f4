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
_ById = dict[str, tuple[int, ...]]


class Sampled(Protocol):
    """A source or a destination."""

    @property
    def id(self) -> str: ...

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
        self._offset = (0,) * len(_RELAY_RATES)  # so that totals go on when members come and go
        self._last: tuple[_ById, _ById] = ({}, {})  # from the first look on

    def follow(self) -> None:
        """There are other sources, destinations or rules: the totals go on from what they were.

        What a member that has come has counted earlier is not part of them.
        """
        before, self._last = self._last, self._counts()
        gone = _together(*(_without(old, new) for old, new in zip(before, self._last, strict=True)))
        come = _together(*(_without(new, old) for old, new in zip(before, self._last, strict=True)))
        each = zip(self._offset, gone, come, strict=True)
        self._offset = tuple(offset + less - more for offset, less, more in each)
        self._of_rules = Rates(*(rule.id for rule in self.rules))

    def look(self) -> None:
        now = self.clock.seconds()
        self._last = (
            {source.id: source.sample(now) for source in self.sources},
            {destination.id: destination.sample(now) for destination in self.destinations},
        )
        self._rates.note(now, self._totals())
        if self.rules:
            self._of_rules.note(now, [rule.records for rule in self.rules])

    @property
    def totals(self) -> dict[str, int]:
        """Counters of all sources and destinations together, as of now."""
        self._last = self._counts()
        return dict(zip(_RELAY_RATES, self._totals(), strict=True))

    def _counts(self) -> tuple[_ById, _ById]:
        """The counters of sources and of destinations, as of now."""
        return (
            {source.id: source.counts() for source in self.sources},
            {destination.id: destination.counts() for destination in self.destinations},
        )

    def _totals(self) -> tuple[int, ...]:
        of_members = _together(*(list(counts.values()) for counts in self._last))
        return tuple(map(sum, zip(of_members, self._offset, strict=True)))

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


def _without(some: _ById, others: _ById) -> list[tuple[int, ...]]:
    """The counters of those that are not among `others`."""
    return [counts for id, counts in some.items() if id not in others]


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
