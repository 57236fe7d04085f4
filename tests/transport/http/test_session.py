"""Dialogues of a drain, a session and a server: the test speaks for both ends."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from relay.transport.http.batches import Batches
from relay.transport.http.session import HttpSession, SessionParts
from relay.transport.http.uploads import Outcome
from relay.transport.upstream import UpstreamState
from relay.wire.http.answers import DELIVERED, NO_CONNECTION, Fate, Verdict
from relay.wire.http.bodies import Record
from tests.connections import RecordingDrain

RETRY = Verdict(Fate.RETRY, "status 503", "503 busy")
TIMEOUT = Verdict(Fate.RETRY, "timeout", "no whole answer in 60 s")
HOLD = Verdict(Fate.HOLD, "status 401", "401 who are you")
LIMIT = Verdict(Fate.HOLD, "limit", "daily limit", until_midnight=True)
SPLIT = Verdict(Fate.SPLIT, "status 413", "413")
REFUSED = Verdict(Fate.REFUSED, "item 400", "400 no date")


class Server:
    """Stands where uploads are: keeps requests until the test answers them."""

    def __init__(self) -> None:
        self.requests: list[tuple[list[bytes], Deferred[Outcome]]] = []
        self.closed = False

    def send(self, records: Sequence[Record]) -> Deferred[Outcome]:
        self.requests.append(([each.payload for each in records], Deferred()))
        return self.requests[-1][1]

    def close(self) -> None:
        self.closed = True


class Drain(RecordingDrain):
    sent_seq = 1


class Dialogue:
    def __init__(self, **batches: Any) -> None:
        self.clock = Clock()
        self.server = Server()
        self.drain = Drain()
        self.ends: list[str] = []
        self.failures: list[str] = []
        self.remarks: list[str] = []
        self.causes: Counter[str] = Counter()
        self.seqs: list[int] = []
        self.wall = 0.0
        self.index, self.indexes = b"", dict[str, bytes]()
        self.state = UpstreamState(
            target="es",
            clock=self.clock,
            on_ready=lambda text: None,
            on_failure=self.failures.append,
            on_remark=self.remarks.append,
            retry_seconds_min=1,
            retry_seconds_max=60,
            jitter=lambda: 0.0,
        )
        self.state.became_ready("sending")
        sizes = {
            "records_max": 4,
            "bytes_max": 100,
            "seconds_max": 2.0,
            "requests_max": 2,
            "failing_seconds_min": 60.0,
        }
        uploads: Any = self.server
        drain: Any = self.drain
        self.session = HttpSession(
            SessionParts(
                drain,
                self.state,
                self._record,
                self.ends.append,
                self.causes,
                "sending",
            ),
            uploads,
            Batches(**{**sizes, **batches}),
            now=lambda: self.wall + self.clock.seconds(),
            clock=self.clock,
        )

    def _record(self, seq: int, data: bytes) -> Record:
        self.seqs.append(seq)
        return Record(data, index=self.indexes.get(data.decode(), self.index))

    def send(self, text: str) -> None:
        """A record for each letter."""
        payloads = [letter.encode() for letter in text]
        self.drain.sent_seq += len(payloads)
        self.session.send(payloads)

    @property
    def asked(self) -> list[str]:
        """The requests without an answer."""
        return [b"".join(payloads).decode() for payloads, _ in self.server.requests]

    def answer(self, *verdicts: Verdict, request: int = 0, pause: float = 0.0) -> None:
        """Of one of them; a single verdict is for all of its records."""
        payloads, answered = self.server.requests.pop(request)
        if len(verdicts) == 1:
            verdicts = verdicts * len(payloads)
        answered.callback(Outcome(list(verdicts), pause))

    @property
    def acknowledged(self) -> int:
        return self.drain.acknowledged_records


def test_a_full_batch_goes_at_once_and_another_one_after_its_time() -> None:
    d = Dialogue()
    d.send("abcdef")
    assert d.asked == ["abcd"]
    d.clock.advance(1.9)
    d.send("g")
    assert d.asked == ["abcd"]
    d.clock.advance(0.1)
    assert d.asked == ["abcd", "efg"]
    d.answer(DELIVERED)
    d.answer(DELIVERED)
    assert d.acknowledged == 7


def test_a_batch_is_bounded_in_bytes_and_a_larger_record_goes_alone() -> None:
    d = Dialogue(bytes_max=10, requests_max=4)
    d.drain.sent_seq = 4
    d.session.send([b"a" * 6, b"b" * 6, b"c" * 50])
    assert d.asked == ["a" * 6, "b" * 6]
    assert d.session.room == 0  # more than 4 times 10 bytes
    d.clock.advance(2)
    assert d.asked == ["a" * 6, "b" * 6, "c" * 50]


def test_records_are_numbered_as_the_drain_has_sent_them() -> None:
    d = Dialogue()
    d.drain.sent_seq = 40
    d.send("ab")
    d.send("c")
    assert d.seqs == [40, 41, 42]


def test_room_is_what_requests_leave() -> None:
    d = Dialogue()
    assert d.session.room == 8
    d.send("abcde")
    assert d.session.room == 3
    d.answer(DELIVERED)
    assert d.session.room == 7


def test_answers_in_another_order_are_told_as_a_prefix() -> None:
    d = Dialogue()
    d.send("abcdefgh")
    d.answer(DELIVERED, request=1)
    assert d.acknowledged == 0
    d.answer(DELIVERED)
    assert d.acknowledged == 8


def test_only_what_is_not_decided_is_sent_again_after_a_pause() -> None:
    d = Dialogue()
    d.send("abcdefgh")
    d.answer(DELIVERED, RETRY, DELIVERED, RETRY)
    assert (d.acknowledged, d.asked) == (1, ["efgh"])
    assert d.failures == ["es: 503 busy"] and not d.state.ready
    d.answer(DELIVERED)
    d.clock.advance(0.9)
    assert d.asked == []
    d.clock.advance(0.1)
    assert d.asked == ["bd"]
    d.answer(DELIVERED)
    assert (d.acknowledged, d.state.ready, d.state.text) == (8, True, "sending")
    assert d.causes == {"status 503": 2}
    assert "detach" not in d.drain.events


def test_after_a_failure_one_request_probes_and_pauses_grow() -> None:
    d = Dialogue()
    d.send("abcdefgh")
    d.answer(RETRY)
    d.answer(RETRY)  # they were sent together: one failure
    pauses = []
    for _ in range(4):
        seconds = 0.0
        while not d.asked:
            d.clock.advance(0.5)
            seconds += 0.5
        pauses.append(seconds)
        assert len(d.asked) == 1
        d.answer(RETRY)
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    d.clock.advance(16)
    while d.asked:
        d.answer(DELIVERED)
    assert d.acknowledged == 8


def test_the_server_says_how_long_to_wait() -> None:
    d = Dialogue()
    d.send("abcd")
    d.answer(RETRY, pause=30.0)
    d.clock.advance(29)
    assert (d.asked, d.state.text) == ([], "es: 503 busy, next try in 1 s")
    d.clock.advance(1)
    assert d.asked == ["abcd"]


def test_somebody_may_end_a_pause() -> None:
    d = Dialogue()
    d.send("abcd")
    d.session.hurry()
    d.answer(RETRY, pause=30.0)
    d.session.hurry()
    assert d.asked == ["abcd"]


def test_what_is_too_large_is_sent_in_halves_in_order() -> None:
    d = Dialogue(requests_max=1)
    d.send("abcd")
    d.answer(SPLIT)
    assert d.asked == ["ab"]
    d.answer(SPLIT)
    assert d.asked == ["a"]
    d.answer(DELIVERED)
    d.answer(DELIVERED)
    assert (d.acknowledged, d.asked) == (2, ["cd"])
    assert d.failures == []


def test_a_held_destination_is_probed_with_one_record_and_growing_pauses() -> None:
    d = Dialogue()
    d.send("abcd")
    d.answer(HOLD)
    assert d.state.text == "es: held: 401 who are you, next try in 30 s"
    for seconds in (30, 60, 120, 240, 480, 900, 900):
        d.clock.advance(seconds - 1)
        assert d.asked == []
        d.clock.advance(1)
        assert d.asked == ["a"]
        d.answer(HOLD)
    d.clock.advance(900)
    d.answer(DELIVERED)
    assert d.asked == ["bcd"]
    d.answer(DELIVERED)
    assert (d.acknowledged, d.state.ready) == (4, True)


def test_a_forbidden_index_that_its_sender_has_chosen_holds_nobody_else() -> None:
    forbidden = Verdict(Fate.HOLD, "item 403", "403 security_exception")
    d = Dialogue()
    d.index = b".security"
    d.drain.sets_aside = True
    d.send("abcd")
    d.answer(forbidden, DELIVERED, DELIVERED, DELIVERED)
    assert (d.drain.events, d.drain.judged) == (["403 security_exception"], [(1, True)])
    assert (d.acknowledged, d.state.ready) == (3, True)
    d.index = b""  # that of the destination
    d.send("efgh")
    d.answer(forbidden)
    assert d.state.text.startswith("es: held: 403 security_exception")


class Failing(Dialogue):
    """The server fails at each request that brings a letter of `poison`, or at all of them."""

    def __init__(self, poison: str, **batches: Any) -> None:
        super().__init__(**batches)
        self.drain.sets_aside = True
        self.poison = poison
        self.is_down = False
        self.brought = ""  # of the requests that it has answered, in order

    def run(self, seconds: float) -> None:
        """Answer everything for a time."""
        for _ in range(int(seconds * 2)):
            while self.server.requests:
                text = self.asked[0]
                self.brought += f" {text}"
                fails = self.is_down or bool(set(text) & set(self.poison))
                self.answer(RETRY if fails else DELIVERED)
            self.clock.advance(0.5)


def test_a_document_with_which_each_request_fails_is_found_and_the_others_go_on() -> None:
    d = Failing("c")
    d.send("abcdefgh")
    d.run(30)
    assert d.acknowledged == 2  # the head is what waits for it: all others are delivered
    assert set("abdefgh") <= set(d.brought) and "c" in d.brought.split()
    assert d.state.ready and d.drain.judged == []
    assert "es: 503 busy, with 1 message; others are taken" in d.remarks


def test_a_lone_document_is_given_up_after_ten_failures_and_a_time_while_others_are_taken() -> None:
    d = Failing("c")
    d.send("abcd")
    for number in range(30):
        assert d.session.room > 0  # one more, to see whether the server takes others
        d.send("efgh"[number % 4])
        d.run(20)
        if d.drain.judged:
            break
    assert d.drain.judged == [(1, True)]
    (reason,) = [each for each in d.drain.events if each != "pump"]
    assert reason.startswith("503 busy (10 times in ") and reason.endswith(" s, others were taken)")
    assert 60 <= float(reason.split()[5].replace(",", "")) <= 20 * 30
    assert d.acknowledged == number + 4  # all others
    assert d.brought.split().count("c") >= 10


def test_a_document_is_not_given_up_before_its_time() -> None:
    d = Failing("c", failing_seconds_min=100_000.0)
    d.send("abcd")
    for _ in range(100):
        d.send("e") if d.session.room else None
        d.run(10)
    assert d.drain.judged == []
    d.poison = ""
    d.run(200)
    assert d.acknowledged == d.drain.sent_seq - 1


def test_an_outage_gives_nothing_up_whatever_failed_before() -> None:
    d = Failing("c")
    d.send("abcd")
    d.run(100)
    d.is_down = True
    for _ in range(200):
        d.send("e") if d.session.room else None
        d.run(60)
    assert d.drain.judged == [] and not d.state.ready
    d.is_down, d.poison = False, ""
    d.run(300)
    assert d.acknowledged == d.drain.sent_seq - 1 and d.state.ready


def test_an_overload_that_fails_at_whatever_comes_gives_nothing_up() -> None:
    d = Failing("")
    moments = random.Random(7)
    for _ in range(500):
        d.send("abcd"[: d.session.room]) if d.session.room else None
        d.is_down = moments.random() < 0.8
        d.run(10)
    assert d.drain.judged == []
    d.is_down = False
    d.run(300)
    assert d.acknowledged == d.drain.sent_seq - 1


def test_a_window_of_documents_that_fail_is_given_up_when_others_are_taken() -> None:
    d = Failing("abcdefgh")
    d.send("abcdefgh")
    d.run(600)
    assert d.drain.judged == [] and d.session.room == 1
    for _ in range(40):
        d.send("x") if d.session.room else None
        d.run(60)
    assert [company for _, company in d.drain.judged] == [True] * 8
    assert d.acknowledged > 10


def test_where_order_counts_others_pass_only_after_ten_failures() -> None:
    d = Failing("a", requests_max=1)
    d.send("abcd")
    d.run(60)
    assert d.brought.split() == ["abcd"] * 6
    d.run(3000)
    assert d.brought.split()[:13] == [*["abcd"] * 10, "a", "b", "a"]


def test_a_document_that_fails_by_itself_is_counted_where_others_are_taken() -> None:
    failed = Verdict(Fate.RETRY, "item 500", "500 null_pointer_exception")
    d = Dialogue()
    d.drain.sets_aside = True
    d.send("abcd")
    d.answer(failed, DELIVERED, DELIVERED, DELIVERED)
    for _ in range(10):
        assert d.acknowledged == 0 and d.drain.judged == []
        d.send("x")
        d.clock.advance(60)
        while d.asked:
            d.answer(failed if d.asked[0] == "a" else DELIVERED)
    assert d.drain.judged == [(1, True)]
    assert d.acknowledged == 13 and d.state.ready


def test_an_index_that_is_down_keeps_its_documents_and_others_go_on() -> None:
    down = Verdict(Fate.RETRY, "item 503", "503 unavailable", is_of_index=True)
    d = Dialogue(failing_seconds_min=600.0)
    d.indexes = {"a": b"x"}
    d.send("abcd")
    d.answer(down, DELIVERED, DELIVERED, DELIVERED)
    others = ""
    for _ in range(200):  # more than three hours
        if d.session.room:
            d.send("e")
            others += "e"
        d.clock.advance(60)
        while d.asked:
            d.answer(*(down if letter == "a" else DELIVERED for letter in d.asked[0]))
    assert d.drain.judged == [] and d.acknowledged == 0 and len(others) > 60
    d.clock.advance(600)
    while d.asked:
        d.answer(DELIVERED)
    assert d.acknowledged == 4 + len(others)


def test_a_server_that_fails_at_everything_gets_everything_again() -> None:
    d = Dialogue()
    d.send("abcd")
    brought = []
    for _ in range(8):
        brought += d.asked
        d.answer(Verdict(Fate.RETRY, "item 500", "500 null_pointer_exception"))
        d.clock.advance(60)
    assert brought == ["abcd", "abcd", "abcd", "a", "b", "a", "c", "a"]
    d.answer(DELIVERED)
    while d.asked:
        d.answer(DELIVERED)
    assert d.acknowledged == 4


def test_midnight_ends_a_daily_limit() -> None:
    d = Dialogue()
    d.wall = 86400.0 * 20_000 - 12.0
    d.send("abcd")
    d.answer(LIMIT)
    d.clock.advance(11)
    assert d.asked == []
    d.clock.advance(1)
    assert d.asked == ["a"]


def test_after_a_timeout_less_is_sent_at_a_time() -> None:
    d = Dialogue(requests_max=1)
    d.send("abcd")
    d.answer(TIMEOUT)
    d.clock.advance(1)
    assert d.asked == ["ab"]
    d.answer(TIMEOUT)
    d.clock.advance(2)
    assert d.asked == ["a"]
    d.answer(DELIVERED)
    assert d.asked == ["b"]
    d.answer(DELIVERED)
    assert d.asked == ["cd"]
    d.answer(DELIVERED)
    d.send("efgh")
    assert d.asked == ["efgh"]  # each success lets it grow


def test_a_refused_record_is_told_with_the_evidence_of_others() -> None:
    d = Dialogue()
    d.drain.sets_aside = True
    d.send("abcd")
    d.answer(DELIVERED, REFUSED, DELIVERED, DELIVERED)
    assert d.acknowledged == 3
    assert [each for each in d.drain.events if each == "400 no date"] == ["400 no date"]
    assert d.drain.judged == [(1, True)]


def test_a_refused_record_waits_for_what_later_ones_show() -> None:
    d = Dialogue()
    d.drain.sets_aside = True
    d.send("abcdefgh")
    d.answer(REFUSED)
    assert d.drain.judged == []
    d.answer(DELIVERED)
    assert d.drain.judged == [(4, True), (3, True), (2, True), (1, True)]
    assert d.acknowledged == 4


def test_where_everything_is_refused_the_drain_decides() -> None:
    d = Dialogue()
    d.send("abcd")
    d.answer(REFUSED)
    assert d.drain.judged == [(4, False)]
    assert d.ends == ["es: refused: 400 no date"]
    assert d.drain.events[-1] == "detach"
    assert d.session.room == 0


def test_a_drain_that_wants_records_again_gets_another_session() -> None:
    d = Dialogue()
    d.drain.counts = False
    d.send("abcd")
    d.answer(DELIVERED)
    assert d.ends == ["es: sends again what was refused"]


def test_closing_ends_requests_and_timers() -> None:
    d = Dialogue()
    d.send("abcdef")
    ((_, answered),) = d.server.requests
    d.session.close()
    d.session.close()
    assert answered.called and d.server.closed
    assert d.drain.events == ["detach"] and d.ends == []
    assert d.clock.getDelayedCalls() == []


def test_a_defect_ends_the_session_and_is_logged() -> None:
    d = Dialogue()
    d.send("abcd")
    with capturedLogs() as events:
        d.server.requests.pop()[1].errback(ZeroDivisionError())
    assert d.ends == ["es: a request failed unexpectedly; the log says more"]
    assert [event["log_level"] for event in events] == [LogLevel.critical]


def test_words_of_a_connection_that_cannot_be_made_name_the_server_already() -> None:
    d = Dialogue()
    d.send("abcd")
    d.answer(Verdict(Fate.RETRY, NO_CONNECTION, "refused by es"))
    assert d.failures == ["refused by es"]


def test_a_server_that_fails_hands_its_records_to_another_one_without_a_pause() -> None:
    dialogue = Dialogue()
    dialogue.send("abcdefgh")
    (first, asked), (_, other) = dialogue.server.requests
    asked.callback(Outcome([RETRY] * 4, server="es-1", moves=True))
    again, answered = dialogue.server.requests[2]
    assert again == first
    assert dialogue.remarks == ["es-1: 503 busy; another server is asked"]
    assert (dialogue.failures, dialogue.causes["status 503"]) == ([], 4)
    assert dialogue.state.failures_by_cause == {"http-status-503": 1}
    other.callback(Outcome([DELIVERED] * 4, server="es-2"))
    answered.callback(Outcome([DELIVERED] * 4, server="es-2"))
    assert len(dialogue.server.requests) == 3
    assert dialogue.acknowledged == 8 and dialogue.state.ready


def test_a_move_brings_only_what_is_not_decided() -> None:
    dialogue = Dialogue()
    dialogue.send("abcd")
    verdicts = [DELIVERED, RETRY, DELIVERED, RETRY]
    dialogue.server.requests[0][1].callback(Outcome(verdicts, server="es-1"))
    dialogue.clock.advance(1)
    dialogue.server.requests[1][1].callback(Outcome([RETRY] * 2, server="es-1", moves=True))
    assert [each[0] for each in dialogue.server.requests[1:]] == [[b"b", b"d"]] * 2


def test_when_all_servers_fail_there_is_a_pause_that_names_the_last_one() -> None:
    dialogue = Dialogue()
    dialogue.send("abcd")
    dialogue.server.requests[0][1].callback(Outcome([RETRY] * 4, server="es-1", moves=True))
    dialogue.server.requests[1][1].callback(Outcome([RETRY] * 4, server="es-2"))
    assert dialogue.failures == ["es-2: 503 busy"]
    assert len(dialogue.server.requests) == 2
    dialogue.clock.advance(1)
    assert dialogue.server.requests[2][0] == [b"a", b"b", b"c", b"d"]


def test_moves_are_no_evidence_against_a_record() -> None:
    dialogue = Dialogue(failing_seconds_min=0.0)
    dialogue.send("abcd")
    for _ in range(30):
        dialogue.server.requests[-1][1].callback(Outcome([RETRY] * 4, server="es", moves=True))
    assert dialogue.session._suspects.batches == [] and dialogue.failures == []
    assert len(dialogue.server.requests[-1][0]) == 4
