"""Sinks of Vector, as destinations of the relay."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from relay.cli.moving.imported import ExtraFile, Imported
from relay.cli.moving.kafka import FALLBACK, HAS_FALLBACK, ONE_PARTITION, REPLICAS
from relay.cli.moving.report import Statement
from relay.cli.moving.structured import Entry, Keys
from relay.cli.moving.vector.kafka import client_of, url_of_topic
from relay.cli.moving.vector.sources import address_of, tls_keys, url_of
from relay.cli.moving.vector.vrl import macro_of
from relay.cli.toml_writing import TomlValue
from relay.service.configuration.url import is_host
from relay.transport.files.file_names import FileNames

__all__ = ["read_sink"]

Table = dict[str, TomlValue]
_FIELD = re.compile(r"\{\{\s*\.?([^{}\s]+)\s*\}\}")
_TIMES = {
    "%Y": "YEAR",
    "%m": "MONTH",
    "%d": "DAY",
    "%H": "HOUR",
    "%M": "MIN",
    "%S": "SEC",
    "%F": "YEAR}-${MONTH}-${DAY",
    "%j": "YEAR_DAY",
    "%V": "ISOWEEK",
    "%b": "MONTH_ABBREV",
}
_SEMATEXT = re.compile(r"logsene-receiver\.(eu\.)?sematext\.com")


def read_sink(kind: str, keys: Keys, imported: Imported, statement: Statement) -> Table | None:
    """The destination for a table of the type `kind`; None if there is nothing like it."""
    reader = _KINDS.get(kind)
    if reader is None:
        keys.finish("its type is not supported")
        if kind == "blackhole":
            statement.taken("messages are thrown away: no destination is needed")
        else:
            statement.unsupported(
                _UNSUPPORTED.get(kind, f"the relay has no destination like {kind}")
            )
        return None
    table = reader(keys, imported, statement)
    if table is not None:
        _queue(keys, table)
        statement.taken(f"connect = {table['connect']}")
    keys.pass_over(_NEEDS_NONE)
    keys.finish()
    return table


_NEEDS_NONE = {
    "healthcheck": "a destination that cannot be reached has its queue",
    "healthchecks": "a destination that cannot be reached has its queue",
    "acknowledgements": "messages are queued until they are delivered",
    "graph": "there is no graph",
    "idle_timeout_secs": "files are closed when others are needed",
    "internal_metrics": "see /metrics",
    "keepalive": "see keepalive_seconds",
    "send_buffer_bytes": "the relay sends when there is room",
    "distribution": "see policy",
    "id_key": "the relay's _id makes a repeat harmless",
    "doc_type": "there are no types since Elasticsearch 7",
    "suppress_type_name": "there are no types since Elasticsearch 7",
    "api_version": "the bulk API is the same",
    "out_of_order_action": "the server decides",
    "remove_label_fields": "labels are constants",
    "timezone": "see time_zone of format",
}


def templated(text: str) -> str:
    """``{{ field }}`` and times of strftime as macros."""
    text = text.replace("$", "$$")
    text = _FIELD.sub(lambda found: f"${{{macro_of(found[1])}}}", text)
    return re.sub(
        r"%[A-Za-z]",
        lambda found: f"${{{_TIMES[found[0]]}}}" if found[0] in _TIMES else found[0],
        text,
    )


def _encoding(keys: Keys, table: Table, statement: Statement, *, default: str) -> str:
    """Read `encoding` into `format` or `template`."""
    given = keys.take("encoding")
    codec = default
    if given is not None:
        given.taken("is format")
        if given.entry.table:
            inner = Keys(given.entry, keys.report, keys.file)
            codec = inner.text("codec", default=default)
            fields = inner.take("only_fields")
            if fields is not None:
                table["format"] = {
                    "name": "json",
                    "scope": "none",
                    "pair": {name.lstrip("."): _macro(name) for name in fields.texts},
                }
                fields.taken("is pair of the format")
            inner.pass_over({"timestamp_format": "stamps are those of RFC 3339"})
            inner.finish()
        else:
            codec = given.text
    match codec:
        case "json" | "native_json" | "ndjson":
            table.setdefault("format", "json")
            if isinstance(table["format"], str):
                statement.approximated("members of the JSON have the names of syslog-ng's macros")
        case "text" | "raw_message":
            table["template"] = "$MSG"
        case "logfmt" | "csv" | "avro" | "gelf" | "cef" | "native" | "protobuf":
            statement.unsupported(f"the relay writes no {codec}; messages are sent as they came")
        case "syslog":
            table["format"] = "rfc5424"
    framing = keys.inner("framing")
    if framing is not None:
        method = framing.text("method")
        if method in ("length_delimited", "bytes"):
            statement.approximated("streams are lines")
        framing.finish()
    return codec


def _macro(field: str) -> str:
    return f"${{{macro_of(field.lstrip('.'))}}}"


def _queue(keys: Keys, table: Table) -> None:
    buffer = keys.inner("buffer")
    if buffer is None:
        return
    kind = buffer.text("type", default="memory")
    size = buffer.take("max_size")
    if size is not None and size.whole and kind == "disk":
        table["queue_bytes_max"] = max(1 << 20, size.whole)
        size.taken("is queue_bytes_max")
    elif size is not None:
        size.taken("the queue is on disk")
    full = buffer.take("when_full")
    if full is not None:
        if full.text == "drop_newest" and "queue_bytes_max" in table:
            table["when_full"] = "drop-newest"
        full.taken("is when_full")
    buffer.pass_over({"max_events": "the queue is on disk and limited by bytes"})
    buffer.finish()


def _socket(keys: Keys, imported: Imported, statement: Statement) -> Table | None:
    mode = keys.text("mode", default="tcp")
    if mode in ("unix", "unix_stream", "unix_datagram"):
        path = keys.take("path")
        if path is None or not path.text.startswith("/"):
            statement.unsupported("the path of a socket is absolute")
            return None
        path.taken("is in the URL")
        scheme = "unixgram" if mode == "unix_datagram" else "unix"
        table: Table = {"connect": f"{scheme}://{path.text}"}
    else:
        address = address_of(keys.take("address", "endpoint"))
        if address is None or not address[0] or mode not in ("tcp", "udp"):
            statement.unsupported("the address is none such as host:514")
            return None
        tls = tls_keys(keys, is_source=False) if mode == "tcp" else None
        table = {"connect": url_of("tls" if tls is not None else mode, *address), **(tls or {})}
        if tls is not None:
            table["framing"] = "newline"
    _encoding(keys, table, statement, default="text")
    return table


def _papertrail(keys: Keys, imported: Imported, statement: Statement) -> Table | None:
    address = address_of(keys.take("endpoint"))
    if address is None or not address[0]:
        statement.unsupported("the endpoint is none such as logs.papertrailapp.com:12345")
        return None
    tls = tls_keys(keys, is_source=False)
    table: Table = {"connect": url_of("tls", *address), **(tls or {}), "format": "rfc5424"}
    process = keys.take("process")
    if process is not None:
        process.approximated("the program of each message stays")
    encoding = keys.take("encoding")
    if encoding is not None:
        encoding.taken("messages are of RFC 5424, with the text that they have")
    return table


def _file(keys: Keys, imported: Imported, statement: Statement) -> Table | None:
    given = keys.take("path")
    path = templated(given.text) if given is not None else ""
    if given is None or not path.startswith("/") or path.startswith("/dev/"):
        statement.unsupported("path is absolute, and no device")
        return None
    try:
        FileNames.of(path)
    except ValueError as error:
        given.unsupported(str(error))
        return None
    given.taken("is connect")
    table: Table = {"connect": f"file://{path}"}
    _encoding(keys, table, statement, default="text")
    compression = keys.take("compression")
    if compression is not None and compression.text in ("gzip", "zstd"):
        if "${DAY}" in path or "${HOUR}" in path:
            table["compress"] = compression.text
            compression.approximated("files are compressed when they are complete")
        else:
            compression.unsupported('write rotate_seconds = "1d", and compress')
    elif compression is not None:
        compression.taken("is compress")
    return table


def _http_base(
    keys: Keys, statement: Statement, imported: Imported, names: tuple[str, ...]
) -> Table | None:
    """The options of all sinks over HTTP: URLs, TLS, batches, credentials."""
    given = keys.take(*names)
    urls = [url for text in (given.texts if given is not None else []) if (url := _url(text))]
    if given is None or not urls or len(urls) != len(given.texts):
        statement.unsupported("the URL is none such as https://host:9200/path")
        return None
    given.taken("is connect")
    table: Table = {"connect": urls[0]}
    if len(urls) > 1:
        table = {"connect": [*dict.fromkeys(urls)], "policy": "balance"}
    tls = tls_keys(keys, is_source=False)
    if tls and urls[0].startswith("https:"):
        table |= tls
    _credentials(keys, table, imported)
    batch = keys.inner("batch")
    if batch is not None:
        _batch(batch, table)
    request = keys.inner("request")
    if request is not None:
        _request(request, table)
    compression = keys.take("compression")
    if compression is not None:
        if compression.text in ("gzip", "zstd"):
            table["compress"] = compression.text
            compression.taken("is compress")
        elif compression.text in ("none", "false"):
            compression.taken("is compress")
        else:
            table["compress"] = "gzip"
            compression.approximated("compress is gzip")
    return table


def _url(text: str) -> str:
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        return ""
    host = parts.hostname or ""
    path = parts.path if parts.path != "/" else ""
    if parts.scheme not in ("http", "https") or not is_host(host) or parts.username is not None:
        return ""
    if not re.fullmatch(r"(/[!-~]*)?", path) or "{{" in path:
        return ""
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}{f':{port}' if port else ''}{path}"


def _credentials(keys: Keys, table: Table, imported: Imported) -> None:
    auth = keys.inner("auth", hidden=("password", "token"))
    if auth is None:
        return
    how = auth.text("strategy", default="basic")
    user, password, token = auth.take("user"), auth.take("password"), auth.take("token")
    if how == "basic" and user is not None and password is not None and user.text:
        table |= {
            "user": user.text,
            "password_file": secret(imported, "http.password", password.text),
        }
    elif how == "bearer" and token is not None:
        table["token_file"] = secret(imported, "http.token", token.text)
    for each in (user, password, token):
        if each is not None:
            each.taken("is in a file beside the configuration")
    auth.finish()


def secret(imported: Imported, name: str, text: str) -> str:
    """The name of a file with `text` beside the configuration."""
    imported.report.hide(text)
    return imported.add_file(name, ExtraFile(f"{text}\n", is_secret=True))


def _batch(keys: Keys, table: Table) -> None:
    for name, key, most in (
        ("max_events", "batch_records", 10_000),
        ("max_bytes", "batch_bytes", 64 << 20),
    ):
        given = keys.take(name)
        if given is not None and given.whole:
            table[key] = max(1 if key == "batch_records" else 1024, min(given.whole, most))
            given.taken(f"is {key}")
    wait = keys.take("timeout_secs")
    if wait is not None and wait.whole is not None:
        table["batch_seconds"] = min(wait.whole, 60)
        wait.taken("is batch_seconds")
    keys.finish()


def _request(keys: Keys, table: Table) -> None:
    wait, count = keys.take("timeout_secs"), keys.take("concurrency")
    if wait is not None and wait.whole:
        table["answer_seconds_max"] = min(wait.whole, 3600)
        wait.taken("is answer_seconds_max")
    if count is not None:
        if count.whole:
            table["requests_max"] = min(count.whole, 64)
        count.taken("is requests_max")
    headers = keys.take("headers")
    if headers is not None:
        _headers(headers.entry.table, table)
        headers.taken("is headers")
    keys.pass_over(
        {
            **dict.fromkeys(
                (
                    *("retry_attempts", "retry_initial_backoff_secs", "retry_max_duration_secs"),
                    *("retry_jitter_mode", "adaptive_concurrency"),
                ),
                "messages are sent until they are taken, with growing pauses",
            ),
        }
    )
    keys.finish("write drain_rate")


_OWN_HEADERS = ("authorization", "content-type", "content-length", "content-encoding", "host")


def _headers(given: Mapping[str, Entry], table: Table) -> None:
    found: Table = {}
    for name, entry in given.items():
        is_name = re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)
        if is_name and name.lower() not in _OWN_HEADERS and re.fullmatch(r"[ -~]+", entry.text):
            found[name] = entry.text
    if found:
        table["headers"] = found


def _elasticsearch(keys: Keys, imported: Imported, statement: Statement) -> Table | None:
    table = _http_base(keys, statement, imported, ("endpoints", "endpoint"))
    if table is None:
        return None
    mode = keys.take("mode")
    bulk = keys.inner("bulk")
    index = bulk.take("index") if bulk is not None else keys.take("index")
    action = bulk.take("action") if bulk is not None else None
    if bulk is not None:
        bulk.finish()
    if action is not None and action.text in ("index", "create"):
        if action.text == "create":
            table["operation"] = "create"
        action.taken("is operation")
    stream = keys.inner("data_stream")
    host = urlsplit(str(table["connect"])).hostname or ""
    text = index.text if index is not None else "vector-%Y.%m.%d"
    if mode is not None and mode.text == "data_stream":
        parts = [
            stream.text(name, default=default) if stream is not None else default
            for name, default in (
                ("type", "logs"),
                ("dataset", "generic"),
                ("namespace", "default"),
            )
        ]
        text, table["operation"] = "-".join(parts), "create"
    if mode is not None:
        mode.taken("is operation and index")
    if stream is not None:
        stream.finish()
    if _SEMATEXT.fullmatch(host):
        found = _SEMATEXT.fullmatch(host)
        own = {key: table[key] for key in table if key.startswith("batch") or key == "compress"}
        region = "eu" if found is not None and found[1] else "us"
        table = {"connect": f"sematext://{region}", "via": "https", **own}
        table["token_file"] = secret(imported, "sematext.token", text)
    else:
        table["index"] = templated(text) if "%" in text or "{{" in text else text.lower()
    if index is not None:
        index.taken("is index, or the app's token")
    for name in ("encoding", "pipeline", "query"):
        given = keys.take(name)
        if given is not None:
            given.approximated("documents have the fields that Sematext documents for rsyslog")
    return table


def _http(keys: Keys, imported: Imported, statement: Statement) -> Table | None:
    table = _http_base(keys, statement, imported, ("uri",))
    if table is None:
        return None
    framing = keys.inner("framing")
    method = framing.text("method") if framing is not None else ""
    if framing is not None:
        framing.finish()
    _encoding(keys, table, statement, default="json")
    table["body"] = "ndjson" if method == "newline_delimited" else "array"
    verb = keys.take("method")
    if verb is not None:
        if verb.text.lower() == "post":
            verb.taken("the relay posts")
        else:
            verb.unsupported("the relay posts")
    return table


def _sematext(keys: Keys, imported: Imported, statement: Statement) -> Table | None:
    region, token = keys.take("region"), keys.take("token")
    endpoint = keys.take("endpoint")
    if token is None or not token.text:
        statement.unsupported("the token is missing")
        return None
    table: Table = {
        "connect": f"sematext://{'eu' if region is not None and region.text == 'eu' else 'us'}",
        "via": "https",
        "token_file": secret(imported, "sematext.token", token.text),
    }
    token.taken("is in the file token_file")
    if region is not None:
        region.taken("is in the URL")
    if endpoint is not None:
        host = urlsplit(endpoint.text).hostname or ""
        if host and is_host(host) and not _SEMATEXT.fullmatch(host):
            table["host"] = host
        endpoint.taken("is host")
    batch = keys.inner("batch")
    if batch is not None:
        _batch(batch, table)
    encoding = keys.take("encoding")
    if encoding is not None:
        encoding.approximated("documents have the fields that Sematext documents for rsyslog")
    request = keys.inner("request")
    if request is not None:
        _request(request, table)
    return table


def _splunk(keys: Keys, imported: Imported, statement: Statement) -> Table | None:
    table = _http_base(keys, statement, imported, ("endpoint",))
    if table is None:
        return None
    token = keys.take("default_token", "token")
    if token is not None:
        table["token_file"] = secret(imported, "splunk.token", token.text)
        token.taken("is in the file token_file")
    table["body"] = "splunk-hec"
    _ = _encoding(keys, table, statement, default="json")
    table.pop("template", None)
    table.pop("format", None)
    return table


def _loki(keys: Keys, imported: Imported, statement: Statement) -> Table | None:
    table = _http_base(keys, statement, imported, ("endpoint",))
    if table is None:
        return None
    path = keys.take("path")
    suffix = path.text if path is not None else "/loki/api/v1/push"
    if path is not None:
        path.taken("is in the URL")
    if not str(table["connect"]).endswith(suffix) and isinstance(table["connect"], str):
        table["connect"] = f"{table['connect']}{suffix}"
    table["body"] = "loki"
    labels = keys.take("labels")
    constant: Table = {}
    for name, entry in (labels.entry.table if labels is not None else {}).items():
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and re.fullmatch(r"[ -z|~]+", entry.text):
            constant[name] = entry.text
        elif labels is not None:
            labels.unsupported(
                f"the label {name}: labels are constants, the fields are in the line"
            )
    if labels is not None:
        labels.taken("is labels")
    if constant:
        table["labels"] = constant
    tenant = keys.take("tenant_id")
    if tenant is not None and "{{" not in tenant.text:
        table["headers"] = {"X-Scope-OrgID": tenant.text}
        tenant.taken("is headers")
    _encoding(keys, table, statement, default="json")
    return table


def _kafka(keys: Keys, imported: Imported, statement: Statement) -> Table | None:
    given = keys.take("topic")
    topic = templated(given.text) if given is not None else ""
    if given is not None:
        given.taken("is the topic")
    if not topic:
        statement.unsupported("it has no topic")
        return None
    client = client_of(keys, imported, statement, is_source=False)
    compression = keys.take("compression")
    if compression is not None:
        client.keys["compression"] = compression.text
        compression.taken("is compression")
    try:
        url = url_of_topic(keys, "" if "$" in topic else topic, client)
    except ValueError as error:
        statement.unsupported(str(error))
        return None
    table: Table = {"connect": url, **client.finish()}
    if "$" in topic:
        table |= {"topic": topic, "topic_fallback": FALLBACK}
        statement.approximated(HAS_FALLBACK)
    field = keys.take("key_field")
    if field is not None:
        table["key"] = _macro(field.text)
        field.taken("is key")
    else:
        statement.approximated(ONE_PARTITION)
    statement.taken(REPLICAS)
    for name in ("batch", "message_timeout_ms", "healthcheck_topic", "socket_timeout_ms"):
        found = keys.take(name)
        if found is not None:
            found.taken("only the brokers' answer takes a message from the queue")
    _encoding(keys, table, statement, default="text")
    return table


_KINDS: Mapping[str, Callable[[Keys, Imported, Statement], Table | None]] = {
    "socket": _socket,
    "papertrail": _papertrail,
    "file": _file,
    "elasticsearch": _elasticsearch,
    "http": _http,
    "sematext_logs": _sematext,
    **dict.fromkeys(("splunk_hec_logs", "splunk_hec", "humio_logs"), _splunk),
    "loki": _loki,
    "kafka": _kafka,
}
_PROGRAM = "write program:// with a client of it"
_UNSUPPORTED: Mapping[str, str] = {
    **dict.fromkeys(("pulsar", "nats", "amqp", "mqtt", "redis", "clickhouse"), _PROGRAM),
    **dict.fromkeys(("aws_s3", "gcp_cloud_storage", "azure_blob"), _PROGRAM),
    **dict.fromkeys(("aws_cloudwatch_logs", "gcp_stackdriver_logs"), _PROGRAM),
    "console": "see syslogrelay tap",
    "vector": "use relp:// between relays",
    "opentelemetry": "the relay sends no OTLP: write https:// with a body",
    **dict.fromkeys(("prometheus_exporter", "prometheus_remote_write", "statsd"), "see /metrics"),
}
