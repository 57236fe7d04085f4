"""Sources of Vector, as sources of the relay."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from relay.cli.moving.report import Statement
from relay.cli.moving.structured import Given, Keys
from relay.cli.toml_writing import TomlValue
from relay.service.configuration.url import is_host

__all__ = ["Tables", "read_sources", "tls_keys"]

Tables = list[dict[str, TomlValue]]
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]*)):([0-9]{1,5})")


def read_sources(kind: str, keys: Keys, statement: Statement) -> Tables:
    """The sources for a table of the type `kind`; none if there is nothing like it."""
    reader = _KINDS.get(kind)
    if reader is None:
        keys.finish("its type is not supported")
        statement.unsupported(_UNSUPPORTED.get(kind, f"the relay has no source like {kind}"))
        return []
    tables = reader(keys, statement)
    keys.pass_over(_NEEDS_NONE)
    keys.finish()
    for table in tables:
        statement.taken(f"listen = {table['listen']}")
    return tables


_NEEDS_NONE = {
    "host_key": "the field is HOST",
    "port_key": "see SOURCEPORT",
    "file_key": "the path is in the structured data",
    "log_namespace": "fields have the names of syslog",
    "acknowledgements": "answers mean that a message is on disk",
    "data_dir": "positions are in relay.state_dir",
    "fingerprint": "files are known by device, inode and their beginning",
    "glob_minimum_cooldown_ms": "files are looked at once a second",
    "max_read_bytes": "files are read in turns",
    "oldest_first": "files are read in turns",
    "rotate_wait_secs": "a renamed file is read to its end",
    "batch_size": "the journal is read as it comes",
    "keepalive": "see idle_seconds_max",
    "shutdown_timeout_secs": "what is read is stored before the end",
    "include_file_metric_tag": "status names the files",
    "internal_metrics": "see /metrics",
}


def address_of(given: Given | None, default: int = 0) -> tuple[str, int] | None:
    """Host (empty = all) and port of an address such as 0.0.0.0:514."""
    if given is None:
        return ("", default) if default else None
    found = _ADDRESS.fullmatch(given.text.strip())
    if found is None or not 0 < int(found[3]) < 65536:
        return None
    host = found[1] or found[2] or ""
    if host and not is_host(host):
        return None
    given.taken("is in the URL")
    return host, int(found[3])


def url_of(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def tls_keys(keys: Keys, *, is_source: bool) -> dict[str, TomlValue] | None:
    """The keys for TLS; None if it is off."""
    inner = keys.inner("tls", hidden=("key_pass",))
    if inner is None:
        return None
    enabled = inner.take("enabled")
    if enabled is not None:
        enabled.taken("is in the scheme of the URL")
    table: dict[str, TomlValue] = {}
    for file, key in (
        *(("crt_file", "certificate"), ("key_file", "private_key"), ("ca_file", "trusted_ca")),
    ):
        given = inner.take(file)
        if given is not None:
            table[key] = given.text
            given.taken(f"is {key}")
    verify, name = inner.take("verify_certificate"), inner.take("verify_hostname")
    if verify is not None:
        if (is_source and verify.flag is not True) or (not is_source and verify.flag is False):
            table["peer_verify"] = "none"
        verify.taken("is peer_verify")
    elif is_source:
        table["peer_verify"] = "none"
    if name is not None:
        if name.flag is False and not is_source and table.get("peer_verify") != "none":
            name.unsupported("the name of a server is verified: see server_name, or peer_verify")
        else:
            name.taken("names are verified with certificates")
    if table.get("peer_verify") == "none":
        table.pop("trusted_ca", None)
    server = inner.take("server_name")
    if server is not None and not is_source:
        table["server_name"] = server.text
        server.taken("is server_name")
    inner.finish()
    return None if enabled is not None and enabled.flag is False else table


def _network(keys: Keys, statement: Statement) -> Tables:
    mode = keys.text("mode", default="tcp")
    table: dict[str, TomlValue] = {}
    if mode in ("unix", "unix_stream", "unix_datagram"):
        path = keys.take("path")
        if path is None or not path.text.startswith("/"):
            statement.unsupported("the path of a socket is absolute")
            return []
        path.taken("is in the URL")
        table["listen"] = f"{'unixgram' if mode == 'unix_datagram' else 'unix'}://{path.text}"
        permissions = keys.take("socket_file_mode")
        if permissions is not None and permissions.whole is not None:
            table["socket_mode"] = min(permissions.whole, 0o777)
            permissions.taken("is socket_mode")
    else:
        address = address_of(keys.take("address"))
        if address is None or mode not in ("tcp", "udp"):
            statement.unsupported("the address is none such as 0.0.0.0:514")
            return []
        host = "" if address[0] in ("0.0.0.0", "::") else address[0]
        tls = tls_keys(keys, is_source=True) if mode == "tcp" else None
        scheme = "tls" if tls is not None else mode
        table = {"listen": url_of(scheme, host, address[1]), **(tls or {})}
    _limits(keys, table, mode)
    _decoding(keys, statement)
    return [table]


def _limits(keys: Keys, table: dict[str, TomlValue], mode: str) -> None:
    size = keys.take("max_length", "max_line_bytes")
    if size is not None and size.whole:
        table["frame_bytes_max"] = max(480, min(size.whole, 16 << 20))
        size.taken("is frame_bytes_max")
    connections = keys.take("connection_limit")
    if connections is not None and connections.whole and mode == "tcp":
        table["connections_max"] = min(connections.whole, 1_000_000)
        connections.taken("is connections_max")
    buffer = keys.take("receive_buffer_bytes")
    if buffer is not None and buffer.whole:
        if mode == "udp":
            table["receive_buffer_bytes"] = max(4096, min(buffer.whole, 1 << 30))
        buffer.taken("is receive_buffer_bytes of datagrams")
    permit = keys.take("permit_origin")
    if permit is not None and mode != "unix":
        table["allow"] = [*permit.texts]
        permit.taken("is allow")


def _decoding(keys: Keys, statement: Statement) -> None:
    decoding, framing = keys.inner("decoding"), keys.inner("framing")
    codec = decoding.text("codec", default="bytes") if decoding is not None else ""
    if codec not in ("", "bytes", "syslog", "json", "native_json"):
        statement.unsupported(f"the relay decodes no {codec}")
    elif codec in ("json", "native_json"):
        statement.approximated('lines are kept as they are: write a step parse = "json"')
    for each, reason in ((decoding, "decoded"), (framing, "framed")):
        if each is not None:
            for given in each.left:
                given.taken(f"frames are {reason} by what they look like")


def _files(keys: Keys, statement: Statement) -> Tables:
    include = keys.take("include")
    paths = include.texts if include is not None else []
    if include is None or not all(path.startswith("/") for path in paths):
        statement.unsupported("include with absolute paths is needed")
        return []
    include.taken("is the paths of the URLs")
    base: dict[str, TomlValue] = {}
    where = keys.take("read_from")
    if where is not None and where.text in ("beginning", "end"):
        base["read_from"] = where.text
        where.taken("is read_from")
    exclude = keys.take("exclude")
    if exclude is not None:
        exclude.unsupported("write patterns that leave out what is not to be read")
    _limits(keys, base, "file")
    lines = keys.inner("multiline")
    if lines is not None:
        _lines(lines, base)
    return [{"listen": f"file://{path}", **base} for path in paths if not path.endswith("/")]


def _lines(keys: Keys, table: dict[str, TomlValue]) -> None:
    mode, start = keys.text("mode"), keys.take("start_pattern")
    pattern, wait = keys.take("condition_pattern"), keys.take("timeout_ms")
    if start is not None and mode in ("halt_before", "continue_through", "continue_past"):
        found = pattern if mode == "halt_before" and pattern is not None else start
        table["multi_line"] = found.text
        found.taken("is multi_line, which fits the first line of each message")
        for each in (start, pattern):
            if each is not None and not each.statement.findings:
                each.approximated("a message goes on until a line fits multi_line")
    if wait is not None and wait.whole:
        table["multi_line_seconds_max"] = max(0.1, min(wait.whole / 1000, 3600))
        wait.taken("is multi_line_seconds_max")
    keys.finish()


def _journal(keys: Keys, statement: Statement) -> Tables:
    table: dict[str, TomlValue] = {"listen": "journald://"}
    folder = keys.take("journal_directory")
    if folder is not None and folder.text.startswith("/"):
        table["listen"] = f"journald://{folder.text}"
        folder.taken("is in the URL")
    units = keys.take("include_units", "units")
    if units is not None and units.texts:
        names = [unit if "." in unit else f"{unit}.service" for unit in units.texts]
        table["matches"] = [f"_SYSTEMD_UNIT={name}" for name in names]
        units.taken("is matches")
    fields = keys.inner("include_matches")
    if fields is not None:
        own: list[TomlValue] = []
        for given in fields.left:
            own += [f"{given.name}={text}" for text in given.texts]
            given.taken("is in matches")
        table["matches"] = [*_listed(table.get("matches")), *own]
    now = keys.take("since_now", "current_boot_only")
    if now is not None:
        table["read_from"] = "end" if now.flag and now.name == "since_now" else "beginning"
        now.approximated("is read_from, for the first start")
    for name in ("exclude_units", "exclude_matches"):
        excluded = keys.take(name)
        if excluded is not None:
            excluded.unsupported("write a match of destinations with not")
    return [table]


def _listed(value: TomlValue | None) -> list[TomlValue]:
    return [*value] if isinstance(value, list) else []


def _http(keys: Keys, statement: Statement) -> Tables:
    address = address_of(keys.take("address"), 8088)
    if address is None:
        statement.unsupported("the address is none such as 0.0.0.0:8080")
        return []
    tls = tls_keys(keys, is_source=True)
    host = "" if address[0] in ("0.0.0.0", "::") else address[0]
    table: dict[str, TomlValue] = {
        "listen": url_of("https" if tls is not None else "http", host, address[1]),
        **(tls or {}),
    }
    if host == "" and tls is None:
        statement.approximated("anybody can send here: see allow, and authorise")
    for name in ("encoding", "decoding", "framing", "headers", "path", "strict_path", "method"):
        given = keys.take(name)
        if given is not None:
            given.taken("the path and the Content-Type of a request say what it holds")
    for name in ("auth", "valid_tokens", "token"):
        given = keys.take(name)
        if given is not None:
            given.unsupported("write [apps.ID] with token_file, and authorise")
    return [table]


def _otlp(keys: Keys, statement: Statement) -> Tables:
    http, grpc = keys.inner("http"), keys.take("grpc")
    if grpc is not None:
        grpc.unsupported("the relay takes OTLP by HTTP and not by gRPC")
    if http is None:
        statement.unsupported("the relay takes OTLP by HTTP and not by gRPC")
        return []
    found = _http(http, statement)
    http.finish()
    return found


def _command(keys: Keys, statement: Statement) -> Tables:
    command = keys.take("command")
    words = command.texts if command is not None else []
    if command is None or not words or not words[0].startswith("/"):
        statement.unsupported("command is a list that begins with the program's path")
        return []
    command.taken("is program:// and arguments")
    mode = keys.text("mode", default="scheduled")
    if mode == "scheduled":
        statement.approximated("a program that ends is started again after a second to a minute")
    for name in ("scheduled", "streaming", "include_stderr", "maximum_buffer_size_bytes"):
        given = keys.take(name)
        if given is not None:
            given.taken("the relay starts a program again, and logs its standard error")
    table: dict[str, TomlValue] = {"listen": f"program://{words[0]}"}
    if words[1:]:
        table["arguments"] = [*words[1:]]
    return [table]


def _internal(keys: Keys, statement: Statement) -> Tables:
    return [{"listen": "internal://"}]


_KINDS: Mapping[str, Callable[[Keys, Statement], Tables]] = {
    **dict.fromkeys(("syslog", "socket"), _network),
    "file": _files,
    "journald": _journal,
    **dict.fromkeys(("http_server", "http", "splunk_hec", "heroku_logs"), _http),
    "opentelemetry": _otlp,
    "exec": _command,
    "internal_logs": _internal,
}
_DOCKER = "use Docker's syslog driver with udp:// or tcp://"
_UNSUPPORTED: Mapping[str, str] = {
    "docker_logs": _DOCKER,
    "kubernetes_logs": "read /var/log/pods/*/*/*.log with file://",
    "vector": "use relp:// between relays",
    "stdin": "use pipe:// or syslogrelay send",
    "demo_logs": "use syslogrelay send",
    "fluent": "use http:// with JSON",
    "logstash": "use http:// with JSON",
    "datadog_agent": "use http:// with JSON",
    **dict.fromkeys(("host_metrics", "internal_metrics", "prometheus_scrape"), "see /metrics"),
}
