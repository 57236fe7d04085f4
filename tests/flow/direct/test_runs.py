from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from relay.flow.direct.runs import RunsInFlight, memory_of
from relay.flow.direct.sessions import DirectSession, GivenUp
from relay.flow.publishing import Run
from relay.model.errors import QueueError
from tests.connections import fired
from tests.fake_log import FakePublisher, take_by_the_rule

LINEAGE = "00000000-0000-0000-0000-00000000000a"


class Sending:
    """Runs in flight with everything around them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.failures: list[str] = []
        self.bytes: list[int] = []
        self.aside: list[tuple[bytes, str]] = []
        self.aside_done: Deferred[None] | None = None
        self.log: list[tuple[str, int, int, bytes]] = []
        self.runs = RunsInFlight(
            seconds=self.clock.seconds,
            set_aside=self.set_aside,
            on_bytes=self.bytes.append,
            on_failed=self.failures.append,
        )

    def set_aside(self, session: DirectSession, payload: bytes, reason: str) -> Deferred[None]:
        self.aside.append((payload, reason))
        return succeed(None) if self.aside_done is None else self.aside_done

    def publisher(self) -> FakePublisher:
        publisher = FakePublisher(self.log)
        self.runs.attach(publisher)
        return publisher


@pytest.fixture
def sending() -> Sending:
    return Sending()


def begun(sending: Sending, session: DirectSession) -> FakePublisher:
    """A publisher that has put the first record of the session into the log, number -1."""
    publisher = sending.publisher()
    sending.runs.publish(session, [b"0"], [-1])
    publisher.store()
    return publisher


@pytest.fixture
def session() -> DirectSession:
    return DirectSession(LINEAGE, 1, "192.0.2.1:5")


def test_a_run_is_answered_when_the_log_has_it(sending: Sending, session: DirectSession) -> None:
    publisher = sending.publisher()
    answer = fired(sending.runs.publish(session, [b"a", b"b"], [1, 2]))
    assert publisher.runs == [Run([b"a", b"b"], LINEAGE, [1, 2], 0, "192.0.2.1:5")]
    assert answer == []
    publisher.store()
    assert answer == [0]
    assert sending.bytes == [memory_of([b"a", b"b"]), 0]


def test_prev_is_the_last_number_that_this_session_has_put_in(
    sending: Sending, session: DirectSession
) -> None:
    publisher = sending.publisher()
    sending.runs.publish(session, [b"a"], [3])
    publisher.store()
    sending.runs.publish(session, [b"b", b"c"], [7, 8])
    sending.runs.publish(session, [b"d"], [9])
    assert [run.prev for run in publisher.runs] == [0, 3, 8]


def test_an_answer_overtakes_none_before_it(sending: Sending, session: DirectSession) -> None:
    publisher = begun(sending, session)
    first = fired(sending.runs.publish(session, [b"a"], [1]))
    second = fired(sending.runs.publish(session, [b"b"], [2]))
    publisher._waiting.reverse()  # the log answers out of turn
    publisher.store()
    assert (first, second) == ([], [])
    publisher.store()
    assert (first, second) == ([0], [0])


def test_the_second_run_of_a_session_waits_for_the_first(
    sending: Sending, session: DirectSession
) -> None:
    publisher = sending.publisher()
    publisher.refuses.add(b"a")
    for seq, payload in enumerate((b"a", b"b", b"c", b"d"), 1):
        sending.runs.publish(session, [payload], [seq])
    assert publisher.waiting == 1
    publisher.store()
    assert publisher.waiting == 1  # nothing is in the log yet
    publisher.store()
    assert publisher.waiting == 2
    publisher.store(2)
    assert take_by_the_rule(sending.log) == [b"b", b"c", b"d"]


def test_sessions_do_not_wait_for_each_other(sending: Sending, session: DirectSession) -> None:
    publisher = sending.publisher()
    other = DirectSession("", 0, "192.0.2.2:6")
    sending.runs.publish(session, [b"a"], [1])
    answer = fired(sending.runs.publish(other, [b"b"], ()))
    publisher._waiting.reverse()
    publisher.store()
    assert answer == [0]
    assert publisher.runs[1] == Run([b"b"], "", (), 0, "192.0.2.2:6")


def test_without_a_publisher_everything_waits(sending: Sending, session: DirectSession) -> None:
    answer = fired(sending.runs.publish(session, [b"a"], [1]))
    publisher = sending.publisher()
    publisher.store()
    assert answer == [0]


def test_the_next_publisher_gets_everything_that_is_not_answered(
    sending: Sending, session: DirectSession
) -> None:
    first = begun(sending, session)
    answers = [fired(sending.runs.publish(session, [b"%d" % n], [n])) for n in (1, 2, 3)]
    first.store()
    first.fail("fenced")
    assert sending.failures == ["fenced"]
    second = sending.publisher()
    assert [(run.payloads, run.prev) for run in second.runs] == [([b"2"], 1), ([b"3"], 2)]
    second.store(2)
    assert answers == [[0]] * 3
    assert sending.runs.resent_records == 2


def test_a_publisher_that_fails_at_once_fails_once(
    sending: Sending, session: DirectSession
) -> None:
    for seq in (1, 2):
        sending.runs.publish(session, [b"x"], [seq])
    publisher = FakePublisher()
    publisher.fail()
    sending.runs.attach(publisher)
    assert len(sending.failures) == 1


def test_a_refused_record_is_set_aside_and_the_rest_sent_again(
    sending: Sending, session: DirectSession
) -> None:
    publisher = begun(sending, session)
    publisher.refuses.add(b"2")
    answer = fired(sending.runs.publish(session, [b"1", b"2", b"3"], [1, 2, 3]))
    later = fired(sending.runs.publish(session, [b"4"], [4]))
    publisher.store(2)  # the second one is in the log before the rest of the first
    assert sending.aside == [(b"2", "too large")]
    assert answer == []
    publisher.store(2)
    assert (answer, later) == ([1], [0])
    assert [run.prev for run in publisher.runs[1:]] == [-1, 3, 1, 3]
    assert take_by_the_rule(sending.log) == [b"0", b"1", b"3", b"4"]


def test_a_reader_does_not_wait_for_a_refused_record(
    sending: Sending, session: DirectSession
) -> None:
    publisher = sending.publisher()
    publisher.refuses.add(b"2")
    sending.runs.publish(session, [b"1", b"2"], [1, 2])
    sending.runs.publish(session, [b"3"], [3])
    publisher.store(9)
    publisher.store(9)
    assert sending.log[-1] == (LINEAGE, 3, 1, b"3")
    assert take_by_the_rule(sending.log) == [b"1", b"3"]


def test_a_refused_record_is_answered_when_it_is_in_the_quarantine(
    sending: Sending, session: DirectSession
) -> None:
    sending.aside_done = stored = Deferred()
    publisher = sending.publisher()
    publisher.refuses.add(b"1")
    answer = fired(sending.runs.publish(session, [b"1"], [1]))
    publisher.store()
    assert answer == []
    stored.callback(None)
    assert answer == [1]
    assert (sending.runs.records, sending.runs.bytes) == (0, 0)


def test_the_rest_of_a_refused_run_is_sent_although_the_connection_has_ended(
    sending: Sending, session: DirectSession
) -> None:
    """A publisher for NATS sends nothing more of the lineage until it has come."""
    sending.aside_done = stored = Deferred()
    publisher = begun(sending, session)
    publisher.refuses.add(b"2")
    sending.runs.publish(session, [b"1", b"2", b"3"], [1, 2, 3])
    publisher.store()
    session.is_over = True
    sending.runs.end(session)
    stored.callback(None)
    assert publisher.runs[-1] == Run([b"3"], LINEAGE, [3], 1, session.peer)


def test_one_that_cannot_be_set_aside_is_not_answered(
    sending: Sending, session: DirectSession
) -> None:
    sending.aside_done = stored = Deferred()
    publisher = sending.publisher()
    publisher.refuses.add(b"1")
    answer = fired(sending.runs.publish(session, [b"1"], [1]))
    publisher.store()
    stored.errback(QueueError("full"))
    assert isinstance(answer[0], QueueError)


def test_nothing_is_sent_again_for_a_connection_that_is_gone(
    sending: Sending, session: DirectSession
) -> None:
    first = sending.publisher()
    answer = fired(sending.runs.publish(session, [b"1"], [1]))
    session.is_over = True
    sending.runs.end(session)
    assert answer == []  # it is on its way
    first.fail()
    assert isinstance(answer[0], GivenUp)
    assert sending.publisher().runs == []
    assert sending.bytes[-1] == 0


def test_what_waits_for_a_publisher_goes_with_its_connection(
    sending: Sending, session: DirectSession
) -> None:
    answer = fired(sending.runs.publish(session, [b"1"], [1]))
    sending.runs.end(session)
    assert isinstance(answer[0], GivenUp)


def test_the_oldest_record_is_known(sending: Sending, session: DirectSession) -> None:
    assert sending.runs.oldest_seconds is None
    sending.runs.publish(session, [b"1"], [1])
    sending.clock.advance(3)
    sending.runs.publish(DirectSession("", 0, "x"), [b"2"], ())
    sending.clock.advance(4)
    assert sending.runs.oldest_seconds == 7


@dataclass
class Sender:
    """A relay that sends its queue, and begins again with what was not answered."""

    lineage: str
    made: list[bytes] = field(default_factory=list)
    answered: int = 0
    sent: int = 0
    session: DirectSession | None = None


WHAT = ("send", "send", "store", "store", "lose", "fail", "hang", "late", "cut", "other")
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(WHAT),
        st.integers(0, 2),
        st.integers(1, 5),
    ),
    max_size=60,
)


@given(actions=ACTIONS, refused=st.sets(st.integers(0, 60), max_size=4))
def test_whatever_fails_nothing_is_lost_or_read_twice(
    actions: list[tuple[str, int, int]], refused: set[int]
) -> None:
    """Two receivers, three senders, one log; publishers fail, connections are cut, answers lost."""
    receivers = [Sending(), Sending()]
    receivers[1].log = log = receivers[0].log
    bad = {b"%d" % number for number in refused}
    publishers = [publisher_for(receiver, bad) for receiver in receivers]
    senders = [Sender(f"{LINEAGE[:-1]}{n}") for n in range(3)]
    numbers = count()
    on = [0, 1, 0]
    hung: list[FakePublisher] = []
    for action, who, much in actions:
        sender, at = senders[who], on[who]
        if action == "send":
            send(receivers[at], sender, [b"%d" % next(numbers) for _ in range(much)])
        elif action == "store":
            publishers[at].store(much)
        elif action == "lose":  # stored, and the publisher dies before it says so
            publishers[at].store(much, answer=False)
            publishers[at].fail()
            publishers[at] = publisher_for(receivers[at], bad)
        elif action == "fail":
            publishers[at].fail()
            publishers[at] = publisher_for(receivers[at], bad)
        elif action == "hang":  # what is in flight stays on its way
            receivers[at].runs.detach()
            hung.append(publishers[at])
            publishers[at] = publisher_for(receivers[at], bad)
        elif action == "late" and hung:
            hung[much % len(hung)].store(much)
        elif action in ("cut", "other"):
            cut(receivers[at], sender)
            on[who] = 1 - at if action == "other" else at
            send(receivers[on[who]], sender, [])
    for _ in range(3):
        for number, sender in enumerate(senders):
            cut(receivers[on[number]], sender)
            send(receivers[on[number]], sender, [])
        for publisher in [*publishers, *hung] * 40:
            publisher.store(9)
    aside = {payload for receiver in receivers for payload, _ in receiver.aside}
    taken = take_by_the_rule(log)
    assert len(set(taken)) == len(taken)
    for sender in senders:
        assert sender.answered == len(sender.made)
        assert [one for one in sender.made if one not in aside] == [
            one for one in taken if one in set(sender.made)
        ]


def publisher_for(receiver: Sending, refuses: set[bytes]) -> FakePublisher:
    publisher = FakePublisher(receiver.log)
    publisher.refuses = refuses
    receiver.runs.attach(publisher)
    return publisher


def send(receiver: Sending, sender: Sender, more: list[bytes]) -> None:
    sender.made += more
    if sender.session is None:
        sender.session = DirectSession(sender.lineage, sender.answered + 1, "192.0.2.1:5")
        sender.sent = sender.answered
    start, stop = sender.sent, len(sender.made)
    if start == stop:
        return
    seqs = sender.session.numbered(stop - start).seqs
    done = receiver.runs.publish(sender.session, sender.made[start:stop], seqs)
    sender.sent = stop
    done.addCallbacks(answered(sender, sender.session, stop), lambda _: None)


def answered(sender: Sender, session: DirectSession, upto: int) -> Callable[[int], None]:
    def note(_: int) -> None:
        if sender.session is session:
            assert sender.answered < upto, "answers in another order"
            sender.answered = upto

    return note


def cut(receiver: Sending, sender: Sender) -> None:
    if sender.session is not None:
        sender.session.is_over = True
        receiver.runs.end(sender.session)
        sender.session = None
