"""Read a configuration from a TOML file.

Everything that can be wrong is looked for before anything is reported, so that
one run shows all of it.  Nothing is bound, connected, created or written; files
that the configuration names (certificates, keys, tokens) are read.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from relay.model.errors import ConfigurationError, ConfigurationUnreadable
from relay.service.configuration.apps_table import read_apps
from relay.service.configuration.expectations import MessageTest, read_tests
from relay.service.configuration.filter_table import Match
from relay.service.configuration.format_table import format_problem
from relay.service.configuration.keys import compose, keys_of
from relay.service.configuration.kinds import (
    AnyKind,
    AnyKinds,
    ListenerSet,
    Member,
    Places,
    Problems,
    UrlKind,
)
from relay.service.configuration.model import (
    DEFAULT_STATE_DIR,
    ID,
    RELAY_NAME,
    Configuration,
    DestinationConfiguration,
    SourceConfiguration,
    TlsConfiguration,
    Url,
)
from relay.service.configuration.reading import Reading, Reported
from relay.service.configuration.rewrite_table import names_a_form
from relay.service.configuration.table import (
    Anything,
    Leaf,
    did_you_mean,
    join_path,
    shown,
)
from relay.service.configuration.toml_text import (
    Place,
    TomlSlip,
    line_of,
    parse_toml,
    places,
    state_dir_in,
)
from relay.service.configuration.url import Role

DEFAULT_PATH = "/etc/syslogrelay/relay.toml"
"""Where deploy/syslogrelay.service has it; commands look there if nothing says otherwise."""

_FILE: Mapping[str, Leaf[object]] = {
    "relay": Anything(),
    "apps": Anything(),
    "sources": Anything(),
    "destinations": Anything(),
    "filters": Anything(),
    "tests": Anything(),
}

_RETIRED_RELAY_KEYS: Mapping[str, str] = {
    "drain_process": "has no effect any more: destinations run in the relay's only process; "
    "remove it",
}
"""Keys that older versions knew.  A file that still has one gets this warning, not an error."""

_RELAY = {name: key.kind for name, key in keys_of(Configuration).items()}


class _Problem(NamedTuple):
    line: int
    """In the file, from 1 on; 0 = it is not that of one line."""
    text: str
    """Begins with the file's name and, where that is known, the line."""


class Examined(NamedTuple):
    """What a configuration file says, however much of it is wrong."""

    problems: list[str]
    """One line each, beginning with the file's name and, where that is known, the line, in whose
    order they are."""
    configuration: Configuration | None = None
    """What is right; None if the file cannot be read or is not TOML."""
    is_whole: bool = False
    """Nothing is wrong, but perhaps with the certificates, keys and tokens that it names."""
    state_dir: str = ""
    """Empty if that cannot be told for sure."""
    state_dir_from: str = ""
    """How that was found, if the file is not TOML."""


def read_configuration(path: str, kinds: AnyKinds, *, to_start: bool = False) -> Configuration:
    """Read the configuration file at `path`.

    Relative paths in the file are relative to its directory.

    Args:
        to_start: Leave aside what is wrong with certificates, keys and tokens: the sources and
            destinations that need them wait until they are right.

    Raises:
        ConfigurationUnreadable: There is no such file, or it may not be read.
        ConfigurationError: Every problem of the file, one line each, beginning
            with `path`, in the order of their lines; and the warnings that are known.
    """
    text = _text_of(path)
    try:
        values = parse_toml(text)
    except TomlSlip as slip:
        raise ConfigurationError([_slip(path, slip)]) from None
    configuration, problems, unready = _read(path, text, values, kinds)
    problems += [] if to_start else unready
    if problems:
        raise ConfigurationError(_in_order(problems), configuration.warnings)
    return configuration


def examine_file(path: str, kinds: AnyKinds) -> Examined:
    """Read as much of the configuration file at `path` as is right."""
    try:
        text = _text_of(path)
        values = parse_toml(text)
    except ConfigurationUnreadable as error:
        return Examined(error.problems)
    except ConfigurationError as error:
        return _by_line(error.problems, path)
    except TomlSlip as slip:
        return _by_line([_slip(path, slip)], path)
    configuration, problems, unready = _read(path, text, values, kinds)
    relay = values.get("relay", {})
    given = relay.get("state_dir", DEFAULT_STATE_DIR) if isinstance(relay, dict) else None
    is_known = isinstance(given, str) and given != ""
    return Examined(
        _in_order(problems + unready),
        configuration,
        is_whole=not problems,
        state_dir=configuration.state_dir if is_known else "",
    )


def _by_line(problems: list[str], path: str) -> Examined:
    """The state directory alone, of a file that is not TOML."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        state_dir = state_dir_in(file.read())
    if state_dir is None:
        return Examined(problems)
    if not state_dir:
        return Examined(
            problems, state_dir=DEFAULT_STATE_DIR, state_dir_from="(no line of it says another one)"
        )
    state_dir = _absolute(os.path.dirname(os.path.abspath(path)), state_dir)
    return Examined(problems, state_dir=state_dir, state_dir_from="(the only line that says so)")


def _read(
    path: str, text: str, values: Mapping[str, object], kinds: AnyKinds
) -> tuple[Configuration, list[_Problem], list[_Problem]]:
    """What is right in the file; its problems with their lines; those of files that it names."""
    reader = _FileReader(os.path.dirname(os.path.abspath(path)), kinds)
    configuration = reader.read(values, os.path.abspath(path))
    found = places(text) if reader.problems or reader.unready else []
    problems, unready = (
        [_located(problem, path, found) for problem in some]
        for some in (reader.problems, reader.unready)
    )
    return configuration, problems, unready


def _located(problem: str, path: str, found: Sequence[Place]) -> _Problem:
    line = line_of(problem, found) or 0
    return _Problem(line, f"{path}:{line}: {problem}" if line else f"{path}: {problem}")


def _in_order(problems: Iterable[_Problem]) -> list[str]:
    """The problems by line; those of the whole file are last."""
    return [each.text for each in sorted(problems, key=lambda each: each.line or sys.maxsize)]


def _text_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            octets = file.read()
    except OSError as error:
        raise ConfigurationUnreadable([f"{path}: cannot read it: {error.strerror}"]) from None
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        column = error.start - octets.rfind(b"\n", 0, error.start)
        raise ConfigurationError(
            [f"{path}:{line}:{column}: not UTF-8: found the byte 0x{octets[error.start]:02x}"]
        ) from None


def _slip(path: str, slip: TomlSlip) -> str:
    place = f":{slip.line}:{slip.column}" if slip.line else ""
    return f"{path}{place}: {slip.words}"


def _absolute(base_dir: str, path: str) -> str:
    return os.path.normpath(os.path.join(base_dir, path))


class _FileReader:
    """Turns the tables of one file into values, and collects the problems."""

    def __init__(self, base_dir: str, kinds: AnyKinds) -> None:
        self._reading = Reading(base_dir)
        self.problems = self._reading.problems
        self.unready = self._reading.unready
        self._base_dir = base_dir
        self._kinds = kinds
        self._members: dict[str, tuple[str, ...]] = {}  # ids, by the id of the set they are of
        self._port_keys: dict[str, str] = {}  # what decides where a member listens, by its id

    def read(self, values: Mapping[str, object], path: str) -> Configuration:
        tables = self._reading.table(values, _FILE, "")
        relay = self._reading.table(
            _current(tables.get("relay", {}), self._reading), _RELAY, "relay"
        )
        source_tables = self._named_tables(tables, "sources", 'listen = "tcp://:514"')
        destination_tables = self._named_tables(
            tables, "destinations", 'connect = "relp://central.example.com:20514"'
        )
        apps = read_apps(tables.get("apps", {}), self._reading)
        sources = self._sources(source_tables)
        self._read_filters(tables.get("filters", {}), source_tables, [app.id for app in apps])
        destinations = self._destinations(destination_tables, tuple(source_tables))
        if "name" not in relay:
            relay["name"] = _host_name(self._reading)
        tests: tuple[MessageTest, ...] = ()
        with suppress(Reported):
            ids = [source.id for source in sources]
            tests = read_tests(
                tables.get("tests", []), ids, list(destination_tables), self._reading
            )
        relay |= {"sources": tuple(sources), "destinations": tuple(destinations), "apps": apps}
        configuration = compose(Configuration, {**relay, "tests": tests, "path": path})
        places, checks = Places(self._members, self._port_keys), self._kinds.checks
        self._add(checks.problems(configuration, places, self._kinds, not self.problems))
        warnings = self._reading.warnings
        if not self.problems:
            warnings += checks.warnings(configuration, places)
        return replace(configuration, warnings=tuple(dict.fromkeys(warnings)))

    def _read_filters(self, values: object, sources: Iterable[str], apps: Sequence[str]) -> None:
        """Note what filters may refer to, and read those that have a name."""
        reading = self._reading
        members = (id for ids in self._members.values() for id in ids)
        reading.sources, reading.apps = (*sources, *members), apps
        if not isinstance(values, dict):
            reading.add("filters", f"expected tables [filters.NAME], found {shown(values)}")
            return
        reading.filters = values
        for name, value in values.items():
            with suppress(Reported):
                reading.read(Match(name), value, join_path("filters", name))

    def _named_tables(
        self, tables: Mapping[str, object], key: str, example: str
    ) -> dict[str, dict[str, object]]:
        """The tables below `key` that have an id; all of them, even if their content is bad."""
        values = tables.get(key, {})
        if not isinstance(values, dict):
            self.problems.append(f"{key}: expected tables [{key}.ID], found {shown(values)}")
            return {}
        if not values:
            self.problems.append(
                f"{key}: there is none; a relay needs at least one, such as "
                f"[{key}.{'network' if key == 'sources' else 'central'}] with {example}"
            )
        named = {}
        for id, table in values.items():
            where = join_path(key, id)
            try:
                ID.read(id)
            except ValueError as error:
                self.problems.append(f"{where}: {error}")
            if isinstance(table, dict):
                named[id] = table
            else:
                self.problems.append(f"{where}: expected a table, found {shown(table)}")
        return named

    def _sources(self, tables: Mapping[str, dict[str, object]]) -> list[SourceConfiguration]:
        sources: list[SourceConfiguration] = []
        for id, values in tables.items():
            where = join_path("sources", id)
            kind, table = self._table(values, "listen", where)
            url = self._url(values, table, "listen", where)
            if url is None or kind is None:  # the files that it names are worth a look all the same
                tls = compose(TlsConfiguration, table)
                if tls.certificate or tls.private_key:
                    self._check_tls(tls, self._kinds.checks.listener_tls, where)
            elif isinstance(kind, ListenerSet):
                sources += self._set(id, kind, url, table, where)
            else:
                # A socket of systemd has the scheme of what is spoken over it.
                source = kind.configured(replace(url, scheme=kind.scheme), {**table, "id": id})
                self._check_source(source, values, where)
                sources.append(source)
        for id in {id for ids in self._members.values() for id in ids} & set(tables):
            self.problems.append(
                f"{join_path('sources', id)}: a listener of the source {id.rpartition('.')[0]!r} "
                "has this id already; choose another one"
            )
        return sources

    def _table(
        self, values: Mapping[str, object], role: Role, where: str
    ) -> tuple[AnyKind | None, dict[str, object]]:
        """The kind that a table is for, and the keys of the table that are right."""
        kind = self._kinds.named_in(values, role)
        fitting = self._kinds.fitting_keys(role, kind)
        schema = self._kinds.schema(role, kind)
        return kind, self._reading.table(values, schema, where, fitting=fitting)

    def _check_source(
        self, source: SourceConfiguration, given: Mapping[str, object], where: str
    ) -> None:
        place = partial(join_path, where)
        self.problems += source.problems(place, given)
        if problem := source.encoding_problem():
            self._add([f"{where}.parse.encoding: {problem}"])
        if source.tls is not None:
            self._check_tls(source.tls, self._kinds.checks.listener_tls, where)

    def _set(
        self, id: str, kind: ListenerSet, url: Url, table: Mapping[str, object], where: str
    ) -> list[SourceConfiguration]:
        """The sources that a set of listeners consists of."""
        sources = []
        for member in kind.members:
            port = table.get(member.port_key, member.port)
            if isinstance(port, int) and port:
                source = member.kind.configured(
                    Url(member.kind.scheme, host=url.host, port=port),
                    {**table, "id": f"{id}.{member.name}"},
                )
                if source.tls is not None and not (
                    source.tls.certificate or source.tls.private_key
                ):
                    self._add([f"{where}.certificate: {_missing_certificate(member, port)}"])
                self._check_source(source, table, where)
                self._port_keys[source.id] = f"{where}.{member.port_key}"
                sources.append(source)
        if not sources:
            keys = ", ".join(member.port_key for member in kind.members)
            self.problems.append(
                f"{where}.listen: every port of {kind.scheme} is 0; open at least one of {keys}"
            )
            return []
        self._members[id] = tuple(source.id for source in sources)
        return sources

    def _destinations(
        self,
        tables: Mapping[str, dict[str, object]],
        source_ids: tuple[str, ...],
    ) -> list[DestinationConfiguration]:
        destinations: list[DestinationConfiguration] = []
        for id, values in tables.items():
            where = join_path("destinations", id)
            kind, table = self._table(values, "connect", where)
            sources = table.get("sources")
            if not isinstance(sources, tuple):
                sources = source_ids
            members = [one for ids in self._members.values() for one in ids]
            self._check_sources(sources, (*source_ids, *members), where)
            table["sources"] = self._with_members(sources)
            template = table.pop("template", None)
            table.setdefault("format", template)
            if problem := format_problem(values, has_form=names_a_form(values.get("rewrite"))):
                self._reading.add(where, problem)
            url = self._url(values, table, "connect", where)
            if url is None or not isinstance(kind, UrlKind):
                # The files that it names are worth a look all the same.
                tls = compose(TlsConfiguration, table)
                self._check_tls(tls, self._kinds.checks.upstream_tls, where)
                continue
            destination = kind.configured(url, {**table, "id": id})
            if destination.tls is not None:
                self._check_tls(destination.tls, self._kinds.checks.upstream_tls, where)
            place = partial(join_path, where)
            self.problems += destination.retry.problems(place)
            self.problems += destination.sending.problems(place, values)
            self.problems += destination.problems(place, values)
            destinations.append(destination)
        return destinations

    def _with_members(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        """`ids` of sources with each set replaced by its members, none twice."""
        return tuple(dict.fromkeys(one for id in ids for one in self._members.get(id, (id,))))

    def _url(
        self, values: Mapping[str, object], table: dict[str, object], key: Role, where: str
    ) -> Url | None:
        text = table.pop(key, None)
        if key not in values:
            example = "tcp://0.0.0.0:514" if key == "listen" else "relp://central.example.com:20514"
            self.problems.append(
                f'{where}.{key}: is missing; write for example {key} = "{example}"'
            )
        if not isinstance(text, str):
            return None
        try:
            url = self._kinds.url(text, key, base_dir=self._base_dir)
        except ValueError as error:
            self.problems.append(f"{where}.{key}: {error}")
            return None
        self.problems += self._kinds.foreign_keys(values, key, where)
        return url

    def _check_sources(self, ids: Sequence[str], known: tuple[str, ...], where: str) -> None:
        for id in ids:
            if id not in known:
                near = did_you_mean(id, known) or ";"
                self.problems.append(
                    f"{where}.sources: there is no source {shown(id)}{near} "
                    f"the sources are: {', '.join(known) or 'none'}"
                )

    def _check_tls(
        self,
        tls: TlsConfiguration,
        problems: Problems,
        where: str,
    ) -> None:
        """Look at the keys by `problems`, and then into the files that they name."""
        place = partial(join_path, where)
        self._add(problems(tls, place))
        known = {problem.partition(": ")[0] for problem in (*self.problems, *self.unready)}
        self.unready += [
            text
            for text in self._kinds.checks.tls_files(tls, place)
            if text.partition(": ")[0] not in known
        ]

    def _add(self, problems: Iterable[str]) -> None:
        """Add problems, but none that follows from one already known of the same key."""
        known = {problem.partition(": ")[0] for problem in self.problems}
        self.problems += [text for text in problems if text.partition(": ")[0] not in known]


def _missing_certificate(member: Member, port: int) -> str:
    return (
        f"is missing; the TLS listener on port {port} needs certificate and private_key: give "
        f"both, or write {member.port_key} = 0 to leave it out"
    )


def _current(values: object, reading: Reading) -> object:
    """The table `relay` without the keys that have no effect any more."""
    if not isinstance(values, dict):
        return values
    for key in _RETIRED_RELAY_KEYS.keys() & values.keys():
        reading.warnings.append(f"relay.{key}: {_RETIRED_RELAY_KEYS[key]}")
    return {key: value for key, value in values.items() if key not in _RETIRED_RELAY_KEYS}


def _host_name(reading: Reading) -> str:
    try:
        return str(RELAY_NAME.read(socket.gethostname()))
    except ValueError as error:
        reading.problems.append(f"relay.name: is missing and the host's does not do: {error}")
        return ""
