from __future__ import annotations

import tomllib
from pathlib import Path

from tests.bench.kafka_subjects import (
    direct_relay,
    reading_relay,
    reading_rsyslog,
    sending_relay,
    sending_rsyslog,
    sending_syslog_ng,
)
from tests.bench.subjects import Ports, Subject
from tests.interop.packages import PackagesRoot

PACKAGES = PackagesRoot(Path("/nowhere"))


def relay_toml(subject: Subject, folder: Path, ports: Ports) -> dict[str, dict[str, object]]:
    subject.make(folder, ports)
    found = tomllib.loads((folder / "relay.toml").read_text())
    return {"source": found["sources"]["feed"], "destination": found["destinations"]["upstream"]}


def test_the_relay_sends_to_the_topic(tmp_path: Path) -> None:
    ports = Ports(("tcp", 1), ("kafka", 2))
    found = relay_toml(sending_relay("lz4"), tmp_path, ports)
    assert found["source"] == {"listen": "tcp://127.0.0.1:1"}
    assert found["destination"]["connect"] == "kafka://127.0.0.1:2/logs"
    assert found["destination"]["compression"] == "lz4"
    assert found["destination"]["rewrite"] == {"mode": "none"}


def test_the_relay_reads_the_topic(tmp_path: Path) -> None:
    found = relay_toml(reading_relay(), tmp_path, Ports(("kafka", 1), ("relp", 2)))
    assert found["source"] == {"listen": "kafka://127.0.0.1:1/logs", "partitions": "0"}
    assert found["destination"]["connect"] == "relp://127.0.0.1:2"


def test_direct_mode_answers_for_the_topic(tmp_path: Path) -> None:
    found = relay_toml(direct_relay(0.005), tmp_path, Ports(("relp", 1), ("kafka", 2)))
    assert found["source"] == {"listen": "relp://127.0.0.1:1", "answer": "upstream"}
    assert found["destination"]["linger_seconds"] == 0.005


def test_the_others_get_the_same_topic_and_the_same_promise_of_the_broker(tmp_path: Path) -> None:
    ports = Ports(("tcp", 1), ("kafka", 2))
    for queue in ("memory", "disk"):
        sending_rsyslog(PACKAGES, queue, "lz4").make(tmp_path / queue, ports)
        config = (tmp_path / queue / "rsyslog.conf").read_text()
        assert 'broker=["127.0.0.1:2"] topic="logs"' in config
        assert '"acks=all"' in config
        assert ('queue.type="Disk"' in config) == (queue == "disk")
    for on_disk in (False, True):
        folder = tmp_path / f"ng-{on_disk}"
        sending_syslog_ng(PACKAGES, "lz4", on_disk=on_disk).make(folder, ports)
        config = (folder / "syslog-ng.conf").read_text()
        assert 'bootstrap-servers("127.0.0.1:2")' in config
        assert 'acks("all")' in config
        assert ("disk-buffer" in config) == on_disk


def test_rsyslog_reads_in_a_group(tmp_path: Path) -> None:
    reading_rsyslog(PACKAGES).make(tmp_path, Ports(("kafka", 1), ("relp", 2)))
    config = (tmp_path / "rsyslog.conf").read_text()
    assert 'consumergroup="central"' in config
    assert 'port="2"' in config
