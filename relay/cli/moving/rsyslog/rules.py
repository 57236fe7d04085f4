"""Follow rsyslog's rules from the first to the last, and make a destination of each action.

rsyslog runs a ruleset for each message from top to bottom.  The relay asks each destination whether
it wants the message.  So the way to an action (the conditions around it, and what was stopped
before) becomes its filter, and what changed the message on that way becomes its rewrite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from relay.cli.moving.conditions import (
    ALWAYS,
    NEVER,
    AllOf,
    AnyOf,
    Condition,
    Fits,
    Not,
    TooDeep,
    all_of,
    any_of,
    fits,
    negated,
    parts_of,
    to_match,
)
from relay.cli.moving.imported import Destination, ExtraFile, Imported
from relay.cli.moving.report import Statement
from relay.cli.moving.rsyslog.actions.output import Output
from relay.cli.moving.rsyslog.actions.outputs import output_of
from relay.cli.moving.rsyslog.filters import FilterReader, NotSupported
from relay.cli.moving.rsyslog.forms.steps import Step, Steps, needed
from relay.cli.moving.rsyslog.forms.templates import Form
from relay.cli.moving.rsyslog.inputs import Inputs
from relay.cli.moving.rsyslog.language.legacy import DEFAULT_RULESET
from relay.cli.moving.rsyslog.language.syntax import (
    If,
    Jump,
    LegacyAction,
    Node,
    Object,
    SetVariable,
    Unreadable,
)
from relay.cli.moving.rsyslog.settings import Settings
from relay.cli.toml_writing import TomlValue

__all__ = ["Rules"]

_CALLS_MAX = 1000
_VARIABLES = (".json.", ".var.")
_STREAMS = ("tcp", "tls", "relp", "relp+tls")


@dataclass(slots=True)
class _Way:
    """How a message comes to where the walk is.

    Attributes:
        sources: Which sources it comes from.
        path: The conditions around.
        gone: Which messages were stopped before.
        filter: The innermost statement with a condition.
        steps: What changed messages so far.
    """

    sources: Condition
    path: Condition = ALWAYS
    gone: Condition = NEVER
    filter: Statement | None = None
    steps: list[Step] = field(default_factory=list)


@dataclass(slots=True)
class Rules:
    """Walks through rulesets.

    Attributes:
        separate: Names of rulesets with a queue of their own: a stop there is none for the caller.
    """

    imported: Imported
    inputs: Inputs
    filters: FilterReader
    settings: Settings
    steps: Steps
    rulesets: Mapping[str, Sequence[Node]]
    separate: frozenset[str] = frozenset()
    _active: list[str] = field(default_factory=list)
    _walked: set[str] = field(default_factory=set)
    _previous: Destination | None = None
    _calls: int = 0

    def walk(self, default: str) -> None:
        """Walk through all rulesets that inputs feed; `default` is that of inputs without one."""
        feeds: dict[str, list[str]] = {}
        for name, ids in self.inputs.by_ruleset.items():
            feeds.setdefault(name or default or DEFAULT_RULESET, []).extend(ids)
        known = {source.id for source in self.imported.sources}
        if not known:
            feeds = {default or DEFAULT_RULESET: []}
        for name, nodes in self.rulesets.items():
            if name in feeds:
                ids = list(dict.fromkeys(feeds.pop(name)))
                is_all = set(ids) == known
                sources = ALWAYS if is_all else fits("sources", list[TomlValue](ids))
                self._walked.add(name)
                self._active = [name]
                self._previous = None
                self._nodes(nodes, _Way(sources))
        for name, ids in feeds.items():
            statement = self.imported.report_of_whole(f"the ruleset {name}")
            statement.unsupported(f"there is none; {', '.join(ids)} feed nothing")

    def finish(self) -> None:
        """Say which rules nothing reaches."""
        for name, nodes in self.rulesets.items():
            if name not in self._walked:
                _skip(nodes, "no input feeds its ruleset, and nothing calls it")

    def _nodes(self, nodes: Iterable[Node], way: _Way) -> None:
        for node in nodes:
            match node:
                case If():
                    self._if(node, way)
                case Object(kind="action"):
                    self._action(node, way)
                case SetVariable():
                    self._set(node, way)
                case Jump():
                    self._jump(node, way)
                case Unreadable():
                    _skip(node.body, "what is around it is not supported")
                case Object():
                    node.said.unsupported(f"{node.kind}() among rules")
                case _:
                    node.said.unsupported("it is no rule")

    def _if(self, node: If, way: _Way) -> None:
        self.filters.notes.clear()
        try:
            condition = self.filters.condition(node.condition)
        except NotSupported as error:
            node.said.unsupported(f"{error}; what depends on it is left out")
            _skip((*node.then, *node.otherwise), "its condition is not supported")
            return
        for note in self.filters.notes:
            node.said.approximated(note)
        path, outer = way.path, way.filter
        way.filter = node.said
        for branch, wanted in ((node.then, condition), (node.otherwise, negated(condition))):
            way.path = all_of([path, wanted])
            self._nodes(branch, way)
        way.path, way.filter = path, outer

    def _jump(self, node: Jump, way: _Way) -> None:
        if node.kind == "stop":
            way.gone = any_of([way.gone, way.path])
            node.said.taken("as a part of the filters of the destinations behind it")
        elif node.kind == "continue":
            node.said.taken("nothing is to be done")
        else:
            self._call(node, way)

    def _call(self, node: Jump, way: _Way) -> None:
        name = node.target
        self._calls += 1
        if name not in self.rulesets:
            node.said.unsupported(f"there is no ruleset {name}")
        elif name in self._active or self._calls > _CALLS_MAX:
            node.said.unsupported(f"the ruleset {name} calls itself, or there are too many calls")
        else:
            node.said.taken(f"the rules of {name} are read here")
            self._walked.add(name)
            self._active.append(name)
            before = way.gone
            self._nodes(self.rulesets[name], way)
            if name in self.separate:
                way.gone = before
            self._active.pop()

    def _set(self, node: SetVariable, way: _Way) -> None:
        try:
            found = self.steps.of_variable(node)
        except NotSupported as error:
            node.said.unsupported(str(error))
            return
        way.steps += [Step(step.table, step.gives, way.path) for step in found]
        node.said.taken("as a step of the destinations that need it")

    def _action(self, node: Object, way: _Way) -> None:
        steps = self.steps.of_module(node)
        if steps is not None:
            way.steps += [Step(step.table, step.gives, way.path) for step in steps]
            return
        output = output_of(node, self.settings)
        if output is None:
            return
        if output.is_for_failures:
            self._for_failures(output, node.said)
            return
        whole = all_of([way.sources, way.path, negated(way.gone)])
        condition, later = _apart(whole, way.steps)
        try:
            rewrite = _rewrite(output, later, way)
        except TooDeep as error:
            node.said.unsupported(f"its filter is too large: {error}")
            return
        if later != ALWAYS:
            node.said.approximated(
                "its filter needs variables, so messages that do not fit are dropped and counted "
                "by the step with drop"
            )
        keys = {**output.keys}
        if output.form.mode is not None:
            rewrite.append(self._mode(output.form))
        if rewrite:
            keys["rewrite"] = rewrite
        if output.form.mode is None:
            keys |= output.form.keys
        added = self.imported.add_destination(output.id, keys, condition, node.said)
        if way.filter is not None:
            added.filters.append(way.filter)
        node.said.taken(f"destinations.{added.id}")
        self._previous = added

    def _mode(self, form: Form) -> dict[str, TomlValue]:
        """The mode of a form; its token is in a file, as the relay wants it."""
        self.imported.report.hide(form.token)
        file = ExtraFile(f"{form.token}\n", is_secret=True)
        return {**(form.mode or {}), "token_file": self.imported.add_file("app.token", file)}

    def _for_failures(self, output: Output, said: Statement) -> None:
        """A second target of the destination before, if both are of one kind."""
        if self._previous is None:
            said.unsupported("there is no action before it whose failure it could wait for")
            return
        first, second = self._previous.keys["connect"], output.keys["connect"]
        urls = [*first] if isinstance(first, list) else [first]
        schemes = {str(url).partition(":")[0] for url in (*urls, second)}
        if len(schemes) == 1 and schemes <= {*_STREAMS} and isinstance(second, str):
            self._previous.keys["connect"] = [*urls, second]
            self._previous.keys["policy"] = "failover"
            self._previous.statements.append(said)
            said.taken(f"destinations.{self._previous.id}, as its next target")
        else:
            said.unsupported(
                f"it was for failures of destinations.{self._previous.id}, whose queue waits here"
            )


def _rewrite(output: Output, later: Condition, way: _Way) -> list[TomlValue]:
    """The value of `rewrite` for an output."""
    text = repr((output, later))
    rewrite: list[TomlValue] = []
    parts = parts_of(way.path)
    for step in needed(way.steps, text):
        if all_of([step.path, way.path]) == NEVER:
            continue
        rest = all_of([part for part in parts_of(step.path) if part not in parts])
        table = dict(step.table)
        if rest != ALWAYS:
            table["match"] = to_match(rest)
        rewrite.append(table)
    if later != ALWAYS:
        rewrite.append({"drop": "not-wanted", "match": to_match(negated(later))})
    return [*rewrite, *output.steps, *output.form.steps]


def _apart(condition: Condition, steps: Sequence[Step]) -> tuple[Condition, Condition]:
    """The condition that holds before steps run, and the one that holds after them."""
    gives = any(step.gives for step in steps)
    early: list[Condition] = []
    late: list[Condition] = []
    for part in parts_of(condition):
        is_late = gives and any(name.startswith(_VARIABLES) for name in _names_in(part))
        (late if is_late else early).append(part)
    return all_of(early), all_of(late)


def _names_in(condition: Condition) -> set[str]:
    """The names of all pairs that a condition looks at."""
    match condition:
        case Fits("pairs", Mapping() as pairs):
            return {*pairs}
        case Not(part):
            return _names_in(part)
        case AllOf(parts) | AnyOf(parts):
            return {name for part in parts for name in _names_in(part)}
    return set()


def _skip(nodes: Iterable[Node], reason: str) -> None:
    """Say of statements, and of those inside of them, that they are not supported."""
    for node in nodes:
        match node:
            case If():
                node.said.unsupported(reason)
                _skip((*node.then, *node.otherwise), reason)
            case Unreadable() | Object():
                node.said.unsupported(reason)
                _skip(node.body, reason)
            case LegacyAction() | Jump() | SetVariable():
                node.said.unsupported(reason)
            case _:
                node.said.unsupported(reason)
