"""Rules that find trouble in a status document.

A rule is called with each document, and yields what it finds.  What is between the limit at which
an alert begins and the one at which it ends is found too, so that it goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from relay.model.text import Document, counted, duration
from relay.observe.alerts.incidents import QUIET_SECONDS, Finding

Rule = Callable[[Document], Iterator[Finding]]

RATES_SECONDS = 60.0
"""Rates are those over the last minute; before that a burst would look like one."""
GOES_ON = 0.7
"""Of a limit: an alert goes on down to this."""
_NOT_LOST = {"empty", "not-allowed"}  # at a source
_LOST = {"too-old", "not-stored", "too-long", "type-cast", "quarantine-full"}
_LOST_BEGIN = "queue-full"  # and by severity
"""Reasons at a destination; all others are asked for by its steps, or by an operator."""


def is_own_log(listen: str) -> bool:
    """Whether a source with this URL is the relay's own log, which alerts are written to."""
    return listen.startswith("internal:")


def has_rates(document: Document) -> bool:
    """Whether the rates over a minute are those of a whole minute."""
    return bool(document["uptime_seconds"] >= RATES_SECONDS)


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """More errors than `per_second_max` come from a source."""

    per_second_max: float

    def __call__(self, document: Document) -> Iterator[Finding]:
        if has_rates(document):
            for source in document["sources"]:
                if not is_own_log(source["listen"]):
                    rate = source["rates"]["60s"]["errors"]
                    subject = f"source {source['id']}"
                    yield from _above(
                        "errors", subject, rate, self.per_second_max, f"{rate:,.1f} errors"
                    )


def watch_rate(document: Document) -> Iterator[Finding]:
    """More messages than its limit fit a rule of `[[watch]]`."""
    if has_rates(document):
        for rule in document["watch"]["rules"]:
            if limit := rule["per_second_max"]:
                text = f"{rule['60s']:,.1f} messages"
                yield from _above("watch", f"rule {rule['id']}", rule["60s"], limit, text)


def _above(rule: str, subject: str, rate: float, limit: float, text: str) -> Iterator[Finding]:
    if rate > GOES_ON * limit:
        text = f"{text} a second, more than {limit:g}" if rate > limit else f"{text} a second"
        yield Finding(rule, subject, text, "error", begins=rate > limit)


@dataclass(frozen=True, slots=True)
class QueueFull:
    """A queue will be full soon, or is."""

    within_seconds: float

    def __call__(self, document: Document) -> Iterator[Finding]:
        admission = document["admission"]
        is_full = not admission["open"] and not admission["busy"]
        text = f"not accepting messages: {admission['reason']}" if is_full else ""
        yield from self._found("queue", admission["seconds_to_full"], text)
        for destination in document["destinations"]:
            limit = destination.get("limit") or {"fill_percent": None, "seconds_to_full": None}
            percent = limit["fill_percent"]
            text = f"{percent} % full" if percent is not None and percent >= 100 else ""
            subject = f"destination {destination['id']}"
            yield from self._found(subject, limit["seconds_to_full"], text)

    def _found(self, subject: str, seconds: float | None, full: str) -> Iterator[Finding]:
        if full:
            yield Finding("full", subject, full, "error")
        elif seconds is not None and seconds < 2 * self.within_seconds:
            text = f"its queue will be full in {duration(seconds)}"
            if subject == "queue":
                text = f"it will be full in {duration(seconds)}"
            yield Finding("full", subject, text, "error", begins=seconds < self.within_seconds)


@dataclass(frozen=True, slots=True)
class Expiry:
    """A certificate or revocation list in use expires soon."""

    within_seconds: float

    def __call__(self, document: Document) -> Iterator[Finding]:
        for report in document["certificates"]:
            days = report.get("expires_days")  # of certificates alone
            if days is not None and days * 86400 <= self.within_seconds:
                severity = "error" if days <= 1 else "warning"
                subject = f"{report['subject']}, {report['certificate']}"
                yield Finding("expiry", subject, report["problem"], severity)
            elif report.get("is_due"):
                subject = f"{report['subject']}, {report['crl']}"
                yield Finding("expiry", subject, report["problem"])


def down(document: Document) -> Iterator[Finding]:
    """A destination is not connected, or acknowledges nothing."""
    for destination in document["destinations"]:
        if destination["paused"]:  # somebody wanted that
            continue
        stalled = destination.get("stalled_seconds")
        if destination["ready"] and stalled is None:
            continue
        text = destination["state"]
        if stalled is not None:
            text = f"nothing acknowledged in {duration(stalled)} of being connected"
        queued = counted(destination["queued_records"], "record")
        yield Finding(
            "down", f"destination {destination['id']}", f"{text}; {queued} queued", "error"
        )


@dataclass(slots=True)
class _Losses:
    """What one source or destination has lost."""

    known: Mapping[str, int]
    """At the last look."""
    before: Mapping[str, int]
    """When nothing had been lost for a while."""
    at: float
    """When something was lost last, in seconds since the start."""


@dataclass(slots=True)
class Drops:
    """Messages are lost, though nobody has asked for that."""

    _losses: dict[str, _Losses] = field(default_factory=dict)

    def __call__(self, document: Document) -> Iterator[Finding]:
        now = document["uptime_seconds"]
        for report in document["sources"]:
            yield from self._look(f"source {report['id']}", _lost_at_source(report), now)
        for report in document["destinations"]:
            yield from self._look(f"destination {report['id']}", _lost_at_destination(report), now)

    def _look(self, subject: str, counts: Mapping[str, int], now: float) -> Iterator[Finding]:
        losses = self._losses.get(subject)
        if losses is None:  # what an earlier process has counted is no news
            self._losses[subject] = _Losses(counts, counts, -QUIET_SECONDS)
            return
        if now - losses.at >= QUIET_SECONDS:
            losses.before = losses.known
        grown = any(count > losses.known.get(reason, 0) for reason, count in counts.items())
        losses.known = counts
        if grown:
            losses.at = now
            more = Counter(counts) - Counter(losses.before)
            reasons = ", ".join(f"{count:,} ({reason})" for reason, count in sorted(more.items()))
            text = f"lost {counted(sum(more.values()), 'message')}: {reasons}"
            yield Finding("drops", subject, text, "error")


def _lost_at_source(report: Document) -> dict[str, int]:
    lost: Counter[str] = Counter(report["dropped_records"])
    quarantine = report.get("quarantine") or {"dropped_records": {}}
    lost["quarantine-full"] += quarantine["dropped_records"].get("quarantine-full", 0)
    lost["missing"] += report.get("missing_records", 0)
    lost["gap-in-the-journal"] += report.get("gaps", 0)
    return {reason: count for reason, count in lost.items() if count and reason not in _NOT_LOST}


def _lost_at_destination(report: Document) -> dict[str, int]:
    return {
        reason: count
        for reason, count in report["dropped_records"].items()
        if reason in _LOST or reason.startswith(_LOST_BEGIN)
    }
