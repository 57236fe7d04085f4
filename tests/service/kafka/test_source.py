from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.model.errors import ConfigurationError
from relay.service.configuration.file import read_configuration
from relay.service.kafka.source import Partitions
from relay.service.kinds import KINDS
from relay.service.probes.probe import Probe
from tests.configurations import build_source
from tests.fake_kafka import Cluster, replace_library


def url(text: str = "kafka://k1:9092/logs") -> Any:
    scheme, _, rest = text.partition(":")
    return KINDS.source(scheme).address.read(scheme, rest, "listen", "/")


@pytest.mark.parametrize(
    ("text", "numbers"), [("0-3", (0, 1, 2, 3)), ("7", (7,)), ("8-9,0, 3", (0, 3, 8, 9))]
)
def test_numbers_of_partitions(text: str, numbers: tuple[int, ...]) -> None:
    assert Partitions().read(text) == numbers


@pytest.mark.parametrize("value", ["", "a", "3-1", "1,,2", "-1", "1-", "123456", 3, "0-3,2"])
def test_what_is_no_list_of_partitions(value: object) -> None:
    with pytest.raises(ValueError, match=r"expected numbers of partitions|partition 2 is there"):
        Partitions().read(value)


def problems(tmp_path: Path, listen: str, *lines: str) -> str:
    path = tmp_path / "relay.toml"
    out = f'[destinations.out]\nconnect = "file://{tmp_path}/out"\n'
    path.write_text("\n".join(["[sources.bus]", f'listen = "{listen}"', *lines, out]))
    with pytest.raises(ConfigurationError) as found:
        read_configuration(str(path), KINDS)
    return str(found.value)


@pytest.mark.parametrize(
    ("listen", "lines", "text"),
    [
        ("kafka://k1:9092/logs", [], "expected either `partitions` (exactly once) or `group`"),
        ("kafka://k1:9092/logs", ['partitions = "0"', 'group = "g"'], "found both"),
        ("kafka://k1:9092", ['group = "g"'], "has no topic; write it behind the hosts"),
        ("kafka://k1:9092/logs", ['partitions = "0"', 'group_instance = "a"'], "without group"),
        ("kafka://k1:9092/logs", ['group = "g"', 'oversize = "split"'], "cannot be split"),
        ("kafka://k1:9092/logs", ['group = "g g"'], "a name of 1 to 200"),
        ("kafka://k1:9092/logs", ['group = "g"', 'options = { "group.id" = "x" }'], "key group"),
        ("kafka://k1:9092/logs", ['group = "g"', 'trusted_ca = "/ca.pem"'], "trusted_ca"),
    ],
)
def test_what_does_not_fit_together(
    tmp_path: Path, listen: str, lines: list[str], text: str
) -> None:
    assert text in problems(tmp_path, listen, *lines)


def plan_of(**values: object) -> Any:
    listen = url(str(values.pop("listen", "kafka://k1:9092,k2:9093/logs")))
    client = KINDS.source("kafka").configured(listen, values)
    source: Any = build_source(client)
    return source._reader._plan


def test_the_plan_follows_from_the_keys() -> None:
    plan = plan_of(id="bus", partitions=(0, 3), read_from="end", client_rack="zone-a")
    assert (plan.topic, plan.brokers) == ("logs", "k1:9092,k2:9093")
    assert (plan.partitions, plan.group, plan.from_beginning) == ((0, 3), "", False)
    settings = plan.settings()
    assert settings["bootstrap.servers"] == "k1:9092,k2:9093"
    assert settings["client.rack"] == "zone-a"
    assert "group.instance.id" not in settings


def test_a_member_of_a_group_is_known_by_the_name_of_the_relay() -> None:
    plan = plan_of(id="bus", group="central")
    assert (plan.group, plan.from_beginning) == ("central", True)
    assert plan.settings()["group.instance.id"] == "web-1"
    plan = plan_of(id="bus", group="central", group_instance="reader-2")
    assert plan.settings()["group.instance.id"] == "reader-2"


def probed(**values: Any) -> list[str]:
    probe = Probe("source bus", 1.0)
    kind = KINDS.source("kafka")
    assert kind.probe is not None
    kind.probe(kind.configured(url(), {"id": "bus", **values}), probe)
    return [f"{each.step} {each.fault}: {each.text}" for each in probe.findings]


def test_a_probe_tells_which_partitions_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_library(monkeypatch, Cluster({"logs": 4}))
    found = probed(partitions=(0, 3))
    assert "topic logs: 4 partitions" in found[0]
    assert found[1:] == ["topic : reads 2 partitions of logs; 2 partitions left to other sources"]
    assert len(probed(group="central")) == 1


def test_a_probe_finds_partitions_that_do_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_library(monkeypatch, Cluster({"logs": 4}))
    assert probed(partitions=(3, 4))[1] == (
        "topic kafka-no-partition: topic logs has 4 partitions, and not number 4"
    )
