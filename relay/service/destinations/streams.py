"""Upstreams behind a connection, with or without TLS: plain syslog (RFC 6587, RFC 5425) and RELP.

The kernel of the upstream answers for plain syslog, its program for RELP.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from twisted.internet.endpoints import HostnameEndpoint
from twisted.logger import Logger

from relay import SOFTWARE
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import DestinationConfiguration, TlsConfiguration, Url, Where
from relay.service.configuration.table import AnAddress, Choice, Flag, Seconds, Whole
from relay.service.configuration.url import HostPort
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.link import Link, Outlet
from relay.service.destinations.parallel import ParallelLink
from relay.service.destinations.targets import Target, TargetKeys, TargetLink, TargetPolicy, Targets
from relay.service.prerequisite import Prerequisite
from relay.service.probes.probe import Probe
from relay.service.probes.upstream import greet_relp, greet_syslog, probe_upstream
from relay.service.tls.files import read_options, read_policy
from relay.transport.names import (
    BoundEndpoint,
    HostResolver,
    Names,
    Place,
    ReactorWithNames,
    new_dns,
)
from relay.transport.relp.outbound import RelpClientProtocol
from relay.transport.stream.outbound import SyslogStreamOutProtocol
from relay.transport.tls.endpoints import TlsMaterial, TlsUpstream
from relay.transport.upstream import CountingEndpoint, Timeouts, UpstreamProtocol, UpstreamState
from relay.wire.framing.decoders import encode_newline_syslog, encode_octet_counted_syslog
from relay.wire.relp.blocks import Packer
from relay.wire.relp.client import RelpClientSession

_ANY_HOST = "upstream"  # the endpoint resolves no other than its own
_log = Logger(namespace="relay")

_PACKS_FROM_SECONDS = 0.005

UPSTREAM_TLS_WITHOUT = ("peer_names",)
"""Keys for TLS that are for those who listen."""


def bind_key() -> str:
    return key(
        AnAddress(),
        "",
        "address of this host that connections and datagrams come from",
        default_text="as the kernel chooses",
    )


@dataclass(frozen=True, slots=True)
class AnsweringConfiguration(DestinationConfiguration):
    """Of upstreams behind a connection that answer, be it by their kernel."""

    answer_seconds_max: float = key(
        Seconds(0.1, 3600), 60.0, "longest wait for an answer before reconnecting"
    )
    connect_seconds_max: float = key(
        Seconds(0.1, 3600), 30.0, "time limit for each of TCP, TLS and RELP's open"
    )
    bind: str = bind_key()
    several: TargetPolicy = group(TargetPolicy)
    others: tuple[Url, ...] = ()
    """Targets behind the first one."""

    @property
    def targets(self) -> tuple[Url, ...]:
        return (self.connect, *self.others)

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        if self.others:
            return
        for name in ("policy", "failback_probes", "probe_seconds"):
            if name in given and not (name == "policy" and self.several.policy == "balance"):
                yield (
                    f"{where(name)}: has no effect with one target; write a list in connect, or "
                    "remove it"
                )

    @property
    def stall_seconds(self) -> float:
        return 2 * self.answer_seconds_max


@dataclass(frozen=True, slots=True)
class UpstreamConfiguration(AnsweringConfiguration):
    keepalive_seconds: float = key(
        Seconds(0, 86400),
        60.0,
        "silence after which TCP asks whether the upstream is there; 0 = never",
    )
    several: TargetKeys = group(TargetKeys)

    @property
    def timeouts(self) -> Timeouts:
        return Timeouts(
            self.connect_seconds_max,
            self.answer_seconds_max,
            confirm_seconds=self.confirm_after,
            keepalive_seconds=self.keepalive_seconds,
        )

    @property
    def confirm_after(self) -> float:
        """How long a connection has to live on after TCP's acknowledgement, in seconds."""
        return 0.0


class _TlsOfTargets:
    """The clients' ends of TLS of one destination, which have the same files."""

    def __init__(
        self, material: TlsMaterial | None, *, tls: TlsConfiguration, targets: Sequence[Url]
    ) -> None:
        self.upstreams = [
            TlsUpstream(
                material,
                server_name=tls.server_name or url.service_domain or url.host,
                peer_verify=tls.peer_verify,
                fingerprints=read_policy(tls).fingerprints,
                options=read_options(tls),
            )
            for url in targets
        ]

    def renew(self, material: TlsMaterial) -> None:
        for upstream in self.upstreams:
            upstream.renew(material)


def new_tls(
    configuration: DestinationConfiguration,
    targets: Sequence[Url],
    parts: DestinationParts,
    files: Prerequisite,
) -> Sequence[TlsUpstream | None]:
    """The client's end of TLS for each of `targets`; None without TLS.

    Args:
        files: Has trouble as long as those of TLS cannot be used.
    """
    if configuration.tls is None:
        return [None] * len(targets)
    new = partial(_TlsOfTargets, tls=configuration.tls, targets=targets)
    return parts.certificates.keep(
        f"destination {configuration.id}", configuration.tls, new, files
    ).upstreams


def new_delivery(
    configuration: UpstreamConfiguration,
    parts: DestinationParts,
    protocol_of: Callable[[Outlet], Callable[..., UpstreamProtocol]],
    *,
    counts_bytes: bool = False,
) -> Delivery:
    """The delivery over connections to the hosts and ports of the URLs.

    Args:
        protocol_of: What makes the protocols of an outlet, given drain, state, clock, secure and
            timeouts.
        counts_bytes: The protocols have to know how much was handed to TCP.
    """

    def new_protocol(outlet: Outlet) -> UpstreamProtocol:
        return protocol_of(outlet)(
            drain=outlet.drain,
            state=outlet.state,
            clock=parts.reactor,
            secure=configuration.tls is not None,
            timeouts=configuration.timeouts,
        )

    subject = f"destination {configuration.id}"
    files = Prerequisite("its messages are queued until the files are right")
    targets = Targets(
        new_targets(configuration, parts, files, counts_bytes=counts_bytes),
        configuration.several,
        new_protocol=new_protocol,
        clock=parts.reactor,
        say=lambda text: _log.info("{subject}: {text}", subject=subject, text=text),
    )
    return Delivery(
        new_link=partial(_new_link, configuration, targets),
        prerequisites=(files,),
        details=lambda: list(targets.details()),
    )


def _new_link(configuration: UpstreamConfiguration, targets: Targets, outlet: Outlet) -> Link:
    new_of_one = partial(TargetLink, targets=targets)
    if (connections := configuration.several.connections) == 1:
        return new_of_one(outlet)
    new_state = partial(
        UpstreamState,
        target=outlet.state.target,
        clock=targets.clock,
        on_ready=lambda text: None,
        on_failure=lambda text: None,
        on_remark=outlet.state.remark,
        retry_seconds_min=configuration.retry.retry_seconds_min,
        retry_seconds_max=configuration.retry.retry_seconds_max,
    )
    return ParallelLink(outlet, connections, new_link=new_of_one, new_state=new_state)


def new_targets(
    configuration: AnsweringConfiguration,
    parts: DestinationParts,
    files: Prerequisite,
    *,
    counts_bytes: bool = False,
) -> list[Target]:
    """The targets, whose names are resolved at each attempt, and all of their addresses tried."""
    reactor = parts.reactor
    all_tls = new_tls(configuration, configuration.targets, parts, files)
    names = Names(
        run_in_thread=parts.run_in_thread,
        warn=partial(parts.notices.warn, f"destination {configuration.id}", "names"),
        new_dns=partial(new_dns, reactor),
        clock=reactor,
    )

    def new_target(url: Url, tls_upstream: TlsUpstream | None) -> Target:
        resolver = HostResolver(names, url.host, url.port, arrange=arrange)
        plain = HostnameEndpoint(
            ReactorWithNames(reactor, resolver),
            _ANY_HOST,
            url.port,
            timeout=configuration.connect_seconds_max,
            bindAddress=configuration.bind or None,
        )
        bind = configuration.bind
        endpoint = BoundEndpoint(plain, resolver, bind) if bind else plain
        wrapped = CountingEndpoint(endpoint) if counts_bytes else endpoint
        return Target(url, wrapped, tls_upstream, resolver)

    def arrange(places: Sequence[Place]) -> Sequence[Place]:
        """Balanced destinations use all addresses; from an IPv4 one no IPv6 one is reached."""
        if bind := configuration.bind:
            places = [place for place in places if (":" in place[0]) == (":" in bind)]
        is_balanced = configuration.several.policy == "balance"
        return random.sample(places, len(places)) if is_balanced else places

    return [*map(new_target, configuration.targets, all_tls)]


def framing_key(default: str) -> str:
    return key(
        Choice(("octet-counting", "newline")), default, "separation of messages in the stream"
    )


@dataclass(frozen=True, slots=True)
class TcpConfiguration(UpstreamConfiguration):
    framing: str = framing_key("newline")
    confirm_seconds: float = key(
        Seconds(0, 60),
        0.5,
        "how long a connection has to live on before what the peer's TCP has acknowledged counts "
        "as delivered",
    )

    @property
    def confirm_after(self) -> float:
        return self.confirm_seconds


@dataclass(frozen=True, slots=True)
class TlsUpstreamConfiguration(TcpConfiguration):
    framing: str = framing_key("octet-counting")  # RFC 5425 §4.3
    tls: TlsConfiguration = group(TlsConfiguration, without=UPSTREAM_TLS_WITHOUT)


def _make_plain(configuration: TcpConfiguration, parts: DestinationParts) -> Delivery:
    counting = configuration.framing == "octet-counting"
    encode = encode_octet_counted_syslog if counting else encode_newline_syslog
    new_protocol = partial(SyslogStreamOutProtocol, encode=encode)
    return new_delivery(configuration, parts, lambda _: new_protocol, counts_bytes=True)


def _probe_plain(configuration: TcpConfiguration, probe: Probe) -> None:
    for url in configuration.targets:
        counts = configuration.framing == "octet-counting"
        probe_upstream(
            probe,
            url,
            configuration.tls,
            partial(greet_syslog, counts=counts),
            bind=configuration.bind,
        )


TCP = DestinationKind(
    scheme="tcp",
    address=HostPort(514, services=True),
    configuration=TcpConfiguration,
    delivered="the peer's kernel has acknowledged the bytes, and the connection has lived on for "
    "`confirm_seconds`; the receiver itself confirms nothing",
    medium="tcp",
    several=True,
    make=_make_plain,
    probe=_probe_plain,
)
TLS = replace(
    TCP,
    scheme="tls",
    address=HostPort(6514, services=True),
    configuration=TlsUpstreamConfiguration,
    delivered="the same (RFC 5425)",
    foreign_names=("ssl", "tcp+tls"),
)


@dataclass(frozen=True, slots=True)
class RelpConfiguration(UpstreamConfiguration):
    window_records: int = key(
        Whole(1, 100_000),
        8192,
        "limit of unanswered messages; the window starts at 256 and doubles while that "
        "increases the rate",
    )
    refusals_max: int = key(
        Whole(1, 1_000_000),
        5,
        "refusals of one message, while others are accepted, before it is quarantined",
    )

    @property
    def in_flight_max(self) -> int:
        return self.window_records * self.several.connections

    @property
    def has_hops(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class PackingConfiguration(RelpConfiguration):
    """RELP to what may be another relay."""

    compress: str = key(
        Choice(("auto", "zstd", "none")),
        "auto",
        "compression between two relays of this kind; `auto` compresses when the answer to RELP's "
        "open takes 5 ms or more and the other relay is on another host",
    )
    compress_level: int = key(
        Whole(1, 19), 6, "level of zstd: higher ones need more CPU for fewer bytes"
    )
    fleet_report: bool = key(
        Flag(),
        True,
        "tell the receiver, if it is a relay of this kind, this relay's name and version, and "
        "each minute how much waits in its queues",
    )


@dataclass(frozen=True, slots=True)
class RelpTlsConfiguration(PackingConfiguration):
    tls: TlsConfiguration = group(TlsConfiguration, without=UPSTREAM_TLS_WITHOUT)


def _make_relp(configuration: PackingConfiguration, parts: DestinationParts) -> Delivery:
    packs, reports = configuration.compress != "none", configuration.fleet_report
    packs_from = _PACKS_FROM_SECONDS if configuration.compress == "auto" else 0.0

    def new_session(offer: bytes) -> RelpClientSession:
        return RelpClientSession(
            window_records=configuration.window_records,
            software=SOFTWARE.encode(),
            offer=b"\n".join(filter(None, (offer, parts.fleet_offer if reports else b""))),
            hop=parts.hop.text,
            packer=Packer(configuration.compress_level) if packs else None,
            report=parts.fleet_report if reports else None,
        )

    def protocol_of(outlet: Outlet) -> Callable[..., RelpClientProtocol]:
        return partial(
            RelpClientProtocol,
            new_session=new_session,
            numbering=outlet.numbering,
            packs_from=packs_from,
        )

    return replace(new_delivery(configuration, parts, protocol_of), is_confirmed=True)


def _probe_relp(configuration: RelpConfiguration, probe: Probe) -> None:
    for url in configuration.targets:
        probe_upstream(probe, url, configuration.tls, greet_relp, bind=configuration.bind)


RELP = DestinationKind(
    scheme="relp",
    address=HostPort(20514, services=True),
    configuration=PackingConfiguration,
    delivered="the upstream has answered",
    medium="tcp",
    several=True,
    make=_make_relp,
    probe=_probe_relp,
)
RELP_TLS = replace(
    RELP,
    scheme="relp+tls",
    address=HostPort(20515, services=True),
    configuration=RelpTlsConfiguration,
    delivered="the same",
    foreign_names=("relps", "relp-tls"),
)
