"""Log paths of syslog-ng: which message reaches which destination, changed by which steps.

A path is followed from its sources on; what is under way at a point of it is a `Branch`.  A
condition that stands before all changes is `early`, and becomes `match` of destinations.  One that
stands behind them is `late`, and becomes a step that drops the rest, since `match` of a destination
sees messages as they came.  The arms of `if` and the channels of a junction join again: their steps
follow one another, each with the condition of its arm.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from relay.cli.moving.conditions import ALWAYS, NEVER, all_of, any_of, fits
from relay.cli.moving.report import Place, Report, Statement
from relay.cli.moving.syslog_ng.branches import Arm, Branch, joined, reached
from relay.cli.moving.syslog_ng.filters import EVERYTHING, FilterReader, Fit
from relay.cli.moving.syslog_ng.options import canonical, item_text
from relay.cli.moving.syslog_ng.steps import Steps
from relay.cli.moving.syslog_ng.tree import Body, Call, Item, is_catch_all, names_of

__all__ = ["Named", "Path", "Paths", "Use"]

_FLAGS_OF_NO_EFFECT = ("catchall", "catch_all", "threaded", "inlined")


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
    end: Branch = field(default_factory=Branch)

    @property
    def takes(self) -> Fit:
        """Which messages it counts as taken: those that reach a destination, if it has any."""
        branches = [use.branch for use in self.uses] or [self.end]
        return Fit(
            any_of(branch.early.wide for branch in branches),
            any_of(all_of([branch.early.narrow, branch.late.narrow]) for branch in branches),
        )


@dataclass(slots=True)
class Named:
    """The objects that names in log paths stand for.

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
        parsed: Names of sources whose messages are parsed as syslog.
    """

    def __init__(self, named: Named, report: Report) -> None:
        self._named = named
        self._report = report
        self._known_steps: dict[int, Steps] = {}
        self._inside: list[tuple[str, str]] = []
        self._path = Path(Statement(Place("", 0), ""))
        self._sources: list[str] = []
        self._depth = 0  # of arms and channels
        self._tags = itertools.count(1)
        self.adapted: set[str] = set()
        self.parsed: set[str] = set()

    def follow(self, body: Body) -> Path:
        """Follow a path at the top."""
        statement = self._report.statement(body.place, "log {…}")
        path = self._path = Path(statement)
        self._sources = []
        start = self._from_sources(body.items, statement)
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

    def _along(self, items: Sequence[Item], branch: Branch, flags: set[str]) -> Branch:
        """Follow the items of a body; `flags` gets its flags."""
        taken: list[Fit] = []
        rest = [*items]
        while rest:
            item = rest.pop(0)
            node = item[0] if item else None
            kind = node.kind if isinstance(node, Body) else ""
            if isinstance(node, Call) and node.name == "flags":
                flags |= {canonical(text) for text in node.texts}
                self._statement(item).taken("see the path that they are flags of")
            elif isinstance(node, Body) and kind in ("if", "elif", "else"):
                arms = [node]
                while rest and isinstance(arm := rest[0][0], Body) and arm.kind in ("elif", "else"):
                    arms.append(arm)
                    rest.pop(0)
                branch = self._choice(arms, branch)
            elif isinstance(node, Body) and kind == "log":
                self._embedded(node, branch, taken)
            else:
                branch = self._step(item, branch)
        return branch

    def _choice(self, bodies: Sequence[Body], branch: Branch) -> Branch:
        """The branches that leave an `if` with all its arms."""
        branch = branch if self._depth else branch.settled()
        left, arms = EVERYTHING, list[Arm]()
        for body in bodies:
            statement = self._statement((body,))
            head, items = body.head[0], body.items
            fit, is_known = EVERYTHING, True
            if isinstance(head, Call):
                fit = self._named.filters.of_nodes(head.arguments, statement)
            elif body.kind != "else":
                first = items[0][0] if items else None
                is_known = isinstance(first, Body) and first.kind == "filter"
                if isinstance(first, Body) and is_known:
                    own = self._statement(items[0])
                    fit, items = self._named.filters.of_items(first.items, own), items[1:]
                    own.taken("is the condition of this arm")
                else:
                    statement.approximated(
                        "whether a parser succeeds is no condition here: all messages take this arm"
                    )
            statement.taken("is part of match")
            entry = branch.restricted(left & fit)
            left &= ~fit
            end = self._inside_of(items, entry, set())
            arms.append(Arm(entry, end if is_known else replace(end, late=entry.late)))
        if left.wide != NEVER:
            entry = branch.restricted(left)
            arms.append(Arm(entry, entry))
        through = all(arm.lets_all_through for arm in arms)
        return joined(branch, arms, self._tags, lets_all_through=through)

    def _inside_of(self, items: Sequence[Item], entry: Branch, flags: set[str]) -> Branch:
        self._depth += 1
        try:
            return self._along(items, entry, flags)
        finally:
            self._depth -= 1

    def _embedded(self, node: Body, branch: Branch, taken: list[Fit]) -> None:
        """A path inside of a path; `taken` has what final ones before it took."""
        statement = self._statement((node,))
        own = branch
        for fit in taken:
            own = own.restricted(~fit)
        if [*names_of("source", node.items)]:
            statement.approximated("the source in this path feeds nothing: name it in a path")
        flags: set[str] = set()
        first = len(self._path.uses)
        end = self._inside_of(node.items, own, flags)
        for flag in sorted(flags):
            if flag == "fallback":
                statement.approximated("a fallback inside of a path gets what the path gets")
            else:
                _say(flag, statement)
        if "final" in flags:
            ends = [use.branch for use in self._path.uses[first:]] or [end]
            taken.append(reached(ends, branch))
        statement.taken("its destinations are in order")

    def _step(self, item: Item, branch: Branch) -> Branch:
        """An item of a path that is neither `if` nor a path."""
        node = item[0] if len(item) == 1 else None
        kind = node.name if isinstance(node, Call) else node.kind if isinstance(node, Body) else ""
        statement = self._statement(item)
        match kind:
            case "source":
                statement.taken("is in sources of its destinations")
            case "filter":
                return _filtered(self._named.filters, node, branch, statement)
            case "destination":
                self._delivered(node, branch, statement)
            case "parser" | "rewrite":
                return self._changed(kind, node, branch, statement)
            case "junction" if isinstance(node, Body):
                return self._junction(node, branch, statement)
            case "channel" if isinstance(node, Body):
                statement.taken("see its parts")
                return self._along(node.items, branch, set())
            case _:
                statement.unsupported("the relay's routing has nothing like it")
        return branch

    def _delivered(self, node: object, branch: Branch, statement: Statement) -> None:
        if isinstance(node, Body):
            names = [self._named.destination(node)]
        else:
            assert isinstance(node, Call)
            names = node.texts
        for name in names:
            if ("destination", name) not in self._named.bodies:
                statement.unsupported(f"there is no destination {name}")
            self._path.uses.append(Use(name, branch.settled(), statement, self._path))
        statement.taken("see the destination")

    def _changed(self, kind: str, node: object, branch: Branch, statement: Statement) -> Branch:
        """A parser or a rewrite rule, or several."""
        if isinstance(node, Body):
            statement.taken("see its rules")
            return self._rules(kind, node.items, branch)
        assert isinstance(node, Call)
        for name in node.texts:
            key = kind, name
            if key not in self._named.bodies:
                statement.unsupported(f"there is no {kind} {name}")
            elif key in self._inside:
                statement.unsupported(f"the {kind} {name} refers to itself")
            else:
                self._inside.append(key)
                branch = self._rules(kind, self._named.bodies[key][0].items, branch)
                self._inside.pop()
                statement.taken(f"is in the steps of its destinations: see {name}")
        return branch

    def _rules(self, kind: str, items: Iterable[Item], branch: Branch) -> Branch:
        for item in items:
            node = item[0] if item else None
            if isinstance(node, Call) and node.name not in (kind, "filter", "destination"):
                found = self._steps(kind, node)
                if found.adapters:
                    self.adapted |= set(self._sources)
                if found.syslog:
                    self.parsed |= set(self._sources)
                if found.steps and not self._depth:
                    branch = branch.settled()
                branch = branch.changed(found)
                # Inside of a channel others may take what this parser cannot read.
                if found.kept != ALWAYS and not self._depth:
                    branch = replace(branch, late=branch.late & Fit.exactly(found.kept))
            else:
                branch = self._along([item], branch, set())
        return branch

    def _steps(self, kind: str, call: Call) -> Steps:
        """The steps of a call, which are read once however often it is used."""
        found = self._known_steps.get(id(call))
        if found is None:
            statement = self._report.statement(call.place, item_text((call,)))
            read = self._named.parser if kind == "parser" else self._named.rewrite
            found = self._known_steps[id(call)] = read(call, statement)
        if found.may_fail and self._depth:
            self._report.statement(call.place, item_text((call,))).approximated(
                "a message that it cannot read goes on all the same, with a tag"
            )
        return found

    def _junction(self, node: Body, branch: Branch, statement: Statement) -> Branch:
        statement.taken("is the alternatives in match of its destinations")
        branch = branch if self._depth else branch.settled()
        left, arms = branch, list[Arm]()
        through, all_final = False, True
        for item in node.items:
            channel = item[0] if item else None
            own = self._statement(item)
            if not isinstance(channel, Body):
                own.unsupported("a junction has channels only")
                continue
            own.taken("see its parts")
            flags: set[str] = set()
            arm = Arm(left, self._inside_of(channel.items, left, flags))
            arms.append(arm)
            through = through or (all_final and arm.lets_all_through)
            all_final = all_final and "final" in flags
            if "final" in flags:
                left = left.restricted(~reached([arm.end], left))
            elif item is not node.items[-1]:
                own.approximated("a message that goes through two channels is sent once")
            if "fallback" in flags:
                own.approximated("a fallback gets what other channels get, too")
            through = through or (arm.entry == branch and arm.lets_all_through)
        return joined(branch, arms, self._tags, lets_all_through=through)

    def _statement(self, item: Item) -> Statement:
        return self._report.statement(item[0].place, item_text(item))


def _filtered(filters: FilterReader, node: object, branch: Branch, statement: Statement) -> Branch:
    """The messages of `branch` that fit a filter."""
    if isinstance(node, Body):
        fit = filters.of_items(node.items, statement)
    else:
        assert isinstance(node, Call)
        fit = EVERYTHING
        for name in node.texts:
            fit &= filters.by_name(name, statement)
    statement.taken("is in match of its destinations")
    if branch.steps:
        statement.taken("is a step drop, because messages have been changed before")
    return branch.restricted(fit)


def _say(flag: str, statement: Statement) -> None:
    match flag:
        case "final" | "fallback":
            statement.taken(f"flags({flag}) is {flag}, or part of match")
        case "flow_control":
            statement.taken("flags(flow-control): full queues block sources by default")
        case _ if flag not in _FLAGS_OF_NO_EFFECT:
            statement.unsupported(f"flags({flag}): the relay's routing has no counterpart")
