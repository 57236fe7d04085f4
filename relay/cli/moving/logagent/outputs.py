"""Outputs of Logagent, as destinations of the relay."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from relay.cli.moving.conditions import ALWAYS, Condition, all_of, any_of, fits, negated
from relay.cli.moving.imported import ExtraFile, Imported
from relay.cli.moving.logagent.filters import MACROS, expression_of
from relay.cli.moving.report import Statement
from relay.cli.moving.structured import Entry, Given, Keys
from relay.cli.toml_writing import TomlValue
from relay.service.configuration.url import is_host
from relay.transport.files.file_names import FileNames

__all__ = ["HIDDEN", "Outputs"]

HIDDEN = ("token", "password", "index", "apiKey")
"""Keys whose values the report does not show."""
_SEMATEXT = re.compile(r"logsene-receiver\.(eu\.)?sematext\.com")
_FIELD = re.compile(r"\{([^{}]+)\}")


class Outputs:
    """Makes destinations.

    Args:
        condition: Which messages the filters let pass.
        steps: How they change them.
    """

    def __init__(
        self,
        imported: Imported,
        path: str,
        condition: Condition,
        steps: list[dict[str, TomlValue]],
    ) -> None:
        self._imported = imported
        self._report = imported.report
        self._path = path
        self._condition = condition
        self._steps = steps

    def read(self, given: Given) -> None:
        """Add the destinations for one output."""
        if given.name == "stdout" and not given.entry.table:
            given.unsupported("messages are not printed: see syslogrelay tap")
            return
        keys = Keys(given.entry, self._report, self._path, hidden=HIDDEN)
        module = keys.text("module", default=given.name)
        module = re.sub(r"^(?:@sematext/)?(?:logagent-)?(?:output-)?(?:plugin-)?", "", module)
        match module:
            case "elasticsearch":
                self._elasticsearch(keys, given)
            case "files":
                self._file(keys, given)
            case "http":
                self._post(keys, given)
            case _:
                keys.finish("its output is not supported")
                given.unsupported(
                    _NO_OUTPUT.get(module, f"the relay has no destination like {module}")
                )
        keys.pass_over({"debug": "see syslogrelay tap"})
        keys.finish()

    def _add_destination(
        self, name: str, table: dict[str, TomlValue], condition: Condition, statement: Statement
    ) -> None:
        if self._steps:
            table["rewrite"] = [*self._steps]
        fit = all_of([self._condition, condition])
        destination = self._imported.add_destination(name, table, fit, statement)
        statement.taken(f"is destinations.{destination.id}")

    def _elasticsearch(self, keys: Keys, given: Given) -> None:
        url = keys.take("url")
        parts = _url_parts(url.text if url is not None else "https://logsene-receiver.sematext.com")
        if parts is None:
            given.unsupported("the url is none such as https://host:9200")
            return
        if url is not None:
            url.taken("is connect")
        found = _SEMATEXT.fullmatch(parts[1])
        base: dict[str, TomlValue] = {"connect": f"{parts[0]}://{parts[1]}{parts[2]}"}
        if found is not None:
            base = {"connect": f"sematext://{'eu' if found[1] else 'us'}", "via": "https"}
        user, password = keys.take("user", "username"), keys.take("password")
        if user is not None and password is not None and found is None:
            base |= {"user": user.text, "password_file": self._secret("es.password", password.text)}
            user.taken("is user")
            password.taken("is in the file password_file")
        listed: list[Condition] = []
        indices = keys.take("indices")
        for token, names in (indices.entry.table if indices is not None else {}).items():
            fit = self._from_sources(names, indices)
            listed.append(fit)
            self._indexed(given, base, token, fit)
        index = keys.take("index")
        if index is not None and index.text:
            self._indexed(given, base, index.text, negated(any_of(listed)))
            index.taken("is index, or the app's token")
        elif not listed:
            given.approximated("no index is given: it is an empty file until you write the token")
            self._indexed(given, base, "", ALWAYS)
        keys.pass_over(
            {
                "bufferSize": "see batch_records",
                "maxLogSize": "see batch_bytes",
                "diskBufferDir": "the queue is in relay.state_dir",
                "tokens": "see index",
            }
        )

    def _indexed(
        self, given: Given, base: dict[str, TomlValue], index: str, fit: Condition
    ) -> None:
        table = dict(base)
        if str(table["connect"]).startswith("sematext:"):
            table["token_file"] = self._secret("sematext.token", index)
        else:
            table["index"] = (
                re.sub(r'[\s\\/*?"<>|,#:$]', "_", index.lower()).lstrip("-_+") or "logs"
            )
        self._add_destination(given.name, table, fit, given.statement)

    def _secret(self, name: str, text: str) -> str:
        self._report.hide(text)
        return self._imported.add_file(name, ExtraFile(f"{text}\n", is_secret=True))

    def _from_sources(self, names: Entry, given: Given | None) -> Condition:
        """Messages of sources whose name or path one of the expressions finds."""
        ids: list[TomlValue] = []
        assert given is not None
        for item in names.items:
            try:
                pattern, ignore_case = expression_of(item)
                found = re.compile(pattern, re.IGNORECASE if ignore_case else 0)
            except (ValueError, re.error):
                given.unsupported(f"{item.text!r} is no expression that the relay can run")
                continue
            for source in self._imported.sources:
                texts = (source.id, str(source.keys["listen"]))
                if source.id not in ids and any(map(found.search, texts)):
                    ids.append(source.id)
        given.approximated("expressions are compared with the paths and names of sources once, now")
        return fits("sources", ids) if ids else negated(ALWAYS)

    def _file(self, keys: Keys, given: Given) -> None:
        name = keys.take("fileName")
        path = _with_macros(name.text if name is not None else "")
        try:
            FileNames.of(path)
        except ValueError as error:
            given.unsupported(str(error))
            return
        if name is None or not path.startswith("/") or path.endswith("/"):
            given.unsupported("fileName with an absolute path is needed")
            return
        name.taken("is connect")
        table: dict[str, TomlValue] = {"connect": f"file://{path}"}
        form, template = keys.text("format", default="ldjson"), keys.take("template")
        if form == "template" and template is not None:
            table["template"] = _with_macros(template.text) or "$MSG"
            template.taken("is template")
        else:
            if form not in ("ldjson", "json"):
                given.approximated(f"the format {form} becomes an object a line")
            table["format"] = "json"
        self._rotation(keys, table)
        condition = ALWAYS
        source = keys.take("sourceName")
        if source is not None:
            if source.text.strip("/") not in (".*", ""):
                condition = self._from_sources(source.entry, source)
            source.taken("is in sources")
        self._add_destination(given.name, table, condition, given.statement)

    @staticmethod
    def _rotation(keys: Keys, table: dict[str, TomlValue]) -> None:
        size, interval = keys.take("size"), keys.take("interval")
        if size is not None and size.whole:
            table["rotate_bytes"] = size.whole
            size.taken("is rotate_bytes")
        if interval is not None and re.fullmatch(r"[1-9][0-9]{0,3}[smhd]", interval.text):
            table["rotate_seconds"] = interval.text
            interval.taken("is rotate_seconds")
        elif interval is not None:
            interval.unsupported("no interval such as 1d")
        count, compress = keys.take("maxFiles"), keys.take("compress")
        if count is not None and count.whole and {"rotate_bytes", "rotate_seconds"} & table.keys():
            table["keep_files"] = min(count.whole, 1_000_000)
            count.taken("is keep_files")
        if compress is not None and compress.flag is not None:
            if compress.flag and {"rotate_bytes", "rotate_seconds"} & table.keys():
                table["compress"] = "gzip"
            compress.taken("is compress")

    def _post(self, keys: Keys, given: Given) -> None:
        url = keys.take("url")
        parts = _url_parts(url.text if url is not None else "")
        if url is None or parts is None:
            given.unsupported("the url is none such as http://host:8080/path")
            return
        url.taken("is connect")
        table: dict[str, TomlValue] = {
            "connect": f"{parts[0]}://{parts[1]}{parts[2]}{parts[3]}",
            "body": "ndjson",
        }
        wait = keys.take("flushInterval")
        if wait is not None and wait.whole is not None:
            table["batch_seconds"] = min(wait.whole, 60)
            wait.taken("is batch_seconds")
        size = keys.take("maxBufferSize")
        if size is not None and size.whole:
            table["batch_records"] = min(size.whole, 10_000)
            size.taken("is batch_records")
        given.approximated("each message is an object on a line")
        self._add_destination(given.name, table, ALWAYS, given.statement)


def _url_parts(text: str) -> tuple[str, str, str, str] | None:
    """Scheme, host, port with its colon, and path; None if it is no URL that the relay takes."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not is_host(host) or parts.username is not None:
        return None
    path = parts.path if re.fullmatch(r"(/[!-~]*)?", parts.path) else ""
    name = f"[{host}]" if ":" in host else host
    return parts.scheme, name, f":{port}" if port else "", path if path != "/" else ""


def _with_macros(text: str) -> str:
    """``{field}`` as a macro."""
    escaped = os.fspath(text).replace("$", "$$")
    return _FIELD.sub(lambda found: f"${{{MACROS.get(found[1], found[1])}}}", escaped)


_NO_OUTPUT = {
    "stdout": "messages are not printed: see syslogrelay tap",
    "rtail": "see syslogrelay tap and the page",
    "kafka": "write a destination kafka://",
    "mqtt": "write program:// with a client of MQTT",
    "gelf": "send RFC 5424 to Graylog's syslog input",
    "influxdb": "see /metrics",
    "clickhouse": 'write https:// with body = "ndjson"',
    "zeromq": "use relp:// between relays",
    "slack-webhook": "write [alerts] with a webhook",
}
