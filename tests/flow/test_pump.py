"""The pump by itself; `test_drain.py` has it read for a drain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from relay.flow.pacing import Allowance
from relay.flow.pump import Pump
from relay.model.errors import DamagedRange, QueueError
from relay.model.output import SizeLimit
from relay.model.seq import SeqRange
from relay.queue.cursor import Cursor
from tests.flow_fakes import new_refusals


class Drain:
    """Takes what the pump sends; the queue has the records 1 to 9."""

    def __init__(self) -> None:
        self.interruptions = 0
        self.open_session: Any = self
        self.in_flight = 0
        self.room = 4
        self.end = 10
        self.sent: list[bytes] = []
        self.trouble: list[str] = []
        self.errors: list[Exception] = []
        self.empty = False
        self.reads: list[Callable[[], None]] | None = None
        self.unfit: list[tuple[SeqRange, str]] = []
        self.waits = False
        self.has_token = True
        self.long: list[bytes] = []
        self.clock = Clock()
        self.cursor = Cursor(self, "d", position=1, run_in_thread=self.run_in_thread)
        self.pump = Pump(
            self,
            self.cursor,
            allowance=Allowance(new_refusals(3), limit=SizeLimit(9, "quarantine", "the upstream")),
            clock=self.clock,
            fill=self.fill,
            on_trouble=self.trouble.append,
        )

    def run_in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        if self.reads is None:
            return execute(call)
        done: Deferred[Any] = Deferred()
        self.reads.append(lambda: execute(call).chainDeferred(done))
        return done

    def read(self, queue: str, *, start: int, records_max: int, bytes_max: int) -> list[bytes]:
        if self.errors:
            raise self.errors.pop()
        stop = start if self.empty else min(start + records_max, self.end)
        return [b"%d" % seq for seq in range(start, stop)]

    def fill(self, payloads: Sequence[bytes]) -> list[bytes]:
        if b"3" in payloads and not self.has_token:
            raise QueueError("no token")
        return [payload + b"!" * (9 if payload in self.long else 1) for payload in payloads]

    def send(self, session: Any, seqs: SeqRange, payloads: Sequence[bytes]) -> None:
        assert session is self.open_session
        assert [b"%d!" % seq for seq in range(seqs.start, seqs.stop)] == payloads
        self.sent += payloads
        self.room -= len(payloads)
        self.pump.run()  # as a session may

    def set_unfit_aside(self, seqs: SeqRange, reason: str) -> bool:
        if self.waits:
            return False
        self.unfit.append((seqs, reason))
        self.cursor.rewind(seqs.stop)
        return self.room > 0


@pytest.fixture
def drain() -> Drain:
    return Drain()


def test_it_sends_as_much_as_there_is_room_for(drain: Drain) -> None:
    drain.pump.run()
    assert drain.sent == [b"1!", b"2!", b"3!", b"4!"]
    drain.room = 100
    drain.pump.run()
    assert drain.sent[4:] == [b"5!", b"6!", b"7!", b"8!", b"9!"]


@pytest.mark.parametrize("again", [0, 1])
def test_what_is_read_before_an_interruption_is_not_sent(drain: Drain, again: int) -> None:
    drain.reads = []
    drain.pump.run()
    drain.interruptions += 1
    drain.open_session = drain if again else None
    drain.cursor.rewind(1)
    drain.reads.pop()()
    assert (drain.sent, len(drain.reads)) == ([], again)


def test_a_read_that_fails_is_repeated_after_a_second(drain: Drain) -> None:
    drain.errors.append(QueueError("bad sector"))
    drain.pump.run()
    assert (drain.sent, drain.trouble) == ([], ["bad sector"])
    drain.clock.advance(1)
    assert len(drain.sent) == 4


def test_a_record_that_is_not_there_is_a_hole_when_it_is_missing_twice(drain: Drain) -> None:
    drain.empty = True
    drain.pump.run()
    assert drain.trouble == []
    drain.clock.advance(1)
    assert drain.trouble == ["record 1 is missing, reading again"]


def test_it_reads_on_behind_damage_if_the_drain_says_so(drain: Drain) -> None:
    drain.errors.append(DamagedRange("d", SeqRange(1, 4), "checksum"))
    drain.pump.run()
    assert drain.unfit == [(SeqRange(1, 4), "checksum")]
    assert drain.sent[0] == b"4!"


def test_what_could_not_be_filled_is_taken_again(drain: Drain) -> None:
    drain.has_token = False
    drain.pump.run()
    assert (drain.sent, drain.trouble, drain.cursor.position) == ([], ["no token"], 1)
    drain.has_token = True
    drain.clock.advance(1)
    assert len(drain.sent) == 4


def test_a_stop_ends_the_wait(drain: Drain) -> None:
    drain.errors.append(QueueError("bad sector"))
    drain.pump.run()
    drain.pump.stop()
    assert drain.clock.getDelayedCalls() == []
    drain.errors.append(QueueError("bad sector"))
    drain.pump.run()
    assert drain.clock.getDelayedCalls() == []


def test_a_record_that_is_too_long_is_set_aside_between_the_others(drain: Drain) -> None:
    drain.long.append(b"3")
    drain.room = 100
    drain.pump.run()
    (unfit,) = drain.unfit
    assert unfit[0] == SeqRange(3, 4)
    assert unfit[1] == "too-long: 10 bytes, and the limit of the upstream is 9"
    assert drain.sent == [b"%d!" % seq for seq in (1, 2, 4, 5, 6, 7, 8, 9)]


def test_it_waits_for_answers_before_a_record_that_is_too_long(drain: Drain) -> None:
    drain.long.append(b"1")
    drain.waits = True
    drain.pump.run()
    assert (drain.sent, drain.unfit, drain.cursor.position) == ([], [], 1)
    drain.waits = False
    drain.pump.run()
    assert [seqs for seqs, _ in drain.unfit] == [SeqRange(1, 2)]
    assert drain.sent == [b"2!", b"3!", b"4!", b"5!"]
