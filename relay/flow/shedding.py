"""What is dropped at the door of a queue that is full or nearly so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from relay.model.message import SEVERITY_NAMES
from relay.queue.admission.backpressure import SourceAdmission
from relay.queue.admission.limits import QUEUE_FULL, QueueLimit, queue_full_reason
from relay.wire.parse import severity_of

__all__ = ["indexes_let_in", "let_in", "severities_let_in"]

_ALL = len(SEVERITY_NAMES) - 1


class _Way(Protocol):
    """A `Route`, as far as it matters here."""

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


def severities_let_in(routes: Iterable[_Way]) -> dict[str, int]:
    """The destinations that do not take everything now, and the least severe that they take."""
    found = {}
    for route in routes:
        if route.limit is not None:
            severity_max = route.limit.severity_max(reserved=route.reserved)
            if severity_max < _ALL:
                found[route.destination] = severity_max
    return found


def let_in(
    route: _Way, severities: Sequence[int], severity_max: int
) -> tuple[list[int], Counter[str]]:
    """Which of a batch get into the queue of `route`, and the others by reason.

    Args:
        severities: Those of the messages, in order.
        severity_max: The least severe that get in; below 0 = none do.
    """
    taken = [index for index, severity in enumerate(severities) if severity <= severity_max]
    if len(taken) == len(severities) or route.limit is None:
        return taken, Counter()
    if route.limit.when_full == "drop-by-severity":
        refused = Counter(severity for severity in severities if severity > severity_max)
        drops = Counter({queue_full_reason(severity): n for severity, n in refused.items()})
    else:
        drops = Counter({QUEUE_FULL: len(severities) - len(taken)})
    for reason, count in drops.items():
        route.limit.dropped(count, reason)
    return taken, drops
