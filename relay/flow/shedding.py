"""Load shedding: which messages do not get into a queue that is full or nearly so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from relay.model.message import SEVERITY_NAMES
from relay.queue.admission.backpressure import SourceAdmission
from relay.queue.admission.limits import QUEUE_FULL, QueueLimit, queue_full_reason
from relay.wire.parse import severity_of

_ALL = len(SEVERITY_NAMES) - 1


class _LimitedRoute(Protocol):
    """The part of a `Route` that shedding needs."""

    @property
    def destination(self) -> str: ...

    @property
    def limit(self) -> QueueLimit | None: ...

    @property
    def reserved(self) -> bool: ...


def indexes_let_in(admission: SourceAdmission, frames: Sequence[bytes]) -> Sequence[int]:
    """The indexes of those of `frames`, which cannot wait, that may come in now."""
    severity_max = admission.severity_max
    if severity_max >= _ALL:
        return range(len(frames))
    return [index for index, frame in enumerate(frames) if severity_of(frame) <= severity_max]


def severities_let_in(routes: Iterable[_LimitedRoute]) -> dict[str, int]:
    """The least severe messages still taken, by destination; those that take all are left out."""
    found = {}
    for route in routes:
        if route.limit is not None:
            severity_max = route.limit.severity_max(reserved=route.reserved)
            if severity_max < _ALL:
                found[route.destination] = severity_max
    return found


def let_in(
    route: _LimitedRoute, severities: Sequence[int], severity_max: int
) -> tuple[list[int], Counter[str]]:
    """The indexes of a batch that get into the queue of `route`, and the others by reason.

    Args:
        severities: Those of the messages, in order.
        severity_max: The least severe that get in; below 0 = none do.
    """
    taken = [index for index, severity in enumerate(severities) if severity <= severity_max]
    if len(taken) == len(severities) or route.limit is None:
        return taken, Counter()
    drops = Counter[str]()
    refused = Counter(severity for severity in severities if severity > severity_max)
    for severity, count in refused.items():
        drops[shed_reason(route, severity)] += count
    for reason, count in drops.items():
        route.limit.dropped(count, reason)
    return taken, drops


def shed_reason(route: _LimitedRoute, severity: int) -> str:
    """Why a message of this severity does not get into the queue of `route`, which has a limit."""
    assert route.limit is not None
    by_severity = route.limit.when_full == "drop-by-severity"
    return queue_full_reason(severity) if by_severity else QUEUE_FULL
