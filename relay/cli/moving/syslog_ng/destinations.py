"""Destinations of syslog-ng, as destinations of the relay."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from relay.cli.moving.kafka import (
    FALLBACK,
    HAS_FALLBACK,
    ONE_PARTITION,
    REPLICAS,
    Client,
    kafka_url,
    read_client,
)
from relay.cli.moving.report import Statement
from relay.cli.moving.syslog_ng.drafts import (
    DestinationDraft,
    Reading,
    form_of,
    mark_options,
    queue_keys,
    template_text,
)
from relay.cli.moving.syslog_ng.http import HTTP_DRIVERS
from relay.cli.moving.syslog_ng.options import Options, canonical
from relay.cli.moving.syslog_ng.security import tls_keys
from relay.cli.moving.syslog_ng.sources import command_keys
from relay.cli.moving.syslog_ng.templates import Form
from relay.cli.toml_writing import Octal, TomlValue
from relay.service.configuration.url import is_host
from relay.transport.files.file_names import FileNames

__all__ = ["read_destination"]

_FILE_FORMAT: Mapping[str, TomlValue] = {
    "name": "template",
    "template": "$STAMP $HOST $MSGHDR$MSG",
}
_PORTS = {"udp": 514, "tcp": 601, "tls": 6514}
_SEMATEXT = re.compile(r"logsene-syslog-receiver\.(eu\.)?sematext\.com")
_SEMATEXT_PORTS = {"tls": 10514, "tcp": 514, "udp": 514}
_KAFKA_NEEDS_NONE = {
    **dict.fromkeys(
        ("flush_timeout_on_shutdown", "flush_timeout_on_reload", "poll_timeout", "sync_send"),
        "only the brokers' answer takes a message from the queue",
    ),
    **dict.fromkeys(("workers", "batch_lines", "batch_timeout"), "see linger_seconds"),
}
_MODE = re.compile(r"0?[0-7]{3}")


def read_destination(
    options: Options, reading: Reading, statement: Statement
) -> DestinationDraft | None:
    """The destination for a driver; None if there is none like it, as the statement says then."""
    name = options.call.name.replace("-", "_")
    reader = _DRIVERS.get(name) or HTTP_DRIVERS.get(name)
    if reader is None:
        options.finish("its driver is not supported")
        statement.unsupported(
            _UNSUPPORTED.get(name, f"the relay has no destination like {options.call.name}()")
        )
        return None
    draft = reader(options, reading, statement)
    if draft is not None:
        queue_keys(options, draft, reading.report)
    mark_options(options)
    options.finish()
    return draft


def _network(options: Options, reading: Reading, statement: Statement) -> DestinationDraft | None:
    name = options.call.name.replace("-", "_")
    transport = _transport(options, name)
    keys: dict[str, TomlValue] = {}
    tls = options.take_own("tls")
    if tls is not None:
        keys |= tls_keys(tls, reading.report, is_source=False)
        transport = "tls" if transport == "tcp" else transport
    if transport not in ("udp", "tcp", "tls"):
        statement.unsupported(f"the relay sends by udp, tcp and tls, not by {transport}")
        return None
    hosts = _hosts(options, statement)
    if not hosts:
        return None
    port = _port(options, _PORTS.get(transport, 514) if name == "syslog" else 514)
    is_modern = name == "syslog" or "syslog_protocol" in options.flags()
    draft = DestinationDraft({**_connect(transport, hosts, port, statement), **keys})
    default: dict[str, TomlValue] = {"name": "rfc5424" if is_modern else "rfc3164"}
    if name in ("syslog_ng", "ewmm"):
        draft.mode = {"mode": "ewmm"}
        form = Form(mode="ewmm")
    else:
        form = form_of(options, reading, draft, default, default_option="proto_template")
    _framing(draft, name, transport)
    _addresses(options, draft, transport)
    if form.token:
        _sematext(draft, form, hosts[0], transport, port, reading)
    elif _SEMATEXT.fullmatch(hosts[0]):
        statement.approximated("no token is in its template: Sematext has to know the address")
    statement.taken(f"connect = {draft.keys['connect']}")
    return draft


def _transport(options: Options, name: str) -> str:
    given = options.take_own("transport")
    if given is not None:
        given.taken("is the scheme of the URL")
        text = given.text.lower()
        return {"udp6": "udp", "tcp6": "tcp"}.get(text, text)
    return "udp" if name.startswith("udp") else "tcp"


def _hosts(options: Options, statement: Statement) -> list[str]:
    server = options.take_own("server", "ip")
    if server is not None:
        server.taken("is the host of the URL")
    first = server.text if server is not None else options.call.first
    hosts = [first]
    failover = options.take_own("failover", "failover_servers")
    if failover is not None:
        inner = Options(failover.call, options.report)
        servers = inner.take_own("servers")
        if servers is not None:
            servers.taken("are further targets in connect")
        hosts += servers.texts if servers is not None else failover.texts
        failback = inner.take_own("failback")
        if failback is not None:
            failback.taken("the first target is used again when it works: see failback_probes")
        inner.finish()
        failover.taken("connect is a list, policy = failover")
    bad = [host for host in hosts if not is_host(host.strip("[]"))]
    if bad:
        statement.unsupported(f"{bad[0]!r} is neither a host name nor an address")
        return []
    return [host.strip("[]") for host in hosts]


def _port(options: Options, default: int) -> int:
    given = options.take_own("port", "destport")
    if given is None:
        return default
    number = given.whole
    if number is None or not 0 < number < 65536:
        given.unsupported("no port from 1 to 65535; the default is used")
        return default
    given.taken("is the port of the URL")
    return number


def _connect(
    transport: str, hosts: list[str], port: int, statement: Statement
) -> dict[str, TomlValue]:
    urls = [f"{transport}://{f'[{host}]' if ':' in host else host}:{port}" for host in hosts]
    if len(urls) == 1:
        return {"connect": urls[0]}
    if transport == "udp":
        statement.unsupported("datagrams have one target: nobody sees that it is gone")
        return {"connect": urls[0]}
    return {"connect": [*dict.fromkeys(urls)], "policy": "failover"}


def _framing(draft: DestinationDraft, name: str, transport: str) -> None:
    """syslog() counts octets, all others write lines; the relay does that over tls and tcp."""
    framing = "octet-counting" if name == "syslog" else "newline"
    if transport != "udp" and framing != {"tcp": "newline", "tls": "octet-counting"}[transport]:
        draft.keys["framing"] = framing


def _addresses(options: Options, draft: DestinationDraft, transport: str) -> None:
    own = options.take_own("localip")
    if own is not None and own.text not in ("0.0.0.0", "::"):
        draft.keys["bind"] = own.text
        own.taken("is bind")
    port = options.take_own("localport")
    if port is not None:
        port.unsupported("the kernel chooses the port that messages come from")
    spoof = options.take_own("spoof_source")
    if spoof is not None:
        if spoof.flag:
            spoof.unsupported("messages come from the relay's address, HOST says whose they are")
        else:
            spoof.taken("messages come from the relay's address")
    idle = options.take_own("tcp_keepalive_time")
    if idle is not None and idle.whole is not None and transport != "udp":
        draft.keys["keepalive_seconds"] = min(idle.whole, 86400)
        idle.taken("is keepalive_seconds")


def _sematext(
    draft: DestinationDraft, form: Form, host: str, transport: str, port: int, reading: Reading
) -> None:
    """A token in the template: it goes into a file, and Sematext's hosts have a name here."""
    file = reading.secret_file("sematext.token", form.token)
    found = _SEMATEXT.fullmatch(host)
    if found is None:
        draft.mode = {"mode": form.mode, "token_file": file}
        return
    draft.mode = {}
    for key in ("connect", "framing", "policy"):
        draft.keys.pop(key, None)
    sematext: dict[str, TomlValue] = {"connect": f"sematext://{'eu' if found[1] else 'us'}"}
    if transport != "tls":
        sematext["via"] = transport
    if port != _SEMATEXT_PORTS[transport]:
        sematext["port"] = port
    if form.mode != "cee":
        sematext["token_in"] = form.mode
    draft.keys = {**sematext, "token_file": file, **draft.keys}


def _file(options: Options, reading: Reading, statement: Statement) -> DestinationDraft | None:
    path = options.call.first
    if path == "/dev/null":
        options.finish("nothing is written there")
        statement.taken("nothing is written there: no destination is needed")
        return None
    if not path.startswith("/") or path.startswith("/dev/"):
        statement.unsupported("the relay writes to files with an absolute path, not to devices")
        return None
    try:
        FileNames.of(path)
    except ValueError as error:
        statement.unsupported(f"the path {path}: {error}")
        return None
    draft = DestinationDraft({"connect": f"file://{path}"})
    form_of(options, reading, draft, dict(_FILE_FORMAT), default_option="file_template")
    _permissions(options, draft)
    _rotation(options, draft, reading)
    options.flags()
    options.pass_over(
        {
            "create_dirs": "the relay makes directories",
            "fsync": "files are synced before messages leave the queue",
        }
    )
    statement.taken(f"connect = file://{path}")
    return draft


def _permissions(options: Options, draft: DestinationDraft) -> None:
    for names, key in ((("owner",), "owner"), (("group",), "group")):
        given = options.take(*names)
        if given is not None and given.text not in ("", "-1"):
            draft.keys[key] = given.text
            given.taken(f"is {key} of files")
    for names, key, default in (
        (("perm",), "mode", "0600"),
        (("dir_perm",), "directory_mode", "0700"),
    ):
        given = options.take(*names)
        if given is not None and not _MODE.fullmatch(given.text):
            given.unsupported(f"no permissions such as 0640; {key} is its default")
            continue
        draft.keys[key] = Octal(int(given.text if given is not None else default, 8))
        if given is not None:
            given.taken(f"is {key} of files")
    for name in ("dir_owner", "dir_group"):
        given = options.take(name)
        if given is None:
            continue
        if draft.keys.get(name.removeprefix("dir_")) == given.text:
            given.taken(f"is {name.removeprefix('dir_')} of files and directories")
        else:
            given.approximated("files and the directories that are made have one owner and group")


def _rotation(options: Options, draft: DestinationDraft, reading: Reading) -> None:
    given = options.take_own("logrotate")
    if given is None:
        return
    inner = Options(given.call, reading.report)
    enable, size = inner.take_own("enable"), inner.take_own("size")
    count = inner.take_own("rotations")
    if enable is not None and enable.flag is False:
        given.taken("it is off")
    else:
        draft.keys["rotate_bytes"] = (size.whole if size is not None else None) or 1 << 20
        draft.keys["keep_files"] = (count.whole if count is not None else None) or 1
        given.taken("is rotate_bytes and keep_files; closed files have a date in their names")
    for each in (enable, size, count):
        if each is not None:
            each.taken("see logrotate()")
    inner.finish()


def _pipe(options: Options, reading: Reading, statement: Statement) -> DestinationDraft | None:
    path = options.call.first
    if not path.startswith("/") or "$" in path:
        statement.unsupported("the path of a named pipe is absolute, and without macros")
        return None
    draft = DestinationDraft({"connect": f"pipe://{path}"})
    form_of(options, reading, draft, dict(_FILE_FORMAT), default_option="file_template")
    for name in ("owner", "group", "perm", "dir_owner", "dir_group", "dir_perm", "create_dirs"):
        given = options.take_own(name)
        if given is not None:
            given.approximated("the pipe belongs to who made it: make it before with mkfifo")
    options.flags()
    statement.taken(f"connect = pipe://{path}; the queue waits while nobody reads it")
    return draft


def _unix(options: Options, reading: Reading, statement: Statement) -> DestinationDraft | None:
    path = options.call.first
    if not path.startswith("/"):
        statement.unsupported("the path of a socket is absolute")
        return None
    scheme = "unixgram" if "dgram" in options.call.name else "unix"
    draft = DestinationDraft({"connect": f"{scheme}://{path}"})
    is_modern = "syslog_protocol" in options.flags()
    form_of(
        options,
        reading,
        draft,
        {"name": "rfc5424" if is_modern else "rfc3164"},
        default_option="proto_template",
    )
    statement.taken(f"connect = {scheme}://{path}")
    return draft


def _program(options: Options, reading: Reading, statement: Statement) -> DestinationDraft | None:
    if not options.call.first.strip():
        statement.unsupported("the program has no name")
        return None
    path, arguments = command_keys(options.call.first)
    draft = DestinationDraft({"connect": f"program://{path}"})
    if arguments:
        draft.keys["arguments"] = arguments
    form_of(options, reading, draft, dict(_FILE_FORMAT), default_option="file_template")
    options.flags()
    options.pass_over({"inherit_environment": "the environment is that of the relay"})
    statement.taken(f"connect = program://{path}; it runs as the relay's user")
    return draft


def _terminals(options: Options, reading: Reading, statement: Statement) -> DestinationDraft | None:
    draft = DestinationDraft({"connect": "usertty://"})
    users = [name for name in options.call.texts if name != "*"]
    if users:
        draft.keys["users"] = [*users]
    statement.taken("connect = usertty://")
    return draft


def _kafka(options: Options, reading: Reading, statement: Statement) -> DestinationDraft | None:
    client = Client(reading.imported, is_source=False)
    settings = _kafka_settings(options, reading)
    brokers = settings.pop("metadata.broker.list", settings.pop("bootstrap.servers", ""))
    servers = options.take_own("bootstrap_servers", "kafka_bootstrap_servers")
    if servers is not None:
        servers.taken("are the hosts of the URL")
        brokers = servers.text
    read_client(settings, client, statement)
    keys = client.finish()
    for option, key in (("topic", "topic"), ("fallback_topic", "topic_fallback"), ("key", "key")):
        given = options.take_own(option)
        if given is not None:
            keys[key] = template_text(given, reading)
            given.taken(f"is {key}")
    name = "" if "$" in str(keys.get("topic", "$")) else str(keys.pop("topic"))
    if not name and "topic" not in keys:
        statement.unsupported("it has no topic")
        return None
    if name:
        keys.pop("topic_fallback", None)
    elif "topic_fallback" not in keys:
        keys["topic_fallback"] = FALLBACK
        statement.approximated(HAS_FALLBACK)
    if "key" not in keys:
        statement.approximated(ONE_PARTITION)
    try:
        connect = kafka_url([brokers], name, has_tls=client.has_tls)
    except ValueError as error:
        statement.unsupported(str(error))
        return None
    draft = DestinationDraft({"connect": connect, **keys})
    form_of(options, reading, draft, {**_FILE_FORMAT, "ts_format": "iso"}, default_option="message")
    options.pass_over(_KAFKA_NEEDS_NONE)
    statement.taken(f"connect = {connect}; {REPLICAS}")
    return draft


def _kafka_settings(options: Options, reading: Reading) -> dict[str, str]:
    """Settings of librdkafka in `config()`."""
    given = options.take_own("config")
    if given is None:
        return {}
    given.taken("are keys, and options")
    inner = Options(given.call, reading.report)
    settings = {}
    for each in given.call.calls:
        setting = inner.take_own(canonical(each.name))
        if setting is not None:
            settings[each.name] = setting.text
            setting.taken("is a key, or in options")
    return settings


_Reader = Callable[[Options, Reading, Statement], DestinationDraft | None]
_DRIVERS: Mapping[str, _Reader] = {
    **dict.fromkeys(
        ("network", "syslog", "tcp", "udp", "tcp6", "udp6", "syslog_ng", "ewmm"), _network
    ),
    **dict.fromkeys(("unix_dgram", "unix_stream"), _unix),
    "file": _file,
    "pipe": _pipe,
    "program": _program,
    "usertty": _terminals,
    **dict.fromkeys(("kafka", "kafka_c"), _kafka),
}
_NO_API = "the relay has no destination for it: write program:// with a client of it"
_NO_GRPC = "the relay has no gRPC"
_UNSUPPORTED: Mapping[str, str] = {
    "kafka_java": "write kafka_c(), which is read",
    **dict.fromkeys(("mongodb", "sql", "redis", "amqp", "mqtt", "stomp", "riemann"), _NO_API),
    **dict.fromkeys(("python", "java", "s3", "graphite", "hdfs", "snmp", "osquery"), _NO_API),
    "smtp": "write [alerts] with a webhook or a program, or program:// with a mailer",
    "opentelemetry": f"{_NO_GRPC}; it sends JSON by https://",
    "syslog_ng_otlp": f"{_NO_GRPC}; use relp:// between relays",
    "axosyslog_otlp": f"{_NO_GRPC}; use relp:// between relays",
    "loki": f'{_NO_GRPC}; write https:// with body = "loki" and the port of its HTTP API',
    "bigquery": _NO_GRPC,
    "getvirtconsole": "the relay writes to files, pipes and terminals of users (usertty)",
    "logstore": "it is syslog-ng PE's; write file:// with compress and rotate_seconds",
    **dict.fromkeys(
        ("slack", "telegram", "discord"), "write [alerts] with a webhook, or program://"
    ),
    **dict.fromkeys(
        ("sumologic_http", "sumologic_syslog", "loggly", "logmatic", "papertrail", "datadog"),
        "write tls:// with a template, or https:// with a body that it takes",
    ),
    "graylog2": "the relay writes no GELF: send RFC 5424 to Graylog's syslog input",
    "network_load_balancer": 'write connect as a list, and policy = "balance"',
    "pseudofile": "the relay writes to files, pipes and sockets",
}
