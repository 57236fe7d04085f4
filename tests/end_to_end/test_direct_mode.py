"""Direct mode with real engines: relays as senders, receivers that hold nothing and are killed."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificate_files import CertificateFiles
from tests.engines.direct import RETRY, Engine, answers, kafka, nats, receiver, status
from tests.fake_log import take_by_the_rule
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("DIRECT_ROUNDS", "1"))
"""Kills of a receiver, and of a sender; `make torture` asks for more."""
SENDERS = 2


@pytest.fixture(params=["kafka", "nats"])
def engine(request: pytest.FixtureRequest, programs: Programs, tmp_path: Path) -> Iterator[Engine]:
    makers = {"kafka": kafka, "nats": nats}
    yield makers[request.param](programs, tmp_path / "engine")


class Sender:
    """A relay with a queue that sends to the first receiver that is there."""

    def __init__(self, programs: Programs, folder: Path, ports: list[int]) -> None:
        self.port = free_port()
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources={"in": {"listen": f"tcp://127.0.0.1:{self.port}"}},
            destinations={
                "central": {
                    "connect": [f"relp://127.0.0.1:{port}" for port in ports],
                    "answer_seconds_max": 5,
                    **RETRY,
                }
            },
        )
        self.sent: list[bytes] = []

    def send(self, name: str, count: int) -> None:
        start = len(self.sent)
        more = [
            b"<13>1 - - - - - - %s=%d" % (name.encode(), n) for n in range(start, start + count)
        ]
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"".join(line + b"\n" for line in more))
        self.sent += more

    @property
    def queued(self) -> int:
        (central,) = status(self.relay)["destinations"]
        return int(central["queued_records"])

    @property
    def received(self) -> int:
        (source,) = status(self.relay)["sources"]
        return int(source["stored_records"])


def acknowledged(receivers: list[RelayProcess]) -> list[int]:
    """The records of each that are in the log."""
    return [int(answers(each)["acknowledged_records"]) for each in receivers]


def test_receivers_that_are_killed_lose_nothing_and_double_nothing(
    programs: Programs, tmp_path: Path, engine: Engine
) -> None:
    ports = [free_port(), free_port()]
    receivers = [
        receiver(programs, tmp_path / f"receiver{n}", engine, port) for n, port in enumerate(ports)
    ]
    senders = [
        Sender(programs, tmp_path / f"sender{n}", ports[::-1] if n % 2 else ports)
        for n in range(SENDERS)
    ]
    for round_ in range(ROUNDS):
        before = acknowledged(receivers)
        for n, sender in enumerate(senders):
            sender.send(f"s{n}", 3000)
        wait_until(lambda b=before: acknowledged(receivers) != b, "records are in the log", 60.0)
        now = acknowledged(receivers)
        killed = next(r for r, a, b in zip(receivers, now, before, strict=True) if a > b)
        killed.kill()
        killed.start()
        sender = senders[round_ % len(senders)]
        wait_until(lambda s=sender: s.received == len(s.sent), "it is in the queue", 60.0)
        sender.relay.kill()
        sender.relay.start()
    for sender in senders:
        count = len(sender.sent)
        wait_until(lambda s=sender, c=count: s.received == c and not s.queued, "all is sent", 90.0)
    log = engine.records()
    taken = take_by_the_rule(log)
    for sender in senders:
        own = set(sender.sent)
        assert [payload for payload in taken if payload in own] == sender.sent
    assert len({lineage for lineage, *_ in log}) == len(senders)


def test_an_engine_that_is_away_closes_no_connection(programs: Programs, tmp_path: Path) -> None:
    engine = kafka(programs, tmp_path / "engine")
    port = free_port()
    relay = receiver(programs, tmp_path / "receiver", engine, port)
    with RelpSender(port, window=10_000) as sender:
        sender.send([b"<13>1 - - - - - - n=0"])
        sender.wait_answered()
        engine.pause()
        sender.send(b"<13>1 - - - - - - n=%d" % n for n in range(1, 500))
        wait_until(lambda: answers(relay)["in_flight_records"] == 499, "they wait", 20.0)
        assert len(sender.answered) == 1
        engine.resume()
        sender.wait_answered()
        sender.close()
    payloads = [payload for *_, payload in engine.records()]
    assert {b"<13>1 - - - - - - n=%d" % n for n in range(500)} == set(payloads)


def test_senders_are_answered_over_tls(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    engine = kafka(programs, tmp_path / "engine")
    port = free_port()
    tls = {
        "certificate": certificates.server_certificate,
        "private_key": certificates.server_key,
        "trusted_ca": certificates.ca,
    }
    relay = RelayProcess.started(
        programs,
        tmp_path / "receiver",
        sources={"net": {"listen": f"relp+tls://127.0.0.1:{port}", "answer": "bus", **tls}},
        destinations={"bus": {"connect": engine.connect, **engine.keys, **RETRY}},
    )
    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(certificates.client_certificate, certificates.client_key)
    sent = [b"<13>1 - - - - - - n=%d" % n for n in range(300)]
    with RelpSender(port, tls=context) as sender:
        sender.send(sent)
        sender.close()
    assert sorted(payload for *_, payload in engine.records()) == sorted(sent)
    assert answers(relay)["acknowledged_records"] == 300
