"""Settings of the whole of rsyslog's configuration: global(), module(), templates, tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network

from relay.cli.moving.imported import Imported
from relay.cli.moving.rsyslog.filters import NotSupported
from relay.cli.moving.rsyslog.forms.template_text import (
    BUILT_IN,
    Piece,
    pieces_of_list,
    pieces_of_text,
)
from relay.cli.moving.rsyslog.forms.templates import Form, form_of, path_of, subtree_form
from relay.cli.moving.rsyslog.language.syntax import Object, Parameters
from relay.cli.moving.rsyslog.language.values import Reader
from relay.cli.toml_writing import TomlValue
from relay.service.configuration.table import size_value

__all__ = ["OWN_WORKING", "Settings", "TlsFiles", "listen_keys", "say_of_queue"]

_SIZE_MIN = 1024 * 1024
_MODULES = {
    "immark": "the relay makes no mark messages; watch it with syslogrelay status or [alerts]",
    "impstats": "see syslogrelay status and the metrics of [web]",
    "omjournal": "the relay does not write into the journal",
    "omstdout": "a program of its own is to write to standard output",
    "mmnormalize": 'rule bases of liblognorm; write steps with parse = "regex"',
    "mmexternal": "a program that changes messages",
    "imhttp": "write a source http://",
    "imtuxedoulog": "a format of its own",
    "imdocker": "containers log to the journal, or to a source by Docker's syslog driver",
}
OWN_WORKING = [
    *("keepalive", "keepalive.probes", "keepalive.time", "keepalive.interval", "threads"),
    *("notifyonconnectionclose", "notifyonconnectionopen", "helperthreads", "maxlistners"),
    *("maxlisteners", "batchsize", "timerequery", "schedulingpolicy", "schedulingpriority"),
    *("flowcontrol", "processonpoller", "socketbacklog", "name.appendport", "preservecase"),
    *("workerthreads", "starvationprotection.maxreads", "multithreading", "listenportfilename"),
    *("emitmsgonclose", "emitmsgonopen", "ratelimit.name", "unlink", "discardtruncatedmsg"),
    *("flushmaxage", "tls.compression", "tls.dhbits", "streamdriver.tlsverifydepth"),
]
"""Parameters of inputs and their modules that the relay has no need of."""
_ABOUT_TEXT = "the relay keeps the text as it came, and writes line ends within it as #012"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of certificates; empty = none."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    crl: str = ""


@dataclass(slots=True)
class Settings:
    """Everything that is not a rule and not an input.

    Attributes:
        modules: Parameters of each loaded module, such as ``imtcp`` or ``builtin:omfile``.
        driver: Network stream driver: ``gtls``, ``ossl``, or ``ptcp`` without encryption.
        message_bytes_max: None = not said.
        senders: Networks that may send, by protocol (``udp``, ``tcp``).
    """

    imported: Imported
    modules: dict[str, Parameters] = field(default_factory=dict)
    templates: dict[str, Object] = field(default_factory=dict)
    tables: dict[str, Object] = field(default_factory=dict)
    driver: str = ""
    tls: TlsFiles = field(default_factory=TlsFiles)
    message_bytes_max: int | None = None
    has_slashes: bool = False
    default_ruleset: str = ""
    senders: dict[str, list[str]] = field(default_factory=dict)
    _module_objects: list[Object] = field(default_factory=list)

    def read(self, objects: Iterable[Object]) -> None:
        """Take all objects that are no inputs and no actions."""
        for each in objects:
            match each.kind:
                case "module":
                    self._module(each)
                case "global":
                    self._global(each)
                case "main_queue":
                    self._main_queue(each)
                case "template":
                    self._template(each)
                case "lookup_table":
                    self.tables["".join(each.parameters.values.get("name", []))] = each
                    each.said.taken("for the lookups that name it")
                case "senders":
                    self._allowed(each)
                case "input":
                    pass
                case "dyn_stats" | "perctile_stats":
                    each.said.unsupported(
                        "counters by values of messages; see the metrics of [web]"
                    )
                case "parser":
                    self._parser(each)
                case _:
                    each.said.unsupported(f"the relay has nothing like {each.kind}()")

    def parameters_of(self, module: str) -> Parameters:
        """The parameters of a module; empty if it is not loaded."""
        return self.modules.setdefault(module, Parameters())

    def finish(self) -> None:
        """Say which parameters of modules nobody has asked for."""
        for each in self._module_objects:
            read = Reader(each.parameters, each.said)
            read.ignore(
                [*OWN_WORKING, "pollinginterval", "mode", "tls.tlslib", "sortfiles"],
                "of rsyslog's own working; the relay has no need of it",
            )
            read.finish()

    def _module(self, each: Object) -> None:
        values = each.parameters.values
        name = "".join(values.get("load", values.get("@of", []))).lower()
        name = name.rpartition("/")[2].removesuffix(".so")
        each.parameters.asked |= {"load", "@of"}
        if name in _MODULES and "load" in values:
            each.said.unsupported(_MODULES[name])
            return
        if name in self.modules:  # what is said here counts, and what was said before stays
            for key, value in self.modules[name].values.items():
                values.setdefault(key, value)
            each.parameters.asked |= self.modules[name].values.keys()
        self.modules[name] = each.parameters
        self._module_objects.append(each)
        each.said.taken(f"{name} needs no module here" if "load" in values else f"for {name}")

    def _global(self, each: Object) -> None:
        read = Reader(each.parameters, each.said)
        prefix = "defaultnetstreamdriver"
        self.driver = read.text(prefix, self.driver)
        if any(name.startswith(prefix) for name in each.parameters.values):
            each.said.taken("for the sources and destinations with TLS")
        self.tls = TlsFiles(
            read.text(f"{prefix}cafile", self.tls.ca),
            read.text(f"{prefix}certfile", self.tls.certificate),
            read.text(f"{prefix}keyfile", self.tls.key),
            read.text(f"{prefix}crlfile", self.tls.crl),
        )
        if (size := read.size("maxmessagesize")) is not None:
            self.message_bytes_max = size
            each.said.taken("as frame_bytes_max of the sources")
        if name := read.text("localhostname"):
            self.imported.relay["name"] = name
            self.imported.relay_statements.append(each.said)
            each.said.taken("relay.name")
        if read.has("@ruleset"):
            self.default_ruleset = read.text("@ruleset")
            each.said.taken("inputs without a ruleset of their own feed this one")
        if read.has("parser.permitslashinprogramname"):
            self.has_slashes = read.is_on("parser.permitslashinprogramname")
            each.said.taken("program names keep their slashes here")
        _say_of_global(read)
        read.finish()

    def _main_queue(self, each: Object) -> None:
        read = Reader(each.parameters, each.said)
        size = read.size("queue.maxdiskspace")
        if size:
            self.imported.relay["queue_bytes_max"] = size_value(max(size, _SIZE_MIN))
            self.imported.relay_statements.append(each.said)
            each.said.taken("relay.queue_bytes_max, of all queues together")
        say_of_queue(read)
        read.finish()

    def _template(self, each: Object) -> None:
        name = "".join(each.parameters.values.get("name", []))
        self.templates[name] = each
        each.said.taken("where a destination uses it")

    def _allowed(self, each: Object) -> None:
        read = Reader(each.parameters, each.said)
        protocol, *networks = [part.strip() for part in read.text("networks").split(",")]
        known = [each for each in networks if _is_network(each)]
        self.senders.setdefault(protocol.lower(), []).extend(known)
        each.said.taken(f"as allow of the {protocol.lower()} sources")
        if len(known) < len(networks):
            each.said.unsupported("senders by name; write addresses or networks")

    def _parser(self, each: Object) -> None:
        each.said.unsupported("parsers of rsyslog; see the options of parse in docs/sources.md")

    def form(self, name: str, *, wants_lines: bool = True) -> Form:
        """The form that the template of this name makes.

        Raises:
            NotSupported: There is no such template, or the relay cannot do what it does.
        """
        each = self.templates.get(name)
        if each is not None and "subtree" in each.parameters.values:
            return subtree_form("".join(each.parameters.values["subtree"]).lstrip("$"))
        return form_of(self._pieces(name), wants_lines=wants_lines, has_slashes=self.has_slashes)

    def path(self, name: str) -> tuple[str, Form]:
        """The path that the template of this name makes, with macros.

        Raises:
            NotSupported: There is no such template, or the relay cannot do what it does.
        """
        return path_of(self._pieces(name), has_slashes=self.has_slashes)

    def _pieces(self, name: str) -> list[Piece]:
        try:
            return self._pieces_of(name)
        except ValueError as error:
            raise NotSupported(f"the template {name}: {error}") from None

    def _pieces_of(self, name: str) -> list[Piece]:
        each = self.templates.get(name)
        if each is None:
            built_in = {key.lower(): text for key, text in BUILT_IN.items()}
            if name.strip().lower() not in built_in:
                raise NotSupported(f"there is no template {name!r}")
            return pieces_of_text(built_in[name.strip().lower()])
        read = Reader(each.parameters, each.said)
        if read.has("string"):
            return pieces_of_text(read.text("string"))
        if read.has("plugin"):
            return self._pieces_of(_GENERATORS.get(read.text("plugin").lower(), "?"))
        pieces, unknown = pieces_of_list(each.body)
        if unknown:
            each.said.approximated(f"{', '.join(unknown)}: left aside")
        return pieces


_GENERATORS = {
    "rsyslog_traditionalfileformat": "RSYSLOG_TraditionalFileFormat",
    "rsyslog_fileformat": "RSYSLOG_FileFormat",
    "rsyslog_traditionalforwardformat": "RSYSLOG_TraditionalForwardFormat",
    "rsyslog_forwardformat": "RSYSLOG_ForwardFormat",
    "rsyslog_syslogprotocol23format": "RSYSLOG_SyslogProtocol23Format",
}


def _is_network(text: str) -> bool:
    try:
        ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return False
    return True


def _say_of_global(read: Reader) -> None:
    read.ignore(
        ["workdirectory"],
        "the relay keeps its queues in relay.state_dir; what rsyslog has queued stays there: let "
        "it empty its queues before you stop it",
    )
    read.ignore(["umask"], "replaced by the mode of each file")
    read.ignore(
        [
            *(
                "net.enabledns",
                "net.ipprotocol",
                "net.permitaclwarning",
                "net.acladdhostnameonfail",
            ),
            *("net.acldisabledomain", "debug.onshutdown", "debug.logfile", "debug.gnutls"),
            *("processinternalmessages", "stdlog.channelspec", "internalmsg.ratelimit.interval"),
            *("internalmsg.ratelimit.burst", "internalmsg.severity", "environment"),
            *("errormessagestostderr.maxnumber", "janitor.interval", "action.reportsuspension"),
            *(
                "action.reportsuspensioncontinuation",
                "oversizemsg.report",
                "variables.casesensitive",
            ),
            *("shutdown.queue.doublesize", "default.action.queue.timeoutshutdown", "umask"),
            *("operatingstatefile", "abortonuncleanconfig", "privdrop.user.name"),
            *("privdrop.group.name", "privdrop.user.id", "privdrop.group.id"),
            *("privdrop.user.keepsupplementalgroups", "dropmsgswithmaliciousdnsptrrecords"),
        ],
        "of rsyslog's own working; the relay has no need of it",
    )
    read.approximate(
        [
            *("parser.escapecontrolcharactersonreceive", "parser.controlcharacterescapeprefix"),
            *("parser.spacelfonreceive", "parser.escape8bitcharactersonreceive"),
            *("parser.escapecontrolcharactertab", "parser.escapecontrolcharacterscstyle"),
            *("parser.droptrailinglfonreception", "parser.supportcompressionextension"),
        ],
        _ABOUT_TEXT,
    )
    read.approximate(["preservefqdn"], "host names are written as they came")
    read.approximate(
        ["oversizemsg.input.mode", "oversizemsg.errorfile"],
        "what a source does with long messages is its key oversize",
    )
    read.refuse(
        ["senders.keeptrack", "senders.timeoutafter", "senders.reportgoneaway"],
        "use [alerts] with silent_after",
    )


def say_of_queue(read: Reader) -> None:
    """The remarks on the parameters of any queue, without `queue.maxdiskspace`."""
    read.ignore(
        [
            *("queue.filename", "queue.type", "queue.spooldirectory", "queue.saveonshutdown"),
            *("queue.syncqueuefiles", "queue.checkpointinterval", "queue.maxfilesize"),
            *("queue.timeoutshutdown", "queue.timeoutactioncompletion"),
            *("queue.timeoutworkerthreadshutdown", "queue.workerthreads", "queue.size"),
            *("queue.workerthreadminimummessages", "queue.highwatermark", "queue.lowwatermark"),
            *("queue.lightdelaymark", "queue.fulldelaymark", "queue.mindequeuebatchsize"),
            *("queue.mindequeuebatchsize.timeout", "queue.dequeuebatchsize", "queue.oncorruption"),
            *("queue.takeflowctlfrommsg", "queue.diskqueuetype"),
        ],
        "each queue is on disk here, synced, and limited in bytes",
    )
    read.approximate(
        ["queue.dequeueslowdown", "queue.samplinginterval"],
        "use drain_rate, or a step with sample",
    )
    read.refuse(["queue.dequeuetimebegin", "queue.dequeuetimeend"], "sending at certain hours only")
    read.refuse(["queue.cry.provider", "queue.cry.key"], "the queue is not encrypted")


def listen_keys(settings: Settings) -> dict[str, TomlValue]:
    """Keys that all sources get."""
    size = settings.message_bytes_max
    return {} if size is None else {"frame_bytes_max": size_value(min(max(size, 480), 16 << 20))}
