"""Read a configuration from a TOML file.

Everything that can be wrong is looked for before anything is reported, so that
one run shows all of it.  Nothing is bound, connected, created or written; files
that the configuration names (certificates, keys, tokens) are read.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from relay.model.errors import ConfigurationError, ConfigurationUnreadable
from relay.service.checks.conflicts import control_socket_problems, find_conflicts
from relay.service.checks.warnings import configuration_warnings
from relay.service.configuration.apps_table import app_problems, read_apps
from relay.service.configuration.expectations import MessageTest, read_tests
from relay.service.configuration.filter_table import FilterTables
from relay.service.configuration.format_table import read_format
from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    RewriteConfiguration,
    SourceConfiguration,
    TlsConfiguration,
    Url,
)
from relay.service.configuration.parse_table import encoding_problem, read_parse_options
from relay.service.configuration.reading import Reading, Reported
from relay.service.configuration.rewrite_table import Rewrites
from relay.service.configuration.schema import (
    DESTINATION,
    FILE,
    ID,
    RELAY,
    RELAY_NAME,
    RETIRED_RELAY_KEYS,
    SOURCE,
    TLS,
    fitting_keys,
    foreign_keys,
)
from relay.service.configuration.table import (
    Kind,
    bytes_in_words,
    did_you_mean,
    join_path,
    plain,
    read_table,
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
from relay.service.configuration.url import Role, parse_url
from relay.service.queue.limits import limit_problems
from relay.service.routes.route_problems import route_problems
from relay.service.sources.listener_set import (
    SET_SCHEMES,
    missing_certificate,
    opened_members,
    with_members,
)
from relay.service.tls.files import Where, file_problems, listener_problems, upstream_problems

__all__ = [
    "DEFAULT_PATH",
    "DEFAULT_STATE_DIR",
    "Examined",
    "default_frame_bytes_max",
    "default_framing",
    "examine_file",
    "read_configuration",
]

DEFAULT_PATH = "/etc/syslogrelay/relay.toml"
"""Where deploy/syslogrelay.service has it; commands look there if nothing says otherwise."""

DEFAULT_STATE_DIR = "/var/lib/syslogrelay"

_PATH_KEYS = ("trusted_ca", "crl", "certificate", "private_key", "private_key_passphrase_file")


class Examined(NamedTuple):
    """What a configuration file says, however much of it is wrong."""

    problems: list[str]
    """One line each, beginning with the file's name and, where that is known, the line."""
    configuration: Configuration | None = None
    """What is right; None if the file cannot be read or is not TOML."""
    is_whole: bool = False
    """Nothing is wrong, but perhaps with the certificates, keys and tokens that it names."""
    state_dir: str = ""
    """Empty if that cannot be told for sure."""
    state_dir_from: str = ""
    """How that was found, if the file is not TOML."""


def read_configuration(path: str, *, to_start: bool = False) -> Configuration:
    """Read the configuration file at `path`.

    Relative paths in the file are relative to its directory.

    Args:
        to_start: Leave aside what is wrong with certificates, keys and tokens: the sources and
            destinations that need them wait until they are right.

    Raises:
        ConfigurationUnreadable: There is no such file, or it may not be read.
        ConfigurationError: Every problem of the file, one line each, beginning
            with `path`.
    """
    text = _text_of(path)
    try:
        values = parse_toml(text)
    except TomlSlip as slip:
        raise ConfigurationError([_slip(path, slip)]) from None
    configuration, problems, unready = _read(path, text, values)
    problems += [] if to_start else unready
    if problems:
        raise ConfigurationError(problems)
    return configuration


def examine_file(path: str) -> Examined:
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
    configuration, problems, unready = _read(path, text, values)
    relay = values.get("relay", {})
    given = relay.get("state_dir", DEFAULT_STATE_DIR) if isinstance(relay, dict) else None
    is_known = isinstance(given, str) and given != ""
    return Examined(
        problems + unready,
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
    path: str, text: str, values: Mapping[str, object]
) -> tuple[Configuration, list[str], list[str]]:
    """What is right in the file; its problems with their lines; those of files that it names."""
    reader = _FileReader(os.path.dirname(os.path.abspath(path)))
    configuration = reader.read(values, os.path.abspath(path))
    found = places(text) if reader.problems or reader.unready else []
    problems, unready = (
        [_with_line(problem, path, found) for problem in some]
        for some in (reader.problems, reader.unready)
    )
    return configuration, problems, unready


def _with_line(problem: str, path: str, found: Sequence[Place]) -> str:
    line = line_of(problem, found)
    return f"{path}:{line}: {problem}" if line else f"{path}: {problem}"


def default_framing(scheme: str) -> str:
    """How messages are framed where nothing is said: RFC 5425 §4.3 for TLS, lines for TCP."""
    return {"tls": "octet-counting", "tcp": "newline"}.get(scheme, "")


def default_frame_bytes_max(scheme: str) -> int:
    """How long a message may be where nothing is said, in octets.

    More for RELP: what comes from another relay may have grown there, by JSON
    escapes for example, and cut JSON is no JSON.
    """
    return 262144 if scheme in ("relp", "relp+tls") else 65536


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

    def __init__(self, base_dir: str) -> None:
        self._reading = Reading(base_dir)
        self.problems = self._reading.problems
        self.unready = self._reading.unready
        self._base_dir = base_dir
        self._members: dict[str, tuple[str, ...]] = {}  # ids, by the id of the set they are of
        self._port_keys: dict[str, str] = {}  # what decides where a member listens, by its id

    def read(self, values: Mapping[str, object], path: str) -> Configuration:
        tables = read_table(values, FILE, "", self.problems)
        relay = read_table(self._current(tables.get("relay", {})), RELAY, "relay", self.problems)
        source_tables = self._named_tables(tables, "sources", 'listen = "tcp://:514"')
        destination_tables = self._named_tables(
            tables, "destinations", 'connect = "relp://central.example.com:20514"'
        )
        apps = read_apps(tables.get("apps", {}), self._reading)
        sources = self._sources(source_tables)
        filters = self._filters(tables, source_tables, [app.id for app in apps])
        destinations = self._destinations(destination_tables, tuple(source_tables), filters)
        if not self.problems:  # half a picture would show conflicts that are not there
            self.problems += find_conflicts(
                sources,
                destinations,
                name_source=lambda id: self._port_keys.get(
                    id, f"{join_path('sources', id)}.listen"
                ),
                name_destination=lambda id: f"{join_path('destinations', id)}.connect",
            )
            self.problems += app_problems(apps, sources, destinations, members=self._members)
        state_dir = self._absolute(relay.pop("state_dir", DEFAULT_STATE_DIR))
        self.problems += control_socket_problems("relay.state_dir", state_dir)
        name = relay.pop("name", None) or self._host_name()
        tests: tuple[MessageTest, ...] = ()
        with suppress(Reported):
            ids = [source.id for source in sources]
            tests = read_tests(
                tables.get("tests", []), ids, list(destination_tables), self._reading
            )
        configuration = Configuration(
            name=name,
            state_dir=state_dir,
            sources=tuple(sources),
            destinations=tuple(destinations),
            apps=apps,
            tests=tests,
            path=path,
            **relay,
        )
        self._add(route_problems(configuration))
        self._add(limit_problems(configuration))
        warnings = self._reading.warnings
        if not self.problems:
            warnings += configuration_warnings(values, configuration)
        return replace(configuration, warnings=tuple(dict.fromkeys(warnings)))

    def _current(self, values: object) -> object:
        """The table `relay` without the keys that have no effect any more."""
        if not isinstance(values, dict):
            return values
        for key in RETIRED_RELAY_KEYS.keys() & values.keys():
            self._reading.warnings.append(f"relay.{key}: {RETIRED_RELAY_KEYS[key]}")
        return {key: value for key, value in values.items() if key not in RETIRED_RELAY_KEYS}

    def _filters(
        self, tables: Mapping[str, Any], sources: Iterable[str], apps: Sequence[str]
    ) -> FilterTables:
        values = tables.get("filters", {})
        if not isinstance(values, dict):
            self.problems.append(f"filters: expected tables [filters.NAME], found {shown(values)}")
            values = {}
        members = (id for ids in self._members.values() for id in ids)
        filters = FilterTables(
            values, sources=(*sources, *members), apps=apps, reading=self._reading
        )
        filters.all_named()
        return filters

    def _host_name(self) -> str:
        try:
            return str(RELAY_NAME.read(socket.gethostname()))
        except ValueError as error:
            self.problems.append(f"relay.name: is missing and the host's does not do: {error}")
            return ""

    def _named_tables(
        self, tables: Mapping[str, Any], key: str, example: str
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
        sources = []
        for id, values in tables.items():
            where = join_path("sources", id)
            table = read_table(
                values, SOURCE, where, self.problems, fitting=fitting_keys(SOURCE, values)
            )
            url = self._url(values, table, "listen", where)
            if url is None:  # the files that it names are worth a look all the same
                tls = self._tls(table)
                if tls.certificate or tls.private_key:
                    self._check_tls(tls, listener_problems, where)
                continue
            url = self._spoken(values, url, table.pop("protocol", "syslog"), where)
            self._check_connections(table, url, where)
            if "parse" in table:
                table["parse"] = read_parse_options(table["parse"], f"{where}.parse", self._reading)
            tls = self._tls(table)
            if url.scheme in SET_SCHEMES:
                sources += self._set(id, url, tls, table, where)
                continue
            self._check_encoding(table, url, where)
            if url.is_tls:
                self._check_tls(tls, listener_problems, where)
            self._check_lines(table, where)
            if "multi_line" in table:
                self._reading.note_expression(table["multi_line"], f"{where}.multi_line")
            table.setdefault("frame_bytes_max", default_frame_bytes_max(url.scheme))
            sources.append(SourceConfiguration(id=id, listen=url, tls=tls, **table))
        for id in {id for ids in self._members.values() for id in ids} & set(tables):
            self.problems.append(
                f"{join_path('sources', id)}: a listener of the source {id.rpartition('.')[0]!r} "
                "has this id already; choose another one"
            )
        return sources

    def _set(
        self, id: str, url: Url, tls: TlsConfiguration, table: dict[str, Any], where: str
    ) -> list[SourceConfiguration]:
        """The sources that a set of listeners consists of."""
        try:
            opened = opened_members(url, table)
        except ValueError as error:
            self.problems.append(f"{where}.listen: {error}")
            return []
        self._add([f"{where}.certificate: {why}" for why in missing_certificate(opened, tls)])
        sources = []
        for name, (member, listen) in opened.items():
            if listen.is_tls:
                self._check_tls(tls, listener_problems, where)
            keys = {"frame_bytes_max": default_frame_bytes_max(listen.scheme), **table}
            if listen.is_tls:
                keys["tls"] = tls
            self._check_encoding(table, listen, where)
            self._port_keys[f"{id}.{name}"] = f"{where}.{member.port_key}"
            sources.append(SourceConfiguration(id=f"{id}.{name}", listen=listen, **keys))
        self._members[id] = tuple(source.id for source in sources)
        return sources

    def _destinations(
        self,
        tables: Mapping[str, dict[str, object]],
        source_ids: tuple[str, ...],
        filters: FilterTables,
    ) -> list[DestinationConfiguration]:
        destinations = []
        for id, values in tables.items():
            where = join_path("destinations", id)
            table = read_table(
                values, DESTINATION, where, self.problems, fitting=fitting_keys(DESTINATION, values)
            )
            sources = table.pop("sources", source_ids)
            members = [one for ids in self._members.values() for one in ids]
            self._check_sources(sources, (*source_ids, *members), where)
            sources = with_members(sources, self._members)
            rewrite = RewriteConfiguration()
            if "rewrite" in table:
                with suppress(Reported):
                    value = table.pop("rewrite")
                    rewrite = self._reading.read(Rewrites(filters), value, f"{where}.rewrite")
            if "match" in table:
                table["match"] = filters.filter(table["match"], f"{where}.match")
            table.pop("template", None)
            table["format"] = read_format(values, where, self._reading)
            url = self._url(values, table, "connect", where)
            if url is None:  # the files that it names are worth a look all the same
                self._check_tls(self._tls(table), upstream_problems, where)
                continue
            self._check_meaning(values, DESTINATION, url, where)
            tls = self._tls(table)
            if url.is_tls:
                self._check_tls(tls, upstream_problems, where)
            table.setdefault("framing", default_framing(url.scheme))
            destination = DestinationConfiguration(
                id=id, connect=url, sources=sources, rewrite=rewrite, tls=tls, **table
            )
            self._check_retry(destination, where)
            self._check_order(destination, values, where)
            destinations.append(destination)
        return destinations

    def _url(
        self, values: Mapping[str, object], table: dict[str, Any], key: Role, where: str
    ) -> Url | None:
        text = table.pop(key, None)
        if key not in values:
            example = "tcp://0.0.0.0:514" if key == "listen" else "relp://central.example.com:20514"
            self.problems.append(
                f'{where}.{key}: is missing; write for example {key} = "{example}"'
            )
        if text is None:
            return None
        try:
            return parse_url(text, key, base_dir=self._base_dir)
        except ValueError as error:
            self.problems.append(f"{where}.{key}: {error}")
            return None

    def _spoken(self, values: Mapping[str, object], url: Url, protocol: str, where: str) -> Url:
        """`url` with what is spoken over a socket that is inherited."""
        if not url.inherited or protocol == "syslog":
            self._check_meaning(values, SOURCE, url, where)
            return url
        values = {key: value for key, value in values.items() if key != "protocol"}
        url = replace(url, scheme=protocol)
        self._check_meaning(values, SOURCE, url, where)
        return url

    def _check_meaning(
        self, values: Mapping[str, object], schema: Mapping[str, Kind], url: Url, where: str
    ) -> None:
        known = {key: value for key, value in values.items() if key in schema}
        self.problems += foreign_keys(known, url, where)

    def _check_connections(self, table: Mapping[str, Any], url: Url, where: str) -> None:
        frame_bytes_max = table.get("frame_bytes_max") or default_frame_bytes_max(url.scheme)
        if 0 < table.get("unfinished_bytes_max", 0) < frame_bytes_max:
            self.problems.append(
                f"{where}.unfinished_bytes_max: {bytes_in_words(table['unfinished_bytes_max'])} is "
                f"less than one message may have, frame_bytes_max = "
                f"{bytes_in_words(frame_bytes_max)}; write more, or 0 for no limit"
            )
        if table.get("proxy_protocol") and not table.get("allow"):
            self.problems.append(
                f"{where}.proxy_protocol: anybody could send in the name of any address; write "
                "the addresses of the proxies into allow"
            )

    def _check_lines(self, table: Mapping[str, object], where: str) -> None:
        """Keys for the messages that are made of lines, where lines are messages already."""
        if table.get("format") == "syslog":
            self.problems += [
                f"{join_path(where, key)}: has no meaning where format is 'syslog': the lines say "
                "it themselves; remove one of them"
                for key in ("tag", "facility", "severity")
                if key in table
            ]

    def _check_encoding(self, table: Mapping[str, Any], url: Url, where: str) -> None:
        encoding = table["parse"].encoding if "parse" in table else None
        if encoding is not None and (problem := encoding_problem(encoding, url)):
            self._add([f"{where}.parse.encoding: {problem}"])

    def _check_sources(self, ids: Sequence[str], known: tuple[str, ...], where: str) -> None:
        for id in ids:
            if id not in known:
                near = did_you_mean(id, known) or ";"
                self.problems.append(
                    f"{where}.sources: there is no source {shown(id)}{near} "
                    f"the sources are: {', '.join(known) or 'none'}"
                )

    def _check_retry(self, destination: DestinationConfiguration, where: str) -> None:
        if destination.retry_seconds_min > destination.retry_seconds_max:
            self.problems.append(
                f"{where}.retry_seconds_min: {plain(destination.retry_seconds_min)} is more than "
                f"retry_seconds_max, {plain(destination.retry_seconds_max)}; change one of them"
            )

    def _check_order(
        self, destination: DestinationConfiguration, values: Mapping[str, object], where: str
    ) -> None:
        if "backlog_share" in values and not destination.backlog_percent:
            self.problems.append(
                f"{where}.backlog_share: has no meaning where the oldest messages go first; write "
                'order = "live-first", or remove it'
            )

    def _check_tls(
        self,
        tls: TlsConfiguration,
        problems: Callable[[TlsConfiguration, Where], list[str]],
        where: str,
    ) -> None:
        """Look at the keys by `problems`, and then into the files that they name."""
        place = partial(join_path, where)
        self._add(problems(tls, place))
        for key in ("private_key", "private_key_passphrase_file"):
            if file := getattr(tls, key):
                self._reading.note_secret(file, place(key), is_token=False)
        known = {problem.partition(": ")[0] for problem in (*self.problems, *self.unready)}
        self.unready += [
            text for text in file_problems(tls, place) if text.partition(": ")[0] not in known
        ]

    def _tls(self, table: dict[str, Any]) -> TlsConfiguration:
        """Take the TLS keys out of `table`."""
        tls = {key: table.pop(key) for key in TLS if key in table}
        for key in _PATH_KEYS:
            if key in tls:
                tls[key] = self._absolute(tls[key])
        return TlsConfiguration(**tls)

    def _add(self, problems: list[str]) -> None:
        """Add problems, but none that follows from one already known of the same key."""
        known = {problem.partition(": ")[0] for problem in self.problems}
        self.problems += [text for text in problems if text.partition(": ")[0] not in known]

    def _absolute(self, path: str) -> str:
        return _absolute(self._base_dir, path)
