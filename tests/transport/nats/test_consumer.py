"""Where a consumer stands, and what is asked of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from relay.model.errors import UpstreamError
from relay.transport.nats.consumer import (
    ConsumerPlan,
    Place,
    Placed,
    Requests,
    place_consumer,
    read_place,
)
from relay.transport.nats.stream import StreamInfo, read_stream
from relay.wire.nats.answers import StreamError

PLAN = ConsumerPlan("n1:4222/LOGS", "LOGS", "central")
CREATED = "2026-11-30T23:15:40.809566926Z"


def stream(first: int = 1, last: int = 100, **config: object) -> StreamInfo:
    state = {"first_seq": first, "last_seq": last}
    answer = {"config": {"num_replicas": 3, **config}, "state": state, "created": CREATED}
    return read_stream("LOGS", json.dumps(answer).encode())


class FakeApi:
    """Keeps one consumer, or none.

    Attributes:
        made: The configurations of those that were made.
    """

    def __init__(self, delivered: int | None = None, floor: int = 0, **config: object) -> None:
        self.delivered, self.floor, self.config = delivered, floor, config
        self.made: list[dict[str, object]] = []
        self.deleted = 0

    def ask_api(
        self, subject: str, request: bytes = b"", *, is_checked: bool = True
    ) -> Deferred[bytes]:
        if subject.startswith("CONSUMER.INFO."):
            if self.delivered is None:
                return fail(StreamError(10014, "consumer not found"))
            return succeed(self._answer(self.config, 70, self.delivered))
        if subject.startswith("CONSUMER.DELETE."):
            self.deleted += 1
            return succeed(b"{}")
        assert subject == "CONSUMER.DURABLE.CREATE.LOGS.central"
        config = json.loads(request)["config"]
        self.made.append(config)
        return succeed(self._answer(config, 0, 0))

    def _answer(self, config: dict[str, object], number: int, seq: int) -> bytes:
        answer = {
            "config": config,
            "delivered": {"consumer_seq": number, "stream_seq": seq},
            "ack_floor": {"consumer_seq": number, "stream_seq": self.floor},
            "num_pending": 30,
        }
        return json.dumps(answer).encode()


def placed(
    api: FakeApi, place: Place | None, info: StreamInfo | None = None, plan: ConsumerPlan = PLAN
) -> Placed:
    found: list[Placed] = []
    failures: list[Failure] = []
    work = Deferred.fromCoroutine(place_consumer(api, plan, info or stream(), place))
    work.addCallbacks(found.append, failures.append)
    if failures:
        failures[0].raiseException()
    return found[0]


@given(st.integers(0, 2**63), st.sampled_from(["", CREATED]))
def test_a_place_is_read_as_it_was_written(seq: int, created: str) -> None:
    assert read_place(Place(seq, created).encode()) == Place(seq, created)


@given(st.none() | st.binary(max_size=30))
def test_any_place_is_read_or_none(value: bytes | None) -> None:
    assert read_place(value) is None or value


def test_without_anything_the_stream_is_read_from_its_beginning() -> None:
    api = FakeApi()
    assert placed(api, None).place == Place(0, CREATED)
    assert api.made[0]["deliver_policy"] == "all"
    assert api.made[0]["ack_policy"] == "all"
    assert api.made[0]["durable_name"] == "central"


def test_or_from_its_end() -> None:
    api = FakeApi()
    plan = ConsumerPlan("n1", "LOGS", "central", "logs.a", from_beginning=False)
    assert placed(api, None, plan=plan).place == Place(100, CREATED)
    assert api.made[0]["deliver_policy"] == "new"
    assert api.made[0]["filter_subject"] == "logs.a"


def test_a_consumer_that_stands_at_our_place_is_used_on() -> None:
    api = FakeApi(delivered=50)
    found = placed(api, Place(50, CREATED))
    assert (found.place.seq, found.deliveries, found.pending, found.gap) == (50, 70, 30, "")
    assert not api.made


@pytest.mark.parametrize("delivered", [40, 60])
def test_one_that_stands_elsewhere_is_made_anew(delivered: int) -> None:
    api = FakeApi(delivered=delivered)
    found = placed(api, Place(50, CREATED))
    assert (found.place.seq, found.deliveries) == (50, 0)
    assert api.deleted == 1
    assert api.made[0]["opt_start_seq"] == 51


def test_without_a_place_what_nobody_acknowledged_is_read() -> None:
    api = FakeApi(delivered=60, floor=50)
    assert placed(api, None).place.seq == 50
    assert api.made[0]["opt_start_seq"] == 51


def test_another_filter_makes_it_anew() -> None:
    api = FakeApi(delivered=50, filter_subject="logs.b")
    placed(api, Place(50, CREATED))
    assert api.made[0]["opt_start_seq"] == 51


def test_messages_that_are_gone_are_told() -> None:
    found = placed(FakeApi(delivered=50), Place(50, CREATED), stream(first=61))
    assert "has removed up to 10 messages that had not been read" in found.gap
    assert found.missing == 10


def test_another_stream_of_the_same_name_is_read_from_its_beginning() -> None:
    for place in (Place(50, "2020-01-01T00:00:00Z"), Place(101, CREATED)):
        api = FakeApi(delivered=50)
        found = placed(api, place)
        assert "another one than before" in found.gap
        assert found.place == Place(0, CREATED)
        assert api.made[0]["deliver_policy"] == "all"


def test_a_stream_that_is_a_queue_is_acknowledged_message_by_message() -> None:
    api = FakeApi()
    found = placed(api, Place(50, CREATED), stream(first=61, retention="workqueue"))
    assert found.is_explicit
    assert not found.gap
    assert api.made[0]["deliver_policy"] == "all"


def test_a_stream_that_would_forget_with_its_consumer_is_refused() -> None:
    with pytest.raises(UpstreamError, match="retention interest"):
        placed(FakeApi(), None, stream(retention="interest"))


def test_a_consumer_that_is_pushed_to_is_refused() -> None:
    with pytest.raises(UpstreamError, match="pushed"):
        placed(FakeApi(delivered=1, deliver_subject="x"), None)


def opened() -> Requests:
    requests = Requests()
    requests.open(b"$JS.API.CONSUMER.MSG.NEXT.LOGS.c", b"inbox", 0)
    return requests


def test_messages_are_asked_for_before_the_last_ones_have_come() -> None:
    requests = opened()
    assert len([*requests.due()]) == 1
    assert not [*requests.due()]
    requests.received(499, 499)
    assert not [*requests.due()]
    requests.received(500, 1)
    ((_, request, inbox),) = requests.due()
    assert json.loads(request)["batch"] == 1000
    assert inbox == b"inbox"
    assert requests.asked == 1500


def test_what_a_request_does_not_bring_is_asked_for_again() -> None:
    requests = opened()
    list(requests.due())
    fields = {b"nats-pending-messages": b"1000", b"description": b"Request Timeout"}
    assert requests.answered(408, fields) == ""
    assert requests.asked == 0


def test_a_request_that_has_brought_everything_is_no_trouble() -> None:
    requests = opened()
    list(requests.due())
    requests.received(1000, 1000)
    list(requests.due())
    fields = {b"nats-pending-messages": b"0", b"description": b"Batch Completed"}
    assert requests.answered(409, fields) == ""
    assert requests.asked == 1000


def test_a_heartbeat_means_nothing() -> None:
    requests = opened()
    list(requests.due())
    assert requests.answered(100, {}) == ""
    assert requests.asked == 1000


def test_a_message_that_is_larger_than_a_batch_is_asked_for_alone() -> None:
    requests = opened()
    list(requests.due())
    fields = {b"description": b"Message Size Exceeds MaxBytes", b"nats-pending-messages": b"1000"}
    assert requests.answered(409, fields) == ""
    ((_, request, _),) = requests.due()
    assert json.loads(request)["batch"] == 1
    assert "max_bytes" not in json.loads(request)
    assert not [*requests.due()]
    requests.received(1, 1)
    ((_, request, _),) = requests.due()
    assert json.loads(request)["batch"] == 1000


def test_a_consumer_that_is_gone_ends_the_connection() -> None:
    assert opened().answered(409, {b"description": b"Consumer Deleted"})
    assert opened().answered(503, {})
    assert opened().answered(409, {b"description": b"Leadership Change"}) == "pause"
