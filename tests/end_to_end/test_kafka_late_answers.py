"""Records that are in a topic twice, because answers came too late, are read once and in order.

The mock cluster does not check the sequences of producers: what the library sends again after its
time-out is stored again.  Leaders move meanwhile.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.wire.record_number import NUMBER_HEADER
from tests.end_to_end.central import numbered
from tests.engines.mock_cluster import PRODUCE, MockCluster
from tests.engines.topics import read_topic
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port
from tests.relay_process import RelayProcess, wait_for_lines

pytestmark = pytest.mark.slow

PARTITIONS = 2
COUNT = 400
TIMEOUT_SECONDS = 1.0
LATE_SECONDS = 2.5


def test_late_answers(programs: Programs, tmp_path: Path) -> None:
    with MockCluster(topics={"logs": PARTITIONS}) as cluster:
        url = f"kafka://{cluster.address}/logs"
        feed = free_port()
        arrived = tmp_path / "arrived.log"
        RelayProcess.started(
            programs,
            tmp_path / "reader",
            name="reader",
            sources={
                "log": {
                    "listen": url,
                    "partitions": f"0-{PARTITIONS - 1}",
                    "read_from": "beginning",
                }
            },
            destinations={"file": {"connect": f"file://{arrived}"}},
        )
        RelayProcess.started(
            programs,
            tmp_path / "sender",
            name="sender",
            sources={"feed": {"listen": f"tcp://127.0.0.1:{feed}"}},
            destinations={
                "log": {
                    "connect": url,
                    "connect_seconds_max": 1.0,
                    "options": {"socket.timeout.ms": f"{TIMEOUT_SECONDS * 1000:.0f}"},
                }
            },
        )
        sent = numbered("late", COUNT)
        feed_stream(feed, sent[: COUNT // 2])
        wait_for_lines(arrived, COUNT // 2)
        for broker in cluster.brokers:
            cluster.answer_late(broker, PRODUCE, [(0, LATE_SECONDS)])
        feed_stream(feed, sent[COUNT // 2 :])
        for partition in range(PARTITIONS):
            cluster.lead("logs", partition, 3)

        records = read_topic(cluster.address, "logs", PARTITIONS, count=COUNT + 1)
        lines = wait_for_lines(arrived, COUNT)

    numbers = [record.headers[NUMBER_HEADER] for record in records]
    assert len(numbers) > len(set(numbers)) == COUNT, "nothing is there twice"
    assert [line.split(b" ")[-1] for line in lines] == [b"%d" % number for number in range(COUNT)]
