"""Sources of syslog-ng, as sources of the relay."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relay.cli.moving.report import Report, Statement
from relay.cli.moving.syslog_ng.options import Option, Options
from relay.cli.moving.syslog_ng.security import tls_keys
from relay.cli.toml_writing import Octal, TomlValue
from relay.model.expression import Expression
from relay.service.configuration.url import is_host

__all__ = ["SourceDraft", "read_source"]

Keys = dict[str, TomlValue]


@dataclass(slots=True)
class SourceDraft:
    """A source of the relay.

    Attributes:
        keys: Those of its table.
        parse: Those of its `parse`, which parsers of log paths may add to.
    """

    keys: Keys
    parse: Keys


_PARSE_FLAGS: Mapping[str, Mapping[str, TomlValue]] = {
    "no_parse": {"no_parse": True},
    "no_header": {"no_header": True},
    "no_hostname": {"no_hostname": True},
    "check_hostname": {"check_hostname": True},
    "check_program": {"check_program": True},
    "store_raw_message": {"store_raw": True},
    "dont_store_legacy_msghdr": {"dont_store_legacy_msghdr": True},
    "kernel": {"kernel": True},
    "guess_timezone": {"guess_timezone": True},
    "empty_lines": {"empty_lines": True},
    "validate_utf8": {"validate_utf8": True},
    "sanitize_utf8": {"sanitize_utf8": True},
    "assume_utf8": {"assume_utf8": True},
    "no_multi_line": {"no_multi_line": True},
    "no_rfc3164_fallback": {"no_rfc3164_fallback": True},
}
_FLAGS_OF_NO_EFFECT = {
    *("syslog_protocol", "expect_hostname", "store_legacy_msghdr", "threaded"),
    *("no_piggyback_errors", "allow_utf8"),
}
_NEEDS_NONE = {
    **dict.fromkeys(
        ("log_iw_size", "log_fetch_limit", "listen_backlog", "dynamic_window_size"),
        "connections and reads have limits of the relay's own",
    ),
    **dict.fromkeys(
        ("so_keepalive", "tcp_keepalive_time", "tcp_keepalive_intvl"),
        "the relay sees a peer that is gone by idle_seconds_max",
    ),
    **dict.fromkeys(("tcp_keepalive_probes", "keep_alive"), "connections outlive a reload"),
    "use_fqdn": "the relay looks up no names of senders",
    "dns_cache": "the relay looks up no names of senders",
    "normalize_hostnames": "HOST of a sender is its address",
    "trim_large_messages": "longer messages are cut, their neighbours unaffected",
    "persist_name": "positions hang on the id of the source",
    "pad_size": "nothing is padded",
    "so_broadcast": "datagrams to any address of the host are taken",
    "optional": "a source that cannot start does not stop the others",
    "so_reuseport": "one socket is read with many datagrams a call",
}


def read_source(options: Options, report: Report, statement: Statement) -> SourceDraft | None:
    """The source for a driver; None if there is none like it, as the statement says then."""
    name = options.call.name.replace("-", "_")
    reader = _DRIVERS.get(name)
    if reader is None:
        options.finish("its driver is not supported")
        statement.unsupported(_UNSUPPORTED.get(name, f"the relay has no source like {name}()"))
        return None
    draft = reader(options, report, statement)
    options.finish()
    return draft


def _network(options: Options, report: Report, statement: Statement) -> SourceDraft | None:
    name = options.call.name.replace("-", "_")
    transport, port = _transport(options, name)
    if transport not in ("udp", "tcp", "tls"):
        statement.unsupported(f"the relay listens by udp, tcp and tls, not by {transport}")
        return None
    draft = SourceDraft({}, {})
    tls = options.take_own("tls")
    if tls is not None:
        if transport == "udp":
            tls.unsupported("datagrams are encrypted by DTLS: write dtls:// if the senders can")
        else:
            transport = "tls"
            draft.keys |= tls_keys(tls, report, is_source=True)
    host = _host(options, statement)
    draft.keys = {"listen": f"{transport}://{host}:{port}", **draft.keys}
    _parsing(options, draft, statement, is_network=True)
    _limits(options, draft, transport)
    _lines(options, draft)
    _proxy(options, draft)
    options.pass_over(_NEEDS_NONE)
    statement.taken(f"listen = {draft.keys['listen']}")
    return draft


def _transport(options: Options, name: str) -> tuple[str, int]:
    given = options.take_own("transport")
    text = given.text.lower() if given is not None else ""
    transport = {"udp6": "udp", "tcp6": "tcp", "rfc3164+udp": "udp"}.get(text, text)
    if not transport:
        transport = "udp" if name.startswith("udp") else "tcp"
    if transport in ("auto", "text-with-nuls"):
        transport = "tcp"
    if transport.startswith("proxied-"):
        transport = {"proxied-tcp": "tcp"}.get(transport, "tls")
    if given is not None:
        given.taken(f"is {transport}:// of the URL")
    defaults = {"udp": 514, "tcp": 601, "tls": 6514} if name == "syslog" else {}
    wanted = options.take_own("port", "localport", "destport")
    number = wanted.whole if wanted is not None else None
    if wanted is not None:
        if number is None or not 0 < number < 65536:
            wanted.unsupported("no port from 1 to 65535; the default is used")
            number = None
        else:
            wanted.taken("is the port of the URL")
    return transport, number or defaults.get(transport, 514)


def _host(options: Options, statement: Statement) -> str:
    given = options.take_own("ip", "localip")
    protocol = options.take_own("ip_protocol")
    if protocol is not None:
        protocol.taken("without an address the relay listens by IPv4 and IPv6")
    text = given.text if given is not None else next(iter(options.call.texts), "")
    if text in ("", "0.0.0.0", "::", "*"):
        host = ""
    elif is_host(text.strip("[]")):
        host = f"[{text}]" if ":" in text else text
    else:
        host = ""
        statement.approximated(f"{text!r} is no address: it listens on all of them")
    if given is not None:
        given.taken("is the address of the URL" if host else "no address means all of them")
    return host


def _parsing(
    options: Options, draft: SourceDraft, statement: Statement, *, is_network: bool = False
) -> None:
    """Options that say how a message is read."""
    parse = draft.parse
    flags = options.flags()
    for flag in sorted(flags):
        if flag in _PARSE_FLAGS:
            parse.update(_PARSE_FLAGS[flag])
        elif flag not in _FLAGS_OF_NO_EFFECT:
            statement.unsupported(f"flags({flag}): the relay has no counterpart")
    for name, key in (
        *(("program_override", "program_override"), ("host_override", "host_override")),
        *(("encoding", "encoding"), ("time_zone", "time_zone"), ("default_facility",) * 2),
        *(("default_severity",) * 2, ("default_level", "default_severity")),
        ("default_priority", "default_severity"),
    ):
        given = options.take_own(name)
        if given is not None and given.text:
            parse[key] = given.text
            given.taken(f"is parse.{key}")
    tags = options.take_own("tags")
    if tags is not None:
        parse["tags"] = tags.texts
        tags.taken("is parse.tags")
    zone = options.take("recv_time_zone")
    if zone is not None and "time_zone" not in parse:
        parse["time_zone"] = zone.text
        zone.taken("is parse.time_zone of sources")
    for name, key in (("keep_timestamp", "keep_timestamp"), ("check_hostname", "check_hostname")):
        given = options.take(name)
        if given is not None and given.flag is not None:
            if given.flag != (name == "keep_timestamp"):
                parse[key] = given.flag
            given.taken(f"is parse.{key}")
    if is_network:
        _host_names(options, parse, statement)


def _host_names(options: Options, parse: Keys, statement: Statement) -> None:
    keep, chain = options.take("keep_hostname"), options.take("chain_hostnames")
    chain = chain if chain is not None else options.take("long_hostnames")
    dns = options.take("use_dns")
    if keep is not None:
        keep.taken("is parse.keep_hostname")
    if chain is not None:
        chain.taken("is parse.chain_hostnames")
    if dns is not None:
        dns.taken("the relay looks up no names of senders")
    if chain is not None and chain.flag:
        parse["chain_hostnames"] = True
    if "host_override" in parse or (keep is not None and keep.flag):
        return
    parse["keep_hostname"] = False
    if (dns is None or dns.flag is not False) and not parse.get("no_parse"):
        statement.approximated(
            "HOST is the sender's address, as keep-hostname(no) has it, and not its name: the "
            "relay asks no name server"
        )


def _limits(options: Options, draft: SourceDraft, transport: str) -> None:
    size = options.take("log_msg_size")
    if size is not None and size.whole:
        draft.keys["frame_bytes_max"] = max(480, min(size.whole, 16 << 20))
        size.taken("is frame_bytes_max of network sources")
    connections = options.take_own("max_connections")
    if connections is not None:
        if transport == "udp":
            connections.taken("datagrams have no connections")
        elif connections.whole:
            draft.keys["connections_max"] = min(connections.whole, 1_000_000)
            connections.taken("is connections_max")
        else:
            connections.unsupported("no number of connections; the default of 1,000 is used")
    buffer = options.take_own("so_rcvbuf")
    if buffer is not None and transport == "udp" and buffer.whole:
        draft.keys["receive_buffer_bytes"] = max(4096, min(buffer.whole, 1 << 30))
        buffer.taken("is receive_buffer_bytes")
    elif buffer is not None:
        buffer.taken("streams are read as fast as they are stored")
    idle = options.take_own("idle_timeout")
    if idle is not None and idle.whole and transport != "udp":
        draft.keys["idle_seconds_max"] = min(idle.whole, 31_536_000)
        idle.taken("is idle_seconds_max")


def _proxy(options: Options, draft: SourceDraft) -> None:
    """PROXY headers are believed of listed proxies only."""
    transport = next((each for each in options.call.calls if each.name == "transport"), None)
    if transport is not None and transport.first.startswith("proxied-"):
        draft.keys["proxy_protocol"] = True
        draft.keys["allow"] = ["127.0.0.1", "::1"]
        options.report.statement(transport.place, "transport(proxied-…)").approximated(
            "PROXY headers are taken from the addresses in allow only: add those of the proxies"
        )


def _lines(options: Options, draft: SourceDraft) -> None:
    """Messages of several lines."""
    mode, prefix = options.take_own("multi_line_mode"), options.take_own("multi_line_prefix")
    timeout = options.take_own("multi_line_timeout")
    if timeout is not None and timeout.whole:
        draft.keys["multi_line_seconds_max"] = min(timeout.whole, 3600)
        timeout.taken("is multi_line_seconds_max")
    if mode is None:
        return
    word = mode.text.lower()
    if word == "indented":
        draft.keys["multi_line"] = r"^\S"
        mode.taken("is multi_line")
    elif word in ("regexp", "prefix-garbage", "prefix-suffix") and prefix is not None:
        if _is_expression(prefix):
            draft.keys["multi_line"] = prefix.text
            prefix.taken("is multi_line")
            if word == "regexp":
                mode.taken("is multi_line")
            else:
                mode.approximated("a message ends where the next one begins")
    elif word in ("none", "empty-line-separated"):
        (mode.taken if word == "none" else mode.unsupported)("each line is a message")
    else:
        mode.unsupported("the relay needs an expression for the first line: see multi_line")


def _is_expression(option: Option) -> bool:
    try:
        Expression(option.text)
    except ValueError as error:
        option.unsupported(str(error))
        return False
    return True


def _default_network(options: Options, report: Report, statement: Statement) -> SourceDraft:
    draft = SourceDraft({"listen": "default-network://"}, {"adapters": True})
    for name, key in (
        *(("udp_port",) * 2, ("tcp_port",) * 2, ("rfc5424_tcp_port",) * 2),
        ("rfc5424_tls_port",) * 2,
    ):
        given = options.take_own(name)
        if given is not None and given.whole is not None and given.whole < 65536:
            draft.keys[key] = given.whole
            given.taken(f"is {key}")
    tls = options.take_own("tls")
    keys = tls_keys(tls, report, is_source=True) if tls is not None else {}
    if "certificate" in keys:
        draft.keys |= keys
    else:
        draft.keys["rfc5424_tls_port"] = 0
        statement.taken("without a certificate nobody can use port 6514: it is not opened")
    _limits(options, draft, "tcp")
    flags = options.flags()
    if flags:
        statement.unsupported(f"flags({', '.join(sorted(flags))}) of all four listeners")
    options.pass_over({**_NEEDS_NONE, "auto_parse": "adapters of the relay are on"})
    statement.taken("listen = default-network://, with the same ports and adapters")
    return draft


def _system(options: Options, report: Report, statement: Statement) -> SourceDraft:
    statement.taken("listen = system://: the journal, or else /dev/log and the kernel's log")
    return SourceDraft({"listen": "system://"}, {})


def _journal(options: Options, report: Report, statement: Statement) -> SourceDraft:
    draft = SourceDraft({"listen": "journald://"}, {})
    old = options.take_own("read_old_records")
    if old is not None:
        draft.keys["read_from"] = "beginning" if old.flag is not False else "end"
        old.taken("is read_from")
    else:
        draft.keys["read_from"] = "beginning"
    prefix = options.take_own("prefix")
    if prefix is not None:
        prefix.approximated("fields are structured data: ${.SDATA.journald@32473._SYSTEMD_UNIT}")
    namespace = options.take_own("namespace")
    if namespace is not None and namespace.text not in ("*", ""):
        namespace.unsupported("the default journal is read; name the folder of another one")
    options.pass_over(
        {
            **_NEEDS_NONE,
            "max_field_size": "fields are bounded by frame_bytes_max",
            "default_facility": "entries without a facility are of daemon",
            "default_level": "entries without a priority are info",
            "default_severity": "entries without a priority are info",
            "time_zone": "stamps of the journal have an offset",
        }
    )
    statement.taken("listen = journald://")
    return draft


def _systemd_syslog(options: Options, report: Report, statement: Statement) -> SourceDraft:
    statement.taken("listen = systemd://syslog.socket; enable deploy/syslogrelay.socket")
    return SourceDraft({"listen": "systemd://syslog.socket"}, {})


def _internal(options: Options, report: Report, statement: Statement) -> SourceDraft:
    statement.taken("listen = internal://: the relay's own log in place of syslog-ng's")
    options.pass_over({"tags": "tags of own messages", "use_syslogng_pid": "its own pid"})
    return SourceDraft({"listen": "internal://"}, {})


def _unix(options: Options, report: Report, statement: Statement) -> SourceDraft | None:
    path = options.call.first
    if not path.startswith("/"):
        statement.unsupported("the path of a socket is absolute")
        return None
    scheme = "unixgram" if "dgram" in options.call.name else "unix"
    draft = SourceDraft({"listen": f"{scheme}://{path}"}, {})
    mode = options.take_own("perm")
    if mode is not None and re.fullmatch(r"0?[0-7]{3}", mode.text):
        draft.keys["socket_mode"] = Octal(int(mode.text, 8))
        mode.taken("is socket_mode")
    for name in ("owner", "group"):
        given = options.take_own(name)
        if given is not None:
            given.approximated("the socket belongs to the relay's user: see socket_mode")
    _parsing(options, draft, statement)
    _limits(options, draft, "udp" if scheme == "unixgram" else "unix")
    draft.keys.pop("idle_seconds_max", None)
    options.pass_over({**_NEEDS_NONE, "pass_unix_credentials": "pid, uid and gid are pairs"})
    statement.taken(f"listen = {draft.keys['listen']}")
    return draft


def _file(options: Options, report: Report, statement: Statement) -> SourceDraft | None:
    path = options.call.first
    if path in ("/proc/kmsg", "/dev/kmsg"):
        options.flags()
        options.pass_over({"program_override": "the program is kernel"} | _NEEDS_NONE)
        statement.taken("listen = kmsg://")
        return SourceDraft({"listen": "kmsg://"}, {})
    if not path.startswith("/") or path.endswith("/"):
        statement.unsupported("the path of a file to read is absolute")
        return None
    return _read_files(path, options, statement)


def _wildcard_file(options: Options, report: Report, statement: Statement) -> SourceDraft | None:
    folder, pattern = options.take_own("base_dir"), options.take_own("filename_pattern")
    recursive = options.take_own("recursive")
    if folder is None or pattern is None or not folder.text.startswith("/"):
        statement.unsupported("base-dir() with an absolute path and filename-pattern() are needed")
        return None
    parts = [folder.text, *(["**"] if recursive is not None and recursive.flag else [])]
    folder.taken("is the folder of the URL")
    pattern.taken("is the pattern of the URL")
    if recursive is not None:
        recursive.taken("** of the URL is any folder below")
    files = options.take_own("max_files")
    draft = _read_files(os.path.join(*parts, pattern.text), options, statement)
    if files is not None and files.whole:
        draft.keys["files_max"] = min(files.whole, 100_000)
        files.taken("is files_max")
    return draft


def _read_files(path: str, options: Options, statement: Statement) -> SourceDraft:
    draft = SourceDraft({"listen": f"file://{path}"}, {})
    _parsing(options, draft, statement)
    if draft.parse.pop("no_parse", False):
        program = draft.parse.pop("program_override", None)
        if program is not None:
            draft.keys["tag"] = program
        else:
            statement.approximated("each message gets the file's name as its program: see tag")
        for key, name in (("facility", "default_facility"), ("severity", "default_severity")):
            if name in draft.parse:
                draft.keys[key] = draft.parse.pop(name)
    else:
        draft.keys["format"] = "syslog"
    _limits(options, draft, "file")
    draft.keys.pop("idle_seconds_max", None)
    _lines(options, draft)
    old = options.take_own("read_old_records")
    if old is not None:
        draft.keys["read_from"] = "end" if old.flag is False else "beginning"
        old.taken("is read_from")
    options.pass_over(
        {
            **_NEEDS_NONE,
            "follow_freq": "files are looked at once a second",
            "monitor_method": "files are looked at once a second",
        }
    )
    statement.taken(f"listen = {draft.keys['listen']}")
    return draft


def _pipe(options: Options, report: Report, statement: Statement) -> SourceDraft | None:
    path = options.call.first
    if not path.startswith("/"):
        statement.unsupported("the path of a named pipe is absolute")
        return None
    draft = SourceDraft({"listen": f"pipe://{path}"}, {})
    mode = options.take_own("perm")
    if mode is not None and re.fullmatch(r"0?[0-7]{3}", mode.text):
        draft.keys["pipe_mode"] = Octal(int(mode.text, 8))
        mode.taken("is pipe_mode")
    _parsing(options, draft, statement)
    _limits(options, draft, "pipe")
    draft.keys.pop("idle_seconds_max", None)
    _lines(options, draft)
    options.pass_over(_NEEDS_NONE)
    statement.taken(f"listen = {draft.keys['listen']}")
    return draft


def command_keys(command: str) -> tuple[str, list[TomlValue]]:
    """The program and the arguments for a command line, by a shell only where it needs one."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if words and words[0].startswith("/") and not re.search(r"[|&;<>()$`*?~\\]", command):
        return words[0], [*words[1:]]
    return "/bin/sh", ["-c", command]


def _program(options: Options, report: Report, statement: Statement) -> SourceDraft | None:
    if not options.call.first.strip():
        statement.unsupported("the program has no name")
        return None
    path, arguments = command_keys(options.call.first)
    draft = SourceDraft({"listen": f"program://{path}"}, {})
    if arguments:
        draft.keys["arguments"] = arguments
    _parsing(options, draft, statement)
    _limits(options, draft, "program")
    draft.keys.pop("idle_seconds_max", None)
    _lines(options, draft)
    options.pass_over(
        {**_NEEDS_NONE, "inherit_environment": "the environment is that of the relay"}
    )
    statement.taken(f"listen = {draft.keys['listen']}; it runs as the relay's user")
    return draft


_Reader = Callable[[Options, Report, Statement], SourceDraft | None]
_DRIVERS: Mapping[str, _Reader] = {
    **dict.fromkeys(("network", "syslog", "tcp", "udp", "tcp6", "udp6"), _network),
    **dict.fromkeys(("unix_dgram", "unix_stream"), _unix),
    "default_network_drivers": _default_network,
    "system": _system,
    "systemd_journal": _journal,
    "systemd_syslog": _systemd_syslog,
    "internal": _internal,
    "file": _file,
    "wildcard_file": _wildcard_file,
    "pipe": _pipe,
    "program": _program,
}
_OTLP = "the relay takes OTLP by HTTP (http://, path /v1/logs) and not by gRPC"
_UNSUPPORTED: Mapping[str, str] = {
    "opentelemetry": _OTLP,
    "syslog_ng_otlp": _OTLP,
    "axosyslog_otlp": _OTLP,
    "kafka": "write a source kafka:// with group",
    "mqtt": "the relay reads no MQTT",
    "snmptrap": "write file:///path for the log of snmptrapd",
    "sun_streams": "there are no STREAMS on Linux",
    "stdin": "use pipe:// or syslogrelay send",
    "linux_audit": "write file:///var/log/audit/audit.log, or read journald://",
    "nodejs": "write tcp:// and JSON, or http://",
    "osquery": "write file:///path for osquery's log",
    "pacct": "the relay reads no process accounting",
    "webhook": "write http://, which takes JSON and lines",
    "windows_eventlog": "the relay reads no XML of Windows: send it as JSON or syslog",
}
