"""Records of one lineage, or of one sender without, on their way to the stream.

All records of a sender go to one subject, one batch at a time, so the stream has them in order.
Each batch says which message has to be the last one of the subject.  When its answer is lost, the
number of the last message tells whether it was stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from twisted.internet.defer import Deferred

from relay.flow.publishing import PublisherFailed, RecordRefused, Run
from relay.rewrite.forms.record_key import split_key
from relay.wire.nats.answers import LastMessage
from relay.wire.nats.messages import Message, header_line, header_value
from relay.wire.nats.record_pack import (
    PACK_HEADER,
    PACK_RECORDS_MAX,
    Pack,
    encode_pack,
    last_number,
    pack_overhead,
)
from relay.wire.record_number import (
    NUMBER_HEADER,
    RecordNumber,
    format_record_number,
    parse_record_number,
)

EPOCH_HEADER = "syslogrelay-epoch"
"""In the last message of a batch: the start of the relay in which its records were numbered."""

_NUMBER = b"\r\n%s: " % NUMBER_HEADER.encode()
_PACK = b"\r\n%s: " % PACK_HEADER.encode()
_EPOCH = b"\r\n%s: " % EPOCH_HEADER.encode()


def number_in(headers: bytes) -> RecordNumber | None:
    """The number of the last record in a message with these headers; None = it has none."""
    if (value := header_value(headers, _NUMBER)) is not None:
        return parse_record_number(value)
    value = header_value(headers, _PACK)
    return None if value is None else last_number(value)


def epoch_in(headers: bytes) -> bytes:
    """The epoch in a message with these headers; empty = it says none."""
    return header_value(headers, _EPOCH) or b""


@dataclass(slots=True, eq=False)
class _Waiting:
    """One run, of which the records before `start` are stored."""

    run: Run
    done: Deferred[None]
    start: int = 0


class Part(NamedTuple):
    """Messages of one sender in a batch."""

    sender: Sender
    messages: list[Message]
    records: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """How records become messages."""

    is_packed: bool = False
    message_octets_max: int = 1024 * 1024
    """Of headers and data, the limit of the server or the stream."""
    pack_octets_max: int = 256 * 1024
    """A pack ends with the record that goes beyond."""
    has_keys: bool = False
    """Each record has its subject before it."""
    has_numbers_in_text: bool = False
    """Numbered messages have their numbers in their structured data too."""


@dataclass(slots=True, eq=False)
class Sender:
    """Runs of one lineage, or of one sender without.

    Attributes:
        expected: Number in the stream of the last message of the subject; None = it is not known.
        is_busy: A part of it is on its way, or the last message is asked for.
        is_offered: It is among those that are ready.
    """

    name: str
    subject: bytes
    encoding: Encoding
    lineage: str = ""
    epoch: bytes = b""
    expected: int | None = None
    is_busy: bool = False
    is_offered: bool = False
    _runs: deque[_Waiting] = field(default_factory=deque)
    _have: int = 0  # of the lineage, everything up to here is stored
    _put: int = 0  # the last one that was put there by us
    _gap_end: int = 0  # until the run that ends here has come, nothing is sent

    @property
    def has_work(self) -> bool:
        return bool(self._runs) and not self._gap_end

    @property
    def is_empty(self) -> bool:
        return not self._runs

    @property
    def is_unknown(self) -> bool:
        """Whether the last message has to be asked for before anything is sent."""
        return bool(self.lineage) and self.expected is None

    def add(self, run: Run, done: Deferred[None]) -> None:
        """Append a run; the rest of one of which a record was refused goes first."""
        waiting = _Waiting(run, done)
        if self._gap_end and run.seqs and run.seqs[-1] == self._gap_end:
            self._gap_end = 0
            self._runs.appendleft(waiting)
        else:
            self._runs.append(waiting)
        self._settle()

    def take(self, messages_max: int, octets_max: int, records_max: int) -> Part | RecordRefused:
        """Messages for the next batch: one at least, or the refusal of one that never fits."""
        messages: list[Message] = []
        records = octets = 0
        before = self._put
        is_packed = self.encoding.is_packed
        for waiting in self._runs:
            at = waiting.start
            while at < len(waiting.run.payloads):
                if len(messages) >= messages_max or records >= records_max:
                    break
                if is_packed:
                    message, count = self._packed(waiting.run, at, before, records_max - records)
                else:
                    message, count = self._single(waiting.run, at, before), 1
                if message.size > self.encoding.message_octets_max:
                    if not messages:
                        return self._too_large(at, message.size)
                    return self._part(messages, records)
                if messages and octets + message.size > octets_max:
                    return self._part(messages, records)
                messages.append(message)
                records += count
                octets += message.size
                at += count
                before = waiting.run.seqs[at - 1] if self.lineage else 0
            else:
                continue
            break
        return self._part(messages, records)

    def stored(self, records: int, last_seq: int) -> None:
        """The oldest `records` are in the stream, the last one as its message `last_seq`."""
        self.expected = last_seq if self.lineage else None
        while records:
            waiting = self._runs[0]
            count = min(records, len(waiting.run.payloads) - waiting.start)
            waiting.start += count
            records -= count
            if self.lineage:
                self._put = self._have = waiting.run.seqs[waiting.start - 1]
            self._finish_first()

    def found(self, last: LastMessage | None) -> bool:
        """The last message of the subject is known.  Returns whether it can be ours."""
        self.expected = 0 if last is None else last.seq
        if last is None:
            return True
        number = number_in(last.headers)
        if number is None or number.lineage != self.lineage:
            return False
        self._have = max(self._have, number.seq)
        self._settle()
        return True

    def refuse(self, refused: RecordRefused) -> None:
        """The record at `index` of the oldest run is refused for good."""
        waiting = self._runs.popleft()
        if self.lineage and refused.index + 1 < len(waiting.run.seqs):
            self._gap_end = waiting.run.seqs[-1]
        waiting.done.errback(refused)

    @property
    def oldest_at(self) -> int:
        """Index of the oldest record that is not stored, in its run."""
        return self._runs[0].start

    def fail(self, why: str) -> list[Callable[[], None]]:
        """Calls that fail all runs; nothing waits any more."""
        runs, self._runs = self._runs, deque()
        failed = PublisherFailed(why)
        return [lambda one=one: one.done.errback(failed) for one in runs]  # type: ignore[misc]

    def _settle(self) -> None:
        """Acknowledge what the stream has already."""
        while self._runs and self.lineage:
            waiting = self._runs[0]
            seqs = waiting.run.seqs
            before = waiting.start
            while waiting.start < len(seqs) and seqs[waiting.start] <= self._have:
                waiting.start += 1
            if before < waiting.start:
                self._put = max(self._put, seqs[waiting.start - 1])
            if not self._finish_first():
                return

    def _finish_first(self) -> bool:
        """End the oldest run if all of it is stored."""
        waiting = self._runs[0]
        if waiting.start < len(waiting.run.payloads):
            return False
        self._runs.popleft()
        waiting.done.callback(None)
        return True

    def _part(self, messages: list[Message], records: int) -> Part:
        if messages and self.epoch:
            last = messages[-1]
            more = header_line(EPOCH_HEADER, self.epoch)
            messages[-1] = last._replace(headers=last.headers + more)
        if messages and self.lineage:
            messages[0] = messages[0]._replace(expected=self.expected)
        return Part(self, messages, records)

    def _single(self, run: Run, at: int, before: int) -> Message:
        payload = run.payloads[at]
        if self.encoding.has_keys:
            key, payload = split_key(payload)
            return Message(key or self.subject, b"", payload)
        if not self.lineage:
            return Message(self.subject, b"", payload)
        number = RecordNumber(self.lineage, run.seqs[at], _prev(run, at, before))
        return Message(
            self.subject, header_line(NUMBER_HEADER, format_record_number(number)), payload
        )

    def _packed(self, run: Run, at: int, before: int, records_max: int) -> tuple[Message, int]:
        """One message of several records, and how many."""
        limit = min(self.encoding.pack_octets_max, self.encoding.message_octets_max)
        end = stop = min(len(run.payloads), at + min(records_max, PACK_RECORDS_MAX))
        octets = 0
        for index in range(at, stop):
            octets += len(run.payloads[index]) + pack_overhead(run.payloads[index])
            if octets > limit and index > at:
                end = index
                break
        payloads: Sequence[bytes] = run.payloads[at:end]
        if self.lineage:
            pack = Pack(payloads, self.lineage, run.seqs[at:end], _prev(run, at, before))
        else:
            pack = Pack(payloads)
        value, data = encode_pack(pack)
        return Message(self.subject, header_line(PACK_HEADER, value), data), end - at

    def _too_large(self, at: int, octets: int) -> RecordRefused:
        limit = self.encoding.message_octets_max
        return RecordRefused(
            at, f"too-long: {octets:,} bytes with headers, and NATS takes {limit:,}"
        )


def _prev(run: Run, at: int, before: int) -> int:
    """The number before that of the record `at`, in this session and subject.

    Args:
        before: The last one that we have put there, or are about to; 0 = none.
    """
    if at:
        return run.seqs[at - 1]
    # The one before it was perhaps refused, and so is not there.
    return min(run.prev, before) if before else run.prev
