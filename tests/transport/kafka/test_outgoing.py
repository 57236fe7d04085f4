from __future__ import annotations

from typing import Any

import pytest

from relay.flow.publishing import Run
from relay.model.errors import UpstreamError
from relay.rewrite.forms.record_key import with_key
from relay.transport.kafka.outgoing import Outgoing
from relay.transport.kafka.records import Placing
from relay.transport.kafka.topics import TopicFacts
from relay.wire.murmur2 import partition_of
from tests.fake_kafka import Cluster, FakeProducer, replace_library

LINEAGE = "0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f10"


class Sending:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.sent = 0
        self.reported: list[int] = []

    def report(self, error: Any, message: object) -> None:
        self.reported.append(-1)

    def report_of(self, index: int, error: Any, message: object) -> None:
        self.reported.append(index)


class Setup:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, placing: Placing) -> None:
        self.cluster = Cluster({"logs": 4, "web": 6})
        replace_library(monkeypatch, self.cluster)
        FakeProducer.cluster = self.cluster
        self.producer: Any = FakeProducer({"message.max.bytes": "1000"}, logger=None)
        self.remarks: list[str] = []
        facts = TopicFacts("logs", 4, 3, 3)
        self.outgoing = Outgoing(self.producer, placing, facts, self.remarks.append)

    def send(self, run: Run) -> Sending:
        sending = Sending(run)
        assert self.outgoing.produce(sending, 100)
        self.producer.poll(0)
        return sending


def keyed(*parts: bytes) -> bytes:
    return with_key(b"\x1f".join(parts), b"payload")


def test_records_without_a_lineage_have_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(monkeypatch, Placing("logs", fixed_headers=(("site", b"a"),)))
    setup.send(Run([b"x"], sender="10.0.0.1"))
    (sent,) = setup.cluster.sent
    assert sent == ("logs", b"x", b"10.0.0.1", partition_of(b"10.0.0.1", 4), {"site": b"a"})


def test_each_topic_has_its_own_chain_of_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(monkeypatch, Placing("logs", has_topics=True))
    records = [keyed(b"web", b""), keyed(b"logs", b""), keyed(b"web", b""), keyed(b"logs", b"")]
    sending = setup.send(Run(records, LINEAGE, [5, 6, 7, 8]))
    assert sending.reported == [0, 1, 2, 3]
    numbers = [(sent.topic, sent.headers["syslogrelay"][37:]) for sent in setup.cluster.sent]
    assert numbers == [("web", b"5,0"), ("logs", b"6,0"), ("web", b"7,5"), ("logs", b"8,6")]
    setup.send(Run(records[:1], LINEAGE, [9], prev=8))
    assert setup.cluster.sent[-1].headers["syslogrelay"].endswith(b"9,7")
    setup.send(Run(records[:1], LINEAGE, [9]))  # a session begins
    assert setup.cluster.sent[-1].headers["syslogrelay"].endswith(b"9,0")


def test_a_topic_that_does_not_exist_is_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(monkeypatch, Placing("logs", has_topics=True))
    setup.send(Run([keyed(b"nope", b"")] * 2, LINEAGE, [1, 2]))
    assert {sent.topic for sent in setup.cluster.sent} == {"logs"}
    assert setup.remarks == ["the brokers know no topic nope: its records go to logs"]


def test_nobody_to_ask_for_topics_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(monkeypatch, Placing("logs", has_topics=True))
    setup.cluster.is_away = True
    with pytest.raises(UpstreamError, match="_TRANSPORT"):
        setup.send(Run([keyed(b"web", b"")], LINEAGE, [1]))


def test_a_key_of_its_own_decides_on_the_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(monkeypatch, Placing("logs", has_keys=True))
    setup.send(Run([keyed(b"", b"h1"), keyed(b"", b"")], LINEAGE, [1, 2]))
    own, none = setup.cluster.sent
    assert (own.key, own.partition, own.headers) == (b"h1", partition_of(b"h1", 4), {})
    assert none.key == LINEAGE.encode()


def test_headers_alone_leave_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(monkeypatch, Placing("logs", header_names=("host",)))
    sending = setup.send(Run([keyed(b"", b"", b"h1")] * 2, LINEAGE, [4, 6], prev=3))
    numbers = [sent.headers for sent in setup.cluster.sent]
    assert numbers == [
        {"host": b"h1", "syslogrelay": f"{LINEAGE},4,3".encode()},
        {"host": b"h1", "syslogrelay": f"{LINEAGE},6,4".encode()},
    ]
    assert sending.reported == [-1, -1]
