from __future__ import annotations

import itertools

from relay.cli.moving.conditions import ALWAYS, fits, negated
from relay.cli.moving.syslog_ng.branches import Arm, Branch, joined, reached
from relay.cli.moving.syslog_ng.filters import EVERYTHING, Fit
from relay.cli.moving.syslog_ng.steps import Step, Steps

MAIL = fits("facility", "mail")
ERR = fits("severity", "err")


def fit(condition: object) -> Fit:
    return Fit.exactly(condition)  # type: ignore[arg-type]


def changed(branch: Branch, *values: dict[str, object]) -> Branch:
    return branch.changed(Steps([Step(each) for each in values]))  # type: ignore[arg-type]


def test_a_condition_is_early_until_something_changes() -> None:
    branch = Branch().restricted(fit(MAIL))
    assert (branch.early, branch.late) == (fit(MAIL), EVERYTHING)
    branch = changed(branch, {"add_tags": ["x"]}).restricted(fit(ERR))
    assert (branch.early, branch.late) == (fit(MAIL), fit(ERR))


def test_a_settled_branch_drops_what_is_late() -> None:
    branch = changed(Branch(), {"add_tags": ["x"]}).restricted(fit(ERR)).settled()
    assert branch.late == EVERYTHING
    assert branch.steps[-1].values == {"drop": "filtered"}
    assert branch.steps[-1].when == negated(ERR)
    assert branch.settled() is branch


def test_arms_join_with_their_conditions() -> None:
    base = Branch()
    first, second = base.restricted(fit(MAIL)), base.restricted(~fit(MAIL))
    arms = [Arm(first, changed(first, {"unset": ["a"]})), Arm(second, second)]
    branch = joined(base, arms, itertools.count(), lets_all_through=True)
    assert branch.early == EVERYTHING
    assert [(step.values, step.when) for step in branch.steps] == [({"unset": ["a"]}, MAIL)]


def test_what_arms_keep_back_is_a_condition() -> None:
    base = Branch()
    entry = base.restricted(fit(MAIL))
    arms = [Arm(entry, entry.restricted(fit(ERR)))]
    branch = joined(base, arms, itertools.count(), lets_all_through=False)
    assert branch.early == fit(MAIL) & fit(ERR)
    later = changed(base, {"add_tags": ["x"]})
    entry = later.restricted(fit(MAIL))
    branch = joined(later, [Arm(entry, entry)], itertools.count(), lets_all_through=False)
    assert (branch.early, branch.late) == (EVERYTHING, fit(MAIL))


def test_several_changes_of_an_arm_have_a_tag() -> None:
    base = Branch()
    entry = base.restricted(fit(MAIL))
    end = changed(entry, {"set_facility": "local0"}, {"add_tags": ["y"]})
    steps = joined(base, [Arm(entry, end)], itertools.count(7), lets_all_through=True).steps
    assert [step.values for step in steps] == [
        {"add_tags": ["import.arm-7"]},
        {"set_facility": "local0"},
        {"add_tags": ["y"]},
        {"clear_tags": ["import.arm-7"]},
    ]
    assert [step.when for step in steps] == [MAIL, *[fits("tags", "import.arm-7")] * 3]


def test_what_is_reached_is_relative_to_the_origin() -> None:
    origin = Branch().restricted(fit(MAIL))
    assert reached([origin.restricted(fit(ERR))], origin) == fit(ERR)
    assert reached([origin], origin).wide == ALWAYS
