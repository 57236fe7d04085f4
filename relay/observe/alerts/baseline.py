"""How many messages are usual at an hour of the day, learnt from the past.

Each minute the rate of a source over that minute is learnt twice: for the hour of the day (UTC) and
for all hours.  A level is an exponentially weighted mean of the rate and of its distance from that
mean.  The first samples count evenly; from 300 on each new one counts a 300th, so that an hour
remembers its last five days, and the level of all hours the last five hours.

An hour is known after 30 samples.  Until then the level of all hours stands in for it, once that
has 60; before, nothing is unusual.  A rate is unusual above the largest of

* `factor` times the mean,
* the mean and six times the usual distance from it, for sources whose messages come in bursts,
* a lowest rate, since three messages instead of one are no news.

Within five minutes of a full hour the higher limit of both hours holds: what begins at midnight
does not begin on the second, and a rate over a minute lags behind.

What is learnt is bounded by that limit: one attack does not teach that attacks are usual.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from relay.model.text import Document
from relay.observe.alerts.incidents import Finding
from relay.observe.alerts.rules import GOES_ON, has_rates, is_own_log

HOURS = 24
MEMORY_SAMPLES = 300
HOUR_SAMPLES_MIN = 30
ALL_SAMPLES_MIN = 60
SAMPLE_SECONDS = 60.0
_DISTANCES = 6.0
_EDGE_SECONDS = 300.0  # before and after a full hour


class Level(msgspec.Struct, array_like=True):
    """What is usual: the mean of a rate, and of its distance from it, in messages per second."""

    samples: int = 0
    mean: float = 0.0
    distance: float = 0.0

    def learn(self, rate: float) -> None:
        if not self.samples:
            self.mean = rate
        self.samples = min(self.samples + 1, MEMORY_SAMPLES)
        change = rate - self.mean
        self.mean += change / self.samples
        self.distance += (abs(change) - self.distance) / self.samples

    @property
    def is_sane(self) -> bool:
        """Whether it may have been learnt; false for NaN, too."""
        return self.samples >= 0 and 0 <= self.mean < 1e12 and 0 <= self.distance < 1e12


def _hour(unix: float) -> int:
    return int(unix // 3600) % HOURS


def _hours() -> list[Level]:
    return [Level() for _ in range(HOURS)]


class Baseline(msgspec.Struct):
    """What is usual for one source."""

    hours: list[Level] = msgspec.field(default_factory=_hours)
    every: Level = msgspec.field(default_factory=Level)

    def usual(self, hour: int) -> Level | None:
        """The level at an hour of the day; None = that is not known yet."""
        if self.hours[hour].samples >= HOUR_SAMPLES_MIN:
            return self.hours[hour]
        return self.every if self.every.samples >= ALL_SAMPLES_MIN else None

    def learn(self, hour: int, rate: float) -> None:
        self.hours[hour].learn(rate)
        self.every.learn(rate)

    @property
    def is_sane(self) -> bool:
        levels = [*self.hours, self.every]
        return len(self.hours) == HOURS and all(level.is_sane for level in levels)


@dataclass(slots=True)
class Increase:
    """Finds sources from which much more comes than is usual at this hour.

    Attributes:
        baselines: By the ids of sources; those of sources that are gone are dropped.
    """

    factor: float
    """How many times what is usual is unusual."""
    per_second_min: float
    """No lower rate is unusual."""
    baselines: dict[str, Baseline] = field(default_factory=dict)
    _next_at: float = 0.0

    def restore(self, baselines: Mapping[str, Baseline]) -> None:
        """Go on with what an earlier process has learnt."""
        self.baselines = {id: each for id, each in baselines.items() if each.is_sane}

    def look(self, document: Document, unix: float) -> Iterator[Finding]:
        """Compare the rates of sources with what is usual, and learn once a minute.

        Args:
            unix: The time of day.
        """
        if not has_rates(document):
            return
        learns = document["uptime_seconds"] >= self._next_at
        if learns:
            self._next_at = document["uptime_seconds"] + SAMPLE_SECONDS
        sources = [source for source in document["sources"] if not is_own_log(source["listen"])]
        known, self.baselines = self.baselines, {}
        hours = {_hour(unix + seconds) for seconds in (-_EDGE_SECONDS, 0.0, _EDGE_SECONDS)}
        hour = _hour(unix - SAMPLE_SECONDS / 2)
        for source in sources:
            id, rate = source["id"], source["rates"]["60s"]["messages"]
            baseline = self.baselines[id] = known.get(id) or Baseline()
            limit = max(self._limit(baseline, each) for each in hours)
            usual = baseline.usual(hour)
            if usual is not None and rate > GOES_ON * limit:
                text = (
                    f"{rate:,.1f} messages a second; usual at this hour are {usual.mean:,.1f}, and "
                    f"up to {limit:,.1f}"
                )
                yield Finding("increase", f"source {id}", text, begins=rate > limit)
            if learns:
                baseline.learn(hour, min(rate, self._limit(baseline, hour)))

    def _limit(self, baseline: Baseline, hour: int) -> float:
        """What is unusual above; infinite while what is usual is not known."""
        usual = baseline.usual(hour)
        if usual is None:
            return math.inf
        bursts = usual.mean + _DISTANCES * usual.distance
        return max(self.per_second_min, self.factor * usual.mean, bursts)
