"""When an alert begins and ends: once per incident, and few at a time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from msgspec import Meta

from relay.model.text import Document, printable

QUIET_SECONDS = 60.0
"""An alert ends when nothing was found for so long: what flaps faster is one incident."""
RUNNING_MAX = 50
"""Alerts of one rule that run at a time."""
BEGINS_MAX = 60
"""Alerts of one rule that begin within an hour."""
ENDED_MAX = 100
"""Ended alerts that are kept, of all rules together."""
_BREAK_SECONDS = 15.0  # a shorter one does not interrupt what has to last
_PENDING_MAX = 1000
_HOUR_SECONDS = 3600.0
_TEXT_MAX = 500  # characters
_Time = Annotated[float, Meta(ge=0, lt=253402300800)]  # to the year 9999: people can be told it


class Finding(NamedTuple):
    """What a rule has found."""

    rule: str
    subject: str
    """What it is about, such as ``source network, 192.0.2.1``."""
    text: str
    severity: str = "warning"
    """warning or error."""
    begins: bool = True
    """Bad enough to raise an alert; else a running one goes on."""


@dataclass(slots=True)
class Alert:
    """One incident."""

    rule: str
    subject: str
    text: str
    """The last thing that was found."""
    severity: str
    since: _Time
    """When it began, in seconds since 1970-01-01 UTC."""
    ended: _Time | None = None
    """When it ended; None = it runs."""

    @property
    def key(self) -> tuple[str, str]:
        return self.rule, self.subject

    def report(self) -> Document:
        """For JSON."""
        ended = {} if self.ended is None else {"ended": self.ended}
        return {
            "rule": self.rule,
            "subject": self.subject,
            "text": self.text,
            "severity": self.severity,
            "since": self.since,
            **ended,
        }

    def note(self, finding: Finding) -> None:
        """It goes on, as `finding` says; it may become worse, and stays as bad as it was."""
        self.text = printable(finding.text, length_max=_TEXT_MAX)
        if finding.severity == "error":
            self.severity = "error"


@dataclass(slots=True)
class _Seen:
    """Something that was found, and may be an incident."""

    first_at: float
    last_at: float
    alert: Alert | None = None
    """None = it has not lasted long enough, or too many run."""


class Incidents:
    """Makes incidents of what rules find from time to time.

    Args:
        holds: Seconds for which the findings of a rule have to last, but for short breaks, before
            they are an incident; none = one is enough.

    Attributes:
        ended: The last ones, the newest last.
        left_out: What was found last and is not told, since too many alerts of its rule run or
            began lately: how many subjects, by rule.
    """

    def __init__(self, holds: Mapping[str, float]) -> None:
        self.ended: deque[Alert] = deque(maxlen=ENDED_MAX)
        self.left_out: Counter[str] = Counter()
        self._holds = holds
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._begun: dict[str, deque[float]] = {}
        self._running = Counter[str]()  # by rule: each finding asks for it

    @property
    def running(self) -> list[Alert]:
        """Those that run, the worst and then the oldest first."""
        found = [seen.alert for seen in self._seen.values() if seen.alert is not None]
        return sorted(found, key=lambda alert: (alert.severity != "error", alert.since))

    def __len__(self) -> int:
        """What is remembered: running alerts, and what may become one."""
        return len(self._seen)

    def restore(self, running: Iterable[Alert], ended: Iterable[Alert], now: float) -> None:
        """Go on with the incidents of an earlier process; they end soon if nothing is found.

        Args:
            now: Seconds on a clock that is never set, as in `look`.
        """
        for alert in running:
            if alert.key not in self._seen and self._running[alert.rule] < RUNNING_MAX:
                self._seen[alert.key] = _Seen(now, now, alert)
                self._running[alert.rule] += 1
        self.ended.extend(ended)

    def look(self, now: float, unix: float, findings: Iterable[Finding]) -> list[Alert]:
        """Take what rules find at this moment; return alerts that have begun or ended.

        Args:
            now: Seconds on a clock that is never set.
            unix: The time of day.
        """
        self.left_out.clear()
        changed: list[Alert] = []
        for finding in findings:
            if (alert := self._note(finding, now, unix)) is not None:
                changed.append(alert)
        changed += self._over(now, unix)
        return changed

    def _note(self, finding: Finding, now: float, unix: float) -> Alert | None:
        subject = printable(finding.subject)
        key = (finding.rule, subject)
        seen = self._seen.get(key)
        if seen is not None and seen.alert is not None:
            seen.last_at = now
            seen.alert.note(finding)
            return None
        if not finding.begins:
            return None
        hold = self._holds.get(finding.rule, 0.0)
        if seen is None:
            if hold and len(self._seen) >= _PENDING_MAX:
                self.left_out[finding.rule] += 1
                return None
            seen = _Seen(now, now)
            if hold:
                self._seen[key] = seen
        seen.last_at = now
        if now - seen.first_at < hold:
            return None
        if not self._may_begin(finding.rule, now):
            self.left_out[finding.rule] += 1
            return None
        self._begun[finding.rule].append(now)
        self._running[finding.rule] += 1
        seen.alert = Alert(finding.rule, subject, "", finding.severity, unix)
        seen.alert.note(finding)
        self._seen[key] = seen
        return seen.alert

    def _may_begin(self, rule: str, now: float) -> bool:
        begun = self._begun.setdefault(rule, deque(maxlen=BEGINS_MAX))
        is_early = len(begun) >= BEGINS_MAX and now - begun[0] < _HOUR_SECONDS
        return not is_early and self._running[rule] < RUNNING_MAX

    def _over(self, now: float, unix: float) -> Iterator[Alert]:
        for key, seen in list(self._seen.items()):
            patience = _BREAK_SECONDS if seen.alert is None else QUIET_SECONDS
            if now - seen.last_at < patience:
                continue
            del self._seen[key]
            if seen.alert is not None:
                self._running[seen.alert.rule] -= 1
                seen.alert.ended = unix
                self.ended.append(seen.alert)
                yield seen.alert
