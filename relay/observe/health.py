"""The health of a relay, derived from its status document.

`degradations` alone decides it.  A source or destination that is not
``ready`` is a degradation with its ``state`` as the reason, so a new state of them needs
no change here; anything else gets a function below.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence

from relay.model.text import Document, counted, duration

_EXPIRES_DAYS = 14.0
_NEARLY_FULL_PERCENT = 80
_RECENT_SECONDS = 900.0
_SNAPSHOT_SECONDS = 60.0

# Reasons of drops for lack of room or because of a disk.  Other drops are configured,
# requested, or caused by peers at will.
_LOSSES = ("admission-closed", "kernel-buffer", "not-stored", "quarantine-full", "too-old")
_LOSSES_BEGIN = "queue-full"  # and by severity


class RecentLosses:
    """Recent losses, by comparing counters with earlier ones.

    Counters are kept at each report, at most once a minute.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[float, dict[str, dict[str, int]]]] = deque()

    def report(
        self, sources: list[Document], destinations: list[Document], elapsed: float
    ) -> Document:
        """What sources and destinations have lost, by id (``source/ID``) and reason.

        Over the last 15 minutes, since the first call, or since the last report if that is
        longer ago; ``seconds`` is the length of the period.
        """
        now = {f"source/{report['id']}": _losses(report) for report in sources}
        now |= {report["id"]: _losses(report) for report in destinations}
        kept = self._kept
        if not kept or elapsed - kept[-1][0] >= _SNAPSHOT_SECONDS:
            kept.append((elapsed, now))
        while len(kept) > 1 and elapsed - kept[1][0] >= _RECENT_SECONDS:
            kept.popleft()
        since, before = kept[0]
        more = {
            id: {
                reason: count - before.get(id, {}).get(reason, 0)
                for reason, count in losses.items()
                if count > before.get(id, {}).get(reason, 0)
            }
            for id, losses in now.items()
        }
        return {
            "seconds": elapsed - since,
            "lost_records": {id: losses for id, losses in more.items() if losses},
        }


def _losses(report: Document) -> dict[str, int]:
    quarantine = report.get("quarantine") or {"dropped_records": {}}
    dropped = Counter(report["dropped_records"]) + Counter(quarantine["dropped_records"])
    losses = {
        reason: count
        for reason, count in dropped.items()
        if reason in _LOSSES or reason.startswith(_LOSSES_BEGIN)
    }
    for key, reason in (("missing_records", "missing"), ("gaps", "gap-in-the-journal")):
        if report.get(key):
            losses[reason] = report[key]
    return losses


def degradations(document: Document) -> list[str]:
    """Reasons why the relay is not healthy, the worst first; empty if it is."""
    alerts = document.get("alerts", ())
    told = {(alert["rule"], alert["subject"]) for alert in alerts}
    found = [*_admission(document["admission"])]
    found += [f"damaged queue file {path}" for path in document["damaged_files"]]
    found += _alerts(alerts, "error")
    found += _recent(document["recently"], told)
    for destination in document["destinations"]:
        is_told = ("down", f"destination {destination['id']}") in told
        found += [
            f"{destination['id']}: {finding}" for finding in _destination(destination, is_told)
        ]
    for source in document["sources"]:
        found += [f"{source['id']}: {finding}" for finding in _source(source)]
    found += _certificates(document["certificates"], told)
    if (web := document.get("web")) and not web["ready"]:
        found.append(f"web server: {web['state']}")
    found += [f"table {table['path']}: {table['problem']}" for table in document["tables"]]
    if reload := document.get("reload"):
        found += _reload(reload)
    found += [f"{orphan}: has records but no destination" for orphan in document["orphans"]]
    found += _alerts(alerts, "warning")
    return found


def _reload(reload: Document) -> Iterator[str]:
    """Parts of the configuration file that are not in use; to wait for a restart is no fault."""
    yield from (f"reload: {failure}" for failure in reload["failures"])
    if refused := reload["refused"]:
        count = counted(len(refused), "problem")
        yield f"the configuration file was read again and refused: {count}: {refused[0]}"


def _alerts(alerts: Sequence[Document], severity: str) -> Iterator[str]:
    for alert in alerts:
        if alert["severity"] == severity:
            yield f"{alert['subject']}: {alert['text']} (alert {alert['rule']})"


def _admission(admission: Document) -> Iterator[str]:
    if not admission["open"] and not admission["busy"]:
        yield f"not accepting messages: {admission['reason']}"
    elif 100 * admission["queue_bytes"] >= _NEARLY_FULL_PERCENT * admission["queue_bytes_max"] > 0:
        percent = 100 * admission["queue_bytes"] // admission["queue_bytes_max"]
        yield f"the queue is {percent} % full"


def _source(report: Document) -> Iterator[str]:
    if not report.get("ready", True):
        yield report["state"]
    if report.get("files_refused"):
        yield f"{counted(report['files_refused'], 'file')} not read (files_max or descriptors)"
    if report.get("files_unreadable"):
        yield f"{counted(report['files_unreadable'], 'file')} cannot be read"


def _destination(report: Document, is_told: bool) -> Iterator[str]:
    """Findings about a destination; `is_told` = an alert says already that it is down."""
    if not report["ready"] and not is_told:
        yield report["state"]
    if (seconds := report.get("stalled_seconds")) is not None and not is_told:
        yield f"nothing acknowledged in {duration(seconds)} of being connected"
    percent = (report.get("limit") or {"fill_percent": None})["fill_percent"]
    if percent is not None and percent >= _NEARLY_FULL_PERCENT:
        yield f"its queue is {percent} % full"
    if report["quarantined_records"]:
        yield f"{counted(report['quarantined_records'], 'record')} in quarantine"


def _recent(recently: Document, told: Collection[tuple[str, str]]) -> Iterator[str]:
    for id, losses in recently["lost_records"].items():
        kind, is_source, name = id.partition("/")
        if ("drops", f"source {name}" if is_source else f"destination {kind}") in told:
            continue
        counts = ", ".join(f"{count:,} ({reason})" for reason, count in sorted(losses.items()))
        yield f"{id}: lost {counts} in the last {duration(recently['seconds'])}"


def _certificates(reports: list[Document], told: Collection[tuple[str, str]]) -> Iterator[str]:
    for report in reports:
        path = report.get("certificate") or report.get("crl")
        if ("expiry", f"{report['subject']}, {path}") in told:
            continue
        # Files that cannot be used have neither; each of the others has one of these.
        if report.get("is_due", True) and report.get("expires_days", 0.0) <= _EXPIRES_DAYS:
            yield f"{report['subject']}: {report['problem']}"
