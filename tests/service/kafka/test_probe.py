from __future__ import annotations

from pathlib import Path

import pytest

from relay.service.configuration.model import Url
from relay.service.kafka.keys import ClientKeys, Sasl
from relay.service.kafka.probe import probe_topic
from relay.service.probes.probe import Probe
from tests.fake_kafka import Cluster, replace_library

BROKERS = Url("kafka", "k1", 9092, "/logs")


def test_a_topic_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_library(monkeypatch, Cluster({"logs": 4}))
    probe = Probe("source bus", 1.0)
    facts = probe_topic(probe, BROKERS, ClientKeys(), None, "logs")
    assert facts is not None
    assert facts.partitions == 4
    assert [each.fault for each in probe.findings] == [""]


def test_a_topic_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_library(monkeypatch, Cluster({"other": 4}))
    probe = Probe("source bus", 1.0)
    assert probe_topic(probe, BROKERS, ClientKeys(), None, "logs") is None
    assert [each.fault for each in probe.findings] == ["kafka-unusable"]


def test_a_password_that_cannot_be_read(tmp_path: Path) -> None:
    probe = Probe("source bus", 1.0)
    sasl = Sasl("PLAIN", "relay", str(tmp_path / "none"))
    assert probe_topic(probe, BROKERS, ClientKeys(sasl), None, "logs") is None
    (finding,) = probe.findings
    assert finding.fault == "kafka-settings"
    assert "none" in finding.text
