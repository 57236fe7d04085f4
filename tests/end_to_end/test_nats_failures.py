"""JetStream that loses answers, leaders and room while a relay publishes to it.

Each test ends by reading the stream: every record is there, once, in the order of its numbers.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from relay.wire.nats.record_pack import PACK_HEADER, decode_pack
from relay.wire.record_number import NUMBER_HEADER, parse_record_number
from tests.cutting_proxy import CuttingProxy
from tests.engines.nats import NatsCluster
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("NATS_KILLS", "0"))  # `make torture` has the time for elections
CUTS = 3 * KILLS or 5

RETRY = {"retry_seconds_min": 0.1, "retry_seconds_max": 1.0}

_SECONDS_MAX = 90.0  # several elections


class Sender:
    """A relay that publishes, and a program that sends it numbered lines."""

    def __init__(
        self, programs: Programs, folder: Path, cluster: NatsCluster, **keys: object
    ) -> None:
        self.count = 0
        self.port = free_port()
        hosts = keys.pop("hosts", cluster.hosts)
        destination = {
            "connect": f"nats://{hosts}/LOGS",
            **RETRY,
            **keys,
        }
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources={"net": {"listen": f"tcp://127.0.0.1:{self.port}"}},
            destinations={"bus": destination},
        )

    def send(self, count: int) -> None:
        """Send more lines, all at once."""
        lines = range(self.count, self.count + count)
        self.count += count
        with socket.create_connection(("127.0.0.1", self.port)) as sender:
            sender.sendall(b"".join(b"<13>Oct 11 22:14:15 host app: n=%d.\n" % n for n in lines))

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send a few lines all the time."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(0.01):
                self.send(50)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def wait_some(self) -> None:
        """Wait until the stream has taken something."""
        self.wait_more(since=0)

    def wait_more(self, since: int | None = None) -> None:
        """Wait until the stream has taken more than now."""
        before = self.delivered() if since is None else since
        wait_until(lambda: self.delivered() > before, "more is delivered", seconds_max=_SECONDS_MAX)

    def delivered(self) -> int:
        return int(str(self.status()["delivered_records"]))

    def stored(self) -> int:
        """Records that the queue has taken so far."""
        return int(str(self.status()["received_records"]))

    def wait_delivered(self) -> None:
        wait_until(
            lambda: self.status()["delivered_records"] == self.count,
            "all is delivered",
            seconds_max=_SECONDS_MAX,
        )

    def status(self) -> dict[str, object]:
        return dict(ask(str(self.relay.state_dir), "status")["destinations"][0])


class Reader:
    """A relay that reads the stream."""

    def __init__(self, programs: Programs, folder: Path, cluster: NatsCluster) -> None:
        source = {"listen": f"nats://{cluster.hosts}/LOGS", "consumer": "central", **RETRY}
        self._relay = RelayProcess.started(
            programs,
            folder,
            name="reader",
            sources={"bus": source},
            destinations={"file": {"connect": f"file://{folder}/out.log"}},
        )

    def taken(self) -> int:
        """Records that its queue has taken so far."""
        return int(self.status()["destinations"][0]["received_records"])

    def wait_more(self) -> None:
        """Wait until it has read more than now."""
        before = self.taken()
        wait_until(lambda: self.taken() > before, "more is read", seconds_max=_SECONDS_MAX)

    def status(self) -> dict[str, Any]:
        return dict(ask(str(self._relay.state_dir), "status"))


def check_stream(cluster: NatsCluster, count: int) -> None:
    """Every record is in the stream once, in order, behind the one before it."""
    lines: list[int] = []
    numbers: list[tuple[int, int]] = []
    for _, headers, data in cluster.messages("LOGS"):
        if PACK_HEADER in headers:
            pack = decode_pack(headers[PACK_HEADER].encode(), data)
            assert pack is not None
            texts, found = [*pack.payloads], pack.numbers()
        else:
            texts, found = [data], [headers[NUMBER_HEADER].encode()]
        for text, value in zip(texts, found, strict=True):
            number = parse_record_number(value or b"")
            assert number is not None
            numbers.append((number.seq, number.prev))
            lines += map(int, re.findall(rb"n=(\d+)\.", text))
    assert lines == [*range(count)]
    assert [seq for seq, _ in numbers] == [*range(1, count + 1)]
    have = 0
    for seq, prev in numbers:
        assert prev <= have < seq, (seq, prev, have)
        have = seq


@pytest.mark.parametrize("keys", [{}, {"pack": True}][: 1 + bool(KILLS)], ids=str)
def test_leaders_are_killed_while_relays_publish_and_read(
    programs: Programs, tmp_path: Path, keys: dict[str, object]
) -> None:
    cluster = NatsCluster.started(programs, tmp_path / "nats")
    cluster.add_stream("LOGS", ["logs.>"])
    sender = Sender(programs, tmp_path / "relay", cluster, **keys)
    reader = Reader(programs, tmp_path / "reader", cluster)
    with sender.sending():
        reader.wait_more()
        kill_leader(cluster, sender, reader)
        for _ in range(KILLS):
            for server in cluster.servers:  # all of them, at once
                server.kill()
            for server in cluster.servers:
                server.start(wait=False)
            sender.wait_more()
            kill_leader(cluster, sender, reader)
    sender.wait_delivered()
    check_stream(cluster, sender.count)
    wait_until(lambda: reader.taken() >= sender.count, "all is read", seconds_max=_SECONDS_MAX)
    found = reader.status()["sources"][0]
    assert (reader.taken(), found["held_back_records"]) == (sender.count, 0)


def kill_leader(cluster: NatsCluster, sender: Sender, reader: Reader) -> None:
    """Kill it, and start it again when both relays have gone on without it."""
    leader = cluster.leader("LOGS")
    leader.kill()
    sender.wait_more()
    reader.wait_more()
    leader.start()


def test_answers_are_lost(programs: Programs, tmp_path: Path) -> None:
    cluster = NatsCluster.started(programs, tmp_path / "nats", size=1)
    cluster.add_stream("LOGS", ["logs.>"])
    proxy = CuttingProxy(cluster.ports[0], seed=1, bytes_max=60_000)
    try:
        sender = Sender(
            programs, tmp_path / "relay", cluster, hosts=f"127.0.0.1:{proxy.port}", replicas_min=0
        )
        with sender.sending():
            wait_until(lambda: proxy.cuts >= CUTS, "cuts", seconds_max=_SECONDS_MAX)
        proxy.stop_cutting()
        sender.wait_delivered()
    finally:
        proxy.close()
    check_stream(cluster, sender.count)


def test_a_stream_that_is_full_holds_the_relay_back(programs: Programs, tmp_path: Path) -> None:
    cluster = NatsCluster.started(programs, tmp_path / "nats", size=1)
    cluster.add_stream("LOGS", ["logs.>"], max_msgs=1000, discard="new")
    sender = Sender(programs, tmp_path / "relay", cluster, replicas_min=0)
    sender.send(3000)
    wait_until(lambda: "exceeded" in str(sender.status()["state"]), "the state says so")
    status = sender.status()
    assert status["ready"] is False
    assert status["quarantined_records"] == 0
    config = cluster.api("STREAM.INFO.LOGS")["config"]
    assert "error" not in cluster.api("STREAM.UPDATE.LOGS", {**config, "max_msgs": -1})
    sender.wait_delivered()
    wait_until(lambda: sender.status()["ready"], "it is well again")
    check_stream(cluster, 3000)


def test_a_record_that_is_too_large_is_set_aside(programs: Programs, tmp_path: Path) -> None:
    cluster = NatsCluster.started(programs, tmp_path / "nats", size=1)
    cluster.add_stream("LOGS", ["logs.>"], max_msg_size=4096)
    sender = Sender(programs, tmp_path / "relay", cluster, replicas_min=0)
    with socket.create_connection(("127.0.0.1", sender.port)) as connection:
        connection.sendall(b"<13>Oct 11 22:14:15 host app: " + b"x" * 9000 + b"\n")
    sender.send(10)
    wait_until(lambda: sender.status()["delivered_records"] == 10, "the others are delivered")
    assert sender.status()["quarantined_records"] == 1
    assert cluster.state("LOGS")["messages"] == 10


def test_a_relay_that_is_killed_publishes_everything_once(
    programs: Programs, tmp_path: Path
) -> None:
    cluster = NatsCluster.started(programs, tmp_path / "nats", size=1)
    cluster.add_stream("LOGS", ["logs.>"])
    sender = Sender(programs, tmp_path / "relay", cluster, replicas_min=0)
    for _ in range(2 + KILLS):
        sender.send(4000)
        wait_until(lambda: sender.stored() == sender.count, "all is on disk")
        sender.relay.kill()
        sender.relay.start()
    wait_until(lambda: cluster.state("LOGS")["messages"] >= sender.count, "all is in the stream")
    check_stream(cluster, sender.count)


def test_a_stop_does_not_hang_on_a_server_that_does_not_answer(
    programs: Programs, tmp_path: Path
) -> None:
    cluster = NatsCluster.started(programs, tmp_path / "nats", size=1)
    cluster.add_stream("LOGS", ["logs.>"])
    sender = Sender(programs, tmp_path / "relay", cluster, replicas_min=0)
    sender.send(10)
    sender.wait_delivered()
    cluster.servers[0].signal(signal.SIGSTOP)
    sender.send(10)
    sender.relay.stop()
    cluster.servers[0].signal(signal.SIGCONT)
