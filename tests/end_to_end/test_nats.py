"""Relays that publish to JetStream, and read from it, with a cluster of three real servers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from relay.wire.record_number import NUMBER_HEADER, parse_record_number
from tests.engines.nats import NatsCluster
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

pytestmark = pytest.mark.slow


def test_what_a_relay_receives_is_in_the_stream_with_its_numbers(
    programs: Programs, tmp_path: Path
) -> None:
    cluster = NatsCluster.started(programs, tmp_path / "nats")
    cluster.add_stream("LOGS", ["logs.>"])
    port = free_port()
    RelayProcess.started(
        programs,
        tmp_path / "relay",
        sources={"net": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={"bus": {"connect": f"nats://{cluster.hosts}/LOGS"}},
    )
    with socket.create_connection(("127.0.0.1", port)) as sender:
        sender.sendall(b"".join(b"<13>Oct 11 22:14:15 host app: n=%d\n" % n for n in range(5000)))
    wait_until(lambda: cluster.state("LOGS")["messages"] == 5000, "all are in the stream")
    found = cluster.messages("LOGS")
    numbers = [parse_record_number(headers[NUMBER_HEADER].encode()) for _, headers, _ in found]
    assert [number and (number.seq, number.prev) for number in numbers] == [
        (seq, seq - 1) for seq in range(1, 5001)
    ]
    assert found[4999][2].endswith(b"n=4999")
