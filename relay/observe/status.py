"""The status document of a relay, and its statistics line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from relay.model.expression import TIMEOUTS
from relay.model.text import Document
from relay.observe.health import RecentLosses, degradations
from relay.observe.status_schema import STATUS_VERSION
from relay.queue.admission.backpressure import Admission


class Reports(Protocol):
    """A source or a destination."""

    def report(self) -> Document: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """The relay that a status document describes."""

    name: str
    version: str
    is_compiled: bool
    """Compiled code is available and in use."""
    state_dir: str


@dataclass(frozen=True, slots=True)
class FileUsage:
    """Size of the queue's file."""

    allocated_bytes: int = 0
    """On disk."""
    history_bytes: int = 0
    """Of that, delivered records that are kept."""


class Status:
    """Assembles the status document from reports.

    Args:
        sections: Further members of the document; `degradations` says which it reads.
        elapsed: Seconds on a clock that is never set.
        last_errors: The last warning of each kind about ``source ID`` or ``destination ID``.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        sources: Sequence[Reports],
        destinations: Sequence[Reports],
        admission: Admission,
        sections: Mapping[str, Callable[[], object]],
        elapsed: Callable[[], float],
        file_usage: Callable[[], FileUsage] = FileUsage,
        last_errors: Callable[[str], list[Document]] = lambda owner: [],
    ) -> None:
        self._identity = identity
        self._sources = sources
        self._destinations = destinations
        self._admission = admission
        self._sections = sections
        self._elapsed = elapsed
        self._file_usage = file_usage
        self._last_errors = last_errors
        self._losses = RecentLosses()
        self._started_at = elapsed()

    def document(self) -> Document:
        """The complete document, ready for JSON; `status_schema.py` describes it."""
        identity, usage = self._identity, self._file_usage()
        failure = self._admission.failure
        sources = [self._with_errors("source", source) for source in self._sources]
        destinations = [self._with_errors("destination", each) for each in self._destinations]
        elapsed = self._elapsed()
        document = {
            "status_version": STATUS_VERSION,
            "name": identity.name,
            "version": identity.version,
            "compiled": identity.is_compiled,
            "state_dir": identity.state_dir,
            "uptime_seconds": elapsed - self._started_at,
            "admission": {
                "open": not self._admission.closed,
                "reason": self._admission.reason,
                "busy": self._admission.is_busy,
                "since": failure.since if failure is not None else None,
                "pending_bytes": self._admission.pending_bytes,
                "queue_bytes": self._admission.queue_bytes,
                "queue_bytes_max": self._admission.queue_bytes_max,
                "history_bytes": usage.history_bytes,
                "allocated_bytes": usage.allocated_bytes,
                "free_bytes": self._admission.free_bytes,
                "seconds_to_full": self._admission.seconds_to_full,
            },
            "sources": sources,
            "destinations": destinations,
            "recently": self._losses.report(sources, destinations, elapsed),
            **{name: section() for name, section in self._sections.items()},
            "expression_timeouts": dict(TIMEOUTS),
        }
        return {**document, "degraded": degradations(document)}

    def _with_errors(self, what: str, subject: Reports) -> Document:
        report = subject.report()
        return {**report, "last_errors": self._last_errors(f"{what} {report['id']}")}


def statistics_line(before: Document, after: Document) -> str:
    """The changes between two documents of `Status.document`, on one line."""
    parts = []
    if not after["admission"]["open"]:
        parts.append(f"admission closed: {after['admission']['reason']}")
    for kind in ("sources", "destinations"):
        earlier = {report["id"]: report for report in before[kind]}
        known = [report for report in after[kind] if report["id"] in earlier]  # others are new
        parts += [_changes(earlier[report["id"]], report) for report in known]
    return "statistics: " + "; ".join(parts)


def _changes(old: Document, report: Document) -> str:
    """What has changed at one source or destination."""

    def more(key: str) -> int:
        return int(report[key] - old[key])

    if "queued_records" not in report:  # a source; both have received_records
        line = f"{report['id']}: received {more('received_records')}"
    else:
        line = f"{report['id']}: delivered {more('delivered_records')}"
        line += f", queued {report['queued_records']}{_fill(report.get('limit'))}"
        if (set_aside := more("quarantined_records")) > 0:  # less: replayed or purged
            line += f", set aside {set_aside}"
    if dropped := _dropped(report) - _dropped(old):
        line += f", dropped {dropped}"
    if not report.get("ready", True):
        line += f" ({report['state']})"
    if (seconds := report.get("stalled_seconds")) is not None:
        line += f" (nothing acknowledged for {seconds:.0f} s)"
    return line


def _fill(limit: Document | None) -> str:
    percent = limit["fill_percent"] if limit is not None else None
    return f" ({percent} % full)" if percent is not None and percent >= 50 else ""


def _dropped(report: Document) -> int:
    return sum(report["dropped_records"].values())
