from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, succeed

from relay.flow.exactly_once.numbering import Numbering
from relay.flow.publishing import Publisher, PublisherEvents, Run
from relay.model.errors import ConfigurationError
from relay.queue.lineage import Lineage
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import DestinationConfiguration
from relay.service.configuration.tables.format import FormatConfiguration
from relay.service.kafka.destination import KAFKA
from relay.service.kinds import KINDS
from relay.service.probes.probe import Probe
from relay.transport.kafka.records import Placing
from tests.destination_setup import Setup
from tests.fake_kafka import Cluster, replace_library

BUS = 'connect = "kafka://k1:9092,k2:9092/logs"'
TEMPLATES = """\
connect = "kafka://k1:9092"
topic = "logs-${HOST}"
topic_fallback = "logs"
headers = { host = "$HOST", site = "a$$b" }
"""


def configured(folder: Path, text: str = BUS) -> Any:
    path = folder / "relay.toml"
    path.write_text(
        f'[sources.in]\nlisten = "udp://127.0.0.1:5514"\n[destinations.bus]\n{text}\n'
        f'[relay]\nstate_dir = "{folder}/state"\n'
    )
    return read_configuration(str(path), KINDS)


def destination(folder: Path, text: str = BUS) -> Any:
    (found,) = configured(folder, text).destinations
    return found


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as found:
        configured(folder, text)
    return str(found.value)


def test_a_url_is_enough(tmp_path: Path) -> None:
    bus: DestinationConfiguration = destination(tmp_path)
    assert bus.placing == Placing("logs")  # type: ignore[attr-defined]
    assert bus.record_key is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('connect = "kafka://k1:9092"', "destinations.bus.topic: is missing"),
        (BUS + '\ntopic = "x"', "the URL names a topic already"),
        ('connect = "kafka://k1:9092"\ntopic = "a b"', "found 'a b'; a topic has 1 to 249"),
        ('connect = "kafka://k1:9092"\ntopic = "$HOST"', "topic_fallback: is missing"),
        (BUS + '\ntopic_fallback = "x"', "has no effect without macros in topic"),
        (BUS + '\nheaders = { syslogrelay = "x" }', "cannot be a header"),
        (BUS + '\nheaders = { "a b" = "x" }', "cannot be a header"),
        (BUS + "\noptions = { acks = 0 }", "acks is fixed"),
        (BUS + '\noptions = { "no.such" = 0 }', 'No such configuration property: "no.such"'),
        (BUS + '\nsasl = { mechanism = "PLAIN" }', "sasl.user: is missing"),
        (BUS + '\nsasl = { mechanism = "GSSAPI" }', "expected one of PLAIN, SCRAM-SHA-256"),
        (BUS + "\nsd_number = true", "sd_number: with no format there is no structured data"),
        (BUS + '\nsd_number = true\nformat = "json"', "with the format json there is no"),
        (
            BUS + '\nsd_number = true\nformat = "rfc5424"\nkey = "$HOST"',
            'sd_number: has no effect unless key is "lineage"',
        ),
        (BUS + '\ncompression = "br"', "expected one of none, lz4"),
        (
            'connect = "kafka+tls://k1:9093/logs"\nserver_name = "k1"',
            "has no meaning for kafka+tls",
        ),
    ],
)
def test_problems_name_the_key(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in problems(tmp_path, text)


def test_what_depends_on_the_message_becomes_its_record_key(tmp_path: Path) -> None:
    bus = destination(tmp_path, TEMPLATES)
    assert bus.placing == Placing(
        "logs", has_topics=True, fixed_headers=(("site", b"a$b"),), header_names=("host",)
    )
    template = bus.record_key
    assert template.text == "logs-${HOST}\x1f\x1f$HOST"
    assert template.finish(b"logs-web\x1f\x1fweb") == b"logs-web\x1f\x1fweb"
    assert template.finish(b"logs-we b\x1f\x1fwe b") == b"logs\x1f\x1fwe b"
    assert template.finish(b"x" * 250 + b"\x1f\x1f") == b"logs\x1f\x1f"
    assert template.escape(b"a\x1fb\0c\n") == b"a_b_c_"


def test_a_key_of_its_own_is_at_least_once(tmp_path: Path) -> None:
    configuration = configured(tmp_path, BUS + '\nkey = "$HOST"')
    (bus,) = configuration.destinations
    assert bus.placing.has_keys
    assert bus.record_key.text == "\x1f$HOST"
    assert any("may come twice" in warning for warning in configuration.warnings)


class Wired:
    """A destination with its queue of two records, and brokers in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **topics: int) -> None:
        self.cluster = Cluster(topics or {"logs": 4})
        replace_library(monkeypatch, self.cluster)
        self.setup = Setup()
        self.reactor = self.setup.reactor

    def build(self, rest: str = "//k1:9092/logs", **keywords: Any) -> Any:
        url = KAFKA.address.read("kafka", rest, "connect", "/")
        return self.setup.build(url, **keywords)

    def run_until(self, call: Any) -> None:
        while not call():
            self.reactor.run_next()

    def stop(self, service: Any) -> None:
        stopped: Deferred[None] = service.stopService()
        self.reactor.settle(stopped)


def test_records_leave_the_queue_when_brokers_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    wired = Wired(monkeypatch)
    service = wired.build()
    service.startService()
    wired.run_until(lambda: wired.setup.queue.upto == 3)
    assert [sent.value for sent in wired.cluster.sent] == [b"one", b"two"]
    assert {sent.partition for sent in wired.cluster.sent} == {0}
    assert "sending to k1:9092/logs" in service.state_text
    assert "topic logs: 4 partitions, 3 replicas" in str([*service._delivery.details()])
    (producer,) = wired.cluster.producers
    assert producer.settings["linger.ms"] == "5"
    assert producer.settings["compression.type"] == "lz4"
    wired.stop(service)
    assert producer.closed


def test_numbered_records_are_exactly_once_in_status(monkeypatch: pytest.MonkeyPatch) -> None:
    wired = Wired(monkeypatch)
    wired.setup.queue.lineage = lambda destination: Lineage.new(1)
    wired.setup.queue.keep_lineage = lambda destination, lineage: succeed(None)
    service = wired.build()
    service.startService()
    wired.run_until(lambda: wired.setup.queue.upto == 3)
    (lane,) = service.lanes
    assert lane.state.exactly_once
    wired.stop(service)
    assert not lane.state.exactly_once


def test_a_topic_that_is_missing_is_in_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    wired = Wired(monkeypatch, other=1)
    service = wired.build()
    service.startService()
    wired.run_until(lambda: "know no topic logs" in service.state_text)
    wired.cluster.topics["logs"] = 4
    wired.reactor.advance(2)
    wired.run_until(lambda: wired.setup.queue.upto == 3)
    wired.stop(service)


def test_brokers_that_fail_get_another_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fake_kafka import FakeError

    wired = Wired(monkeypatch)
    wired.cluster.judge = lambda sent: FakeError("UNKNOWN_PRODUCER_ID")
    service = wired.build()
    service.startService()
    wired.run_until(lambda: "UNKNOWN_PRODUCER_ID" in service.state_text)
    wired.cluster.judge = lambda sent: None
    wired.reactor.advance(2)
    wired.run_until(lambda: wired.setup.queue.upto == 3)
    assert len(wired.cluster.producers) == 2
    assert [sent.value for sent in wired.cluster.sent] == [b"one", b"two"]
    wired.stop(service)


def test_sources_in_direct_mode_get_a_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    wired = Wired(monkeypatch)
    service = wired.build()
    states: list[Any] = []
    publisher: Publisher = service._delivery.new_publisher(
        PublisherEvents(lambda *state: states.append(state), states.append)
    )
    assert KAFKA.publishes
    run = Run([b"x"], "0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f10", [7], 6, "10.0.0.1")
    wired.reactor.settle(publisher.publish(run))
    assert wired.cluster.sent[0].headers["syslogrelay"].endswith(b",7,6")
    wired.reactor.settle(publisher.close())


def test_numbers_may_be_in_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    wired = Wired(monkeypatch)
    service = wired.build(sd_number=True, format=FormatConfiguration("rfc5424"))
    publisher: Publisher = service._delivery.new_publisher(
        PublisherEvents(lambda *state: None, lambda text: None)
    )
    run = Run([b"<13>1 - - - - - - m"], "0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f10", [7])
    wired.reactor.settle(publisher.publish(run))
    assert b' seq="7"] m' in wired.cluster.sent[0].value
    wired.reactor.settle(publisher.close())


class QueueOfLineage:
    def __init__(self) -> None:
        self.acknowledged_seq = 1
        self.stored_seq = 9


def test_a_lineage_is_renewed_when_its_partition_may_be_another(tmp_path: Path) -> None:
    saved: list[Lineage] = []
    texts: list[str] = []

    def save(lineage: Lineage) -> Deferred[None]:
        saved.append(lineage)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    first = Lineage.new(1)
    drain: Any = QueueOfLineage()
    numbering = Numbering(first, drain=drain, save=save, on_trouble=texts.append)
    ensureDeferred(numbering.keep_place("topic logs of 4 partitions"))
    ensureDeferred(numbering.keep_place("topic logs of 4 partitions"))
    assert [lineage.id for lineage in saved] == [first.id]
    assert not texts
    ensureDeferred(numbering.keep_place("topic logs of 6 partitions"))
    offer = numbering.offer()
    assert offer is not None and offer.id == saved[1].id != first.id
    assert "topic logs of 6 partitions now, and went to topic logs of 4" in texts[0]
    again = Lineage.decode(saved[1].encode())
    assert again is not None and again.place == "topic logs of 6 partitions"
    assert again.begun(acknowledged_seq=1, next_seq=9).place == again.place


def probed(folder: Path, text: str) -> Sequence[str]:
    probe = Probe("destination bus", 1.0)
    bus = destination(folder, text)
    assert KAFKA.probe is not None
    KAFKA.probe(bus, probe)
    return [f"{each.step} {each.fault}: {each.text}" for each in probe.findings]


def test_a_probe_tells_of_the_topic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster = Cluster(settings={"min.insync.replicas": "1"})
    replace_library(monkeypatch, cluster)
    assert probed(tmp_path, BUS) == [
        "kafka : topic logs: 4 partitions, 3 replicas, min.insync.replicas = 1",
        "topic kafka-weak-topic: topic logs: 4 partitions, 3 replicas, min.insync.replicas = 1: an "
        "answer means 1 replica, and replicas_min is 2; raise min.insync.replicas and the replicas "
        "of the topic, or write replicas_min = 1",
    ]
    cluster.settings = {}
    assert "half checked" in probed(tmp_path, BUS)[1]
    cluster.topics = {}
    (missing,) = probed(tmp_path, BUS)
    assert "know no topic logs" in missing
    password = BUS + '\nsasl = { mechanism = "PLAIN", user = "u", password_file = "absent" }'
    (unreadable,) = probed(tmp_path, password)
    assert "cannot read the token file" in unreadable
