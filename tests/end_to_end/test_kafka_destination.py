"""Relays that send to a broker of Kafka's protocol, as programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from relay.wire.record_number import parse_record_number
from tests.bench.tls_proxy import TlsProxy
from tests.certificate_files import CertificateFiles, make_certificate_files
from tests.end_to_end.central import numbered
from tests.end_to_end.test_check_connect import check
from tests.engines.answer_losing_proxy import tansu_behind_proxy
from tests.engines.tansu import Tansu
from tests.engines.topics import TopicRecord, read_topic
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

pytestmark = pytest.mark.slow

QUICK = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2}


class Bus:
    """A relay with a RELP source and a topic."""

    def __init__(self, programs: Programs, folder: Path, address: str, **keys: Any) -> None:
        self.port = free_port()
        connect = {"connect": f"kafka://{address}/logs"} if "topic" not in keys else {}
        values = {"connect": f"kafka://{address}", "replicas_min": 0, **QUICK, **connect, **keys}
        self.relay = RelayProcess.started(
            programs,
            folder / "relay",
            sources={"in": {"listen": f"relp://127.0.0.1:{self.port}"}},
            destinations={"bus": values},
        )

    def send(self, frames: list[bytes]) -> None:
        with RelpSender(self.port) as sender:
            sender.send(frames)
            sender.close()

    @property
    def report(self) -> Any:
        (found,) = ask(str(self.relay.state_dir), "status")["destinations"]
        return found

    def wait_delivered(self, count: int, seconds_max: float = 30.0) -> None:
        wait_until(lambda: self.report["delivered_records"] >= count, "all delivered", seconds_max)

    def wait_state(self, text: str, seconds_max: float = 30.0) -> None:
        wait_until(lambda: text in self.report["state"], text, seconds_max)


def check_numbers(records: Sequence[TopicRecord], count: int) -> list[bytes]:
    """The values that a reader takes by the rule, of one lineage; nothing may be held back."""
    have, taken, lineages = 0, [], set()
    for record in records:
        number = parse_record_number(record.headers["syslogrelay"])
        assert number is not None
        lineages.add((number.lineage, record.partition))
        if number.seq > have:
            assert number.prev <= have, f"{number} comes with {have} known"
            taken.append(record.value)
            have = number.seq
    assert len(lineages) == 1, lineages
    assert len(taken) == count
    return taken


def test_messages_become_numbered_records_of_one_partition(
    programs: Programs, tmp_path: Path
) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 4})
    bus = Bus(programs, tmp_path, tansu.address, headers={"host": "$HOST"})
    frames = numbered("a", 500)
    bus.send(frames)
    bus.wait_delivered(500)
    records = read_topic(tansu.address, "logs", 4, count=500)
    assert len(records) == 500
    assert check_numbers(records, 500) == frames
    assert {record.headers["host"] for record in records} == {b"web-1"}
    assert f"sending to {tansu.address}/logs" in bus.report["state"]
    assert "topic logs: 4 partitions, 1 replica" in str(bus.report["details"])
    bus.relay.stop()


def test_tls_to_brokers(programs: Programs, tmp_path: Path, certificates: CertificateFiles) -> None:
    port = free_port()
    tansu = Tansu(tmp_path, topics={"logs": 1}, advertised_port=port)
    programs.add(tansu)
    with TlsProxy(port, tansu.port, certificates, takes_tls=True):
        tansu.start()
        address, url = f"127.0.0.1:{port}", f"kafka+tls://127.0.0.1:{port}/logs"
        bus = Bus(programs, tmp_path, address, connect=url, trusted_ca=certificates.ca)
        bus.send(numbered("a", 20))
        bus.wait_delivered(20)
        other = make_certificate_files(tmp_path / "other").ca
        bus = Bus(programs, tmp_path / "b", address, connect=url, trusted_ca=other)
        bus.wait_state("certificate verify failed")


def test_check_connect_tells_of_brokers_and_topic(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 3})
    bus = Bus(programs, tmp_path, tansu.address)
    found = check(bus.relay.config_path)
    assert "topic logs: 3 partitions, 1 replica" in found.texts("destination bus")
    tansu.kill()
    assert "kafka-unusable" in check(bus.relay.config_path).faults("destination bus")


def test_topics_of_messages_and_the_one_for_others(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 1, "app-a": 1})
    bus = Bus(
        programs, tmp_path, tansu.address, topic="app-$PROGRAM", topic_fallback="logs", key="$HOST"
    )
    frames = [*numbered("a", 20), *numbered("b", 20), *numbered("b/c", 5)]
    bus.send(frames)
    bus.wait_delivered(45)
    in_a = read_topic(tansu.address, "app-a", 1, count=20)
    assert [record.value for record in in_a] == frames[:20]
    assert {record.key for record in in_a} == {b"web-1"}
    others = read_topic(tansu.address, "logs", 1, count=25)
    assert [record.value for record in others] == frames[20:]


def test_a_missing_topic_is_said_and_awaited(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path)
    bus = Bus(programs, tmp_path, tansu.address)
    frames = numbered("a", 10)
    bus.send(frames)
    bus.wait_state("the brokers know no topic logs")
    tansu.create_topic("logs", 2)
    bus.wait_delivered(10)
    assert check_numbers(read_topic(tansu.address, "logs", 2, count=10), 10) == frames


def test_a_topic_that_promises_too_little_is_refused(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 1})
    bus = Bus(programs, tmp_path, tansu.address, replicas_min=2)
    bus.wait_state("an answer means 1 replica, and replicas_min is 2")


def test_lost_answers_make_no_duplicates(programs: Programs, tmp_path: Path) -> None:
    tansu, proxy = tansu_behind_proxy(programs, tmp_path, topics={"logs": 2})
    bus = Bus(programs, tmp_path, proxy.address)
    frames = numbered("a", 5000)
    proxy.lose(3)
    bus.send(frames)
    bus.wait_delivered(5000)
    assert proxy.lost == 3
    records = read_topic(tansu.address, "logs", 2, count=5000)
    assert [record.value for record in records] == frames, "idempotent: none twice, in order"
    proxy.close()


def test_a_broker_that_forgot_everything_gets_a_new_producer(
    programs: Programs, tmp_path: Path
) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 2})
    bus = Bus(programs, tmp_path, tansu.address, answer_seconds_max=1)
    bus.send(numbered("a", 50))
    bus.wait_delivered(50)
    tansu.restart_empty()
    frames = numbered("b", 50)
    bus.send(frames)
    bus.wait_delivered(100)
    records = read_topic(tansu.address, "logs", 2, count=50)
    assert [record.value for record in records] == frames


def test_brokers_away_are_in_the_state_and_nothing_is_lost(
    programs: Programs, tmp_path: Path
) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 2})
    bus = Bus(programs, tmp_path, tansu.address)
    first, second = numbered("a", 50), numbered("b", 50)
    bus.send(first)
    bus.wait_delivered(50)
    tansu.pause()
    bus.send(second)
    bus.wait_state("brokers away")
    assert bus.relay.is_running
    tansu.resume()
    bus.wait_delivered(100)
    records = read_topic(tansu.address, "logs", 2, count=100)
    assert check_numbers(records, 100) == [*first, *second]


def test_a_relay_that_is_killed_sends_again_and_a_reader_takes_each_once(
    programs: Programs, tmp_path: Path
) -> None:
    tansu, proxy = tansu_behind_proxy(programs, tmp_path, topics={"logs": 2})
    bus = Bus(programs, tmp_path, proxy.address)
    frames = numbered("a", 2000)
    proxy.lose(1000, cut=False)  # stored, and the relay never learns of it
    bus.send(frames)
    wait_until(lambda: proxy.lost > 0, "a lost answer")
    bus.relay.kill()
    proxy.lose(0)
    bus.relay.start()
    bus.wait_delivered(2000)
    records = read_topic(tansu.address, "logs", 2, count=2000)
    assert len(records) > 2000, "some came twice"
    assert check_numbers(records, 2000) == frames
    proxy.close()


def test_a_stop_is_quick_while_brokers_are_silent(programs: Programs, tmp_path: Path) -> None:
    tansu = Tansu.started(programs, tmp_path, topics={"logs": 1})
    bus = Bus(programs, tmp_path, tansu.address)
    bus.send(numbered("a", 5))
    bus.wait_delivered(5)
    tansu.pause()
    bus.send(numbered("b", 5))
    bus.relay.stop()
