"""deploy/prometheus and deploy/grafana with a real Prometheus that scrapes a real relay."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.certificate_files import make_certificate_files
from tests.interop.prometheus import Prometheus, UnavailableError, fetched
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, running_programs, wait_until
from tests.relay_process import RelayProcess

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"


@pytest.fixture(scope="module")
def binaries() -> Path:
    try:
        return fetched()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def programs() -> Iterator[Programs]:
    with running_programs() as running:
        yield running


def promtool(binaries: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(binaries / "promtool"), *arguments],
        cwd=RULES.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_right(binaries: Path) -> None:
    assert "rules found" in promtool(binaries, "check", "rules", RULES.name)


def test_the_rules_tell_what_they_are_for(binaries: Path) -> None:
    assert "SUCCESS" in promtool(binaries, "test", "rules", "rules.test.yml")


def test_every_alert_is_tested() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    tested = RULES.with_name("rules.test.yml").read_text()
    assert len(alerts) >= 8
    for alert in alerts:
        about = tested.split(f"alertname: {alert}\n")[1:]
        assert any(each.lstrip().startswith("exp_alerts:") for each in about), alert


def watched(programs: Programs, folder: Path) -> tuple[int, str]:
    """A relay with something to show in every panel: its TCP port, and its web server's address."""
    files = make_certificate_files(folder / "certificates")
    port, web = free_port(), f"127.0.0.1:{free_port()}"
    RelayProcess.started(
        programs,
        folder / "relay",
        sources={
            "in": {
                "listen": f"tcp://127.0.0.1:{port}",
                "frame_bytes_max": 480,
                "oversize": "drop",
            },
            "secure": {
                "listen": f"tls://127.0.0.1:{free_port()}",
                "certificate": files.server_certificate,
                "private_key": files.server_key,
                "trusted_ca": files.ca,
            },
        },
        destinations={
            "file": {"connect": f"file://{folder}/received.log", "catch_all": True},
            "away": {
                "connect": f"relp://127.0.0.1:{free_port()}",
                "catch_all": True,
                "rewrite": [{"drop": "noise", "match": {"severity": "debug"}}],
            },
        },
        web={"listen": f"http://{web}"},
    )
    return port, web


def queries() -> dict[str, str]:
    """The expressions of the dashboard by panel, with its variables filled in."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = {}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            text = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "30s")
            assert "$" not in text, text
            found[f"{panel['title']} {target['refId']}"] = text
    return found


def test_names_and_units_keep_the_conventions(
    binaries: Path, programs: Programs, tmp_path: Path
) -> None:
    port, web = watched(programs, tmp_path)
    feed_lines(port, [b"<11>host app: text", b"<15>host app: debug", b"<13>" + b"x" * 600])

    def metrics() -> str:
        with urlopen(f"http://{web}/metrics", timeout=10) as answer:
            return str(answer.read(), "utf-8")

    shown = ("dropped_messages_total{", "destination_failures_total{", "commit_seconds_bucket{")
    wait_until(lambda: all(name in metrics() for name in shown), "there is something of each", 40)
    done = subprocess.run(
        [str(binaries / "promtool"), "check", "metrics"],
        input=metrics(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_panel_shows_something(binaries: Path, programs: Programs, tmp_path: Path) -> None:
    port, web = watched(programs, tmp_path)
    prometheus = Prometheus(binaries, tmp_path / "prometheus", target=web, rules=RULES)
    programs.add(prometheus)
    prometheus.start()
    wanted = queries()
    assert len(wanted) > 15

    def sent_and_shown() -> bool:
        feed_lines(port, [b"<11>host app: text", b"<15>host app: debug", b"<13>" + b"x" * 600])
        return all(prometheus.query(text) for text in wanted.values())

    try:
        wait_until(sent_and_shown, "every panel shows something", 40.0)
    except AssertionError:
        empty = {panel: text for panel, text in wanted.items() if not prometheus.query(text)}
        pytest.fail(f"empty: {empty}")
    name = "syslogrelay_source_received_messages_total"
    (sample,) = prometheus.query(f'{name}{{source="in"}}')
    assert float(sample["value"][1]) > 0
    (target,) = prometheus.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    expected = {"SyslogrelayDestinationDown", "SyslogrelayCertificateExpires"}
    wait_until(lambda: active(prometheus) == expected, f"the alerts are {expected}")


def active(prometheus: Prometheus) -> set[str]:
    """The alerts that fire or are about to; every rule could be evaluated, if any was yet."""
    (group,) = prometheus.ask("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}, group
    return {rule["name"] for rule in group["rules"] if rule["state"] != "inactive"}
