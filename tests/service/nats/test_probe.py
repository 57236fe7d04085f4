"""`check --connect` for NATS, with a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from relay.service.nats.probe import probe_consumer, probe_demands
from relay.service.probes.probe import Finding, Probe, Severity
from relay.transport.nats.client import Login
from relay.transport.nats.consumer import ConsumerPlan
from relay.transport.nats.stream import Demands
from tests.engines.nats import NatsCluster
from tests.processes import free_port, running_programs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with running_programs() as programs:
        cluster = NatsCluster.started(programs, tmp_path_factory.mktemp("nats"), size=1)
        cluster.add_stream("LOGS", ["logs.>"], storage="memory")
        cluster.add_stream("TOPICS", ["topics.>"], retention="interest")
        yield cluster


def probed(port: int, stream: str = "LOGS", replicas_min: int = 0) -> list[Finding]:
    login = Login([("127.0.0.1", port)], "check", connect_seconds_max=5, answer_seconds_max=5)
    probe = Probe("destination bus", 5.0)
    probe_demands(login, stream, Demands(("logs.*",), replicas_min, True, True), probe)
    return probe.findings


def test_what_the_stream_promises(server: NatsCluster) -> None:
    nats, memory, stream = probed(server.ports[0])
    assert "nats-server 2." in nats.text
    assert (memory.severity, "in memory" in memory.text) == (Severity.WARNING, True)
    assert stream.text.startswith("stream LOGS: 1 replica, memory, atomic batches")
    assert "sync_interval" in stream.text


def test_too_few_replicas(server: NatsCluster) -> None:
    *_, found = probed(server.ports[0], replicas_min=2)
    assert found.severity is Severity.ERROR
    assert "replicas_min" in found.text


def test_no_such_stream(server: NatsCluster) -> None:
    (found,) = probed(server.ports[0], "OTHER")
    assert (found.fault, found.text) == ("nats-no-stream", "there is no stream OTHER")


def test_no_server() -> None:
    (found,) = probed(free_port())
    assert found.fault == "nats-unreachable"
    assert "refused" in found.text


@pytest.mark.parametrize(
    ("stream", "subject", "text"),
    [
        ("LOGS", "", "stream LOGS: 1 replica, memory"),
        ("LOGS", "logs.a", "stream LOGS: 1 replica, memory"),
        ("LOGS", ">", "stream LOGS: 1 replica, memory"),
        ("LOGS", "other.>", "has no subject that other.> matches, only logs.>"),
        ("TOPICS", "", "has the retention interest"),
    ],
)
def test_what_a_source_reads(server: NatsCluster, stream: str, subject: str, text: str) -> None:
    login = Login([("127.0.0.1", server.ports[0])], "check", connect_seconds_max=5)
    probe = Probe("source bus", 5.0)
    probe_consumer(login, ConsumerPlan("n1", stream, "central", subject), probe)
    assert text in probe.findings[-1].text
    assert not server.api(f"CONSUMER.NAMES.{stream}")["consumers"]
