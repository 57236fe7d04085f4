"""The rules and the dashboard in deploy/ know the metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from relay.observe.metrics import METRICS

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = ("prometheus/rules.yml", "prometheus/rules.test.yml", "grafana/dashboard.json")
LABELS = {"job", "instance", "le", "severity", "alertname"}


@pytest.mark.parametrize("name", FILES)
def test_only_metrics_that_exist_are_named(name: str) -> None:
    declared = {f"syslogrelay_{metric.name}" for metric in METRICS}
    declared |= {f"{name}_bucket" for name in declared}
    found = set(re.findall(r"syslogrelay_\w+", (DEPLOY / name).read_text()))
    assert len(found) > 8
    assert found <= declared


@pytest.mark.parametrize("name", FILES)
def test_only_labels_that_exist_are_named(name: str) -> None:
    declared = LABELS | {label for metric in METRICS for label in metric.labels}
    text = (DEPLOY / name).read_text().replace('\\"', '"')
    found = set(re.findall(r'(\w+)(?:=~|="|!=)', text)) | set(re.findall(r"\$labels\.(\w+)", text))
    assert len(found) > 2 or name.startswith("grafana")
    assert found <= declared


def test_the_dashboard_says_what_it_shows_and_panels_do_not_overlap() -> None:
    panels = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())["panels"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        columns, rows = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        cells = {(column, row) for column in columns for row in rows}
        assert not cells & taken, panel["title"]
        assert max(columns) < 24
        taken |= cells
