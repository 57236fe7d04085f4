"""What the relay says about itself, as one document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from relay.model.document import Document
from relay.model.expression import TIMEOUTS
from relay.observe.health import RecentLosses, degradations
from relay.queue.admission.backpressure import Admission

__all__ = ["Reports", "Status", "statistics_line"]

STATUS_VERSION = 1


class Reports(Protocol):
    """A source or a destination."""

    def report(self) -> Document: ...


class Status:
    """Puts the reports together.

    Args:
        is_compiled: What can be compiled is, and is used.
        elapsed: Seconds on a clock that is never set.
        allocated_bytes: What the queue's file takes on the disk.
        history_bytes: What of that delivered records take.
        orphans: Ids of queues that have records but no destination.
        sources_gone: Ids of sources that have read something and are not configured.
        damaged_files: Paths of queue files that were damaged at a start, and are kept.
        last_errors: The last warning of each kind about ``source ID`` or ``destination ID``.
        certificates: Our own, and revocation lists, with the days that they have left.
        tables: Lookup tables that have changed and cannot be used, with the reason.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        is_compiled: bool,
        state_dir: str,
        sources: Sequence[Reports],
        destinations: Sequence[Reports],
        admission: Admission,
        orphans: Callable[[], list[str]],
        damaged_files: Callable[[], list[str]],
        certificates: Callable[[], list[Document]],
        elapsed: Callable[[], float],
        tables: Callable[[], list[dict[str, str]]] = list,
        sources_gone: Callable[[], list[str]] = list,
        allocated_bytes: Callable[[], int] = lambda: 0,
        history_bytes: Callable[[], int] = lambda: 0,
        last_errors: Callable[[str], list[Document]] = lambda owner: [],
    ) -> None:
        self._name = name
        self._version = version
        self._is_compiled = is_compiled
        self._state_dir = state_dir
        self._sources = sources
        self._destinations = destinations
        self._admission = admission
        self._orphans = orphans
        self._sources_gone = sources_gone
        self._damaged_files = damaged_files
        self._certificates = certificates
        self._tables = tables
        self._elapsed = elapsed
        self._allocated_bytes = allocated_bytes
        self._history_bytes = history_bytes
        self._last_errors = last_errors
        self._losses = RecentLosses()
        self._started_at = elapsed()

    def document(self) -> Document:
        """Everything, ready for JSON."""
        failure = self._admission.failure
        sources = [self._with_errors("source", source) for source in self._sources]
        destinations = [self._with_errors("destination", each) for each in self._destinations]
        elapsed = self._elapsed()
        document = {
            "status_version": STATUS_VERSION,
            "name": self._name,
            "version": self._version,
            "compiled": self._is_compiled,
            "state_dir": self._state_dir,
            "uptime_seconds": elapsed - self._started_at,
            "admission": {
                "open": not self._admission.closed,
                "reason": self._admission.reason,
                "busy": self._admission.is_busy,
                "since": failure.since if failure is not None else None,
                "pending_bytes": self._admission.pending_bytes,
                "queue_bytes": self._admission.queue_bytes,
                "queue_bytes_max": self._admission.queue_bytes_max,
                "history_bytes": self._history_bytes(),
                "allocated_bytes": self._allocated_bytes(),
                "free_bytes": self._admission.free_bytes,
            },
            "sources": sources,
            "destinations": destinations,
            "recently": self._losses.report(sources, destinations, elapsed),
            "orphans": self._orphans(),
            "sources_gone": self._sources_gone(),
            "damaged_files": self._damaged_files(),
            "certificates": self._certificates(),
            "tables": self._tables(),
            "expression_timeouts": dict(TIMEOUTS),
        }
        return {**document, "degraded": degradations(document)}

    def _with_errors(self, what: str, subject: Reports) -> Document:
        report = subject.report()
        return {**report, "last_errors": self._last_errors(f"{what} {report['id']}")}


def statistics_line(before: Document, after: Document) -> str:
    """What happened between two documents of `Status.document`, on one line."""
    parts = []
    if not after["admission"]["open"]:
        parts.append(f"admission closed: {after['admission']['reason']}")
    earlier = {report["id"]: report for report in before["sources"]}
    for report in after["sources"]:
        old = earlier[report["id"]]
        received = report["received_records"] - old["received_records"]
        dropped = _dropped(report) - _dropped(old)
        parts.append(
            f"{report['id']}: received {received}"
            + _unless_zero(dropped, "dropped")
            + ("" if report.get("ready", True) else f" ({report['state']})")
        )
    earlier = {report["id"]: report for report in before["destinations"]}
    for report in after["destinations"]:
        old = earlier[report["id"]]
        delivered = report["delivered_records"] - old["delivered_records"]
        dropped = _dropped(report) - _dropped(old)
        set_aside = report["quarantined_records"] - old["quarantined_records"]
        parts.append(
            f"{report['id']}: delivered {delivered}, queued {report['queued_records']}"
            + _fill(report.get("limit"))
            + _unless_zero(max(0, set_aside), "set aside")  # less: replayed or purged
            + _unless_zero(dropped, "dropped")
            + ("" if report["ready"] else f" ({report['state']})")
            + _stall(report)
        )
    return "statistics: " + "; ".join(parts)


def _stall(report: Document) -> str:
    seconds = report.get("stalled_seconds")
    return "" if seconds is None else f" (nothing acknowledged for {seconds:.0f} s)"


def _fill(limit: Document | None) -> str:
    percent = limit["fill_percent"] if limit is not None else None
    return f" ({percent} % full)" if percent is not None and percent >= 50 else ""


def _dropped(report: Document) -> int:
    return sum(report["dropped_records"].values())


def _unless_zero(count: int, what: str) -> str:
    return f", {what} {count}" if count else ""
