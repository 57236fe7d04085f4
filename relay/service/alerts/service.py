"""Alerts as a service: looks at the status, and tells of what begins and ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from twisted.logger import Logger

from relay.model.clock import Now, Reactor
from relay.model.counters.peers import PeerTable
from relay.model.text import Document, counted, duration, printable
from relay.observe.alerts.baseline import Increase
from relay.observe.alerts.incidents import BEGINS_MAX, RUNNING_MAX, Alert, Finding, Incidents
from relay.observe.alerts.rules import (
    Drops,
    ErrorRate,
    Expiry,
    QueueFull,
    Rule,
    down,
    is_own_log,
    watch_rate,
)
from relay.observe.alerts.silence import Silence
from relay.service.alerts.memory import Memory, load, save
from relay.service.alerts.outlets import Outlet
from relay.service.alerts.program import AlertProgram
from relay.service.alerts.webhook import SUBJECT, new_webhook
from relay.service.configuration.model import AlertLimits, Configuration
from relay.service.periodic import PeriodicService
from relay.service.reloading.live import Live
from relay.service.sources.service import SourceService
from relay.service.tls.certificate_watch import CertificateWatch
from relay.transport.notices import Notices

MESSAGE_VERSION = 1
_FILE = "alerts.json"
_FULL_SECONDS = 30.0  # a burst for which there is room makes no alert
_SAVE_SECONDS = 300.0  # what is learnt in less time may be lost with the process


@dataclass(eq=False, repr=False, kw_only=True)
class AlertService(PeriodicService):
    """Looks every 5 seconds."""

    name = "alerts"
    _log = Logger(namespace="relay")

    relay_name: str
    limits: AlertLimits
    status: Callable[[], Document]
    """The status document."""
    tables: Mapping[str, PeerTable]
    """The peers of each source, by its id; without the relay's own log."""
    outlets: Sequence[Outlet]
    path: str
    """The file with what is remembered."""
    notices: Notices
    now: Now
    interval_seconds: float = 5.0
    _saved_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        limits = self.limits
        self._increase = Increase(limits.increase, limits.increase_per_second_min)
        self._silence = Silence(limits.silent_after, self.tables)
        self._incidents = Incidents({"down": limits.down_after, "full": _FULL_SECONDS})
        self._rules = _rules(limits)

    def startService(self) -> None:
        now = self.clock.seconds()
        try:
            memory = load(self.path)
        except ValueError as error:
            memory = Memory()
            text = f"{self.path} {error}; what is usual is learnt anew"
            self.notices.warn(SUBJECT, "memory", text)
        self._increase.restore(memory.baselines)
        self._silence.restore(memory.idle, now)
        self._incidents.restore(memory.running, memory.ended, now)
        for outlet in self.outlets:
            outlet.start(memory.waiting.pop(outlet.name, ()))
        for name, messages in memory.waiting.items():
            count = counted(len(messages), "alert")
            text = f"{printable(name)} is not configured any more; {count} for it are dropped"
            self.notices.warn(SUBJECT, "telling", text)
        self._saved_at = now
        super().startService()

    def stopService(self) -> None:
        super().stopService()
        for outlet in self.outlets:
            outlet.stop()
        self._save()

    def look(self) -> None:
        document, now, unix = self.status(), self.clock.seconds(), self.now()
        findings = self._findings(document, now, unix)
        changed = self._incidents.look(now, unix, findings)
        for alert in changed:
            self._tell(alert)
        for rule, count in self._incidents.left_out.items():
            text = (
                f"{counted(count, 'more alert')} of {rule} are not told: at most {RUNNING_MAX} run "
                f"at a time, and {BEGINS_MAX} begin in an hour"
            )
            self.notices.warn(SUBJECT, f"left out, {rule}", text)
        if changed or now - self._saved_at >= _SAVE_SECONDS:
            self._save()

    def report(self) -> Document:
        """Alerts, the worst and the oldest first, those that have ended, the newest first; what is
        not told, and who is told."""
        return {
            "running": [alert.report() for alert in self._incidents.running],
            "ended": [alert.report() for alert in reversed(self._incidents.ended)],
            "left_out": dict(self._incidents.left_out),
            "outlets": [outlet.report() for outlet in self.outlets],
        }

    def _findings(self, document: Document, now: float, unix: float) -> Iterator[Finding]:
        for rule in self._rules:
            yield from rule(document)
        if self.limits.increase:
            yield from self._increase.look(document, unix)
        if self.limits.silent_after:
            yield from self._silence.look(now)

    def _tell(self, alert: Alert) -> None:
        """Tell everybody that `alert` has begun or ended."""
        about = f"{alert.subject}: {alert.text} ({alert.rule})"
        if alert.ended is not None:
            lasted = duration(alert.ended - alert.since)
            self._log.info("alert ends after {lasted}: {about}", lasted=lasted, about=about)
        elif alert.severity == "error":
            self._log.error("alert: {about}", about=about)
        else:
            self._log.warn("alert: {about}", about=about)
        message = {
            "version": MESSAGE_VERSION,
            "relay": self.relay_name,
            "event": "begin" if alert.ended is None else "end",
            **alert.report(),
        }
        for outlet in self.outlets:
            outlet.tell(message)

    def _save(self) -> None:
        now = self.clock.seconds()
        self._saved_at = now
        memory = Memory(
            baselines=self._increase.baselines,
            idle=self._silence.idle(now),
            running=self._incidents.running,
            ended=list(self._incidents.ended),
            waiting={outlet.name: outlet.waiting for outlet in self.outlets if outlet.waiting},
        )
        try:
            save(self.path, memory)
        except OSError as error:
            text = f"cannot write {self.path}: {error.strerror or error}; after a restart alerts"
            self.notices.warn(SUBJECT, "memory", f"{text} begin anew")


def _rules(limits: AlertLimits) -> list[Rule]:
    """Those that need nothing but the status document."""
    rules: list[Rule] = [watch_rate]
    if limits.errors_per_second_max:
        rules.append(ErrorRate(limits.errors_per_second_max))
    if limits.full_within:
        rules.append(QueueFull(limits.full_within))
    if limits.expires_within:
        rules.append(Expiry(limits.expires_within))
    if limits.down_after:
        rules.append(down)
    if limits.drops:
        rules.append(Drops())
    return rules


def alert_sections(
    alerts: Callable[[], AlertService | None],
) -> Mapping[str, Callable[[], object]]:
    """The members of the status document about alerts, which may not be configured."""

    def member(name: str, without: object) -> object:
        found = alerts()
        return without if found is None else found.report()[name]

    return {
        "alerts": partial(member, "running", []),
        "alerts_ended": partial(member, "ended", []),
        "alerts_left_out": partial(member, "left_out", {}),
        "alert_outlets": partial(member, "outlets", []),
    }


def new_alerts(
    configuration: Configuration,
    status: Callable[[], Document],
    sources: Sequence[SourceService],
    certificates: CertificateWatch,
    notices: Notices,
    now: Now,
    reactor: Reactor,
) -> AlertService | None:
    """The alerts of a relay; None if they are not configured."""
    alerts = configuration.alerts
    if alerts is None:
        return None
    outlets = []
    warn = partial(notices.warn, SUBJECT, "telling")
    if (url := alerts.webhook) is not None:
        webhook = new_webhook(alerts, url, certificates, notices, reactor)
        name = f"webhook {url.host}:{url.port}"  # the path may be a secret
        outlets.append(Outlet(name, webhook, clock=reactor, warn=warn))
    if alerts.program:
        program = AlertProgram(
            alerts.program, seconds_max=alerts.program_seconds_max, warn=warn, reactor=reactor
        )
        outlets.append(Outlet(f"program {alerts.program[0]}", program, clock=reactor, warn=warn))
    return AlertService(
        relay_name=configuration.name,
        limits=alerts.limits,
        status=status,
        tables=Live(
            lambda: {
                source.id: source.counters.peers
                for source in sources
                if not is_own_log(str(source.url))
            }
        ),
        outlets=outlets,
        path=os.path.join(configuration.state_dir, _FILE),
        notices=notices,
        now=now,
        clock=reactor,
    )
