"""The statements of syslog-ng's configuration, put together as a configuration of the relay."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from relay.cli.moving.conditions import (
    ALWAYS,
    NEVER,
    Condition,
    Fits,
    TooDeep,
    all_of,
    negated,
    parts_of,
    to_match,
)
from relay.cli.moving.files import InputFiles
from relay.cli.moving.imported import Imported, Source
from relay.cli.moving.report import Statement
from relay.cli.moving.syslog_ng.destinations import read_destination
from relay.cli.moving.syslog_ng.drafts import DestinationDraft, Reading
from relay.cli.moving.syslog_ng.filters import FilterReader, beyond, either, tidy
from relay.cli.moving.syslog_ng.options import Option, Options, canonical, item_text, source_text
from relay.cli.moving.syslog_ng.paths import Named, Path, Paths, Use
from relay.cli.moving.syslog_ng.sources import SourceDraft, read_source
from relay.cli.moving.syslog_ng.steps import Step, read_parser, read_rewrite
from relay.cli.moving.syslog_ng.tree import Atom, Body, Call, Item, Tree, is_catch_all, names_of
from relay.cli.toml_writing import TomlValue

__all__ = ["assemble"]

_NAMED = ("source", "destination", "filter", "parser", "rewrite")
LIST_BYTES_MAX = 256 * 1024
FINAL_PATHS_MAX = 100
"""Further final paths that are conditions of others are not: nobody could read these."""

_GLOBAL_NEEDS_NONE = {
    **dict.fromkeys(("threaded", "sync", "flush_lines"), "the relay works in batches"),
    **dict.fromkeys(("dns_cache", "dns_cache_hosts", "dns_cache_size"), "no names are looked up"),
    **dict.fromkeys(("dns_cache_expire", "dns_cache_expire_failed"), "no names are looked up"),
    **dict.fromkeys(("use_fqdn", "use_rcptid", "use_uniqid"), "the relay has its own"),
    **dict.fromkeys(("use_dns", "keep_hostname", "chain_hostnames"), "is for network sources"),
    **dict.fromkeys(("long_hostnames", "normalize_hostnames"), "is for network sources"),
    **dict.fromkeys(("stats_level", "stats_lifetime"), "status, top and /metrics show it all"),
    "stats": "status, top and /metrics show it all",
    **dict.fromkeys(("log_fifo_size", "log_iw_size"), "queues are on disk: see queue_bytes_max"),
    **dict.fromkeys(("log_fetch_limit", "log_level"), "the relay has limits of its own"),
    **dict.fromkeys(("create_dirs", "gc_busy_threshold"), "the relay makes directories"),
    "gc_idle_threshold": "the relay has no such limit",
    "min_iw_size_per_reader": "the relay has no such limit",
    "pass_unix_credentials": "pid, uid and gid of senders are pairs",
    "time_reap": "files are closed when others are needed",
    "on_error": "a value that does not fit its type stays a text",
    "trim_large_messages": "longer messages are cut, their neighbours unaffected",
    "protocol_template": "see proto-template",
    "type_casting": "pairs have the types that they came with",
}
_ASKED_BY_DRIVERS = {
    *("owner", "group", "perm", "dir_owner", "dir_group", "dir_perm", "ts_format", "frac_digits"),
    *("time_zone", "send_time_zone", "local_time_zone", "recv_time_zone", "time_reopen"),
    *("log_msg_size", "keep_timestamp", "check_hostname", "file_template", "proto_template"),
    *("suppress", "template"),
}


def assemble(tree: Tree, imported: Imported, files: InputFiles) -> None:
    """Read all statements of `tree` into `imported` and its report.

    Args:
        files: Finds the files of `in-list`.
    """
    _Assembly(tree, imported, files).run()


@dataclass(slots=True)
class _Drivers:
    """The drivers of a body.

    Attributes:
        drafts: Of a destination, each with its statement and the name that is wanted for it.
    """

    drafts: list[tuple[str, DestinationDraft, Statement]] = field(default_factory=list)


class _Assembly:
    def __init__(self, tree: Tree, imported: Imported, files: InputFiles) -> None:
        self._tree = tree
        self._imported = imported
        self._files = files
        self._report = imported.report
        self._reading = Reading(imported)
        self._bodies: dict[tuple[str, str], tuple[Body, Statement]] = {}
        self._ids: dict[str, list[str]] = {}
        self._sources: list[tuple[str, Source, SourceDraft]] = []
        self._destinations: dict[str, _Drivers] = {}
        self._logs: list[Body] = []
        self._filters = FilterReader({}, self._ids, self._text_of_list)

    def run(self) -> None:
        for item in self._tree.items:
            self._statement(item)
        named = {name: found for (kind, name), found in self._bodies.items() if kind == "filter"}
        self._filters.named = named
        self._read_sources()
        self._read_destinations()
        for name, (_, statement) in named.items():
            self._filters.by_name(name, statement)
            statement.taken("is written out where it is used")
        paths = self._paths()
        found = [paths.follow(body) for body in self._logs]
        self._finish_sources(paths)
        _Routing(found, self._destinations, self._imported).write()
        self._unused()
        self._finish_options()

    # Statements

    def _statement(self, item: Item) -> None:
        node = item[0]
        if not isinstance(node, Body):
            self._short_statement(item)
            return
        kind, name = node.kind, node.name
        if kind in _NAMED and name:
            statement = self._report.statement(node.place, source_text(node))
            if (kind, name) in self._bodies:
                statement.approximated(f"there is a {kind} {name} already; this one counts")
            self._bodies[kind, name] = node, statement
        elif kind == "log":
            self._logs.append(node)
        elif kind == "options":
            self._options(node)
        elif kind == "template" and name:
            self._template(node)
        else:
            statement = self._report.statement(node.place, source_text(node))
            statement.unsupported("the relay has nothing like this statement")

    def _short_statement(self, item: Item) -> None:
        statement = self._report.statement(item[0].place, item_text(item))
        match item:
            case (Atom(text="template"), Atom(text=name), Atom(text=text)):
                self._reading.templates[name] = text
                statement.taken("is written out where it is used")
            case (Atom(text="template-function" | "template_function"), *_):
                statement.unsupported("the relay's templates have no functions")
            case _:
                statement.unsupported("the relay has nothing like this statement")

    def _options(self, body: Body) -> None:
        self._report.statement(body.place, "options {…}").taken("see its parts")
        for item in body.items:
            for node in item:
                statement = self._report.statement(node.place, source_text(node))
                if isinstance(node, Call):
                    self._reading.defaults[canonical(node.name)] = Option(statement, node)
                else:
                    statement.unsupported("expected NAME(VALUE)")

    def _template(self, body: Body) -> None:
        statement = self._report.statement(body.place, source_text(body))
        for item in body.items:
            for node in item:
                if isinstance(node, Call) and node.name == "template":
                    self._reading.templates[body.name] = node.first
                    statement.taken("is written out where it is used")
                    own = self._report.statement(node.place, source_text(node))
                    own.taken("is the text of the template")
                elif isinstance(node, Call) and canonical(node.name) == "template_escape":
                    own = self._report.statement(node.place, source_text(node))
                    own.taken("values are written as they are")
                elif isinstance(node, Atom) and node.kind == "string":
                    self._reading.templates[body.name] = node.text
                    statement.taken("is written out where it is used")
                else:
                    own = self._report.statement(node.place, source_text(node))
                    own.unsupported('expected template("…")')

    # Sources

    def _read_sources(self) -> None:
        used = {name for body in self._logs for name in names_of("source", body.items)}
        opens_all = any(is_catch_all(body.items) for body in self._logs)
        for (kind, name), (body, statement) in self._bodies.items():
            if kind != "source":
                continue
            if name in used or opens_all:
                self._source(name, body)
                statement.taken("see its drivers")
            else:
                statement.taken("no log path uses it, so nothing is opened")

    def _source(self, name: str, body: Body) -> str:
        ids = self._ids.setdefault(name, [])
        for call in self._calls(body.items):
            statement = self._report.statement(call.place, source_text(call))
            options = Options(call, self._report, self._reading.defaults)
            draft = read_source(options, self._report, statement)
            if draft is not None:
                source = self._imported.add_source(name, draft.keys, statement)
                ids.append(source.id)
                self._sources.append((name, source, draft))
        return name

    def _inline_source(self, body: Body) -> str:
        name = f"line-{body.place.line}"
        statement = self._report.statement(body.place, source_text(body))
        statement.taken("see its drivers")
        return self._source(name, body) if name not in self._ids else name

    def _calls(self, items: Iterable[Item]) -> Iterator[Call]:
        """The drivers of a body; what else is in it is said in the report."""
        for item in items:
            for node in item:
                if isinstance(node, Call):
                    yield node
                    continue
                if isinstance(node, Body) and node.kind in ("channel", "junction", "source"):
                    yield from self._calls(node.items)
                    continue
                statement = self._report.statement(node.place, source_text(node))
                statement.unsupported("a part of a driver's body that the relay has no place for")

    def _finish_sources(self, paths: Paths) -> None:
        for name, source, draft in self._sources:
            if name in paths.adapted:
                draft.parse["adapters"] = True
            if name in paths.parsed:
                draft.parse.pop("no_parse", None)
            if draft.parse:
                source.keys["parse"] = draft.parse

    # Destinations

    def _read_destinations(self) -> None:
        used = {name for body in self._logs for name in names_of("destination", body.items)}
        for (kind, name), (body, statement) in self._bodies.items():
            if kind != "destination":
                continue
            if name in used:
                self._destination(name, body)
                statement.taken("see its drivers")
            else:
                statement.taken("no log path uses it, so nothing is sent there")

    def _destination(self, name: str, body: Body) -> str:
        drivers = self._destinations.setdefault(name, _Drivers())
        for call in self._calls(body.items):
            statement = self._report.statement(call.place, source_text(call))
            options = Options(call, self._report, self._reading.defaults)
            draft = read_destination(options, self._reading, statement)
            if draft is not None:
                drivers.drafts.append((name, draft, statement))
        return name

    def _inline_destination(self, body: Body) -> str:
        name = f"line-{body.place.line}"
        while ("destination", name) in self._bodies:
            name += "-2"
        statement = self._report.statement(body.place, source_text(body))
        statement.taken("see its drivers")
        self._bodies["destination", name] = body, statement
        return self._destination(name, body)

    # The rest

    def _paths(self) -> Paths:
        named = Named(
            source=self._inline_source,
            destination=self._inline_destination,
            parser=lambda call, statement: read_parser(
                Options(call, self._report, self._reading.defaults), statement
            ),
            rewrite=lambda call, statement: read_rewrite(
                Options(call, self._report), self._filters, statement
            ),
            filters=self._filters,
            bodies=self._bodies,
        )
        return Paths(named, self._report)

    def _text_of_list(self, path: str) -> str:
        if os.path.isfile(path) and os.path.getsize(path) > LIST_BYTES_MAX:
            raise ValueError(f"longer than {LIST_BYTES_MAX:,} bytes")
        with self._files.opened(path) as text:
            return text

    def _unused(self) -> None:
        for (kind, _), (_, statement) in self._bodies.items():
            if not statement.findings:
                word = "see its parts" if kind in ("parser", "rewrite") else "no log path uses it"
                statement.taken(word)

    def _finish_options(self) -> None:
        relay = self._imported.relay
        for name, option in self._reading.defaults.items():
            if name in ("stats_freq", "stats"):
                seconds = option.whole
                if name == "stats_freq" and seconds is not None:
                    relay["statistics_seconds"] = min(seconds, 31_536_000)
                    self._imported.relay_statements.append(option.statement)
                    option.taken("is relay.statistics_seconds")
            elif name in ("mark_freq", "mark_mode"):
                if option.text.lower() in ("0", "none"):
                    option.taken("the relay writes no marks")
                else:
                    option.unsupported("the relay writes no marks: status shows that it runs")
            elif name == "bad_hostname" and option.text:
                for _, source, draft in self._sources:
                    if not str(source.keys["listen"]).startswith(("internal:", "journald:")):
                        source.keys["parse"] = {**draft.parse, "bad_hostname": option.text}
                option.taken("is parse.bad_hostname of sources")
            if option.statement.findings:
                continue
            if name in _GLOBAL_NEEDS_NONE:
                option.taken(_GLOBAL_NEEDS_NONE[name])
            elif name in _ASKED_BY_DRIVERS:
                option.taken("nothing here that it is for")
            else:
                option.unsupported("the relay has no counterpart")


class _Routing:
    """From uses of destinations in paths to destinations with `match`, `final` and `fallback`."""

    def __init__(
        self, paths: Sequence[Path], destinations: Mapping[str, _Drivers], imported: Imported
    ) -> None:
        self._paths = paths
        self._destinations = destinations
        self._imported = imported
        uses = [use for path in paths for use in path.uses]
        self._uses: dict[str, list[Use]] = {}
        for use in uses:
            if destinations.get(use.name, _Drivers()).drafts:
                self._uses.setdefault(use.name, []).append(use)
        self._order = {name: number for number, name in enumerate(self._uses)}
        self._barred: dict[int, list[Condition]] = {}
        self._final: set[str] = set()

    def write(self) -> None:
        self._end_final_paths()
        for name, uses in self._uses.items():
            for wanted, draft, statement in self._destinations[name].drafts:
                self._write(wanted, draft, statement, uses)

    def _end_final_paths(self) -> None:
        """Decide which destinations are `final`, and what else final paths keep from others."""
        explicit = 0
        for number, path in enumerate(self._paths):
            if "final" not in path.flags:
                self._bar_fallbacks(path)
                continue
            last = self._last_of(path)
            if last:
                self._final.add(last)
            explicit += not last
            if explicit > FINAL_PATHS_MAX:
                path.statement.unsupported(
                    f"more than {FINAL_PATHS_MAX} paths with flags(final) and a destination that "
                    "others have as well; messages of the further ones go to later paths, too"
                )
                continue
            kept = negated(path.takes.narrow)
            for later in self._paths[number + 1 :]:
                if "fallback" in later.flags and "fallback" not in path.flags:
                    continue
                for use in later.uses:
                    is_before = self._order.get(use.name, 0) < self._order.get(last, 0)
                    if not last or is_before:
                        self._barred.setdefault(id(use), []).append(kept)
            self._bar_fallbacks(path)

    def _bar_fallbacks(self, path: Path) -> None:
        """Keep from fallbacks what a path takes that has no destination here."""
        if "fallback" in path.flags or any(use.name in self._uses for use in path.uses):
            return
        kept = negated(path.takes.narrow)
        for other in self._paths:
            for use in other.uses if "fallback" in other.flags else ():
                if kept not in self._barred.setdefault(id(use), []):
                    self._barred[id(use)].append(kept)

    def _last_of(self, path: Path) -> str:
        """The destination of `path` that takes all of what it takes and nothing else.

        Empty if there is none, or if it is not the last of those that only this path has.
        """
        names = [use.name for use in path.uses if use.name in self._uses]
        own = [use for use in path.uses if use.name in self._uses]
        if not own or any(len(self._uses[name]) > 1 for name in names):
            return ""
        last = own[-1]
        takes = path.takes
        is_all = last.branch.early.is_exact and last.branch.early.wide == takes.narrow
        is_single = len(self._destinations[last.name].drafts) == 1
        return last.name if is_all and is_single else ""

    def _write(
        self, wanted: str, draft: DestinationDraft, statement: Statement, uses: Sequence[Use]
    ) -> None:
        are_fallbacks = ["fallback" in use.path.flags for use in uses]
        early = [self._early(use, all(are_fallbacks)) for use in uses]
        keys: dict[str, TomlValue] = {**draft.keys}
        if wanted in self._final:
            keys["final"] = True
        if all(are_fallbacks):
            keys["fallback"] = True
        if draft.has_limit and not any("flow_control" in use.path.flags for use in uses):
            keys["when_full"] = "drop-newest"
        if len({id(use.path) for use in uses}) > 1 and not _are_apart(early):
            statement.approximated("a message that comes here by two log paths is sent once")
        steps = self._steps(uses, early, statement) + draft.last_steps
        if draft.mode:
            steps.append(draft.mode)
        if steps:
            keys["rewrite"] = steps[0] if [*map(set, steps)] == [set(draft.mode)] else [*steps]
        self._imported.add_destination(wanted, keys, either(early), statement)

    def _early(self, use: Use, is_fallback: bool) -> Condition:
        """The messages that reach a destination by one use."""
        parts = [use.branch.early.wide, *self._barred.get(id(use), ())]
        if "fallback" in use.path.flags and not is_fallback:
            parts += [
                negated(path.takes.narrow) for path in self._paths if "fallback" not in path.flags
            ]
        return tidy(all_of(parts))

    def _steps(
        self, uses: Sequence[Use], early: Sequence[Condition], statement: Statement
    ) -> list[dict[str, TomlValue]]:
        """The steps of all uses, each for the messages of the uses that have it."""
        order: list[Step] = []
        users: dict[int, list[Condition]] = {}
        for use, condition in zip(uses, early, strict=True):
            for step in use.branch.steps:
                if id(step) not in users:
                    order.append(step)
                users.setdefault(id(step), []).append(condition)
        everyone = either(early)
        written = []
        for step in order:
            who = beyond(either(users[id(step)]), everyone)
            written.append(self._written(step.values, all_of([who, step.when]), statement))
        return [step for step in written if step]

    def _written(
        self, values: dict[str, TomlValue], when: Condition, statement: Statement
    ) -> dict[str, TomlValue]:
        if when == ALWAYS:
            return values
        if when == NEVER:
            return {}
        try:
            return {**values, "match": to_match(when)}
        except TooDeep as error:
            statement.unsupported(f"the filter of a step is too large: {error}")
            return {}


def _are_apart(conditions: Sequence[Condition]) -> bool:
    """Whether no message fits two of `conditions`: each is about other sources."""
    seen: set[TomlValue] = set()
    for condition in conditions:
        ids = [
            id
            for part in parts_of(condition)
            if isinstance(part, Fits) and part.key == "sources" and isinstance(part.value, list)
            for id in part.value
        ]
        if not ids or seen & set(ids):
            return False
        seen |= set(ids)
    return True
