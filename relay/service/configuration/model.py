"""What a relay is told to do: one value per table of the configuration file.

Only `service` knows these types.  Everything below takes keyword arguments with
units in their names; `assembly.py` passes them on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from typing import ClassVar, Protocol, runtime_checkable

from relay.model.debug import LEVELS
from relay.model.hops import HOPS_MAX
from relay.model.origin import Transport
from relay.model.output import KeyTemplate, SizeLimit
from relay.model.parse_options import ParseOptions
from relay.model.policy import POLICIES, WAYS, DrainRate
from relay.model.token import Token
from relay.service.configuration.expectations import MessageTest
from relay.service.configuration.keys import group, key, keys_of
from relay.service.configuration.origin import Origin
from relay.service.configuration.reading import FilePath, Reading, SecretFile
from relay.service.configuration.table import (
    Choice,
    Choices,
    Duration,
    Flag,
    Number,
    Rate,
    Seconds,
    Size,
    Text,
    Texts,
    Whole,
    plain,
    shown,
)
from relay.service.configuration.tables.filter import MATCH, Filter
from relay.service.configuration.tables.format import FORMAT_TABLE, FormatConfiguration
from relay.service.configuration.tables.parse import ParseTable
from relay.service.configuration.tables.rewrite import (
    RewriteConfiguration,
    Rewrites,
    TokenChoice,
    UnreadToken,
)
from relay.service.configuration.url import HostPort, Url, address_of

__all__ = [
    "AlertsConfiguration",
    "AppConfiguration",
    "Configuration",
    "DestinationConfiguration",
    "FormatConfiguration",
    "RewriteConfiguration",
    "SourceConfiguration",
    "TlsConfiguration",
    "TokenChoice",
    "UnreadToken",
    "Url",
    "WatchConfiguration",
    "WebConfiguration",
]

KiB, MiB, GiB, TiB = 2**10, 2**20, 2**30, 2**40
YEAR_SECONDS = 365 * 86400.0

PATH = FilePath()

ID = Text(
    "an id of at most 63 ASCII letters, digits, '.', '_' and '-' that starts with a letter or a "
    "digit",
    r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}",
)

# It becomes a HOSTNAME in messages (RFC 5424 §6).
RELAY_NAME = Text("a name of 1 to 255 printable ASCII characters without spaces", r"[!-~]{1,255}")

DEFAULT_STATE_DIR = "/var/lib/syslogrelay"

_PENDING_BYTES_MAX = 32 * MiB
_WEB_PORT = 8514
_WEB_SCHEME = re.compile(r"https?")
_WEBHOOK = re.compile(r"(https?)://([^/?#\s]+)(/[!-~]*)?")
DAY_SECONDS = 86400.0


Where = Callable[[str], str]
"""Turns the name of a key into what the administrator wrote: a dotted path or a flag."""


@runtime_checkable
class Examinable(Protocol):
    """A source, a destination, or a group of their keys, whose keys may not fit together."""

    def problems(self, where: Where, given: Collection[str]) -> Iterable[str]:
        """What does not fit together, one line each.

        Args:
            given: The keys that the table has.
        """


@dataclass(frozen=True, slots=True)
class TlsConfiguration:
    """Files are absolute paths to PEM; the empty string means none."""

    over_datagrams: ClassVar[bool] = False
    """DTLS, not TLS."""
    always_connects: ClassVar[bool] = False
    """Even a source is the client."""

    trusted_ca: str = key(
        PATH,
        "",
        "PEM; authorities that may sign the peer's certificate; default for upstreams: "
        "those of the system",
    )
    """Certificates that verify the peer; empty = the system's (client side only)."""
    certificate: str = key(PATH, "", "PEM; certificate of this relay, followed by intermediates")
    private_key: str = key(SecretFile(), "", "PEM; the key of `certificate`")
    private_key_passphrase_file: str = key(
        SecretFile(),  # a pasted one is a likely slip
        "",
        "file whose first line decrypts the private key",
    )
    """Empty = the key is not encrypted."""
    crl: str = key(PATH, "", "PEM; revocation lists of all authorities in the peer's chain")
    """Empty = nobody looks."""
    peer_verify: str = key(
        Choice(("required", "optional", "none")),
        "required",
        "whether the peer must present a certificate; `optional` is for sources only",
    )
    peer_names: tuple[str, ...] = key(
        Texts("a list of names"),
        (),
        "the peer's certificate must carry one of these names, such as "
        '`["*.example.com", "10.0.0.5"]`',
        default_text="any",
    )
    """Listeners only."""
    peer_fingerprints: tuple[str, ...] = key(
        Texts("a list of fingerprints"),
        (),
        "certificates that are accepted by digest, whoever signed them",
    )
    server_name: str = key(
        Text("a host name or an address"),
        "",
        "name that the upstream's certificate must carry",
        default_text="host of the URL",
    )
    """Upstreams only."""
    tls_version_min: str = key(Choice(("1.2", "1.3")), "1.2", "lowest version of TLS")
    tls_ciphers: str = key(
        Text("a cipher list of OpenSSL", r"[!-~][ -~]*"),
        "",
        "cipher list of OpenSSL; names that begin with `TLS_` are for TLS 1.3",
        default_text="AEAD with forward secrecy",
    )


@dataclass(frozen=True, slots=True)
class DtlsConfiguration(TlsConfiguration):
    """Of DTLS 1.2."""

    over_datagrams: ClassVar[bool] = True


def reserved_key(default: bool) -> bool:
    return key(
        Flag(),
        default,
        "may use the reserve of the queue; set it for local sockets of `systemd://`",
    )


def frame_bytes_key(default: int) -> int:
    return key(Size(480, 16 * MiB), default, "longest message that is accepted unchanged")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A source or destination."""

    id: str

    def problems(self, where: Where, given: Collection[str]) -> Iterable[str]:
        """See `Examinable`."""
        return ()

    def warnings(self, where: Where) -> Iterable[str]:
        """What works, but hardly as meant."""
        return ()


@dataclass(frozen=True, slots=True)
class SourceConfiguration(Endpoint):
    """What all sources have; each kind has a subclass with its own keys."""

    listen: Url
    tls: TlsConfiguration | None = None
    """None = it is not encrypted."""
    frame_bytes_max: int = frame_bytes_key(64 * KiB)
    oversize: str = key(
        Choice(("truncate", "drop", "split", "quarantine")),
        "truncate",
        "treatment of longer messages",
    )
    parse: ParseOptions = key(ParseTable(), ParseOptions(), "parse options")
    check_sequence: bool = key(
        Flag(), False, "count gaps in messages numbered by the step `number`, and warn of them"
    )
    authorise: tuple[str, ...] = key(
        Choices(WAYS),
        (),
        "evidence for the app of a message",
        default_text="all messages are accepted",
    )
    unauthorised: str = key(
        Choice(("drop", "quarantine")), "drop", "treatment of messages that belong to no app"
    )
    keep_tokens: bool = key(Flag(), False, "leave the tokens of apps in the messages")
    reserved: bool = reserved_key(False)

    transport: ClassVar[Transport] = Transport.NONE
    has_datagrams: ClassVar[bool] = False
    """Its socket, if it has one, is for datagrams."""

    @property
    def answered_by(self) -> str:
        """Id of the destination that answers its senders (direct mode); empty = all is stored."""
        return ""

    @property
    def is_local_socket(self) -> bool:
        """Whether its senders are programs of this host and have no address."""
        return self.transport is Transport.UNIX

    @property
    def allowed(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The peers that may send, by address; empty = all, or they have none."""
        return ()

    @property
    def connections_and_files(self) -> tuple[int, int]:
        """How many of each it may have open at most, beside its own socket."""
        return 0, 0

    def transport_from(self, peer_host: str) -> Transport:
        """How a message from `peer_host` comes in; empty = from this host."""
        return self.transport

    def encoding_problem(self) -> str:
        """Why text in `parse.encoding` cannot be taken; empty if it can."""
        return ""

    def obstacle(self) -> str:
        """What lies where it would make its socket; empty if nothing does."""
        return ""

    def takes(self) -> str:
        """The sources read on this host, where the URL does not name them; empty = it does."""
        return ""


@dataclass(frozen=True, slots=True)
class AppConfiguration:
    """Whose messages some are, and what shows it."""

    id: str
    tokens: tuple[Token, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    tls_names: tuple[str, ...] = ()
    """Names in verified certificates; ``*.`` is any left-most label."""
    tls_fingerprints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """Pauses between attempts; each is twice as long as the one before, give or take a fifth."""

    retry_seconds_min: float = key(
        Seconds(0.01, 86400), 1.0, "first pause between attempts to connect"
    )
    retry_seconds_max: float = key(
        Seconds(0.01, 86400), 60.0, "longest pause between attempts to connect"
    )

    def problems(self, where: Where, given: object) -> Iterator[str]:
        if self.retry_seconds_min > self.retry_seconds_max:
            yield (
                f"{where('retry_seconds_min')}: {plain(self.retry_seconds_min)} is more than "
                f"retry_seconds_max, {plain(self.retry_seconds_max)}; change one of them"
            )


@dataclass(frozen=True, slots=True)
class Sending:
    """What is sent first, and how fast."""

    drain_rate: DrainRate | None = key(
        Rate(), None, "limit of the sending rate, so that a backlog does not flood the receiver"
    )
    """None = as much as it takes."""
    order: str = key(
        Choice(("oldest-first", "live-first")),
        "oldest-first",
        "which messages are sent first when there is a backlog",
    )
    backlog_share: int = key(
        Whole(1, 99),
        25,
        "with `live-first`: percentage for the backlog while there are fresh messages",
    )

    @property
    def backlog_percent(self) -> int:
        """The share of a backlog that is a lane of its own; 0 = it never is."""
        return self.backlog_share if self.order == "live-first" else 0

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        if "backlog_share" in given and not self.backlog_percent:
            yield (
                f'{where("backlog_share")}: has no effect with order = "oldest-first"; '
                'write order = "live-first", or remove it'
            )


@dataclass(frozen=True, slots=True)
class DestinationLimits:
    """What the queue of a destination may take."""

    queue_bytes_max: int = key(
        Size(0, 16 * TiB),
        0,
        "limit of its queue on disk, 1 MiB or more; 0 = only the relay's limit",
    )
    queue_seconds_max: float = key(
        Seconds(0, 100 * YEAR_SECONDS), 0.0, "age at which queued messages are dropped; 0 = never"
    )
    when_full: str = key(Choice(POLICIES), "block", "policy at `queue_bytes_max`")


@dataclass(frozen=True, slots=True)
class Routing:
    """How a destination shares the messages of its sources with others."""

    final: bool = key(
        Flag(), False, "what it takes goes to no later destination; order is that of the file"
    )
    fallback: bool = key(
        Flag(), False, "it gets only what no other destination takes that is not a fallback"
    )
    catch_all: bool = key(Flag(), False, "it takes from all sources")

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        if self.catch_all and "sources" in given:
            yield (
                f"{where('catch_all')}: contradicts the list `sources`, which names the only "
                "sources that it takes from; remove one of them"
            )


@dataclass(frozen=True, slots=True)
class History:
    """Delivered messages that are kept for a while."""

    history: float = key(
        Duration(0, 100 * YEAR_SECONDS),
        0.0,
        "how long delivered messages are kept for replay; 0 = not at all",
    )
    """Seconds."""
    history_bytes_max: int | None = key(
        Size(1 * MiB, 16 * TiB),
        None,
        "limit of the history on disk",
        default_text="a quarter of `relay.queue_bytes_max`",
    )


@dataclass(frozen=True, slots=True)
class DestinationConfiguration(Endpoint):
    """What all destinations have; each kind has a subclass with its own keys."""

    connect: Url
    sources: tuple[str, ...] = key(
        Texts("a list of source ids"), (), "ids of the sources that feed it", default_text="all"
    )
    apps: tuple[str, ...] = key(
        Texts("a list of app ids"),
        (),
        "ids of the apps whose messages it receives",
        default_text="all, and messages of no app",
    )
    match: Filter | None = key(MATCH, None, "filter of its messages", default_text="all")
    routing: Routing = group(Routing)
    rewrite: RewriteConfiguration = key(
        Rewrites(), RewriteConfiguration(), "a mode, or a list of steps"
    )
    format: FormatConfiguration | None = key(
        FORMAT_TABLE,
        None,
        "output format, unless `rewrite` ends with a mode",
        default_text="as they came",
    )
    tls: TlsConfiguration | None = None
    """None = it is not encrypted."""
    refusals_max: int = 5
    """Times that an upstream may refuse one record before it is quarantined."""
    sending: Sending = group(Sending)
    retry: Retry = group(Retry)
    limits: DestinationLimits = group(DestinationLimits)
    kept: History = group(History)

    @property
    def record_key(self) -> KeyTemplate | None:
        """Makes the key of each record, which its sessions split off again; None = there is none,
        and sessions get payloads."""
        return None

    @property
    def takes_all(self) -> bool:
        """Whether it takes every message of its sources that reaches it."""
        return self.match is None and not self.apps

    @property
    def targets(self) -> tuple[Url, ...]:
        """Where it connects, in the order of the file."""
        return (self.connect,)

    @property
    def size_limit(self) -> SizeLimit | None:
        """Of its payloads; None = there is none."""
        return None

    @property
    def has_hops(self) -> bool:
        """Its records have the hops of messages before them, which its sessions split off again."""
        return False

    @property
    def carries_hops(self) -> bool:
        """The next relay can learn which way a message has come."""
        form = self.format
        in_message = form is not None and (form.name == "ewmm" or form.hops)
        return self.has_hops or in_message or self.rewrite.mode == "ewmm"

    @property
    def in_flight_max(self) -> int:
        """Most records without an answer; 0 = as many as its sessions take."""
        return 0

    @property
    def stall_seconds(self) -> float:
        """Being connected for so long without an answer is a stall."""
        return 120.0

    @property
    def backlog_percent(self) -> int:
        """The share of a backlog that is a lane of its own; 0 = it never is."""
        return self.sending.backlog_percent


def is_local_host(host: str) -> bool:
    """Whether only programs of this host can connect to a listener at `host`."""
    address = address_of(host)
    return host == "localhost" if address is None else address.is_loopback


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Where the web server listens."""

    allowed: ClassVar[str] = "a URL such as http://127.0.0.1:8514 or https://:8514"

    def read(self, value: object) -> Url:
        scheme, _, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
        if not _WEB_SCHEME.fullmatch(scheme.lower()):
            raise ValueError(f"expected {self.allowed}, found {shown(value)}")
        return HostPort(_WEB_PORT).read(scheme.lower(), rest, "listen", "")


@dataclass(frozen=True, slots=True)
class WebConfiguration:
    """The relay's own web server: a page for browsers, metrics and health."""

    listen: Url = key(
        WebAddress(),
        WebAddress().read("http://127.0.0.1:8514"),
        "where the web server listens; other addresses than loopback need https and `token_file`",
        default_text='`"http://127.0.0.1:8514"`',
    )
    token_file: str = key(
        SecretFile(is_token=True),
        "",
        "file that holds nothing but the token for `Authorization: Bearer`; `/healthz` and "
        "`/accepting` need none",
        default_text="no token is asked for",
    )
    admin_token_file: str = key(
        SecretFile(is_token=True),
        "",
        "file that holds nothing but another token, which allows the actions of the page as well: "
        "pause, resume, connect, send again, purge",
        default_text="there are no actions",
    )
    host_names: tuple[str, ...] = key(
        Texts("a list of host names"),
        (),
        "names by which clients may call it, beside its addresses, `localhost` and the host of "
        "`listen`",
    )
    health_lead_seconds: float = key(
        Seconds(0, 3600),
        0.0,
        "how long sources still take messages at a stop while `/accepting` answers 503 already, so "
        "that a balancer has noticed before a connection is refused",
    )
    tls: TlsConfiguration = group(TlsConfiguration, without=("server_name",))

    @property
    def is_encrypted(self) -> bool:
        return self.listen.scheme.endswith("s")

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        """What does not fit together, one line each."""
        if not self.is_encrypted:
            for name in keys_of(TlsConfiguration):
                if name in given:
                    yield (
                        f"{where(name)}: has no effect without TLS; write listen = "
                        f'"https://…", or remove it'
                    )
        if self.admin_token_file and self.admin_token_file == self.token_file:
            yield (
                f"{where('admin_token_file')}: is the file of token_file; name one with another "
                "token, or everybody who may look could act"
            )
        if is_local_host(self.listen.host):
            return
        if not self.is_encrypted:
            yield (
                f"{where('listen')}: {self.listen} can be reached from other hosts, so it needs "
                "TLS; write https:// with certificate and private_key, or a loopback address such "
                "as 127.0.0.1"
            )
        if not self.token_file:
            yield (
                f"{where('token_file')}: is missing; {self.listen} can be reached from other "
                "hosts, which have to show a token"
            )


@dataclass(frozen=True, slots=True)
class WatchConfiguration:
    """A rule that says what messages count as, whatever the device has said."""

    id: str = key(ID, "", "name of the rule", required=True, example='"logins"')
    counts_as: str = key(
        Choice(("warning", "error", "ignore")),
        "",
        "what its messages count as, whatever their severity is",
        required=True,
        example='"error"',
    )
    match: Filter | None = key(MATCH, None, "filter of its messages", default_text="all")
    sources: tuple[str, ...] = key(
        Texts("a list of source ids"), (), "ids of the sources that it looks at", default_text="all"
    )
    per_second_max: float = key(
        Number(0, 1e9), 0.0, "more of its messages in a second raise an alert; 0 = none do"
    )


@dataclass(frozen=True, slots=True)
class WebhookAddress:
    """Where alerts are posted to."""

    allowed: ClassVar[str] = "a URL such as https://alerts.example.com/hook"

    def read(self, value: object) -> Url:
        found = _WEBHOOK.fullmatch(value) if isinstance(value, str) else None
        if found is None:  # not shown: the path of a webhook often is a secret
            raise ValueError(f"expected {self.allowed}, without a user name, in printable ASCII")
        scheme, authority, path = found.groups()
        usual = 443 if scheme.endswith("s") else 80
        has_port = ":" in authority.rpartition("]")[2]
        place = authority if has_port else f"{authority}:{usual}"
        return replace(HostPort(usual).read(scheme, f"//{place}", "connect", ""), path=path or "/")


@dataclass(frozen=True, slots=True)
class AlertProgram:
    """A program and its arguments; its path becomes absolute."""

    allowed: ClassVar[str] = "a list of a program's path and its arguments"

    def read_at(self, value: object, path: str, reading: Reading, /) -> tuple[str, ...]:
        program, *arguments = Texts(self.allowed, may_repeat=True).read(value)
        program = reading.absolute(program, path)
        if not os.access(program, os.X_OK) or os.path.isdir(program):
            reading.warnings.append(f"{path}: {program} is not a program that may be run")
        return (program, *arguments)


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """What raises an alert."""

    increase: float = key(
        Number(0, 1000),
        5.0,
        "messages of a source come so many times as fast as is usual at this hour; 0 = no such "
        "alert",
    )
    increase_per_second_min: float = key(
        Number(0, 1e9), 10.0, "rate in messages per second that is no increase in any case"
    )
    silent_after: float = key(
        Duration(0, YEAR_SECONDS),
        1 * DAY_SECONDS,
        "nothing comes from a sender for so long that has sent ten messages or more; 0 = no such "
        "alert",
        default_text='`"1d"`',
    )
    errors_per_second_max: float = key(
        Number(0, 1e9), 10.0, "more errors of a source per second; 0 = no such alert"
    )
    full_within: float = key(
        Duration(0, YEAR_SECONDS),
        3600.0,
        "a queue will be full within this time; 0 = no such alert",
        default_text='`"1h"`',
    )
    expires_within: float = key(
        Duration(0, YEAR_SECONDS),
        14 * DAY_SECONDS,
        "a certificate in use expires within this time; 0 = no such alert",
        default_text='`"14d"`',
    )
    down_after: float = key(
        Duration(0, YEAR_SECONDS),
        300.0,
        "a destination is not connected, or acknowledges nothing, for so long; 0 = no such alert",
        default_text='`"5m"`',
    )
    drops: bool = key(Flag(), True, "messages are lost, for whatever reason nobody asked for")

    def problems(self, where: Where, given: object) -> Iterator[str]:
        if 0 < self.increase <= 1:
            yield (
                f"{where('increase')}: expected more than 1, or 0 for no such alert, found "
                f"{plain(self.increase)}"
            )


@dataclass(frozen=True, slots=True)
class AlertsConfiguration:
    """Alerts, and who is told of them beside the log."""

    limits: AlertLimits = group(AlertLimits)
    webhook: Url | None = key(
        WebhookAddress(),
        None,
        "URL that each alert and its end is posted to, as JSON",
        default_text="none",
    )
    webhook_token_file: str = key(
        SecretFile(is_token=True),
        "",
        "file that holds nothing but the token for `Authorization: Bearer`",
        default_text="no token is sent",
    )
    webhook_seconds_max: float = key(
        Seconds(0.1, 300), 10.0, "longest time of one attempt, from connecting to the answer"
    )
    program: tuple[str, ...] = key(
        AlertProgram(),
        (),
        "program that is run for each alert and its end, with the JSON on its standard input",
        default_text="none",
    )
    program_seconds_max: float = key(
        Seconds(0.1, 3600), 30.0, "time after which the program is ended"
    )
    tls: TlsConfiguration = group(TlsConfiguration, without=("peer_names",))

    @property
    def is_encrypted(self) -> bool:
        """Whether the webhook is reached over TLS."""
        return self.webhook is not None and self.webhook.scheme.endswith("s")

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        """What does not fit together, one line each."""
        yield from self.limits.problems(where, given)
        for name in ("webhook_token_file", "webhook_seconds_max", "program_seconds_max"):
            other = name.partition("_")[0]
            if name in given and other not in given:
                yield f"{where(name)}: has no effect without {other}; write {other}, or remove it"
        if not self.is_encrypted:
            for name in keys_of(TlsConfiguration):
                if name in given:
                    yield (
                        f"{where(name)}: has no effect without TLS; write webhook = "
                        '"https://…", or remove it'
                    )

    def warnings(self, where: Where) -> Iterator[str]:
        """What works, but hardly as meant."""
        url = self.webhook
        if url is not None and not self.is_encrypted and not is_local_host(url.host):
            what = "alerts and the token are" if self.webhook_token_file else "alerts are"
            yield f"{where('webhook')}: {what} sent unencrypted over http://; use https://"


@dataclass(frozen=True, slots=True)
class Configuration:
    name: str = key(
        RELAY_NAME, "", "name of this relay as later hops see it", default_text="host name"
    )
    state_dir: str = key(
        PATH,
        DEFAULT_STATE_DIR,
        "directory of the queue and the control socket; absolute, on a local disk",
    )
    sources: tuple[SourceConfiguration, ...] = ()
    destinations: tuple[DestinationConfiguration, ...] = ()
    apps: tuple[AppConfiguration, ...] = ()
    queue_bytes_max: int = key(
        Size(1 * MiB, 16 * TiB),
        4 * GiB,
        "limit of the queue on disk, all destinations together; sources are paused at it",
    )
    reserve_bytes: int | None = key(
        Size(0, 16 * TiB),
        None,
        "part of that limit which is kept for local sources and urgent messages",
        default_text="a twentieth of it, at least `pending_bytes_max` if that is set",
    )
    """None = see `reserve`."""
    min_free_bytes: int = key(
        Size(0, 16 * TiB),
        256 * MiB,
        "sources are paused when the file system of `state_dir` has less free space; 0 = never",
    )
    local_block_seconds_max: float = key(
        Seconds(0, 3600),
        1.0,
        "how long a paused source blocks programs that write to a unix stream socket, "
        "before it drops their messages; 0 = without limit",
    )
    pending_bytes_max: int | None = key(
        Size(64 * KiB, 1 * GiB),
        None,
        "sources are paused when more than this waits for a commit",
        default_text='`"32 MiB"`, or `reserve_bytes` if that is less',
    )
    """None = see `pending_max`."""
    quarantine_bytes_max: int = key(
        Size(0, 1 * TiB),
        64 * MiB,
        "limit of each quarantine; a source drops newer entries, a destination its oldest",
    )
    quarantine_seconds_max: float = key(
        Seconds(0, 100 * YEAR_SECONDS),
        0.0,
        "age at which quarantined entries are dropped; 0 = never",
    )
    allow_volatile_state: bool = key(
        Flag(), False, "accept a state_dir on tmpfs or a network file system"
    )
    strict_queue: bool = key(
        Flag(),
        False,
        "refuse to start with a damaged queue, instead of continuing with its readable part",
    )
    compact_free_percent: int = key(
        Whole(0, 95),
        50,
        "compact the queue's file when this part of it has been free for three minutes; 0 = never",
    )
    examine_fully: bool = key(
        Flag(), False, "verify the whole queue file at each start, however long that takes"
    )
    hops_max: int = key(
        Whole(0, HOPS_MAX),
        16,
        "most relays that a message may have passed before; a message that has been here before is "
        "dropped as a loop; 0 = nothing of that is noticed",
    )
    lineages_max: int = key(
        Whole(100, 1_000_000),
        10_000,
        "most senders of which exactly once is remembered, and most of each source that reads a "
        "log; the one silent for longest is forgotten; about 500 bytes of memory each",
    )
    statistics_seconds: float = key(
        Seconds(0, YEAR_SECONDS), 60.0, "interval of the statistics line in the log; 0 = never"
    )
    commit_seconds_min: float = key(
        Seconds(0, 1),
        0.002,
        "shortest time between the starts of two commits while messages stream in",
    )
    log_level: str = key(
        Choice(LEVELS),
        "info",
        "what the log has: this and all that is worse; `debug` names each connection, session and "
        "commit",
    )
    tests: tuple[MessageTest, ...] = ()
    """Run by `check`."""
    watch: tuple[WatchConfiguration, ...] = ()
    """In the order in which they are asked."""
    alerts: AlertsConfiguration | None = None
    """None = there is none."""
    web: WebConfiguration | None = None
    """None = there is no web server."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What is no error in the file, but deserves a look; `check` prints and the start logs it."""
    path: str = field(default="", compare=False)
    """The file that this was read from; empty for command line flags."""
    origin: Origin | None = field(default=None, compare=False)
    """Where it says what; None for command line flags."""

    @property
    def files(self) -> tuple[str, ...]:
        """The absolute paths of all files that it was read from, `path` first."""
        return self.origin.paths if self.origin else ()

    @property
    def placed_warnings(self) -> tuple[str, ...]:
        """The warnings with their places: ``FILE:LINE: TEXT``."""
        usual = self.path or "command line"
        place = self.origin.where if self.origin else lambda warning: usual
        return tuple(f"{place(warning)}: {warning}" for warning in self.warnings)

    @property
    def secrets(self) -> list[bytes]:
        """The tokens of apps and destinations that could be read, to mask them."""
        tokens = [token for app in self.apps for token in app.tokens]
        for destination in self.destinations:
            tokens += destination.rewrite.known_tokens
        return [token.reveal() for token in tokens]

    @property
    def reserve(self) -> int:
        """`reserve_bytes` in bytes, 0 = none.

        By default a twentieth of the queue, and at least `pending_bytes_max` where that is set.
        """
        if self.reserve_bytes is not None:
            return self.reserve_bytes
        return max(self.queue_bytes_max // 20, self.pending_bytes_max or 0)

    @property
    def pending_max(self) -> int:
        """`pending_bytes_max` in bytes.

        By default 32 MiB, and no more than the reserve: what waits for its commit when the
        queue closes is stored all the same, and takes room from the reserve.
        """
        if self.pending_bytes_max is not None:
            return self.pending_bytes_max
        return min(_PENDING_BYTES_MAX, self.reserve) if self.reserve else _PENDING_BYTES_MAX

    @property
    def base_dir(self) -> str:
        """Directory that relative paths in the file start from."""
        return os.path.dirname(self.path)
