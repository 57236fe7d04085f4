from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.transport import composite
from relay.transport.composite import Composite, Part
from relay.transport.upstream import UpstreamState


class Connection:
    """A session of one part; the test answers for the upstream."""

    def __init__(self, part: Part, room: int) -> None:
        self.part = part
        self.room = room
        self.sent: list[bytes] = []  # and not answered
        part.attach(self)

    def send(self, payloads: Sequence[bytes]) -> None:
        assert 0 < len(payloads) <= self.room
        self.room -= len(payloads)
        self.sent += payloads

    def answer(self, count: int) -> bool:
        del self.sent[:count]
        self.room += count
        return self.part.acknowledged(self, count)

    def end(self) -> None:
        self.room = 0
        self.part.detach(self)


class Drain:
    """Has the records 0 to `end`, and checks that what is acknowledged is a prefix."""

    def __init__(self, end: int = 0) -> None:
        self.end = end
        self.sent_seq = 0
        self.oldest = 0
        self.session: Any = None
        self.events: list[str] = []
        self.takes = True
        self.sets_aside = True
        self.judged: list[tuple[str, int, bool]] = []

    def attach(self, session: Any) -> None:
        self.events.append("attach")
        self.session = session
        self.sent_seq = self.oldest
        self.pump()

    def detach(self, session: Any) -> None:
        self.events.append("detach")
        self.session = None

    def pump(self) -> None:
        while self.session is not None and self.sent_seq < self.end and self.session.room > 0:
            stop = min(self.end, self.sent_seq + self.session.room)
            payloads = [b"%d" % number for number in range(self.sent_seq, stop)]
            self.sent_seq = stop
            self.session.send(payloads)

    def acknowledged(self, session: Any, count: int) -> bool:
        assert session is self.session and count > 0
        self.oldest += count
        assert self.oldest <= self.sent_seq
        return self.takes

    def refused(
        self, session: Any, reason: str, *, in_row: int = 1, others_taken: bool = False
    ) -> bool:
        self.judged.append((reason, in_row, others_taken))
        if self.sets_aside:
            self.oldest += 1
        return self.sets_aside


class Whole:
    def __init__(self, parts: int = 2, *, end: int = 0) -> None:
        self.drain = Drain(end)
        self.cut: list[str] = []
        self.composite = Composite(self.drain, cut=self.cut.append)
        self.composite.parts = [Part(self.composite, new_state()) for _ in range(parts)]

    def connect(self, index: int, room: int = 10) -> Connection:
        return Connection(self.composite.parts[index], room)


def new_state() -> UpstreamState:
    return UpstreamState(
        target="up",
        clock=Clock(),
        on_ready=lambda reason: None,
        on_failure=lambda reason: None,
        retry_seconds_min=1,
        retry_seconds_max=60,
    )


def test_records_go_to_all_connections() -> None:
    whole = Whole()
    left, right = whole.connect(0), whole.connect(1)
    whole.drain.end = 8
    whole.drain.pump()
    assert (left.sent, right.sent) == ([b"0", b"1", b"2", b"3"], [b"4", b"5", b"6", b"7"])
    assert whole.drain.events == ["attach"]


def test_only_a_prefix_is_acknowledged() -> None:
    whole = Whole()
    left, right = whole.connect(0), whole.connect(1)
    whole.drain.end = 8
    whole.drain.pump()
    assert right.answer(3)
    assert whole.drain.oldest == 0
    left.answer(3)
    assert whole.drain.oldest == 3
    left.answer(1)
    assert whole.drain.oldest == 7
    right.answer(1)
    assert whole.drain.oldest == 8
    assert [part.bytes for part in whole.composite.parts] == [0, 0]


def test_what_a_lost_connection_has_not_answered_another_one_sends_before_anything_new() -> None:
    whole = Whole()
    left, right = whole.connect(0, room=4), whole.connect(1, room=4)
    whole.drain.end = 20
    whole.drain.pump()
    left.answer(1)
    assert left.sent == [b"1", b"2", b"3", b"8"]
    left.end()
    assert whole.drain.events == ["attach"]
    assert whole.composite.room == 0
    right.answer(2)
    assert right.sent == [b"6", b"7", b"1", b"2"]
    right.answer(4)
    assert right.sent == [b"3", b"8", b"9", b"10"]
    assert whole.drain.oldest == 3
    again = whole.connect(0, room=4)
    assert again.sent == [b"11", b"12", b"13", b"14"]


def test_without_connections_the_drain_sends_all_again() -> None:
    whole = Whole(end=8)
    left, right = whole.connect(0), whole.connect(1)
    left.end()
    right.end()
    assert whole.drain.events == ["attach", "detach"]
    again = whole.connect(1)
    assert whole.drain.events[-1] == "attach"
    assert again.sent == [b"%d" % number for number in range(8)]
    again.answer(8)
    assert whole.drain.oldest == 8


def test_a_late_answer_of_a_lost_connection_means_nothing() -> None:
    whole = Whole(end=4)
    left = whole.connect(0)
    left.end()
    assert left.answer(2)
    assert whole.drain.oldest == 0


@pytest.mark.parametrize(("name", "value"), [("BYTES_MAX", 10), ("RECORDS_MAX", 10)])
def test_what_waits_for_an_answer_is_bounded(
    monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    monkeypatch.setattr(composite, name, value)
    whole = Whole()
    slow, fast = whole.connect(0, room=1), whole.connect(1, room=2)
    whole.drain.end = 1000
    whole.drain.pump()
    for _ in range(1000):
        fast.answer(len(fast.sent))
        if not fast.sent:
            break
    assert slow.sent == [b"0"]
    assert whole.drain.sent_seq <= 10 or name == "BYTES_MAX"
    if name == "RECORDS_MAX":
        assert whole.composite.room == 0
    slow.answer(1)
    assert whole.drain.sent_seq > 10


def test_a_refused_record_is_judged_when_it_is_the_oldest() -> None:
    whole = Whole(end=0)
    left, right = whole.connect(0), whole.connect(1)
    whole.drain.end = 4
    whole.drain.pump()
    assert not right.part.refused(right, "500 no", in_row=9)  # 2, behind 0 and 1
    assert whole.drain.judged == []
    right.answer(1)
    assert left.part.refused(left, "500 no", in_row=9)
    assert whole.drain.judged == [("500 no", 2, True)]  # 0 and 1 are all that it can be
    del left.sent[0]
    left.answer(1)
    assert whole.drain.oldest == 3
    right.answer(1)
    assert whole.drain.oldest == 4


def test_early_answers_behind_a_refused_record_count() -> None:
    whole = Whole()
    left, right = whole.connect(0), whole.connect(1)
    whole.drain.end = 2
    whole.drain.pump()
    right.answer(1)
    left.part.refused(left, "500 no")
    assert whole.drain.oldest == 2


@pytest.mark.parametrize("refuses", [True, False])
def test_all_begins_anew_when_the_drain_wants_it(refuses: bool) -> None:
    whole = Whole()
    left, right = whole.connect(0), whole.connect(1)
    whole.drain.end = 4
    whole.drain.pump()
    whole.drain.takes = whole.drain.sets_aside = False
    if refuses:
        assert not left.part.refused(left, "500 no")
    else:
        assert not left.answer(1)
    assert whole.drain.events == ["attach", "detach"]
    assert len(whole.cut) == 1
    oldest = whole.drain.oldest
    assert right.answer(2)  # it does not know yet
    assert whole.drain.oldest == oldest
    left.end()
    right.end()
    assert whole.drain.events == ["attach", "detach"]
    assert whole.connect(0).sent == [b"%d" % number for number in range(oldest, 4)]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_nothing_is_lost(seed: int) -> None:
    """Every record is answered by some connection before it counts as acknowledged."""
    chance = random.Random(seed)
    whole = Whole(4, end=500)
    open_now: dict[int, Connection] = {}
    answered: set[bytes] = set()
    for step in range(20_000):
        index = chance.randrange(4)
        if index not in open_now:
            open_now[index] = whole.connect(index, room=chance.randint(1, 9))
        elif chance.random() < 0.05 and step < 10_000:
            open_now.pop(index).end()
        elif sent := open_now[index].sent:
            count = chance.randint(1, len(sent))
            answered.update(sent[:count])
            open_now[index].answer(count)
        assert all(b"%d" % number in answered for number in range(whole.drain.oldest))
        if whole.drain.oldest == 500:
            break
    assert whole.drain.oldest == 500
