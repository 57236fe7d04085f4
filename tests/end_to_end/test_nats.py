"""Relays that publish to JetStream, and read from it, with a cluster of three real servers."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from relay.cli.control_client import ask
from relay.wire.record_number import NUMBER_HEADER, parse_record_number
from tests.engines.nats import NatsCluster
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

pytestmark = pytest.mark.slow

PARTS = 2 + int(os.environ.get("NATS_KILLS", "0"))


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


def test_a_reader_that_is_killed_stores_everything_once(programs: Programs, tmp_path: Path) -> None:
    cluster = NatsCluster.started(programs, tmp_path / "nats")
    cluster.add_stream("LOGS", ["logs.>"])
    port, out = free_port(), tmp_path / "out.log"
    RelayProcess.started(
        programs,
        tmp_path / "sender",
        name="sender",
        sources={"net": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={"bus": {"connect": f"nats://{cluster.hosts}/LOGS"}},
    )
    reader = RelayProcess.started(
        programs,
        tmp_path / "reader",
        name="reader",
        sources={"bus": {"listen": f"nats://{cluster.hosts}/LOGS", "consumer": "central"}},
        destinations={"file": {"connect": f"file://{out}", "format": "raw"}},
    )
    with socket.create_connection(("127.0.0.1", port)) as sender:
        for part in range(PARTS):
            lines = range(part * 4000, part * 4000 + 4000)
            sender.sendall(b"".join(b"<13>Oct 11 22:14:15 host app: n=%d.\n" % n for n in lines))
            before = written(out)
            wait_until(lambda: written(out) > before, "something is read")  # noqa: B023
            reader.kill()
            reader.start()
    wait_until(lambda: len(set(numbers_in(out))) == 4000 * PARTS, "all is read", seconds_max=60)
    found = ask(str(reader.state_dir), "status")
    # The file may have records twice whose delivery was not noted; the queue has not.
    assert found["destinations"][0]["received_records"] == 4000 * PARTS
    assert found["sources"][0]["held_back_records"] == 0
    assert found["sources"][0]["lag_records"] == 0
    reader.stop()


def written(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def numbers_in(path: Path) -> list[int]:
    """The numbers of the messages in a file."""
    return [int(number) for number in re.findall(rb"n=(\d+)\.", path.read_bytes())]
