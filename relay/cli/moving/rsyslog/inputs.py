"""Inputs of rsyslog as sources of the relay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from relay.cli.moving.imported import Imported, Source
from relay.cli.moving.report import Place, Statement
from relay.cli.moving.rsyslog.actions.kafka import kafka_source
from relay.cli.moving.rsyslog.filters import NotSupported
from relay.cli.moving.rsyslog.language.syntax import Object, Parameters
from relay.cli.moving.rsyslog.language.values import Reader
from relay.cli.moving.rsyslog.patterns import from_extended
from relay.cli.moving.rsyslog.selectors import FACILITIES, SEVERITIES
from relay.cli.moving.rsyslog.settings import OWN_WORKING, Settings, listen_keys
from relay.cli.toml_writing import TomlValue
from relay.service.configuration.table import size_value

__all__ = ["Inputs", "listen_url"]

_NOWHERE = Place("", 0)
_Keys = dict[str, TomlValue]
_PORTS = {"imudp": "514", "imtcp": "514", "imptcp": "514", "imrelp": "20514"}
_OF_LOCAL_SOCKETS = ["_TRANSPORT=syslog", "_TRANSPORT=journal", "_TRANSPORT=stdout"]
_NO_NEED = "of rsyslog's own working; the relay has no need of it"


def listen_url(scheme: str, address: str, port: str) -> str:
    """The URL of a listener; no address, or one for all, means all addresses."""
    host = "" if address in ("", "*", "0.0.0.0", "::") else address
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


@dataclass(slots=True)
class Inputs:
    """Makes sources.

    Attributes:
        by_ruleset: The ids of the sources that feed each ruleset; the empty name is the default.
        by_name: The ids of the sources by what rsyslog calls `inputname`.
    """

    imported: Imported
    settings: Settings
    by_ruleset: dict[str, list[str]] = field(default_factory=dict)
    by_name: dict[str, list[str]] = field(default_factory=dict)

    def read(self, objects: Iterable[Object]) -> None:
        """Make a source of each input, and of modules that need none."""
        found = list(objects)
        self._local([each for each in found if each.kind == "module"])
        for each in found:
            if each.kind == "input":
                self._input(each)

    def _input(self, each: Object) -> None:
        read = Reader(each.parameters, each.said)
        kind = read.text("type").lower()
        makers: Mapping[str, Callable[[Reader], Sequence[Source]]] = {
            "imudp": self._udp,
            "imtcp": self._tcp,
            "imptcp": self._tcp,
            "imrelp": self._relp,
            "imuxsock": self._socket,
            "imfile": self._file,
            "imkafka": self._kafka,
        }
        if kind not in makers:
            each.said.unsupported(f"the relay has no source like {kind or 'an input without type'}")
            return
        ruleset = read.text("ruleset", self._of_module(kind, "ruleset"))
        name = read.text("name", kind)
        read.ignore(OWN_WORKING, _NO_NEED)
        try:
            made = makers[kind](read)
        except NotSupported as error:
            each.said.unsupported(str(error))
            return
        for source in made:
            each.said.taken(f"sources.{source.id}")
            self._bind(source, ruleset, name)
        read.finish()

    def _bind(self, source: Source, ruleset: str, name: str) -> None:
        for index, key in ((self.by_ruleset, ruleset), (self.by_name, name)):
            if source.id not in index.setdefault(key, []):
                index[key].append(source.id)

    def _of_module(self, module: str, name: str) -> str:
        parameters = self.settings.parameters_of(module)
        parameters.asked.add(name)
        return "".join(parameters.values.get(name, [])[:1])

    def _udp(self, read: Reader) -> list[Source]:
        keys = {**listen_keys(self.settings), **self._allowed("udp")}
        if size := read.size("rcvbufsize"):
            keys["receive_buffer_bytes"] = size_value(min(max(size, 4096), 1 << 30))
        keys |= _rate(read)
        read.refuse(["device", "ipfreebind"], "a source listens at an address")
        sources = []
        for port in read.texts("port") or [_PORTS["imudp"]]:
            for address in read.texts("address") or [""]:
                listen = listen_url("udp", address, port)
                sources.append(
                    self.imported.add_source(f"udp-{port}", {"listen": listen, **keys}, read.said)
                )
        return sources

    def _kafka(self, read: Reader) -> list[Source]:
        return [self.imported.add_source("kafka", kafka_source(self.imported, read), read.said)]

    def _tcp(self, read: Reader) -> list[Source]:
        module = read.text("type").lower()
        keys = {**listen_keys(self.settings), **self._allowed("tcp"), **_rate(read)}
        sessions = read.text("maxsessions", self._of_module(module, "maxsessions"))
        if sessions.isdecimal() and int(sessions):
            keys["connections_max"] = min(int(sessions), 1_000_000)
        if size := read.size("maxframesize"):
            keys["frame_bytes_max"] = size_value(min(max(size, 480), 16 << 20))
        read.approximate(
            [
                *("supportoctetcountedframing", "addtlframedelimiter", "disablelfdelimiter"),
                *("framing.delimiter.regex", "framingfix.cisco.asa", "multiline"),
                *("compression.mode", "socketbacklog"),
            ],
            "a source finds out itself where messages end: by their length or by line ends",
        )
        if path := read.text("path"):
            return [self.imported.add_source("stream", {"listen": f"unix://{path}"}, read.said)]
        mode = read.text("streamdriver.mode", self._of_module(module, "streamdriver.mode"))
        scheme = "tcp"
        if mode.strip() not in ("", "0"):
            scheme, tls = "tls", self._stream_tls(read, module)
            keys |= tls
        else:
            for name in ("streamdriver.authmode", "streamdriver.name", "permittedpeer"):
                read.text(name)
                self._of_module(module, name)
        port = read.text("port", _PORTS[module])
        listen = listen_url(scheme, read.text("address"), port)
        return [self.imported.add_source(f"{scheme}-{port}", {"listen": listen, **keys}, read.said)]

    def _stream_tls(self, read: Reader, module: str) -> _Keys:
        """Keys for TLS of a stream driver."""

        def value(name: str, default: str = "") -> str:
            return read.text(name, self._of_module(module, name)) or default

        files = self.settings.tls
        value("streamdriver.name")
        keys = _tls_keys(
            value("streamdriver.cafile", files.ca),
            value("streamdriver.certfile", files.certificate),
            value("streamdriver.keyfile", files.key),
            value("streamdriver.crlfile", files.crl),
        )
        peers = read.texts("permittedpeer") or list(
            self.settings.parameters_of(module).values.get("permittedpeer", [])
        )
        self._of_module(module, "permittedpeer")
        mode = value("streamdriver.authmode", "anon").lower()
        if value("gnutlsprioritystring"):
            read.said.approximated("gnutlsPriorityString: the relay's own list of ciphers is used")
        return {**keys, **authentication(mode, peers, read.said, has_ca="trusted_ca" in keys)}

    def _relp(self, read: Reader) -> list[Source]:
        keys = {**listen_keys(self.settings), **_rate(read)}
        if size := read.size("maxdatasize"):
            keys["frame_bytes_max"] = size_value(min(max(size, 480), 16 << 20))
        read.ignore(["oversizemode", "tls.tlslib"], _NO_NEED)
        scheme = "relp"
        files = [read.text(f"tls.{name}") for name in ("cacert", "mycert", "myprivkey")]
        mode, peers = read.text("tls.authmode", "none"), read.texts("tls.permittedpeer")
        read.approximate(
            ["tls.prioritystring", "tls.tlscfgcmd"], "the relay's own list of ciphers is used"
        )
        if read.is_on("tls"):
            scheme = "relp+tls"
            keys |= _tls_keys(*files)
            if not files[1]:
                read.said.unsupported(
                    "anonymous TLS; the relay needs a certificate and its private key: add them"
                )
            keys |= authentication(mode.lower(), peers, read.said, has_ca=bool(files[0]))
        port = read.text("port", _PORTS["imrelp"])
        listen = listen_url(scheme, read.text("address"), port)
        id = f"{scheme.replace('+', '-')}-{port}"
        return [self.imported.add_source(id, {"listen": listen, **keys}, read.said)]

    def _socket(self, read: Reader) -> list[Source]:
        read.ignore(
            [
                *("createpath", "usepidfromsystem", "ratelimit.interval", "ratelimit.burst"),
                *("ratelimit.severity", "usesystimestamp", "annotate", "parsetrusted"),
                *("ignoretimestamp", "ignoreownmessages", "usespecialparser", "parsehostname"),
            ],
            "the sender's pid and user come from the kernel, and no program is limited",
        )
        read.approximate(["hostname"], "messages of local programs have the relay's name as host")
        path = read.text("socket")
        if not path:
            read.said.unsupported("found no socket=; name its path")
            return []
        listen = f"unixgram://{path}"
        return [self.imported.add_source("socket", {"listen": listen}, read.said)]

    def _file(self, read: Reader) -> list[Source]:
        path, tag = read.text("file"), read.text("tag").strip()
        if not path.startswith("/"):
            read.said.unsupported(f"file: expected an absolute path, found {path[:50]!r}")
            return []
        keys: _Keys = {"listen": f"file://{path}"}
        tag = re.sub(r"[^!-~]", "-", tag.rstrip(": "))[:48]
        if tag:
            keys["tag"] = tag
        keys |= _named(read, "facility", FACILITIES, "local0")
        keys |= _named(read, "severity", SEVERITIES, "notice")
        pattern = read.text("startmsg.regex")
        if read.text("readmode").strip() in ("1", "2"):
            pattern = pattern or r"^\S"
            read.said.approximated("readMode: an indented line continues the message before it")
        if pattern:
            try:
                keys["multi_line"] = from_extended(pattern)
            except ValueError as error:
                read.said.unsupported(f"startmsg.regex: {error}")
        read.refuse(["endmsg.regex"], "a line ends a message; write multi_line, which begins one")
        if read.is_on("freshstarttail"):
            keys["read_from"] = "end"
        read.approximate(["readtimeout"], "multi_line_seconds_max is 5 seconds")
        read.ignore(
            [
                *("statefile", "persiststateinterval", "maxlinesatonce", "maxlinesperminute"),
                *("maxbytesperminute", "trimlineoverbytes", "reopenontruncate", "maxsubmitatonce"),
                *("deletestateonfiledelete", "persiststateaftersubmission", "addmetadata"),
                *("escapelf", "escapelf.replacement", "addceetag", "sortfiles", "mode"),
                *("deletestateonfilemove", "discardtruncatedmsg", "msgdiscardingerror"),
                *("needparse", "ignoreolderthan", "neverignorewhenreopened", "startmsg.timeout"),
            ],
            "the position is kept with the messages, and the path is in their structured data",
        )
        return [self.imported.add_source(f"file-{tag or 'lines'}", keys, read.said)]

    def _allowed(self, protocol: str) -> _Keys:
        networks = self.settings.senders.get(protocol, [])
        return {"allow": [each.strip("[]") for each in networks]} if networks else {}

    def _local(self, modules: Sequence[Object]) -> None:
        """The journal in the place of the local socket and the kernel's log."""
        wanted: dict[str, Object] = {}
        for each in modules:
            name = "".join(each.parameters.values.get("load", [])).lower()
            if name in ("imuxsock", "imklog", "imkmsg", "imjournal"):
                wanted[name] = each
        if "imuxsock" in wanted and not _reads_socket(self.settings.parameters_of("imuxsock")):
            wanted.pop("imuxsock").said.taken("the system's socket is not read")
        if not wanted:
            return
        kernel = bool({"imklog", "imkmsg"} & wanted.keys())
        keys: _Keys = {"listen": "system://", "read_from": "end"}
        if "imjournal" in wanted:
            keys = {"listen": "journald://"}
        elif not kernel:
            matches = list[TomlValue](_OF_LOCAL_SOCKETS)
            keys = {"listen": "journald://", "matches": matches}
        elif "imuxsock" not in wanted:
            keys = {"listen": "kmsg://"}
        for name, each in wanted.items():
            source = self.imported.add_source("system", keys, each.said)
            _say_of_local(name, Reader(self.settings.parameters_of(name), each.said), source)
            self._bind(source, "", name)


def _reads_socket(parameters: Parameters) -> bool:
    read = Reader(parameters, Statement(place=_NOWHERE, text=""))
    path = read.text("syssock.name")
    if read.is_on("@omit") or not read.is_on("syssock.use", default=True):
        return False
    return path in ("", "/dev/log", "/run/systemd/journal/syslog")


def _say_of_local(name: str, read: Reader, source: Source) -> None:
    read.ignore(
        [
            *("syssock.use", "syssock.name", "syssock.ratelimit.interval", "syssock.unlink"),
            *("syssock.ratelimit.burst", "syssock.ratelimit.severity", "syssock.annotate"),
            *("syssock.ignoretimestamp", "syssock.ignoreownmessages", "syssock.parsetrusted"),
            *("syssock.usesystimestamp", "syssock.usepidfromsystem", "syssock.flowcontrol"),
            *("syssock.usespecialparser", "syssock.parsehostname", "permitnonkernelfacility"),
            *("consoleloglevel", "parsekerneltimestamp", "keepkerneltimestamp", "logpath"),
            *("internalmsgfacility", "ratelimitinterval", "ratelimitburst", "mode"),
            *("statefile", "persiststateinterval", "ratelimit.interval", "ratelimit.burst"),
            *("ignorenonvalidstatefile", "usepidfromsystem", "usepid", "filecreatemode", "@omit"),
            *("workaroundjournalbug", "fsync", "remote", "defaultseverity", "defaultfacility"),
        ],
        "the journal limits and keeps what programs write",
    )
    if name == "imjournal":
        previous = read.is_on("ignorepreviousmessages")
        source.keys["read_from"] = "end" if previous else "beginning"
    elif source.keys["listen"] == "journald://" and name == "imuxsock":
        read.said.approximated("/dev/log is read by way of the journal, as it is with systemd")
    read.said.taken(f"sources.{source.id}")


def _rate(read: Reader) -> _Keys:
    """A limit of messages for each sender, of one for all of them."""
    seconds, burst = read.number("ratelimit.interval"), read.number("ratelimit.burst")
    if not seconds or seconds < 0:
        return {}
    rate = max(1, (burst or 10_000) // seconds)
    read.said.approximated(
        f"ratelimit: rate_per_peer_max = {rate} is for each sender, and only datagrams are dropped"
    )
    return {"rate_per_peer_max": min(rate, 10_000_000)}


def _named(read: Reader, name: str, known: Mapping[str, int], default: str) -> _Keys:
    text = read.text(name, default).strip().lower()
    if text.isdecimal() and int(text) < len(known):
        return {name: int(text)}
    if text not in known:
        read.said.unsupported(f"{name}: there is none called {text[:30]!r}")
        return {}
    return {name: known[text] if text in ("audit", "alert", "authpriv", "security") else text}


def _tls_keys(ca: str, certificate: str, key: str, crl: str = "") -> _Keys:
    found = {"trusted_ca": ca, "certificate": certificate, "private_key": key, "crl": crl}
    return {name: path for name, path in found.items() if path}


def authentication(mode: str, peers: Sequence[str], said: Statement, *, has_ca: bool) -> _Keys:
    """Keys that say which senders may connect to a source with TLS."""
    match mode.removeprefix("x509/"):
        case "name" if peers:
            return {"peer_names": list(peers)}
        case "fingerprint" if peers:
            return {"peer_fingerprints": list(peers)}
        case "name" | "certvalid" | "fingerprint" if has_ca:
            return {}
        case "anon" | "none" | "":
            return {"peer_verify": "none"}
    said.unsupported(f"the authentication {mode!r} without an authority; add trusted_ca")
    return {}
