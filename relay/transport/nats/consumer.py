"""The consumer of one source: where it stands, and what is asked of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec
from twisted.internet.defer import Deferred

from relay.model.errors import UpstreamError
from relay.model.text import counted, printable
from relay.transport.nats.stream import StreamInfo
from relay.wire.nats.answers import NOT_FOUND, StreamError

_NANOSECONDS = 1_000_000_000
_ACK_SECONDS = 60  # without an acknowledgement a message is delivered again
_ACK_PENDING_MAX = 50_000
_BATCH = 1000
_BATCH_OCTETS = 4 * 1024 * 1024
_EXPIRES_SECONDS = 30
_HEARTBEAT_SECONDS = 3
_PLACE = re.compile(rb"([0-9]{1,19}),([0-9A-Za-z:.+-]{0,64})")
_TIMEOUTS = (404, 408)
_HEARTBEAT = 100
_CONFLICT = 409


class Place(NamedTuple):
    """The last message that was read."""

    seq: int
    """Its number in the stream."""
    created: str
    """When the stream was made, as the server says it: another one begins with 1 again."""

    def encode(self) -> bytes:
        """As it is stored."""
        return b"%d,%s" % (self.seq, self.created.encode("ascii", "replace"))


def read_place(value: bytes | None) -> Place | None:
    """Read the text that `encode` makes; None = there is none, or it is damaged."""
    found = _PLACE.fullmatch(value or b"")
    return None if found is None else Place(int(found[1]), found[2].decode("ascii"))


@dataclass(frozen=True, slots=True)
class ConsumerPlan:
    """The messages to read, and the name of the consumer."""

    target: str
    """The servers, for people."""
    stream: str
    consumer: str
    subject: str = ""
    """A filter; empty = all subjects of the stream."""
    from_beginning: bool = True
    """Where to begin without a place; else with new messages."""

    @property
    def next_subject(self) -> bytes:
        """Where messages are asked for."""
        return f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.consumer}".encode("ascii")


class _Sequence(msgspec.Struct):
    consumer_seq: int = 0
    stream_seq: int = 0


class _ConsumerConfig(msgspec.Struct):
    filter_subject: str = ""
    filter_subjects: list[str] = []
    ack_policy: str = "explicit"
    deliver_subject: str = ""


class _ConsumerAnswer(msgspec.Struct):
    config: _ConsumerConfig
    delivered: _Sequence = msgspec.field(default_factory=_Sequence)
    ack_floor: _Sequence = msgspec.field(default_factory=_Sequence)
    num_ack_pending: int = 0
    num_pending: int = 0


class Placed(NamedTuple):
    """A consumer that brings what stands behind our place."""

    place: Place
    deliveries: int
    """How many it has made."""
    pending: int
    """Messages that it has not delivered."""
    is_explicit: bool
    """Each message is acknowledged by itself, not with all before it."""
    gap: str = ""
    """Why messages may be missing before the first one, for people; empty = none are."""
    missing: int = 0
    """How many that are at most, as far as it is known."""


class ConsumerApi(Protocol):
    def ask_api(
        self, subject: str, request: bytes = b"", *, is_checked: bool = True
    ) -> Deferred[bytes]: ...


async def place_consumer(
    api: ConsumerApi, plan: ConsumerPlan, stream: StreamInfo, place: Place | None
) -> Placed:
    """Find the consumer behind `place`, or make it anew there.

    Raises:
        UpstreamError: It is of a kind that cannot be used.
        StreamError: The server refuses, or does not answer.
    """
    if stream.retention == "interest":
        raise UpstreamError(interest_problem(plan.stream))
    gap, missing = "", 0
    if place is not None and (place.created != stream.created or place.seq > stream.last_seq):
        gap = f"stream {plan.stream} is another one than before: it is read from its beginning"
        place = Place(0, stream.created)
    elif place is not None and stream.retention == "limits" and place.seq + 1 < stream.first_seq:
        missing = stream.first_seq - place.seq - 1
        gap = (
            f"stream {plan.stream} has removed up to {counted(missing, 'message')} that had not "
            f"been read, before its message {stream.first_seq}"
        )
    found = await _look(api, plan)
    if found is not None:
        if found.config.deliver_subject:
            raise UpstreamError(
                f"consumer {plan.consumer} is one that is pushed to; name another, or delete it"
            )
        if place is None:
            place = Place(found.ack_floor.stream_seq, stream.created)
        if found.delivered.stream_seq == place.seq and _has_filter(found, plan) and not gap:
            return _placed(found, place)
        await api.ask_api(f"CONSUMER.DELETE.{plan.stream}.{plan.consumer}")
    made = await _make(api, plan, stream, place)
    start = place or Place(0 if plan.from_beginning else stream.last_seq, stream.created)
    return _placed(made, start)._replace(gap=gap, missing=missing)


def interest_problem(stream: str) -> str:
    """Why a stream that keeps messages only for the consumers that it has is not read."""
    return (
        f"stream {stream} has the retention interest: it would forget what waits when its consumer "
        "is made anew, as after a crash; make it one with limits or workqueue"
    )


def _placed(found: _ConsumerAnswer, place: Place) -> Placed:
    return Placed(
        place,
        found.delivered.consumer_seq,
        found.num_pending,
        found.config.ack_policy == "explicit",
    )


def _has_filter(found: _ConsumerAnswer, plan: ConsumerPlan) -> bool:
    filters = found.config.filter_subjects or [found.config.filter_subject]
    return filters == [plan.subject]


async def _look(api: ConsumerApi, plan: ConsumerPlan) -> _ConsumerAnswer | None:
    try:
        return _read(await api.ask_api(f"CONSUMER.INFO.{plan.stream}.{plan.consumer}"))
    except StreamError as error:
        if error.code in NOT_FOUND:
            return None
        raise


async def _make(
    api: ConsumerApi, plan: ConsumerPlan, stream: StreamInfo, place: Place | None
) -> _ConsumerAnswer:
    config: dict[str, object] = {
        "durable_name": plan.consumer,
        "name": plan.consumer,
        "description": "syslogrelay",
        "ack_policy": "all",
        "ack_wait": _ACK_SECONDS * _NANOSECONDS,
        "max_ack_pending": _ACK_PENDING_MAX,
        "replay_policy": "instant",
        **({"filter_subject": plan.subject} if plan.subject else {}),
    }
    if stream.retention == "workqueue":
        # What was read is not in the stream any more; the server allows nothing else.
        config |= {"deliver_policy": "all", "ack_policy": "explicit"}
    elif place is not None and place.seq:
        config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": place.seq + 1}
    else:
        everything = place is not None or plan.from_beginning
        config["deliver_policy"] = "all" if everything else "new"
    request = {"stream_name": plan.stream, "config": config}
    subject = f"CONSUMER.DURABLE.CREATE.{plan.stream}.{plan.consumer}"
    return _read(await api.ask_api(subject, json.dumps(request).encode("ascii")))


def _read(answer: bytes) -> _ConsumerAnswer:
    try:
        return msgspec.json.decode(answer, type=_ConsumerAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise StreamError(0, f"not a consumer: {printable(answer, length_max=80)}") from None


class Requests:
    """Requests to the consumer of one connection whose messages have not come yet.

    Attributes:
        is_open: There is a consumer.
        asked: Messages that may still come.
        deliveries: The number of the last delivery.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.asked = self.deliveries = 0
        self._subject = self._inbox = b""
        self._is_alone = False  # the next message is larger than a batch may be

    def open(self, subject: bytes, inbox: bytes, deliveries: int) -> None:
        self.is_open = True
        self.asked, self.deliveries = 0, deliveries
        self._subject, self._inbox = subject, inbox
        self._is_alone = False

    def close(self) -> None:
        self.is_open = False
        self.asked = 0

    def due(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Requests to send now: subject, data and inbox."""
        if self._is_alone:
            if not self.asked:
                yield self._request(1, {})
        elif self.asked <= _BATCH // 2:
            yield self._request(_BATCH, {"max_bytes": _BATCH_OCTETS})

    def received(self, deliveries: int, count: int) -> None:
        """So many messages have come, the last one as delivery `deliveries`."""
        self.deliveries = deliveries
        self.asked = max(0, self.asked - count)
        if count and not self.asked:
            self._is_alone = False

    def answered(self, status: int, fields: Mapping[bytes, bytes]) -> str:
        """A status has come instead of messages.

        Returns:
            Why the connection is of no more use; "pause" = ask again a little later; empty = it
            is nothing.
        """
        if status == _HEARTBEAT:
            return ""
        text = printable(fields.get(b"description", b""))
        pending = fields.get(b"nats-pending-messages", b"")
        self.asked = max(0, self.asked - int(pending)) if pending.isdigit() else 0
        if status in _TIMEOUTS or (status == _CONFLICT and "Completed" in text):
            return ""  # the end of a request, early or as it was meant
        if status == _CONFLICT and "MaxBytes" in text:
            self._is_alone = True
            return ""
        if status == _CONFLICT and "deleted" not in text.lower():
            return "pause"
        return f"the consumer does not answer: {status} {text}"

    def _request(self, batch: int, more: Mapping[str, int]) -> tuple[bytes, bytes, bytes]:
        self.asked += batch
        request = {
            "batch": batch,
            "expires": _EXPIRES_SECONDS * _NANOSECONDS,
            "idle_heartbeat": _HEARTBEAT_SECONDS * _NANOSECONDS,
            **more,
        }
        return self._subject, json.dumps(request).encode("ascii"), self._inbox
