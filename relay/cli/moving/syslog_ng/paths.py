"""Log paths of syslog-ng: which message reaches which destination, changed by which steps.

A path is followed from its sources on.  What is under way at a point of it is a list of
`Branch`es: alternatives that junctions and `if` open.  A condition that stands before all changes
of a branch is `early`, and becomes `match` of destinations; one behind them is `late`, and becomes
a step that drops the rest, since `match` of a destination sees messages as they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from relay.cli.moving.conditions import NEVER, all_of, any_of, fits
from relay.cli.moving.report import Report, Statement
from relay.cli.moving.syslog_ng.filters import EVERYTHING, FilterReader, Fit, beyond
from relay.cli.moving.syslog_ng.options import canonical, item_text
from relay.cli.moving.syslog_ng.steps import Step, Steps
from relay.cli.moving.syslog_ng.tree import Body, Call, Item, is_catch_all

__all__ = ["Branch", "Named", "Path", "Paths", "Use"]

BRANCHES_MAX = 200
_FLAGS_OF_NO_EFFECT = ("catchall", "catch_all", "threaded", "inlined")


@dataclass(frozen=True, slots=True)
class Branch:
    """Messages at one point of a path.

    Attributes:
        early: What fits before anything was changed.
        late: What fits of that behind the changes so far.
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

    def changed(self, found: Steps) -> Branch:
        """The same behind further steps."""
        steps = [Step(step.values, all_of([self.late.wide, step.when])) for step in found.steps]
        late = self.late & Fit.exactly(found.kept)
        return replace(self, late=late, steps=(*self.steps, *steps))


@dataclass(slots=True)
class Use:
    """A destination at one place in a path.

    Attributes:
        name: Of the destination.
        branch: Messages that reach it.
        statement: The place.
    """

    name: str
    branch: Branch
    statement: Statement
    path: Path


@dataclass(eq=False, slots=True)
class Path:
    """A log path at the top.

    Attributes:
        end: What comes to its end.
    """

    statement: Statement
    flags: set[str] = field(default_factory=set)
    uses: list[Use] = field(default_factory=list)
    end: list[Branch] = field(default_factory=list)

    @property
    def takes(self) -> Fit:
        """Which messages it counts as taken: those that reach a destination, if it has any."""
        branches = [use.branch for use in self.uses] or self.end
        return Fit(
            any_of(branch.early.wide for branch in branches),
            any_of(all_of([branch.early.narrow, branch.late.narrow]) for branch in branches),
        )


@dataclass(slots=True)
class Named:
    """What the names in log paths stand for.

    Attributes:
        source: The ids of the relay's sources for a body of drivers.
        destination: The name under which a body of drivers is known.
        parser, rewrite: Steps of a call.
        bodies: Bodies by kind and name, with what the report says about each.
    """

    source: Callable[[Body], str]
    destination: Callable[[Body], str]
    parser: Callable[[Call, Statement], Steps]
    rewrite: Callable[[Call, Statement], Steps]
    filters: FilterReader
    bodies: dict[tuple[str, str], tuple[Body, Statement]]


class Paths:
    """Follows log paths.

    Attributes:
        adapted: Names of sources whose messages adapters look at.
    """

    def __init__(self, named: Named, report: Report) -> None:
        self._named = named
        self._report = report
        self._known_steps: dict[int, Steps] = {}
        self._inside: list[tuple[str, str]] = []
        self._path = Path(Statement(report.statements[0].place, "")) if report.statements else None
        self._sources: list[str] = []
        self.adapted: set[str] = set()

    def follow(self, body: Body) -> Path:
        """Follow a path at the top."""
        statement = self._report.statement(body.place, "log {…}")
        path = self._path = Path(statement)
        self._sources = []
        start = [self._from_sources(body.items, statement)]
        path.end = self._along(body.items, start, path.flags)
        for flag in sorted(path.flags):
            _say(flag, statement)
        if not path.uses:
            statement.taken("it has no destination: its messages go nowhere")
        else:
            statement.taken("see its parts")
        return path

    def _from_sources(self, items: Sequence[Item], statement: Statement) -> Branch:
        """Where a path begins.  A part that has no sources of its own begins anywhere."""
        names: list[str] = []
        for item in items:
            for node in item:
                if isinstance(node, Call) and node.name == "source":
                    names += node.texts
                elif isinstance(node, Body) and node.kind == "source":
                    names.append(self._named.source(node))
        is_open = is_catch_all(items)
        if is_open or not names:
            if not names and not is_open:
                statement.unsupported("it has no source, so nothing comes")
                return Branch(Fit.exactly(NEVER))
            return Branch()
        self._sources += names
        ids: list[str] = []
        for name in names:
            if name not in self._named.filters.sources:
                statement.unsupported(f"there is no source {name}")
            ids += self._named.filters.sources.get(name, [])
        return Branch(Fit.exactly(fits("sources", list(dict.fromkeys(ids))) if ids else NEVER))

    def _along(
        self, items: Sequence[Item], branches: list[Branch], flags: set[str]
    ) -> list[Branch]:
        """Follow the items of a body; `flags` gets its flags."""
        choices: list[Fit] = []
        taken: list[Fit] = []
        before, after = branches, list[Branch]()
        for item in items:
            node = item[0] if item else None
            kind = node.kind if isinstance(node, Body) else ""
            if isinstance(node, Call) and node.name == "flags":
                flags |= {canonical(text) for text in node.texts}
            elif isinstance(node, Body) and kind in ("if", "elif", "else"):
                if kind == "if":
                    choices, before, after = [], branches, []
                after += self._choice(node, before, choices)
                branches = after + _otherwise(before, choices, kind)
            elif isinstance(node, Body) and kind == "log":
                self._embedded(node, branches, taken)
            else:
                branches = self._step(item, branches)
            if len(branches) > BRANCHES_MAX:
                self._statement(item).unsupported(
                    f"more than {BRANCHES_MAX} alternatives; the further ones are left out"
                )
                branches = branches[:BRANCHES_MAX]
        return branches

    def _choice(self, node: Body, branches: list[Branch], choices: list[Fit]) -> list[Branch]:
        """What comes out of one arm of an `if`; `choices` gets its condition."""
        statement = self._statement((node,))
        head, items = node.head[0], node.items
        fit, is_known = EVERYTHING, True
        if isinstance(head, Call):
            fit = self._named.filters.of_nodes(head.arguments, statement)
        elif node.kind != "else":
            first = items[0][0] if items else None
            is_known = isinstance(first, Body) and first.kind == "filter"
            if isinstance(first, Body) and is_known:
                fit, items = self._named.filters.of_items(first.items, statement), items[1:]
            else:
                statement.approximated(
                    "whether a parser succeeds is no condition here: all messages take this arm"
                )
        own = fit
        for choice in choices:
            own &= ~choice
        choices.append(fit)
        statement.taken("is part of match")
        arm = self._along(items, [each.restricted(own) for each in branches], set())
        # Otherwise what a parser of this arm cannot read would be lost.
        return arm if is_known else [replace(each, late=EVERYTHING) for each in arm]

    def _embedded(self, node: Body, branches: list[Branch], taken: list[Fit]) -> None:
        """A path inside of a path; `taken` has what final ones before it took."""
        statement = self._statement((node,))
        own: list[Branch] = branches
        for fit in taken:
            own = [each.restricted(~fit) for each in own]
        if any(isinstance(n, Call) and n.name == "source" for item in node.items for n in item):
            statement.approximated("the source in this path is one of the path around it, too")
            own = [*own, self._from_sources(node.items, statement)]
        flags: set[str] = set()
        assert self._path is not None
        first = len(self._path.uses)
        end = self._along(node.items, own, flags)
        for flag in sorted(flags):
            if flag == "fallback":
                statement.approximated("a fallback inside of a path gets what the path gets")
            else:
                _say(flag, statement)
        if "final" in flags:
            reached = [use.branch for use in self._path.uses[first:]] or end
            taken.append(_reached(reached, branches))
        statement.taken("its destinations are in order")

    def _step(self, item: Item, branches: list[Branch]) -> list[Branch]:
        """An item of a path that is neither `if` nor a path."""
        node = item[0] if len(item) == 1 else None
        kind = node.name if isinstance(node, Call) else node.kind if isinstance(node, Body) else ""
        statement = self._statement(item)
        match kind:
            case "source":
                statement.taken("is in sources of its destinations")
            case "filter":
                return self._filtered(node, branches, statement)
            case "destination":
                self._delivered(node, branches, statement)
            case "parser" | "rewrite":
                return self._changed(kind, node, branches, statement)
            case "junction":
                return self._junction(node, branches, statement)
            case "channel":
                statement.taken("see its parts")
                assert isinstance(node, Body)
                return self._along(node.items, branches, set())
            case _:
                statement.unsupported("the relay's routing has nothing like it")
        return branches

    def _filtered(self, node: object, branches: list[Branch], statement: Statement) -> list[Branch]:
        filters = self._named.filters
        if isinstance(node, Body):
            fit = filters.of_items(node.items, statement)
        else:
            assert isinstance(node, Call)
            fit = EVERYTHING
            for name in node.texts:
                fit &= filters.by_name(name, statement)
        statement.taken("is in match of its destinations")
        if any(branch.steps for branch in branches):
            statement.taken("is a step drop where messages have been changed before")
        return [branch.restricted(fit) for branch in branches]

    def _delivered(self, node: object, branches: list[Branch], statement: Statement) -> None:
        assert self._path is not None
        if isinstance(node, Body):
            names = [self._named.destination(node)]
        else:
            assert isinstance(node, Call)
            names = node.texts
        for name in names:
            if ("destination", name) not in self._named.bodies:
                statement.unsupported(f"there is no destination {name}")
            for branch in branches:
                self._path.uses.append(Use(name, branch, statement, self._path))
        statement.taken("see the destination")

    def _changed(
        self, kind: str, node: object, branches: list[Branch], statement: Statement
    ) -> list[Branch]:
        """A parser or a rewrite rule, or several."""
        if isinstance(node, Body):
            return self._rules(kind, node.items, branches)
        assert isinstance(node, Call)
        for name in node.texts:
            key = kind, name
            if key not in self._named.bodies:
                statement.unsupported(f"there is no {kind} {name}")
            elif key in self._inside:
                statement.unsupported(f"the {kind} {name} refers to itself")
            else:
                self._inside.append(key)
                branches = self._rules(kind, self._named.bodies[key][0].items, branches)
                self._inside.pop()
                statement.taken(f"is in the steps of its destinations: see {name}")
        return branches

    def _rules(self, kind: str, items: Iterable[Item], branches: list[Branch]) -> list[Branch]:
        for item in items:
            node = item[0] if item else None
            if isinstance(node, Call) and node.name not in (kind, "filter", "destination"):
                found = self._steps(kind, node)
                if found.adapters:
                    self.adapted |= set(self._sources)
                branches = [branch.changed(found) for branch in branches]
            else:
                branches = self._along([item], branches, set())
        return branches

    def _steps(self, kind: str, call: Call) -> Steps:
        """The steps of a call, which are read once however often it is used."""
        found = self._known_steps.get(id(call))
        if found is None:
            statement = self._report.statement(call.place, item_text((call,)))
            read = self._named.parser if kind == "parser" else self._named.rewrite
            found = self._known_steps[id(call)] = read(call, statement)
        return found

    def _junction(self, node: object, branches: list[Branch], statement: Statement) -> list[Branch]:
        assert isinstance(node, Body)
        statement.taken("is the alternatives in match of its destinations")
        found: list[Branch] = []
        left = branches
        for item in node.items:
            channel = item[0] if item else None
            if not isinstance(channel, Body):
                self._statement(item).unsupported("a junction has channels only")
                continue
            flags: set[str] = set()
            arm = self._along(channel.items, left, flags)
            found += arm
            own = self._statement((channel,))
            own.taken("see its parts")
            if "final" in flags:
                left = _not_taken(left, arm)
            if "fallback" in flags:
                own.approximated("a fallback gets what other channels get, too")
        return found

    def _statement(self, item: Item) -> Statement:
        return self._report.statement(item[0].place, item_text(item))


def _say(flag: str, statement: Statement) -> None:
    match flag:
        case "final" | "fallback":
            statement.taken(f"flags({flag}) is {flag}, or part of match")
        case "flow_control":
            statement.taken("flags(flow-control): full queues block sources by default")
        case _ if flag not in _FLAGS_OF_NO_EFFECT:
            statement.unsupported(f"flags({flag}): the relay's routing has no counterpart")


def _otherwise(branches: list[Branch], choices: list[Fit], kind: str) -> list[Branch]:
    """Messages that no arm so far has taken."""
    if kind == "else":
        return []
    rest = EVERYTHING
    for choice in choices:
        rest &= ~choice
    if rest.wide == NEVER:
        return []
    return [each.restricted(rest) for each in branches]


def _not_taken(branches: list[Branch], arm: list[Branch]) -> list[Branch]:
    """What a final channel has left."""
    fit = _reached(arm, branches)
    left = [branch.restricted(~fit) for branch in branches]
    return [branch for branch in left if branch.early.wide != NEVER]


def _reached(branches: Sequence[Branch], origin: Sequence[Branch]) -> Fit:
    """What is in `branches`, as far as that is more than being in `origin`."""
    known = origin[0].early if len(origin) == 1 else EVERYTHING
    return Fit(
        any_of(all_of([beyond(each.early.wide, known.wide), each.late.wide]) for each in branches),
        any_of(
            all_of([beyond(each.early.narrow, known.narrow), each.late.narrow]) for each in branches
        ),
    )
