from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from relay.flow.publishing import Run
from relay.model.errors import UpstreamError
from relay.transport.kafka.producing import (
    CAREFUL_SETTINGS,
    FIXED_SETTINGS,
    Care,
    ProducerOptions,
    ProducerThread,
    Sending,
)
from relay.transport.kafka.records import Placing
from relay.transport.kafka.topics import TopicFacts
from tests.fake_kafka import Cluster, FakeError, Sent, replace_library

LINEAGE = "0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f10"


class Owner:
    """Notes what the thread tells, at once."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.finished: list[Sending] = []
        self.failure: str | None = None
        self.on_turn: Callable[[], None] = lambda: None

    def tell(self, finished: Sequence[Sending]) -> None:
        self.finished += finished

    def tell_opened(self, facts: TopicFacts, bytes_max: int) -> None:
        self.told.append(("opened", facts.partitions, bytes_max))

    def tell_state(self, text: str, is_well: bool) -> None:
        self.told.append((text, is_well))

    def tell_remark(self, text: str) -> None:
        self.told.append(text)

    def tell_failed(self, text: str) -> None:
        self.failure = text

    def tell_ended(self) -> None:
        self.told.append("ended")


class Setup:
    """The work of the thread, done by the test's own: it ends when all runs have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster = Cluster()
        replace_library(monkeypatch, self.cluster)
        self.care = Care()
        self.settings: Any = dict
        self.placing = Placing("logs")
        self.replicas_min = 0

    def run(self, *runs: Run, turns: int = 50) -> Owner:
        owner = Owner()
        options = ProducerOptions(
            settings=self.settings,
            placing=self.placing,
            care=self.care,
            connect_seconds_max=1,
            replicas_min=self.replicas_min,
        )
        thread = ProducerThread(options, owner, lambda call, *args: call(*args))
        self.sendings = [Sending(run, thread) for run in runs]
        for sending in self.sendings:
            thread.add(sending)
        left = iter(range(turns))
        turn = thread._turn

        def counted(producer: Any) -> None:
            if next(left, None) is None or len(owner.finished) == len(runs):
                thread.stop()
                return
            turn(producer)

        thread._turn = counted  # type: ignore[method-assign]
        thread.run()
        return owner


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Setup:
    return Setup(monkeypatch)


def a_run(*values: bytes, first: int = 1, prev: int = 0) -> Run:
    return Run(values, LINEAGE, range(first, first + len(values)), prev)


def refuse(*bad: bytes, name: str = "INVALID_RECORD") -> Callable[[Sent], FakeError | None]:
    return lambda sent: FakeError(name) if sent.value in bad else None


def test_reports_of_all_records_end_a_run(setup: Setup) -> None:
    owner = setup.run(a_run(b"a", b"b"), a_run(b"c", first=3, prev=2))
    assert owner.finished == setup.sendings
    assert owner.failure == ""
    assert [sent.headers["syslogrelay"] for sent in setup.cluster.sent] == [
        f"{LINEAGE},{seq},{seq - 1}".encode() for seq in (1, 2, 3)
    ]
    assert owner.told == [("opened", 4, 997952), "ended"]


def test_a_lineage_has_one_partition_and_is_the_key(setup: Setup) -> None:
    setup.run(a_run(b"a"), a_run(b"b", first=2, prev=1))
    assert {(sent.key, sent.partition) for sent in setup.cluster.sent} == {(LINEAGE.encode(), 3)}


def test_what_promises_delivery_is_set_whatever_the_options_say(setup: Setup) -> None:
    setup.settings = lambda: {"acks": "0", "linger.ms": "5"}
    setup.run(a_run(b"a"))
    (producer,) = setup.cluster.producers
    assert producer.settings.items() >= FIXED_SETTINGS.items()
    assert producer.settings["linger.ms"] == "5"
    assert "batch.num.messages" not in producer.settings
    assert producer.closed


def test_full_buffers_wait(setup: Setup) -> None:
    setup.cluster.room = 3
    owner = setup.run(a_run(*(b"%d" % n for n in range(10))))
    assert owner.finished == setup.sendings
    assert [sent.value for sent in setup.cluster.sent] == [b"%d" % n for n in range(10)]
    numbers = [sent.headers["syslogrelay"] for sent in setup.cluster.sent]
    assert numbers == [f"{LINEAGE},{n},{n - 1}".encode() for n in range(1, 11)]


def test_any_error_ends_the_producer_and_acknowledges_nothing_behind_it(setup: Setup) -> None:
    setup.cluster.judge = refuse(b"b", name="OUT_OF_ORDER_SEQUENCE_NUMBER")
    owner = setup.run(a_run(b"a"), a_run(b"b", first=2, prev=1), a_run(b"c", first=3, prev=2))
    assert owner.failure == "Broker: OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert setup.sendings[1] not in owner.finished
    assert setup.cluster.producers[0].closed
    assert owner.told[-1] == "ended"


def test_a_refused_batch_is_sent_one_by_one(setup: Setup) -> None:
    setup.cluster.judge = refuse(b"b")
    owner = setup.run(a_run(b"a", b"b", b"c"))
    assert "refused a batch: Broker: INVALID_RECORD" in (owner.failure or "")
    assert owner.finished == [] and setup.care.is_on

    owner = setup.run(a_run(b"a", b"b", b"c"))
    assert setup.cluster.producers[1].settings.items() >= CAREFUL_SETTINGS.items()
    (sending,) = owner.finished
    assert sending.refusal is not None
    assert (sending.refusal.index, sending.refusal.reason) == (1, "Broker: INVALID_RECORD")


def test_care_ends_with_what_is_taken(setup: Setup) -> None:
    setup.care.is_on = True
    owner = setup.run(a_run(*(b"%d" % n for n in range(1000))))
    assert owner.finished == setup.sendings
    assert not setup.care.is_on
    assert "in batches again" in (owner.failure or "")


def test_a_record_that_the_library_refuses_waits_for_those_before_it(setup: Setup) -> None:
    setup.settings = lambda: {"message.max.bytes": "2500"}
    owner = setup.run(a_run(b"a", b"x" * 3000, b"c"), a_run(b"d", first=4, prev=3))
    (sending,) = owner.finished
    assert sending.refusal is not None and sending.refusal.index == 1
    assert [sent.value for sent in setup.cluster.sent] == [b"a"]
    assert owner.failure == "refused a record: Broker: MSG_SIZE_TOO_LARGE"


def test_a_topic_that_promises_too_little_is_refused(setup: Setup) -> None:
    setup.cluster.settings = {"min.insync.replicas": "1", "max.message.bytes": "5000"}
    setup.replicas_min = 2
    owner = setup.run(a_run(b"a"))
    assert "an answer means 1 replica, and replicas_min is 2" in (owner.failure or "")
    assert not setup.cluster.producers

    setup.replicas_min = 1
    owner = setup.run(a_run(b"a"))
    assert owner.told[0] == ("opened", 4, 2952)


def test_an_unclean_leader_is_warned_of(setup: Setup) -> None:
    setup.cluster.settings = {"unclean.leader.election.enable": "true"}
    owner = setup.run(a_run(b"a"))
    assert "unclean.leader.election.enable = true" in owner.told[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("UNKNOWN_TOPIC_OR_PART", "the brokers know no topic logs"),
        ("TOPIC_AUTHORIZATION_FAILED", "give the user Write and Describe"),
    ],
)
def test_errors_of_the_topic_name_it_and_what_to_do(setup: Setup, name: str, text: str) -> None:
    setup.cluster.judge = refuse(b"a", name=name)
    assert text in (setup.run(a_run(b"a")).failure or "")


def test_no_brokers_no_producer(setup: Setup) -> None:
    setup.cluster.is_away = True
    assert setup.run(a_run(b"a")).failure == "Broker: _TRANSPORT"
    assert not setup.cluster.producers


def test_a_password_that_cannot_be_read_is_a_failure(setup: Setup) -> None:
    def settings() -> Any:
        raise UpstreamError("cannot read the token file /x")

    setup.settings = settings
    assert setup.run(a_run(b"a")).failure == "cannot read the token file /x"


def test_a_fatal_error_ends_it(setup: Setup) -> None:
    def judge(sent: Sent) -> FakeError:
        setup.cluster.producers[0].settings["error_cb"](FakeError("_FATAL", fatal=True))
        return FakeError("_FATAL")

    setup.cluster.judge = judge
    assert setup.run(a_run(b"a")).failure == "Broker: _FATAL"


class Looking(Setup):
    """Each turn looks at the brokers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        monkeypatch.setattr("relay.transport.kafka.producing._LOOK_SECONDS", 0.0)
        self.cluster.holds = True


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Looking:
    return Looking(monkeypatch)


def test_a_topic_that_is_gone_is_noticed_while_nothing_is_reported(looking: Looking) -> None:
    def settings() -> Any:
        return {}

    looking.settings = settings
    owner = looking.run(a_run(b"a"), turns=3)
    assert ("the brokers answer, and acknowledge nothing", False) in owner.told

    class Gone(dict[str, int]):
        def items(self) -> Any:  # known at the start, gone later
            found = [*super().items()]
            self.clear()
            return found

    looking.cluster.topics = Gone(logs=4)
    owner = looking.run(a_run(b"a"), turns=3)
    assert (owner.failure or "").startswith("the brokers know no topic logs")


def test_too_few_replicas_in_sync_are_told(looking: Looking) -> None:
    looking.cluster.settings = {"min.insync.replicas": "2"}
    looking.cluster.in_sync = 1
    owner = looking.run(a_run(b"a"), turns=2)
    text = "a partition of topic logs has 1 replica in sync, and min.insync.replicas is 2"
    assert (f"nothing is acknowledged: {text}", False) in owner.told


def test_a_stop_purges_what_is_in_flight(looking: Looking) -> None:
    owner = looking.run(a_run(b"a"), turns=1)
    assert owner.finished == []
    assert looking.cluster.producers[0].closed
    assert looking.cluster.sent == []
