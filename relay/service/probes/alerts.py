"""Look whether the receivers of alerts could be told of them."""

from __future__ import annotations

import shutil

from relay.service.configuration.model import AlertsConfiguration
from relay.service.probes.probe import Probe
from relay.service.probes.upstream import greet_nothing, probe_upstream
from relay.service.probes.web import probe_token


def probe_alerts(probe: Probe, alerts: AlertsConfiguration) -> None:
    """The way to the webhook, which gets no request, its token, and the program."""
    if alerts.webhook is not None:
        tls = alerts.tls if alerts.is_encrypted else None
        probe_upstream(
            probe, alerts.webhook, tls, greet_nothing
        )  # or it would take it for an alert
        probe_token(probe, "alerts.webhook_token_file", alerts.webhook_token_file)
    if alerts.program:
        name = alerts.program[0]
        if shutil.which(name) is None:
            text = f"alerts.program: {name} is no program that this user may run"
            remedy = "install it, or name one that is there"
            probe.fail("start", "program-missing", text, remedy)
        else:
            probe.passed("start", f"{name} can be run")
    if not probe.findings:
        probe.passed("alerts", "are told to the log alone")
