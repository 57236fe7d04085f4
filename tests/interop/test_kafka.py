"""Topics between the relay and rsyslog, syslog-ng and kcat, both ways.

The broker is the mock cluster: Debian's librdkafka 2.0 does not understand Tansu's answer to its
first request.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from relay.wire.record_number import NUMBER_HEADER, parse_record_number
from tests.engines.mock_cluster import MockCluster
from tests.engines.topics import read_topic
from tests.interop.lab import Lab
from tests.interop.messages import assert_exactly, messages
from tests.interop.packages import PackagesRoot
from tests.plain_senders import feed_stream
from tests.processes import free_port

pytestmark = pytest.mark.slow

COUNT = 300
KCAT_SECONDS_MAX = 30.0


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    with MockCluster(topics={"logs": 1}) as mock:
        yield mock


def source(cluster: MockCluster) -> dict[str, Any]:
    return {
        "listen": f"kafka://{cluster.address}/logs",
        "partitions": "0",
        "read_from": "beginning",
    }


def destination(cluster: MockCluster) -> dict[str, Any]:
    """The mock does not answer when it is asked for a topic's configuration."""
    return {"connect": f"kafka://{cluster.address}/logs", "connect_seconds_max": 1.0}


def kcat(
    packages: PackagesRoot, cluster: MockCluster, *arguments: str, given: bytes = b""
) -> bytes:
    done = subprocess.run(
        [str(packages.kcat), "-b", cluster.address, "-t", "logs", *arguments],
        env=packages.environment,
        input=given,
        capture_output=True,
        timeout=KCAT_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def lines_of(sent: Sequence[bytes]) -> list[bytes]:
    """Without messages of several lines, which kcat would take for several records."""
    return [each for each in sent if b"\n" not in each]


def test_rsyslogs_omkafka_to_the_relay(lab: Lab, cluster: MockCluster) -> None:
    port = free_port()
    lab.rsyslog(
        f"""
        module(load="imtcp") module(load="omkafka")
        input(type="imtcp" port="{port}" address="127.0.0.1")
        action(type="omkafka" broker=["{cluster.address}"] topic="logs" template="raw-frame"
               confParam=["queue.buffering.max.ms=5"] resubmitOnFailure="on")
        """,
        tcp=[port],
    )
    lab.relay_from(source(cluster))
    feed_stream(port, messages(COUNT))
    assert_exactly(lab.arrived, messages(COUNT))


def test_the_relay_to_rsyslogs_imkafka(lab: Lab, cluster: MockCluster) -> None:
    feed = free_port()
    lab.rsyslog(
        f"""
        module(load="imkafka")
        input(type="imkafka" broker=["{cluster.address}"] topic="logs" consumergroup="rsyslog"
              confParam=["auto.offset.reset=earliest"])
        action(type="omfile" file="{lab.arrived}" template="raw")
        """
    )
    lab.relay_to(feed, destination(cluster))
    feed_stream(feed, messages(COUNT))
    assert_exactly(lab.arrived, messages(COUNT))


def test_syslog_ngs_kafka_c_to_the_relay(lab: Lab, cluster: MockCluster) -> None:
    port = free_port()
    lab.syslog_ng(
        f"""
        source tcp {{
          syslog(ip("127.0.0.1") port({port}) transport("tcp") flags(store-raw-message));
        }};
        destination topic {{
          kafka-c(bootstrap-servers("{cluster.address}") topic("logs") message("$RAWMSG")
                  config(queue.buffering.max.ms("5")) flush-timeout-on-shutdown(5000));
        }};
        log {{ source(tcp); destination(topic); flags(flow-control); }};
        """,
        tcp=[port],
    )
    lab.relay_from(source(cluster))
    feed_stream(port, messages(COUNT))
    assert_exactly(lab.arrived, messages(COUNT))


def test_kcat_shows_the_records_of_the_relay_and_their_numbers(
    lab: Lab, packages: PackagesRoot, cluster: MockCluster
) -> None:
    feed = free_port()
    lab.relay_to(feed, destination(cluster))
    feed_stream(feed, messages(COUNT))
    read_topic(cluster.address, "logs", 1, count=COUNT)

    shown = kcat(packages, cluster, "-C", "-e", "-q", "-f", "%h %S\\n").splitlines()

    sizes = [int(line.rpartition(b" ")[2]) for line in shown]
    headers = [line.rpartition(b" ")[0].partition(b"=") for line in shown]
    numbers = [parse_record_number(value) for _, _, value in headers]
    assert sizes == list(map(len, messages(COUNT)))
    assert {name.decode() for name, _, _ in headers} == {NUMBER_HEADER}
    assert None not in numbers
    assert [number.seq for number in numbers if number] == list(range(1, COUNT + 1))
    assert len({number.lineage for number in numbers if number}) == 1


def test_records_of_kcat_to_the_relay(
    lab: Lab, packages: PackagesRoot, cluster: MockCluster
) -> None:
    """With a header of theirs, which is none of the relay's."""
    sent = lines_of(messages(COUNT))
    kcat(packages, cluster, "-P", "-H", "trace=abc", given=b"\n".join(sent) + b"\n")
    lab.relay_from(source(cluster))
    assert_exactly(lab.arrived, sent)
