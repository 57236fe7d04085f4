"""What a relay is told to do: one value per table of the configuration file.

Only `service` knows these types.  Everything below takes keyword arguments with
units in their names; `assembly.py` passes them on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import tzinfo
from ipaddress import IPv4Network, IPv6Network

from relay.model.message import DEFAULT_FACILITY, DEFAULT_SEVERITY
from relay.model.output import Selection
from relay.model.parse_options import ParseOptions
from relay.model.policy import DrainRate
from relay.model.token import Token
from relay.service.configuration.expectations import MessageTest
from relay.service.configuration.filter_table import Filter
from relay.service.configuration.step_table import Step

__all__ = [
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
]

_PENDING_BYTES_MAX = 32 * 1024**2


@dataclass(frozen=True, slots=True)
class Url:
    """Where to listen or to connect."""

    scheme: str
    """udp, tcp, tls, relp, relp+tls, unixgram, unix, file or journald; systemd: what the socket
    is."""
    host: str = ""
    """Name or address without brackets; empty = all addresses, IPv6 and IPv4."""
    port: int = 0
    path: str = ""
    """Absolute; for unixgram, unix and file (of a source: with wildcards), and journald if it is
    not the system's."""
    inherited: str = ""
    """Name of a socket that systemd has bound; the address is then not ours to know."""

    @property
    def is_tls(self) -> bool:
        return self.scheme in ("tls", "relp+tls")

    @property
    def is_local(self) -> bool:
        """Whether only programs of this host can send here."""
        return self.scheme in ("unix", "unixgram", "journald", "file")

    def __str__(self) -> str:
        if self.inherited:
            return f"systemd://{self.inherited}"
        if self.path or self.scheme == "journald":
            return f"{self.scheme}://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TlsConfiguration:
    """Files are absolute paths to PEM; the empty string means none."""

    trusted_ca: str = ""
    """Certificates that verify the peer; empty = the system's (client side only)."""
    certificate: str = ""
    """Own certificate, followed by its intermediates."""
    private_key: str = ""
    private_key_passphrase_file: str = ""
    """Its first line decrypts the key; empty = the key is not encrypted."""
    crl: str = ""
    """Revocation lists of all authorities of a peer's chain; empty = nobody looks."""
    peer_verify: str = "required"
    """required, optional (listeners only) or none."""
    peer_names: tuple[str, ...] = ()
    """Listeners: names of which the peer's certificate must carry one; empty = any."""
    peer_fingerprints: tuple[str, ...] = ()
    """Certificates that are accepted whoever signed them."""
    server_name: str = ""
    """Name that the upstream's certificate must carry; empty = the host of the URL."""
    tls_version_min: str = "1.2"
    tls_ciphers: str = ""
    """OpenSSL's cipher list; empty = forward secrecy and authenticated encryption."""


@dataclass(frozen=True, slots=True)
class SourceConfiguration:
    id: str
    listen: Url
    tls: TlsConfiguration = TlsConfiguration()
    frame_bytes_max: int = 65536
    """Longest message to take as it is; 480 to 16 MiB."""
    oversize: str = "truncate"
    """What is done with longer ones: truncate, drop, split or quarantine."""
    allow: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that may send; none = all."""
    deny: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that may not, even if they are allowed."""
    proxy_protocol: bool = False
    """Connections come from proxies, and begin with a PROXY header of version 1 or 2."""
    connections_per_peer_max: int | None = None
    """For each peer address; 0 = no limit, None = a tenth of `connections_max`."""
    unfinished_bytes_max: int = 64 * 1024 * 1024
    """Memory for messages that are not complete, of all connections; 0 = no limit."""
    rate_per_peer_max: int = 0
    """Messages per second and peer address, with a burst of one second; 0 = no limit."""
    connections_max: int = 1000
    idle_seconds_max: float = 86400.0
    """Close a connection that stays silent this long."""
    handshake_seconds_max: float = 30.0
    """For TLS, RELP's open and a PROXY header, each from when its turn has come."""
    socket_mode: int = 0o666
    """Permissions of a unix socket."""
    receive_buffer_bytes: int = 8 * 1024 * 1024
    """SO_RCVBUF to ask for on datagram sockets."""
    format: str = "text"
    """text: a message is made of each line; syslog: the lines are messages."""
    tag: str = ""
    """APP-NAME; empty = the file's name without its last suffix."""
    facility: int = DEFAULT_FACILITY
    """0 to 23, of those messages."""
    severity: int = DEFAULT_SEVERITY
    """0 to 7."""
    multi_line: str = ""
    """A line that this matches begins a message, others continue it; empty = no."""
    multi_line_seconds_max: float = 5.0
    """Silence after which a message of several lines is complete."""
    files_max: int = 1000
    """More are not read, but counted and said."""
    follow_symlinks: bool = False
    """Read files that links out of the searched directory lead to."""
    matches: tuple[str, ...] = ()
    """Which entries of the journal to take, as journalctl wants it; none = all."""
    read_from: str = ""
    """Where reading begins for the first time: beginning or end; empty = the end of the
    journal, and the beginning of files."""
    fields: tuple[str, ...] = ("_TRANSPORT", "_SYSTEMD_UNIT", "_UID", "_GID", "_EXE")
    """Fields of the journal that become structured data."""
    parse: ParseOptions = field(default_factory=ParseOptions)
    """How lines are read."""
    check_sequence: bool = False
    """Look for gaps in the numbers of messages that relays have numbered."""
    authorise: tuple[str, ...] = ()
    """What shows to which app a message belongs: token, tls-name, network; none = nobody asks."""
    unauthorised: str = "drop"
    """What is done with messages of no app: drop, or quarantine."""
    keep_tokens: bool = False
    """Leave the tokens of apps in the messages."""
    reserved: bool | None = None
    """Whether it may use the reserve of the queue; None = if it is a local one."""

    @property
    def uses_reserve(self) -> bool:
        return self.listen.is_local if self.reserved is None else self.reserved


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
class UnreadToken:
    """Where a token should be that could not be read."""

    problem: str
    """Why, for people."""
    file: str = ""
    """Absolute path; or else there is a variable."""
    variable: str = ""
    """Of the environment."""


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """One of several tokens."""

    token: Token | UnreadToken
    match: Filter | None
    """The messages that it is for; None = all others."""
    slot: bytes
    """Stands in queued records for a token that is not known yet."""


@dataclass(frozen=True, slots=True)
class RewriteConfiguration:
    mode: str = "none"
    """none, cee, tag, app-name or ewmm."""
    token: Token | UnreadToken | None = None
    """Set for cee, tag and app-name."""
    tokens: tuple[TokenChoice, ...] = ()
    """Other tokens, which go before it."""
    structured_data: bool = False
    """Of cee: put STRUCTURED-DATA and MSGID into the object."""
    steps: tuple[Step, ...] = ()
    """What comes before."""

    @property
    def known_tokens(self) -> list[Token]:
        """Those that could be read."""
        named = [self.token, *(choice.token for choice in self.tokens)]
        return [token for token in named if isinstance(token, Token)]


@dataclass(frozen=True, slots=True)
class FormatConfiguration:
    name: str = "raw"
    """rfc5424, rfc3164, ewmm, json, template or raw."""
    template: str = ""
    """For template."""
    selection: Selection | None = None
    """For json; None = the default one."""
    frac_digits: int | None = None
    """Digits of a fraction of a second; None = as the format has it."""
    ts_format: str | None = None
    """bsd, full, iso or unix; None = as the format has it."""
    time_zone: tzinfo | None = None
    """Zone to write stamps in; None = each in its own offset."""


@dataclass(frozen=True, slots=True)
class DestinationConfiguration:
    id: str
    connect: Url
    sources: tuple[str, ...]
    """Ids of the sources that feed it."""
    apps: tuple[str, ...] = ()
    """Ids of the apps whose messages it gets; none = all, also messages of no app."""
    match: Filter | None = None
    """The messages that it gets; None = all."""
    rewrite: RewriteConfiguration = RewriteConfiguration()
    format: FormatConfiguration | None = None
    """What is sent, unless the rewrite says it."""
    tls: TlsConfiguration = TlsConfiguration()
    framing: str = ""
    """octet-counting or newline for tcp and tls; empty for the others."""
    window_records: int = 8192
    """RELP: most records without an answer; 1 to 100,000.  The window finds its size below."""
    drain_rate: DrainRate | None = None
    """The most that it is sent; None = as much as it takes."""
    order: str = "oldest-first"
    """What is sent first when there is a backlog: oldest-first, or live-first."""
    backlog_share: int = 25
    """With live-first: what the backlog gets of it, in percent; 1 to 99."""
    answer_seconds_max: float = 60.0
    """Longest wait for an answer before the connection counts as dead."""
    connect_seconds_max: float = 30.0
    """Longest wait for TCP, for TLS and for RELP's open, each."""
    retry_seconds_min: float = 1.0
    retry_seconds_max: float = 60.0
    refusals_max: int = 5
    """Times that an upstream may refuse one record before it is quarantined."""
    queue_bytes_max: int = 0
    """What its queue may take on disk; 0 = as much as the relay's."""
    queue_seconds_max: float = 0.0
    """Records that wait for longer are dropped; 0 = none is."""
    when_full: str = "block"
    """What is done at `queue_bytes_max`, see `relay.queue.admission.limits`."""
    history: float = 0.0
    """Seconds for which what was delivered is kept; 0 = it is not."""
    history_bytes_max: int | None = None
    """What is kept of it at most, on disk; None = a quarter of the relay's `queue_bytes_max`."""

    @property
    def in_flight_max(self) -> int:
        """Most records without an answer; 0 = as many as its sessions take."""
        return self.window_records if self.connect.scheme in ("relp", "relp+tls") else 0

    @property
    def backlog_percent(self) -> int:
        """The share of a backlog that is a lane of its own; 0 = it never is."""
        return self.backlog_share if self.order == "live-first" else 0


@dataclass(frozen=True, slots=True)
class Configuration:
    name: str
    """Name of this relay, as hops further on see it."""
    state_dir: str
    sources: tuple[SourceConfiguration, ...] = ()
    destinations: tuple[DestinationConfiguration, ...] = ()
    apps: tuple[AppConfiguration, ...] = ()
    queue_bytes_max: int = 4 * 1024**3
    """What the queue may hold, over all destinations."""
    reserve_bytes: int | None = None
    """What is kept of that for those who may use the reserve; None = see `reserve`."""
    min_free_bytes: int = 256 * 1024**2
    """Admission closes when there is less room on the file system of `state_dir`."""
    local_block_seconds_max: float = 1.0
    """Longest time that a program which writes to a unix stream socket has to wait while
    admission is closed; then its messages are dropped.  0 = for ever."""
    pending_bytes_max: int | None = None
    """Admission closes when more than this waits for its commit; None = see `pending_max`."""
    quarantine_bytes_max: int = 64 * 1024**2
    """What the quarantine of each source and destination may hold."""
    quarantine_seconds_max: float = 0.0
    """Age at which what is there is dropped; 0 = never."""
    allow_volatile_state: bool = False
    """Accept a state_dir on tmpfs or a network file system."""
    strict_queue: bool = False
    """Do not start with a damaged queue, instead of going on with what can be read."""
    compact_free_percent: int = 50
    """The queue's file is compacted when this part of it is free; 0 = never by itself."""
    examine_fully: bool = False
    """Look through the whole file of the queue at each start, however long that takes."""
    statistics_seconds: float = 60.0
    """Interval of the statistics line in the log; 0 = never."""
    commit_seconds_min: float = 0.002
    """From the beginning of one commit to the next while messages stream in."""
    tests: tuple[MessageTest, ...] = ()
    """Run by `check`."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What is no error in the file, but deserves a look; `check` prints and the start logs it."""
    path: str = field(default="", compare=False)
    """The file that this was read from; empty for command line flags."""

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
