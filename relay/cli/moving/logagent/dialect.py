"""Logagent as a dialect of `syslogrelay import`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from relay.cli.moving.conditions import ALWAYS, Condition, all_of
from relay.cli.moving.dialect import Dialect
from relay.cli.moving.files import ImportRefused, InputFiles
from relay.cli.moving.imported import Imported
from relay.cli.moving.logagent.filters import read_input_filter, read_output_filter
from relay.cli.moving.logagent.outputs import HIDDEN, Outputs
from relay.cli.moving.report import Place, Report
from relay.cli.moving.structured import Entry, Given, Keys, read_yaml, shown
from relay.cli.toml_writing import TomlValue
from relay.service.configuration.url import is_host

__all__ = ["LOGAGENT"]

_SIGNS = re.compile(
    r"^(?:(?:input|output|parser|inputFilter|outputFilter|options):[ \t]*(?:#.*)?$"
    r"|[ \t]+module:[ \t]*(?:@sematext/)?(?:input-|output-|logagent-|elasticsearch\b|drop-events\b)"
    r"|.*!!js/(?:regexp|function))",
    re.MULTILINE,
)
_SECTIONS = ("options", "input", "inputFilter", "parser", "outputFilter", "output")


def _score(text: str) -> int:
    found = _SIGNS.findall(text)
    return len(found) if re.search(r"^(?:input|output):", text, re.MULTILINE) else 0


def _read(files: InputFiles, path: str) -> Imported:
    with files.opened(path) as text:
        document = read_yaml(text, path)
    if not document.table:
        raise ImportRefused(f"{path}: has no table; is it a configuration of Logagent?")
    imported = Imported("logagent", Report())
    _Reader(imported, document, path).read()
    imported.report.statements.sort(key=lambda each: each.place.line)
    return imported


LOGAGENT = Dialect("logagent", _score, _read)


class _Reader:
    """Reads the sections: sources first, then filters, then destinations."""

    def __init__(self, imported: Imported, document: Entry, path: str) -> None:
        self._imported = imported
        self._report = imported.report
        self._path = path
        self._sections: dict[str, Given] = {}
        for name, entry in document.table.items():
            statement = self._report.statement(Place(path, entry.line), f"{name}: {shown(entry)}")
            if name in _SECTIONS:
                self._sections[name] = Given(statement, name, entry)
                statement.taken("see its parts")
            else:
                statement.unsupported("the relay has nothing like this section")
        self._condition: Condition = ALWAYS
        self._steps: list[dict[str, TomlValue]] = []

    def read(self) -> None:
        self._options()
        for given in self._parts("input"):
            self._input(given)
        for given in self._parts("inputFilter"):
            fit = read_input_filter(self._keys(given), given.statement)
            self._condition = all_of([self._condition, fit])
        self._parser()
        for given in self._parts("outputFilter"):
            fit, steps = read_output_filter(self._keys(given), given.statement)
            self._condition = all_of([self._condition, fit])
            self._steps += steps
        outputs = Outputs(self._imported, self._path, self._condition, self._steps)
        for given in self._parts("output"):
            outputs.read(given)

    def _parts(self, section: str) -> list[Given]:
        """The parts of a section: named tables, or a list of tables."""
        given = self._sections.get(section)
        if given is None:
            return []
        if isinstance(given.entry.content, list):
            place = Place(self._path, given.entry.line)
            return [
                Given(
                    self._report.statement(place._replace(line=item.line), f"- {shown(item)}"),
                    section,
                    item,
                )
                for item in given.entry.content
            ]
        return Keys(given.entry, self._report, self._path).left

    def _keys(self, given: Given) -> Keys:
        return Keys(given.entry, self._report, self._path, hidden=HIDDEN)

    def _options(self) -> None:
        given = self._sections.get("options")
        if given is None:
            return
        keys = self._keys(given)
        stats = keys.take("printStats")
        if stats is not None and stats.whole is not None:
            self._imported.relay["statistics_seconds"] = min(stats.whole, 31_536_000)
            self._imported.relay_statements.append(stats.statement)
            stats.taken("is relay.statistics_seconds")
        geoip = keys.take("geoipEnabled")
        if geoip is not None:
            if geoip.flag:
                geoip.unsupported("write the step map with a GeoLite2 database")
            else:
                geoip.taken("the relay looks up no places by itself")
        keys.pass_over(
            {
                "diskBufferDir": "the queue is in relay.state_dir",
                "suppress": "the relay prints no messages",
                "debug": "see syslogrelay tap",
                "includeOriginalLine": "messages keep what they came with",
            }
        )
        keys.finish()

    def _input(self, given: Given) -> None:
        if given.name == "files" and not given.entry.table:
            self._files(given)
            return
        keys = self._keys(given)
        module = keys.text("module", default=given.name)
        module = re.sub(r"^(?:@sematext/)?(?:logagent-)?(?:input-)?(?:plugin-)?", "", module)
        match module:
            case "syslog" | "udp" | "tcp":
                self._network(module, keys, given)
            case "elasticsearch-http" | "http":
                self._http(keys, given)
            case "command":
                self._command(keys, given)
            case "journald" | "journald-json":
                self._add(given, {"listen": "journald://"}, "journald")
            case "files":
                inner = keys.take("files", "paths")
                if inner is not None:
                    self._files(inner)
            case _:
                keys.finish("its input is not supported")
                given.unsupported(_NO_INPUT.get(module, f"the relay has no source like {module}"))
        keys.pass_over({"sourceName": "the id of the source", "debug": "see syslogrelay tap"})
        keys.finish()

    def _add(self, given: Given, keys: Mapping[str, TomlValue], name: str = "") -> None:
        source = self._imported.add_source(name or given.name, keys, given.statement)
        given.taken(f"is sources.{source.id}, {keys['listen']}")

    def _files(self, given: Given) -> None:
        for item in given.entry.items:
            statement = self._report.statement(Place(self._path, item.line), f"- {item.text}")
            path = re.sub(r"/\*\*/\*$", "/**/*", item.text)
            if not path.startswith("/") or path.endswith("/") or "\0" in path:
                statement.unsupported("the path of files to read is absolute")
                continue
            name = re.sub(r"[^A-Za-z0-9]+", "-", path).strip("-") or "files"
            source = self._imported.add_source(name, {"listen": f"file://{path}"}, statement)
            statement.taken(f"is sources.{source.id}")
        given.taken("see its paths")

    def _network(self, module: str, keys: Keys, given: Given) -> None:
        scheme = "tcp" if module == "tcp" else "udp"
        port, host = keys.take("port"), keys.take("address", "bindAddress", "host")
        number = port.whole if port is not None else 514
        if number is None or not 0 < number < 65536:
            given.unsupported("the port is no number from 1 to 65535")
            return
        text = host.text if host is not None else ""
        if text in ("0.0.0.0", "::") or not is_host(text.strip("[]")):
            text = ""
        table: dict[str, TomlValue] = {
            "listen": f"{scheme}://{f'[{text}]' if ':' in text else text}:{number}"
        }
        for each in (port, host):
            if each is not None:
                each.taken("is in the URL")
        tags = keys.take("tags")
        if tags is not None:
            words = [f"{name}:{value.text}" for name, value in tags.entry.table.items()]
            table["parse"] = {"tags": [*(words or tags.texts)]}
            tags.approximated("is parse.tags, each as NAME:VALUE")
        if module != "syslog":
            given.approximated("lines that look like syslog are read as syslog")
        self._add(given, table)

    def _http(self, keys: Keys, given: Given) -> None:
        port, host = keys.take("port"), keys.take("host", "address")
        number = port.whole if port is not None else 9200
        if number is None or not 0 < number < 65536:
            given.unsupported("the port is no number from 1 to 65535")
            return
        text = host.text if host is not None and is_host(host.text) else ""
        for each in (port, host):
            if each is not None:
                each.taken("is in the URL")
        keys.pass_over({"workers": "one process takes them all", "useIndexFromUrlPath": "a pair"})
        self._add(given, {"listen": f"http://{'' if text == '0.0.0.0' else text}:{number}"})

    def _command(self, keys: Keys, given: Given) -> None:
        command = keys.take("command")
        text = command.text if command is not None else ""
        if command is None or not text.strip():
            given.unsupported("the command is missing")
            return
        if text.split()[0].rpartition("/")[2] == "journalctl":
            command.taken("the relay reads the journal itself, and keeps its position")
            for each in keys.left:
                each.taken("the relay reads the journal itself, and keeps its position")
            self._add(given, {"listen": "journald://"}, "journald")
            return
        command.taken("is run by /bin/sh")
        restart = keys.take("restart")
        if restart is not None:
            restart.approximated("a program that ends is started again after a second to a minute")
        self._add(given, {"listen": "program:///bin/sh", "arguments": ["-c", text]})

    def _parser(self) -> None:
        given = self._sections.get("parser")
        if given is None:
            return
        for each in self._keys(given).left:
            each.unsupported('the relay reads syslog; write steps parse = "json" or "regex"')


_NO_INPUT = {
    "stdin": "use pipe:// or syslogrelay send",
    "rtail": "rtail's datagrams are its own: let the programs write to a named pipe, pipe://",
    "docker": "use Docker's syslog driver with udp:// or tcp://",
    "docker-logs": "use Docker's syslog driver with udp:// or tcp://",
    "journald-upload": "the relay reads the journal of its own host, journald://",
    "heroku": "write https:// for Heroku's drain, which sends syslog in requests",
    "cloudfoundry": "write tls:// for the drain",
    "gelf": "the relay reads no GELF",
    "kafka": "write a source kafka://",
    "mqtt": "the relay reads no MQTT",
}
