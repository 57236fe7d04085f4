"""The result of an import, in the relay's own terms, and the tables made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from relay.cli.moving.conditions import (
    ALWAYS,
    NEVER,
    Condition,
    TooDeep,
    any_of,
    sources_of,
    to_match,
)
from relay.cli.moving.report import Place, Report, Statement
from relay.cli.toml_writing import Table, TomlValue

__all__ = ["Destination", "ExtraFile", "Imported", "Source"]

_ID_LENGTH_MAX = 60
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]+")
_NOWHERE = "nowhere"
_DISPENSABLE = {"owner", "group", "mode", "directory_mode", "rotate_bytes", "frame_bytes_max"}
_DISPENSABLE |= {"queue_bytes_max", "retry_seconds_min", "retry_seconds_max", "window_records"}
_DISPENSABLE |= {"answer_seconds_max", "connect_seconds_max", "receive_buffer_bytes", "tag"}
_DISPENSABLE |= {"connections_max", "rate_per_peer_max", "batch_records", "read_from"}


@dataclass(slots=True)
class Source:
    """A source: `keys` are those of its table, `listen` included.

    Attributes:
        statements: Those that it comes from, for the comment above its table.
    """

    id: str
    keys: dict[str, TomlValue]
    statements: list[Statement] = field(default_factory=list)


@dataclass(slots=True)
class Destination:
    """A destination: `keys` are those of its table but for `match` and `sources`.

    Attributes:
        condition: Which messages it takes; tests of `sources` in it become the key.
        statements: Those that it comes from.
        filters: Those that its filter comes from, for the comment above its table.
    """

    id: str
    keys: dict[str, TomlValue]
    condition: Condition = ALWAYS
    statements: list[Statement] = field(default_factory=list)
    filters: list[Statement] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ExtraFile:
    """A file that is written beside the configuration, such as one with a token.

    Attributes:
        is_secret: Only its owner may read it.
    """

    text: str
    is_secret: bool = False


class Imported:
    """The result of an import.

    Attributes:
        dialect: Name of the dialect.
        path: The file that was read first; empty = that of the first statement.
        relay: Keys of the table `relay`.
        further: Tables that come last, such as `[filters.ID]`.
        extra_files: Files beside the configuration, by name without a folder.
    """

    def __init__(self, dialect: str, report: Report, path: str = "") -> None:
        self.dialect = dialect
        self.path = path
        self.report = report
        self.relay: dict[str, TomlValue] = {}
        self.relay_statements: list[Statement] = []
        self.sources: list[Source] = []
        self.destinations: list[Destination] = []
        self.further: list[Table] = []
        self.extra_files: dict[str, ExtraFile] = {}
        self._ids: dict[str, set[str]] = {"sources": set(), "destinations": set()}
        self._nowhere_said: Statement | None = None

    def add_source(
        self, wanted: str, keys: Mapping[str, TomlValue], statement: Statement
    ) -> Source:
        """Add a source under the id `wanted`, or one like it if that is taken.

        A source with the same `listen` is not added twice; the earlier one is returned.
        """
        for source in self.sources:
            if source.keys["listen"] == keys["listen"]:
                source.statements.append(statement)
                return source
        source = Source(self._id("sources", wanted), dict(keys), [statement])
        self.sources.append(source)
        return source

    def add_destination(
        self,
        wanted: str,
        keys: Mapping[str, TomlValue],
        condition: Condition,
        statement: Statement,
    ) -> Destination:
        """Add a destination under the id `wanted`, or one like it if that is taken.

        A file has one writer in the relay, so what goes to the same file or pipe becomes one
        destination with either condition; it keeps the keys that it had first.
        """
        for other in self.destinations:
            if other.keys["connect"] == keys["connect"] and _is_one_place(keys):
                if other.keys != keys:
                    statement.approximated(
                        f"destinations.{other.id} writes there already, and a file has one writer; "
                        "its keys count"
                    )
                other.condition = any_of([other.condition, condition])
                other.statements.append(statement)
                return other
        destination = Destination(
            self._id("destinations", wanted), dict(keys), condition, [statement]
        )
        self.destinations.append(destination)
        return destination

    def add_file(self, wanted: str, file: ExtraFile) -> str:
        """Add a file under a name like `wanted` that no other file has; return the name."""
        for name, other in self.extra_files.items():
            if other == file:
                return name
        stem, ending = (_NOT_IN_IDS.sub("-", part) for part in wanted.rpartition(".")[::2])
        name, number = f"{stem}.{ending}", 1
        while name in self.extra_files:
            number += 1
            name = f"{stem}-{number}.{ending}"
        self.extra_files[name] = file
        return name

    def tables(self) -> list[Table]:
        """All tables of the configuration; says in the report what cannot be written.

        See `acceptance.accepted_tables` for those that the relay accepts.
        """
        if not self.sources:
            statement = self.report_of_whole("no statement opens a source of messages")
            statement.approximated("sources.internal takes the relay's own log in their place")
            self.add_source("internal", {"listen": "internal://"}, statement)
        written = [*self._written()]
        fed = {id for table in written for id in _fed(table, self.sources)}
        unfed = [source.id for source in self.sources if source.id not in fed]
        if self._nowhere_said is not None:  # it was said about a version that did not last
            self.report.statements.remove(self._nowhere_said)
            self._nowhere_said = None
        if unfed:
            written.append(self._nowhere(unfed))
        tables = [
            Table(("sources", each.id), each.keys, self._origins(each)) for each in self.sources
        ]
        if self.relay:
            comments = [self._origin(statement) for statement in self.relay_statements]
            tables.insert(0, Table(("relay",), self.relay, comments))
        return [*tables, *written, *self.further]

    def leave_out(self, kind: str, id: str, key: str, reason: str) -> bool:
        """Leave out a source, a destination or one key, which its statements say.

        Args:
            kind: ``sources``, ``destinations`` or ``relay``.
            key: The key that is wrong.  A limit or the like is left out alone; without one that
                says who may send, or what is sent, a table would do something else.

        Returns:
            Whether there was something of this name.
        """
        if kind == "relay" and self.relay.pop(id, None) is not None:
            statements = self.relay_statements
        else:
            known: list[Source] | list[Destination]
            known = self.sources if kind == "sources" else self.destinations
            found = [each for each in known if each.id == id and kind != "relay"]
            if not found:
                return False
            if key in _DISPENSABLE and found[0].keys.pop(key, None) is not None:
                for statement in found[0].statements:
                    statement.unsupported(f"without {key}, which the relay would refuse: {reason}")
                return True
            self.sources = [each for each in self.sources if each not in found]
            self.destinations = [each for each in self.destinations if each not in found]
            statements = found[0].statements
        for statement in statements:
            statement.unsupported(f"the relay would refuse it: {reason}")
        return True

    def report_of_whole(self, text: str) -> Statement:
        """A statement of the report about the configuration as a whole."""
        statements = self.report.statements
        path = self.path or (statements[0].place.file if statements else self.dialect)
        return self.report.statement(Place(path, 1), text)

    def _written(self) -> Iterator[Table]:
        known = [source.id for source in self.sources]
        for destination in self.destinations:
            allowed, rest = sources_of(destination.condition, known)
            if rest == NEVER or not allowed:
                for statement in destination.statements:
                    statement.taken("no message reaches it here, so it has no destination")
                continue
            keys: dict[str, TomlValue] = {"connect": destination.keys["connect"]}
            if allowed != known:
                keys["sources"] = allowed
            try:
                if rest != ALWAYS:
                    keys["match"] = to_match(rest)
            except TooDeep as error:
                for statement in destination.statements:
                    statement.unsupported(f"its filter is too large: {error}")
                continue
            yield Table(
                ("destinations", destination.id),
                {**keys, **destination.keys},
                self._origins(destination),
            )

    def _nowhere(self, sources: Sequence[str]) -> Table:
        """A source that feeds no destination is refused, so that nothing is lost by mistake."""
        statement = self.report_of_whole(f"messages of {', '.join(sources)} go nowhere")
        statement.approximated(
            f"destinations.{_NOWHERE} drops and counts them: write a destination for them, "
            "or remove the source"
        )
        keys: dict[str, TomlValue] = {
            "connect": "file:///var/lib/syslogrelay/nowhere.log",
            "sources": list(sources),
            "rewrite": [{"drop": _NOWHERE}],
        }
        self._nowhere_said = statement
        id = _NOWHERE if _NOWHERE not in self._ids["destinations"] else f"{_NOWHERE}-import"
        return Table(("destinations", id), keys, ["messages that no rule sends anywhere"])

    def _origins(self, one: Source | Destination) -> list[str]:
        filters = one.filters if isinstance(one, Destination) else []
        statements = sorted([*filters, *one.statements], key=self.report.statements.index)
        return list(dict.fromkeys(map(self._origin, statements)))

    def _origin(self, statement: Statement) -> str:
        return f"{statement.place}: {self.report.excerpt(statement)}"

    def _id(self, kind: str, wanted: str) -> str:
        stem = _NOT_IN_IDS.sub("-", wanted).strip("-_")[:_ID_LENGTH_MAX].rstrip("-_") or "unnamed"
        id, number, taken = stem, 1, self._ids[kind]
        while id in taken:
            number += 1
            id = f"{stem[: _ID_LENGTH_MAX - 5]}-{number}"
        taken.add(id)
        return id


def _is_one_place(keys: Mapping[str, TomlValue]) -> bool:
    return str(keys["connect"]).startswith(("file:", "pipe:"))


def _fed(table: Table, sources: Sequence[Source]) -> list[str]:
    found = table.values.get("sources")
    return [str(id) for id in found] if isinstance(found, list) else [each.id for each in sources]
