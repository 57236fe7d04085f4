from __future__ import annotations

from datetime import UTC
from pathlib import Path

from relay.model.counters.source import SourceCounters
from relay.model.origin import Arrival, Origin, Transport
from relay.service.alerts.watching import WatchRules
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import Configuration
from relay.service.kinds import KINDS
from relay.wire.parse import read_lines

TEXT = """
[sources.network]
listen = "udp://:5514"

[sources.other]
listen = "udp://:5515"

[destinations.out]
connect = "tcp://far:514"

[[watch]]
id = "here"
match = { app_name = "su" }
sources = ["network"]
counts_as = "error"

[[watch]]
id = "everywhere"
counts_as = "warning"
per_second_max = 2.5

[alerts]
"""
ORIGIN = Origin("network", Transport.UDP, "192.0.2.1")
FRAMES = [b"<14>Oct 11 22:14:15 web su: a", b"<14>Oct 11 22:14:15 web cron: b"]


def read(tmp_path: Path, text: str) -> Configuration:
    path = tmp_path / "relay.toml"
    path.write_text(text)
    return read_configuration(str(path), KINDS)


def test_each_source_has_the_rules_that_name_it_or_none(tmp_path: Path) -> None:
    configuration = read(tmp_path, TEXT)
    rules = WatchRules(configuration, zone=UTC)
    assert [rule.per_second_max for rule in rules.counters] == [0.0, 2.5]
    found = []
    for source in configuration.sources:
        counters = SourceCounters()
        watch = rules.of(source, counters)
        assert watch is not None
        watch.look(read_lines(FRAMES), Arrival.of_one(2, ORIGIN))
        found.append((counters.watched.errors, counters.watched.warnings))
    assert found == [(1, 1), (0, 2)]
    assert [rule.records for rule in rules.counters] == [1, 3]


def test_a_source_that_no_rule_looks_at_has_nothing_to_do(tmp_path: Path) -> None:
    text = TEXT.replace('[[watch]]\nid = "everywhere"\ncounts_as = "warning"\n', "")
    configuration = read(tmp_path, text.replace("per_second_max = 2.5\n", ""))
    rules = WatchRules(configuration, zone=UTC)
    assert [rules.of(source, SourceCounters()) is None for source in configuration.sources] == [
        False,
        True,
    ]
