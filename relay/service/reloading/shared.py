"""The parts of a relay that are the same whatever its configuration is."""

from __future__ import annotations

from dataclasses import dataclass

from relay.model.clock import Reactor, WallClock
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.service.kinds import RelayKinds
from relay.service.process.systemd import Systemd
from relay.service.queue.service import QueueService
from relay.service.tls.certificate_watch import CertificateWatch
from relay.transport.held_sockets import HeldSockets
from relay.transport.notices import Notices


@dataclass(frozen=True, slots=True)
class Shared:
    """The parts that all sources and destinations share."""

    kinds: RelayKinds
    systemd: Systemd
    reactor: Reactor
    notices: Notices
    wall: WallClock
    queue: QueueService
    admission: Admission
    limits: dict[str, QueueLimit]
    """Limits of the destinations, by id; changed in place."""
    certificates: CertificateWatch
    held: HeldSockets
