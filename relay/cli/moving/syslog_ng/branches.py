"""Messages on their way through a log path, and ways that part and join again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from relay.cli.moving.conditions import ALWAYS, all_of, fits, negated
from relay.cli.moving.syslog_ng.filters import EVERYTHING, Fit, beyond, either
from relay.cli.moving.syslog_ng.steps import Step, Steps

__all__ = ["Arm", "Branch", "joined", "reached"]

DROPPED = "filtered"
"""The reason under which messages are dropped that a filter behind a change keeps back."""
_CHANGES = ("set", "subst", "unset", "rename", "groupset", "parse", "set_severity", "set_facility")


@dataclass(frozen=True, slots=True)
class Branch:
    """Messages at one point of a path.

    Attributes:
        early: What fits before anything was changed.
        late: What fits of that behind the changes so far, and is not a step yet.
        steps: The changes, in order.
    """

    early: Fit = EVERYTHING
    late: Fit = EVERYTHING
    steps: tuple[Step, ...] = ()

    def restricted(self, fit: Fit) -> Branch:
        """Only those that fit."""
        if self.steps:
            return replace(self, late=self.late & fit)
        return replace(self, early=self.early & fit)

    def settled(self) -> Branch:
        """The same with a step for what is dropped by now: later changes do not matter to it."""
        if self.late == EVERYTHING:
            return self
        drop = Step({"drop": DROPPED}, negated(self.late.wide))
        return replace(self, late=EVERYTHING, steps=(*self.steps, drop))

    def changed(self, found: Steps) -> Branch:
        """The same behind further steps."""
        steps = [Step(step.values, all_of([self.late.wide, step.when])) for step in found.steps]
        return replace(self, steps=(*self.steps, *steps))


@dataclass(frozen=True, slots=True)
class Arm:
    """One of several ways: as it begins, and as it ends."""

    entry: Branch
    end: Branch

    @property
    def lets_all_through(self) -> bool:
        return self.end.early == self.entry.early and self.end.late == self.entry.late


def joined(
    base: Branch, arms: Sequence[Arm], tags: Iterator[int], *, lets_all_through: bool
) -> Branch:
    """One branch for what comes out of `arms`, which began at `base`.

    Args:
        tags: Numbers for tags that no other arm has.
        lets_all_through: No arm keeps anything back.
    """
    steps: list[Step] = [*base.steps]
    for arm in arms:
        own = arm.end.steps[len(base.steps) :]
        who = beyond(arm.end.early.wide, base.early.wide)
        steps += _marked([Step(each.values, all_of([who, each.when])) for each in own], tags)
    if lets_all_through:
        return replace(base, steps=tuple(steps))
    kept = reached([arm.end for arm in arms], base)
    if base.steps or any(arm.end.late != base.late for arm in arms):
        return replace(base, late=base.late & kept, steps=tuple(steps))
    return replace(base, early=base.early & kept, steps=tuple(steps))


def _marked(steps: list[Step], tags: Iterator[int]) -> list[Step]:
    """The steps of one arm.  A tag keeps its messages together: a step may change what the
    condition of the arm looks at, and the next one has the same condition."""
    when = steps[0].when if steps else ALWAYS
    if when == ALWAYS or not any({*_CHANGES} & {*step.values} for step in steps[:-1]):
        return steps
    tag = f"import.arm-{next(tags)}"
    marked = fits("tags", tag)
    return [
        Step({"add_tags": [tag]}, when),
        *(Step(each.values, all_of([marked, beyond(each.when, when)])) for each in steps),
        Step({"clear_tags": [tag]}, marked),
    ]


def reached(branches: Sequence[Branch], origin: Branch) -> Fit:
    """The condition of being in one of `branches`, beyond that of being in `origin`."""
    known = origin.early
    return Fit(
        either(
            [all_of([beyond(each.early.wide, known.wide), each.late.wide]) for each in branches]
        ),
        either(
            [
                all_of([beyond(each.early.narrow, known.narrow), each.late.narrow])
                for each in branches
            ]
        ),
    )
