"""Configurations of sources and destinations of the kind that their URL names, and services."""

from __future__ import annotations

from typing import Any

from relay.flow.intake import Intake
from relay.model.counters.kept import KeptCounters
from relay.model.counters.source import SourceCounters
from relay.queue.admission.backpressure import Admission
from relay.service.configuration.model import Url
from relay.service.configuration.url import Role
from relay.service.kinds import KINDS
from relay.service.sources.kind import SourceParts
from relay.service.sources.service import Receiving
from relay.service.tls.certificate_watch import CertificateWatch
from relay.transport.reception import Reception
from tests.clocks import wall_at
from tests.connections import RecordingNotices
from tests.threads import Reactor

__all__ = ["build_source", "new_destination", "new_source", "receiving", "schemes"]
RECEPTION = ("source", "intake", "admission", "counters", "notices", "quarantine")


def schemes(role: Role) -> str:
    """All that `role` takes, as errors list them."""
    *some, last = KINDS.by_scheme(role)
    return f"{', '.join(some)} or {last}"


def new_source(id: str, listen: Url, **values: object) -> Any:
    """The configuration of a source; `values` by keys, or whole groups of keys."""
    return KINDS.source(listen.scheme).configured(listen, {"id": id, **values})


def new_destination(id: str, connect: Url, sources: tuple[str, ...] = (), **values: object) -> Any:
    """The same of a destination."""
    values = {"id": id, "sources": sources, **values}
    return KINDS.destination(connect.scheme).configured(connect, values)


def build_source(configuration: Any, **given: Any) -> Any:
    """The service of a source.

    Args:
        given: Fields of `Reception`, `Receiving` and `SourceParts`.
    """
    reactor = given.pop("reactor", None) or Reactor()
    given["source"] = configuration.id
    of_one = receiving(reactor, **{name: given[name] for name in RECEPTION if name in given})
    certificates = CertificateWatch(
        notices=of_one.reception.notices, now=float, clock=of_one.reactor
    )
    parts: dict[str, Any] = {"relay_name": "web-1", "certificates": certificates}
    parts |= {"positions": lambda source: {}, "wall": wall_at(0.0)}
    parts |= {name: given[name] for name in SourceParts.__slots__ if name in given}
    kind = KINDS.source(configuration.listen.scheme)
    return kind.make(configuration, of_one, SourceParts(**parts))


def receiving(reactor: Any, **given: Any) -> Receiving:
    """What the service of a source works with."""
    append: Any = None
    counters = given.setdefault("counters", SourceCounters())
    values = {
        "source": "in",
        "intake": Intake(
            routes=[], append=append, wall=wall_at(0.0), counters=KeptCounters("in", counters)
        ),
        "admission": Admission(pending_bytes_max=100, queue_bytes_max=100),
        "notices": RecordingNotices(),
    }
    quarantine = given.pop("quarantine", lambda: None)
    return Receiving(Reception(**{**values, **given}), reactor, quarantine)
