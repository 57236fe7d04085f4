"""Transforms of Vector, as conditions and steps of the relay."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from relay.cli.moving.conditions import ALWAYS, all_of, negated
from relay.cli.moving.report import Place, Statement
from relay.cli.moving.structured import Entry, Given, Keys
from relay.cli.moving.syslog_ng.filters import UNKNOWN, Fit
from relay.cli.moving.syslog_ng.steps import Step
from relay.cli.moving.vector.vrl import Unreadable, condition_of, macro_of, step_of
from relay.cli.toml_writing import TomlValue

__all__ = ["Transform", "read_transform"]

_UNMATCHED = "_unmatched"


@dataclass(slots=True)
class Transform:
    """The effect of a transform.

    Attributes:
        fit: Which messages pass.
        steps: How they change.
        outputs: What else passes at outputs of their own, by name.
    """

    fit: Fit = field(default_factory=lambda: Fit.exactly(ALWAYS))
    steps: list[Step] = field(default_factory=list)
    outputs: dict[str, Fit] = field(default_factory=dict)


def read_transform(kind: str, keys: Keys, statement: Statement) -> Transform:
    """The effect of a transform; messages pass unchanged if the relay has nothing like `kind`."""
    reader = _KINDS.get(kind)
    if reader is None:
        keys.finish("its type is not supported")
        statement.unsupported(
            _UNSUPPORTED.get(kind, f"the relay has nothing like {kind}")
            + "; messages pass as they are"
        )
        return Transform()
    found = reader(keys, statement)
    keys.finish()
    return found


def _fit(given: Given | None, entry: Entry) -> Fit:
    """The condition that a program means, or a table with one."""
    source = entry.table.get("source", entry)
    if given is None:
        return UNKNOWN
    kind = entry.table.get("type")
    if kind is not None and kind.text not in ("vrl", "remap"):
        given.unsupported(f"a condition of the type {kind.text}")
        return UNKNOWN
    try:
        return Fit.exactly(condition_of(source.text))
    except Unreadable as error:
        given.unsupported(f"{error}; all messages pass")
        return UNKNOWN


def _filter(keys: Keys, statement: Statement) -> Transform:
    given = keys.take("condition")
    if given is None:
        statement.unsupported("the condition is missing")
        return Transform()
    fit = _fit(given, given.entry)
    given.taken("is match")
    statement.taken("is match of what comes behind it")
    return Transform(Fit(fit.wide, fit.narrow))


def _route(keys: Keys, statement: Statement) -> Transform:
    given = keys.take("route", "routes")
    transform = Transform()
    named: list[tuple[str, Entry]] = []
    if given is not None and given.entry.table:
        named = [*given.entry.table.items()]
    elif given is not None:
        for item in given.entry.items:
            label, condition = item.table.get("name"), item.table.get("condition")
            if label is not None and condition is not None:
                named.append((label.text, condition))
    is_exclusive = given is not None and given.name == "routes"
    rest = Fit.exactly(ALWAYS)
    for name, entry in named:
        place = Place(keys.file, entry.line)
        said = keys.report.statement(place, f"{name}: {entry.text or '{…}'}")
        own = Given(said, name, entry)
        fit = _fit(own, entry)
        own.taken(f"is the condition of the output {name}")
        transform.outputs[name] = rest & fit if is_exclusive else fit
        rest &= ~fit
    transform.outputs[_UNMATCHED] = rest
    keys.pass_over({"reroute_unmatched": "what fits nothing has an output"})
    if given is not None:
        given.taken("see its outputs")
    statement.taken("is match of what comes behind its outputs")
    return transform


def _remap(keys: Keys, statement: Statement) -> Transform:
    given = keys.take("source")
    steps: list[Step] = []
    if given is None:
        statement.unsupported("source is missing: programs of other files are not read")
        return Transform()
    for number, line in _lines(given.entry):
        own = keys.report.statement(Place(keys.file, number), line)
        try:
            values = step_of(line)
        except Unreadable as error:
            own.unsupported(str(error))
            continue
        if values is None:
            own.taken("every source of the relay reads syslog")
            continue
        steps.append(Step(values))
        own.taken(f"is the step {next(iter(values))}")
    given.taken("see its lines")
    keys.pass_over(
        {
            "drop_on_error": "what cannot be parsed passes with a tag",
            "drop_on_abort": "nothing is aborted",
            "reroute_dropped": "nothing is dropped",
            "timezone": "stamps have an offset",
        }
    )
    statement.taken("see its lines")
    return Transform(steps=steps)


def _lines(entry: Entry) -> list[tuple[int, str]]:
    """The statements of a program with their lines; several lines begin behind the key."""
    lines = entry.text.splitlines()
    first = entry.line + (1 if len(lines) > 1 else 0)
    found: list[tuple[int, str]] = []
    depth, text, start = 0, "", first
    for number, line in enumerate(lines, first):
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not line:
            continue
        if not text:
            start = number
        text = f"{text} {line}".strip()
        depth += len(re.findall(r"[({\[]", line)) - len(re.findall(r"[)}\]]", line))
        if depth <= 0:
            found.append((start, text))
            depth, text = 0, ""
    return [*found, (start, text)] if text else found


def _sample(keys: Keys, statement: Statement) -> Transform:
    rate = keys.take("rate")
    keys.pass_over({"key_field": "each message counts by itself"})
    exclude = keys.take("exclude")
    if rate is None or not rate.whole or rate.whole < 2:
        statement.unsupported("the rate is no number from 2")
        return Transform()
    when = ALWAYS
    if exclude is not None:
        when = negated(_fit(exclude, exclude.entry).narrow)
        exclude.taken("is match of the step")
    rate.taken("is the step sample")
    statement.taken("is the step sample")
    return Transform(steps=[Step({"sample": min(rate.whole, 1_000_000)}, when)])


def _throttle(keys: Keys, statement: Statement) -> Transform:
    threshold, window = keys.take("threshold"), keys.take("window_secs")
    key, exclude = keys.take("key_field"), keys.take("exclude")
    keys.pass_over({"internal_metrics": "see status"})
    seconds = window.whole if window is not None and window.whole else 1
    if threshold is None or not threshold.whole:
        statement.unsupported("the threshold is no number")
        return Transform()
    values: dict[str, TomlValue] = {
        "rate": max(0.001, min(threshold.whole / seconds, 1_000_000)),
        "burst": min(threshold.whole, 10_000_000),
    }
    if key is not None:
        name = re.sub(r"^\{\{\s*\.?|\s*\}\}$", "", key.text)
        values["per"] = f"${{{macro_of(name)}}}"
    when = negated(_fit(exclude, exclude.entry).narrow) if exclude is not None else ALWAYS
    for each in (threshold, window, key, exclude):
        if each is not None:
            each.taken("is in the step rate")
    statement.taken("is the step rate")
    return Transform(steps=[Step(values, all_of([when]))])


_KINDS: Mapping[str, Callable[[Keys, Statement], Transform]] = {
    "filter": _filter,
    **dict.fromkeys(("route", "exclusive_route"), _route),
    "remap": _remap,
    "sample": _sample,
    "throttle": _throttle,
}
_UNSUPPORTED: Mapping[str, str] = {
    "reduce": "see the step group_by",
    "dedupe": "see the step suppress_repeats",
    "lua": "the relay runs no Lua",
    **dict.fromkeys(("log_to_metric", "metric_to_log", "aggregate"), "see [[watch]] and /metrics"),
    "aws_ec2_metadata": "the relay asks no cloud",
}
