"""What a kind of source is, and what the service of one is made of.

A kind is a module here that declares a `SourceKind`, and a line in `relay/service/kinds.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from relay.flow.exactly_once.lineages import LINEAGES_MAX, Lineages
from relay.model.clock import WallClock
from relay.model.fleet import FleetTable
from relay.model.hops import NO_HOP, OwnHop
from relay.service.configuration.kinds import UrlKind
from relay.service.configuration.model import SourceConfiguration
from relay.service.probes.probe import Probe
from relay.service.process.systemd import NO_SYSTEMD, Systemd
from relay.service.sources.service import Receiving, SourceService
from relay.service.tls.certificate_watch import CertificateWatch
from relay.wire.relp.blocks import Contexts

C = TypeVar("C", bound=SourceConfiguration)

Positions = Callable[[str], Mapping[str, bytes]]
"""How far a source has read, by name; may be asked when the queue is open."""


@dataclass(frozen=True, slots=True)
class SourceParts:
    """What all sources are made with."""

    relay_name: str
    certificates: CertificateWatch
    wall: WallClock
    positions: Positions
    lineages: Lineages | None = None
    """What relays have sent, for exactly once; None = at least once."""
    lineages_max: Callable[[], int] = lambda: LINEAGES_MAX
    """Most lineages that a source which reads a log remembers; may be asked at any time."""
    systemd: Systemd = NO_SYSTEMD
    hop: OwnHop = NO_HOP
    """This relay, in the hops of messages."""
    local_block_seconds_max: float = 0.0
    """Longest pause of a unix stream socket by admission; 0 = no limit."""
    contexts: Contexts = field(default_factory=Contexts)
    """How many connections may send compressed blocks, over all sources."""
    fleet: FleetTable | None = None
    """The relays that report to this one; None = they are not asked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind(UrlKind[C]):
    """One kind of source."""

    make: Callable[[C, Receiving, SourceParts], SourceService]
    """Builds the service of one source; may read files, and raise StartRefused."""
    probe: Callable[[C, Probe], None] | None = None
    """What `check --connect` does: tells what it finds, in a thread, where it may wait."""
    answers: bool = False
    """Its peers get an answer for each message, and may wait for it."""
