"""`syslogrelay check --connect`: try what a configuration names, and tell what was found."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import NoReturn

from relay.cli.output import print_document
from relay.cli.screen import GOOD, SEVERE, WARNING, Screen
from relay.model.text import Document
from relay.service.configuration.file import examine_file
from relay.service.configuration.model import Configuration
from relay.service.kinds import KINDS
from relay.service.probes.alerts import probe_alerts
from relay.service.probes.host import probe_host
from relay.service.probes.probe import Finding, Probe, Severity, run_probes
from relay.service.probes.web import probe_web
from relay.service.queue.state_dir import running_relay
from relay.service.relay_service import local_zone
from relay.service.routes.explanation import failures_of

_STYLES = {Severity.OK: GOOD, Severity.WARNING: WARNING, Severity.ERROR: SEVERE}
_FILE = "file"


def check_connections(file: str, *, seconds_max: float, as_json: bool) -> NoReturn:
    """Print what is found, and end with the severity of the worst as the status."""
    probes = _findings(file, seconds_max)
    worst = max((each.severity for probe in probes for each in probe.findings), default=Severity.OK)
    if as_json:
        document = {"file": file, "severity": worst.name.lower(), "subjects": _document(probes)}
        print_document(document)
    else:
        _print(Screen.of_output(), file, probes)
    raise SystemExit(int(worst))


def _findings(file: str, seconds_max: float) -> list[Probe]:
    examined = examine_file(file, KINDS)
    of_file = Probe(_FILE, seconds_max)
    for problem in examined.problems:
        of_file.fail(_FILE, "configuration", problem, "")
    configuration = examined.configuration
    if configuration is None or not examined.is_whole:
        of_file.warn(_FILE, "not-tried", "nothing else is tried until the file is valid", "")
        return [of_file]
    for failure in failures_of(configuration, now=time.time(), zone=local_zone()):
        of_file.fail(_FILE, "test-failed", failure, "")
    for warning in configuration.warnings:
        of_file.warn(_FILE, "doubtful", warning, "")
    if not of_file.findings:
        of_file.passed(_FILE, "the configuration is valid")
    planned = _planned(configuration, seconds_max)
    run_probes(planned)
    return [of_file, *(probe for probe, _ in planned)]


def _planned(
    configuration: Configuration, seconds_max: float
) -> list[tuple[Probe, Callable[[Probe], None]]]:
    pid = running_relay(configuration.state_dir)
    host = partial(probe_host, configuration=configuration)
    planned: list[tuple[Probe, Callable[[Probe], None]]] = [
        (Probe("relay", seconds_max, pid), host)
    ]
    if configuration.web is not None:
        web = partial(probe_web, web=configuration.web)
        planned.append((Probe("web server", seconds_max, pid), web))
    if configuration.alerts is not None:
        alerts = partial(probe_alerts, alerts=configuration.alerts)
        planned.append((Probe("alerts", seconds_max, pid), alerts))
    for source in configuration.sources:
        probe = Probe(f"source {source.id}", seconds_max, pid)
        if try_source := KINDS.source(source.listen.scheme).probe:
            planned.append((probe, partial(try_source, source)))
    for destination in configuration.destinations:
        probe = Probe(f"destination {destination.id}", seconds_max, pid)
        if try_destination := KINDS.destination(destination.connect.scheme).probe:
            planned.append((probe, partial(try_destination, destination)))
    return planned


def _document(probes: Sequence[Probe]) -> list[Document]:
    def shown(finding: Finding) -> Document:
        return asdict(finding) | {"severity": finding.severity.name.lower()}

    return [
        {"subject": probe.subject, "findings": [*map(shown, probe.findings)]} for probe in probes
    ]


def _print(screen: Screen, file: str, probes: Sequence[Probe]) -> None:
    for probe in probes:
        about = file if probe.subject == _FILE else probe.subject
        for each in probe.findings:
            screen.say(_text(each), _STYLES[each.severity], about=about)


def _text(finding: Finding) -> str:
    if finding.severity is Severity.OK:
        return f"ok: {finding.step}: {finding.text}"
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return f"{finding.severity.name.lower()}: {finding.fault}: {finding.text}{remedy}"
