"""Read a configuration from a TOML file.

Everything that can be wrong is looked for before anything is reported, so that
one run shows all of it.  Nothing is bound, connected, created or written; files
that the configuration names (certificates, keys, tokens) are read.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from relay.model.errors import ConfigurationError, ConfigurationUnreadable
from relay.service.configuration.expectations import read_tests
from relay.service.configuration.including import FILE_BYTES_MAX, read_files
from relay.service.configuration.keys import Table, compose, groups_of, keys_of, read_record
from relay.service.configuration.kinds import AnyKinds, AnyUrlKind, ListenerSet, Places, UrlKind
from relay.service.configuration.model import (
    DEFAULT_STATE_DIR,
    ID,
    RELAY_NAME,
    AlertsConfiguration,
    Configuration,
    DestinationConfiguration,
    Examinable,
    SourceConfiguration,
    TlsConfiguration,
    Url,
    WatchConfiguration,
    WebConfiguration,
)
from relay.service.configuration.origin import Origin, TomlFile
from relay.service.configuration.reading import Entries, Reading, Reported
from relay.service.configuration.table import Anything, Leaf, join_path, shown, unknown_name
from relay.service.configuration.tables.apps import read_apps
from relay.service.configuration.tables.filter import Match
from relay.service.configuration.tables.format import format_problem
from relay.service.configuration.tables.rewrite import names_a_form, token_from_file
from relay.service.configuration.toml_text import parts_of, state_dir_in
from relay.service.configuration.url import Role

DEFAULT_PATH = "/etc/syslogrelay/relay.toml"
"""Where deploy/syslogrelay.service has it; commands look there if nothing says otherwise."""

_FILE: Mapping[str, Leaf[object]] = dict.fromkeys(
    ("relay", "apps", "sources", "destinations", "filters", "tests", "watch", "alerts", "web"),
    Anything(),
)

_RETIRED_RELAY_KEYS: Mapping[str, str] = {
    "drain_process": "has no effect any more: destinations run in the relay's only process; "
    "remove it"
}
"""Keys that older versions knew.  A file that still has one gets this warning, not an error."""

_RELAY = {name: key.kind for name, key in keys_of(Configuration).items()}


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

    Relative paths in a file are relative to its directory.

    Args:
        to_start: Leave aside what is wrong with certificates, keys and tokens: the sources and
            destinations that need them wait until they are right.

    Raises:
        ConfigurationUnreadable: There is no such file, or it may not be read.
        ConfigurationError: Every problem of the file, one line each, beginning
            with the name of the file, in the order of their lines; and the warnings that are known.
    """
    origin = read_files(path)
    if not origin.is_complete:
        raise ConfigurationError(origin.in_order())
    configuration, reading = _read(origin, kinds)
    problems = reading.problems + ([] if to_start else reading.unready)
    if problems or origin.placed:
        raise ConfigurationError(origin.in_order(problems), configuration.placed_warnings)
    return configuration


def examine_file(path: str, kinds: AnyKinds) -> Examined:
    """Read as much of the configuration file at `path` as is right."""
    try:
        origin = read_files(path)
    except ConfigurationUnreadable as error:
        return Examined(error.problems)
    except ConfigurationError as error:
        return _by_line(error.problems, path)
    configuration, reading = _read(origin, kinds)
    relay = origin.values.get("relay", {})
    given = relay.get("state_dir", DEFAULT_STATE_DIR) if isinstance(relay, dict) else None
    is_known = isinstance(given, str) and given != "" and not origin.hides_state_dir
    # What refers to a file that cannot be read is not wrong for that.
    problems = reading.problems + reading.unready if origin.is_complete else []
    return Examined(
        origin.in_order(problems),
        configuration,
        is_whole=not (reading.problems or origin.placed),
        state_dir=configuration.state_dir if is_known else "",
    )


def read_tables(
    values: Mapping[str, object], kinds: AnyKinds, *, base_dir: str
) -> tuple[Configuration, list[str]]:
    """Read the tables of a configuration that is in no file.

    Returns:
        The configuration, and its problems, which begin with dotted paths.
    """
    file = TomlFile(os.path.join(base_dir, "configuration"), "", values)
    configuration, reading = _read(Origin([file], dict(values)), kinds)
    return configuration, reading.problems + reading.unready


def _by_line(problems: list[str], path: str) -> Examined:
    """The state directory alone, of a file that is not TOML."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        state_dir = state_dir_in(file.read(FILE_BYTES_MAX))
    if state_dir is None:
        return Examined(problems)
    how = "(the only line that says so)" if state_dir else "(no line of it says another one)"
    state_dir = os.path.join(os.path.dirname(os.path.abspath(path)), state_dir or DEFAULT_STATE_DIR)
    return Examined(problems, state_dir=os.path.normpath(state_dir), state_dir_from=how)


def _read(origin: Origin, kinds: AnyKinds) -> tuple[Configuration, Reading]:
    """The valid part of the files, and their problems."""
    reading = Reading(origin.files[0].directory, origin)
    return _FileReader(reading, kinds).read(origin), reading


class _FileReader:
    """Turns the tables of one file into values, and collects the problems."""

    def __init__(self, reading: Reading, kinds: AnyKinds) -> None:
        self._reading = reading
        self.problems = reading.problems
        self._kinds = kinds
        self._places = Places({}, {})

    def read(self, origin: Origin) -> Configuration:
        reading, checks = self._reading, self._kinds.checks
        tables = reading.table(origin.values, _FILE, "")
        relay = reading.table(_current(tables.get("relay", {}), reading), _RELAY, "relay")
        sources = self._named_tables(tables, "sources", 'network] with listen = "tcp://:514"')
        destinations = self._named_tables(
            tables, "destinations", 'central] with connect = "relp://central.example.com:20514"'
        )
        relay["apps"] = apps = read_apps(tables.get("apps", {}), reading)
        relay["sources"] = found = tuple(self._read_all("listen", sources))
        # A source of a set may be named, and the set too.
        reading.sources = tuple(dict.fromkeys((*sources, *(source.id for source in found))))
        reading.apps = [app.id for app in apps]
        self._read_filters(tables.get("filters", {}))
        relay["destinations"] = tuple(self._read_all("connect", destinations))
        if "name" not in relay:
            relay["name"] = _host_name(reading)
        with suppress(Reported):
            ids = [source.id for source in found]
            relay["tests"] = read_tests(tables.get("tests", []), ids, list(destinations), reading)
        with suppress(Reported):
            relay["watch"] = rules = _watch(tables.get("watch", []), self._places.members, reading)
            if "alerts" not in tables:
                self._add(_limits_without_alerts(rules))
        relay["alerts"] = self._alerts(tables.get("alerts"))
        relay["web"] = self._web(tables.get("web"))
        configuration = compose(Configuration, {**relay, "path": origin.paths[0], "origin": origin})
        self._add(checks.problems(configuration, self._places, self._kinds, not self.problems))
        wrong = {_table_of(problem) for problem in self.problems}
        warnings = reading.warnings + [
            warning  # what is missing there may be what is wrong
            for warning in checks.warnings(configuration, self._places)
            if _table_of(warning) not in wrong
        ]
        return replace(configuration, warnings=tuple(dict.fromkeys(warnings)))

    def _web(self, values: object) -> WebConfiguration | None:
        if values is None:
            return None
        with suppress(Reported):
            web = read_record(WebConfiguration, values, "web", self._reading)
            given = values if isinstance(values, dict) else ()
            self._add(web.problems(partial(join_path, "web"), given))
            if web.is_encrypted:
                self._check_tls(web.tls, "listen", "web")
            self._check_token("web.token_file", web.token_file)
            self._check_token("web.admin_token_file", web.admin_token_file)
            return web
        return None

    def _alerts(self, values: object) -> AlertsConfiguration | None:
        if values is None:
            return None
        with suppress(Reported):
            alerts = read_record(AlertsConfiguration, values, "alerts", self._reading)
            given, where = values if isinstance(values, dict) else (), partial(join_path, "alerts")
            self._add(alerts.problems(where, given))
            self._reading.warnings += alerts.warnings(where)
            if alerts.is_encrypted:
                self._check_tls(alerts.tls, "connect", "alerts")
            self._check_token("alerts.webhook_token_file", alerts.webhook_token_file)
            return alerts
        return None

    def _check_token(self, key: str, path: str) -> None:
        """Look into the file with a token, if there is one."""
        try:
            if path:
                token_from_file(path)
        except ValueError as error:
            self._reading.unready.append(f"{key}: {error}")

    def _read_filters(self, values: object) -> None:
        """Read those that have a name, even if nobody uses them."""
        reading = self._reading
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
        values, reading = tables.get(key, {}), self._reading
        if not isinstance(values, dict):
            reading.add(key, f"expected tables [{key}.ID], found {shown(values)}")
            return {}
        if not values:
            problem = "there is none; a relay needs at least one, such as"
            reading.add(key, f"{problem} [{key}.{example}")
        for id, table in values.items():
            where = join_path(key, id)
            with suppress(Reported):
                reading.read(ID, id, where)
            if not isinstance(table, dict):
                reading.add(where, f"expected a table, found {shown(table)}")
        return {id: table for id, table in values.items() if isinstance(table, dict)}

    def _read_all(
        self, role: Role, tables: Mapping[str, dict[str, object]]
    ) -> list[SourceConfiguration | DestinationConfiguration]:
        found: list[SourceConfiguration | DestinationConfiguration] = []
        for id, values in tables.items():
            where = join_path("sources" if role == "listen" else "destinations", id)
            kind = self._kinds.named_in(values, role)
            schema, fitting = self._kinds.schema(role, kind), self._kinds.fitting_keys(role, kind)
            table = self._reading.table(values, schema, where, fitting=fitting)
            if role == "connect":
                self._complete(table, values, where)
            if isinstance(kind, UrlKind) and kind.complete is not None:
                kind.complete(table, values, where, self._reading)
            urls = self._urls(values, table.pop(role, None), role, where)
            if not urls or kind is None:  # the files that it names are worth a look all the same
                tls = compose(TlsConfiguration, table)
                if role == "connect" or tls.certificate or tls.private_key:
                    self._check_tls(tls, role, where)
            elif isinstance(kind, ListenerSet):
                found += self._set(id, kind, urls[0], table, where)
            else:
                # A socket of systemd has the scheme of what is spoken over it.
                url = replace(urls[0], scheme=kind.scheme)
                table |= {"id": id, "others": tuple(urls[1:])}
                found.append(self._checked(role, kind, url, table, values, where))
        for one in found:
            if one.id in tables and one.id in self._places.port_keys:
                problem = (
                    f"a listener of the source {one.id.rpartition('.')[0]!r} has this id already; "
                    "choose another one"
                )
                self._reading.add(join_path("sources", one.id), problem)
        return found

    def _complete(self, table: dict[str, object], values: Mapping[str, object], where: str) -> None:
        """What the keys of a destination mean together."""
        known, sources = self._reading.sources, table.get("sources")
        if isinstance(sources, tuple):
            for id in sources:
                if id not in known:
                    self._reading.add(f"{where}.sources", unknown_name("source", id, known))
        else:
            sources = known
        if table.get("catch_all") is True:
            sources = known
        members = self._places.members
        each = (member for id in sources for member in members.get(id, (id,)))
        table["sources"] = tuple(dict.fromkeys(each))
        if "template" in table:
            table.setdefault("format", table.pop("template"))
        if problem := format_problem(values, has_form=names_a_form(values.get("rewrite"))):
            self._reading.add(where, problem)

    def _checked(
        self,
        role: Role,
        kind: AnyUrlKind,
        url: Url,
        table: Mapping[str, object],
        given: Collection[str],
        where: str,
    ) -> SourceConfiguration | DestinationConfiguration:
        one: SourceConfiguration | DestinationConfiguration = kind.configured(url, table)
        place = partial(join_path, where)
        for part in (one, *groups_of(one)):
            if isinstance(part, Examinable):
                self.problems += part.problems(place, given)
        if isinstance(one, SourceConfiguration) and (problem := one.encoding_problem()):
            self._add([f"{where}.parse.encoding: {problem}"])
        if one.tls is not None:
            self._check_tls(one.tls, role, where)
        return one

    def _set(
        self, id: str, kind: ListenerSet, url: Url, table: Mapping[str, object], where: str
    ) -> list[SourceConfiguration | DestinationConfiguration]:
        """The sources that a set of listeners consists of."""
        sources = []
        has_certificate = bool(table.get("certificate") or table.get("private_key"))
        for member in kind.members:
            port = table.get(member.port_key, member.port)
            if not isinstance(port, int) or not port:
                continue
            at = Url(member.kind.scheme, host=url.host, port=port)
            if "certificate" in member.kind.keys and not has_certificate:
                self._add(
                    [
                        f"{where}.certificate: is missing; the TLS listener on port {port} needs "
                        "certificate and private_key: give both, or write "
                        f"{member.port_key} = 0 to leave it out"
                    ]
                )
            values = {**table, "id": f"{id}.{member.name}"}
            source = self._checked("listen", member.kind, at, values, table, where)
            self._places.port_keys[source.id] = f"{where}.{member.port_key}"
            sources.append(source)
        if not sources:
            keys = ", ".join(member.port_key for member in kind.members)
            problem = f"every port of {kind.scheme} is 0; open at least one of {keys}"
            self._reading.add(f"{where}.listen", problem)
            return []
        self._places.members[id] = tuple(source.id for source in sources)
        return sources

    def _urls(
        self, values: Mapping[str, object], found: object, role: Role, where: str
    ) -> Sequence[Url]:
        """Where to listen or to connect; empty if that is not right."""
        if role not in values:
            example = (
                "tcp://0.0.0.0:514" if role == "listen" else "relp://central.example.com:20514"
            )
            problem = f'is missing; write for example {role} = "{example}"'
            self._reading.add(f"{where}.{role}", problem)
        texts = found if isinstance(found, tuple) else (found,)
        texts = tuple(text for text in texts if isinstance(text, str))
        if not texts:
            return ()
        try:
            place = f"{where}.{role}"
            base_dir = self._reading.directory_of(place)
            urls = self._kinds.urls(texts, role, base_dir=base_dir)
        except ValueError as error:
            self._reading.add(f"{where}.{role}", str(error))
            return ()
        self.problems += self._kinds.foreign_keys(values, role, where)
        for text, url in zip(texts, urls, strict=True):
            if url.local_path and not text.partition(":")[2].startswith("/"):
                self._reading.note_absolute(text, str(url), place)
        return urls

    def _check_tls(self, tls: TlsConfiguration, role: Role, where: str) -> None:
        """Look at the keys, and then into the files that they name."""
        place, checks = partial(join_path, where), self._kinds.checks
        listens = role == "listen" and not tls.always_connects
        self._add((checks.listener_tls if listens else checks.upstream_tls)(tls, place))
        unready = self._reading.unready
        unready += _new(checks.tls_files(tls, place), [*self.problems, *unready])

    def _add(self, problems: Iterable[str]) -> None:
        """Add problems, but none that follows from one already known of the same key."""
        self.problems += _new(problems, self.problems)


def _watch(
    values: object, members: Mapping[str, Sequence[str]], reading: Reading
) -> tuple[WatchConfiguration, ...]:
    """The rules of `[[watch]]`.

    Args:
        members: The sources of each set of listeners, by its id.

    Raises:
        Reported: Something is wrong.
    """
    if not isinstance(values, list):
        reading.add("watch", f"expected tables [[watch]], found {shown(values)}")
        return ()
    found: list[WatchConfiguration] = []
    for number, rule in enumerate(
        reading.read(Entries(Table(WatchConfiguration)), values, "watch")
    ):
        earlier = [n for n, other in enumerate(found) if other.id == rule.id]
        if earlier:
            origin = reading.origin
            place = f" ({origin.where(f'watch[{earlier[0]}].id')})" if origin else ""
            problem = f"{shown(rule.id)} is the id of an earlier rule{place}; choose another one"
            reading.add(f"watch[{number}].id", problem)
        for id in rule.sources:
            if id not in reading.sources:
                problem = unknown_name("source", id, reading.sources)
                reading.add(f"watch[{number}].sources", problem)
        each = (member for id in rule.sources for member in members.get(id, (id,)))
        found.append(replace(rule, sources=tuple(dict.fromkeys(each))))
    return tuple(found)


def _limits_without_alerts(rules: Sequence[WatchConfiguration]) -> Iterator[str]:
    for number, rule in enumerate(rules):
        if rule.per_second_max:
            yield (
                f"watch[{number}].per_second_max: has no effect without alerts; write a table "
                "[alerts], which may be empty, or remove it"
            )


def _new(problems: Iterable[str], known: Iterable[str]) -> list[str]:
    """Those of keys that have none yet."""
    keys = {problem.partition(": ")[0] for problem in known}
    return [problem for problem in problems if problem.partition(": ")[0] not in keys]


def _table_of(line: str) -> tuple[str, ...]:
    """The source, destination or app that a line is about."""
    return parts_of(line)[:2]


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
