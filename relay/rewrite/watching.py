"""Rules that say what counts as a warning or an error, whatever the device has said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relay.codec import Lines, tally
from relay.model.counters.watched import RuleCounter, Watched
from relay.model.origin import Arrival
from relay.rewrite.conditions import Condition, chosen


@dataclass(frozen=True, slots=True)
class WatchRule:
    """Decides for the messages that fit, unless an earlier rule has."""

    condition: Condition
    counter: RuleCounter


class Watch:
    """Applies the rules of one source; only messages that a rule decides are looked at closely.

    Args:
        watched: What its messages count as.
        default_severity: Of frames without PRI, as in the counters of the source.
    """

    def __init__(
        self, rules: Sequence[WatchRule], watched: Watched, *, default_severity: int
    ) -> None:
        self._rules = rules
        self._watched = watched
        self._default_severity = default_severity

    def look(self, lines: Lines, arrival: Arrival) -> None:
        """Count the lines of one batch: the first rule that fits decides."""
        left: Sequence[int] | None = None  # what no rule has decided; None = all
        for rule in self._rules:
            indexes = chosen(rule.condition, lines, left, arrival)
            if not indexes:
                continue
            frames = lines.frames
            severities = [0] * 8
            # By PRI, as the source has counted them: what it counted is what changes.
            own = [frames[index] for index in indexes]
            tally(own, severities, self._default_severity)
            self._watched.note(rule.counter.counts_as, severities)
            rule.counter.records += len(own)
            decided = set(indexes)
            every = range(len(lines)) if left is None else left
            left = [index for index in every if index not in decided]
            if not left:
                return
