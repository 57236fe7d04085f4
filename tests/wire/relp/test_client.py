from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import encode_syslog
from relay.wire.hops import with_hops
from relay.wire.relp.client import RelpClientSession
from relay.wire.relp.frame import RelpFrameDecoder, encode_answers, encode_frame

VECTORS = [
    pytest.param(vector, id=vector["name"])
    for vector in json.loads((Path(__file__).parents[1] / "vectors" / "relp.json").read_text())
    if vector["role_under_test"] == "client"
]
OPEN_OK = encode_frame(1, b"rsp", b"200 OK\nrelp_version=0\nrelp_software=x\ncommands=syslog")


def new_session(**options: Any) -> RelpClientSession:
    return RelpClientSession(software=b"test,1.0,http://example.net", **options)


@pytest.fixture
def session() -> RelpClientSession:
    """A ready one with three messages, 2 to 4, in a window of four."""
    session = new_session(window_records=4)
    session.receive(OPEN_OK)
    session.send([b"a", b"b", b"c"])
    session.data_to_send()
    return session


# Conformance.


class Sender:
    """Keeps messages, as a queue does, and sends them through one session after another."""

    def __init__(self, messages: list[bytes]) -> None:
        self.messages = messages
        self.acknowledged = 0
        self.connect()

    def connect(self) -> None:
        self.sent = self.acknowledged
        self.session = new_session(window_records=128)
        self.output = self.session.data_to_send()

    def receive(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.acknowledged += self.session.receive(chunk)

    def send(self, upto: int) -> None:
        if self.sent < upto and self.session.room:
            self.session.send(self.messages[self.sent : upto])
            self.sent = upto

    @property
    def resumed(self) -> bytes:
        """What the server sees next: in this session or, if it is over, in another one."""
        self.session.data_to_send()
        if self.session.over:
            self.connect()
            self.receive(OPEN_OK)
            self.session.data_to_send()
        self.send(len(self.messages))
        return self.session.data_to_send()


# Per precondition: messages sent and how many of them are acknowledged.
SITUATIONS = {
    "idle": (3, 3),
    "m0 outstanding": (1, 0),
    "m1 (txnr 3) outstanding": (2, 1),
    "m2 (txnr 4) outstanding": (3, 2),
    "m2 (txnr 4) outstanding, client sent close as txnr 5": (3, 2),
    "all three frames outstanding, split after 9 bytes": (3, 0),
    "all three outstanding; client is stopped gracefully and restarted": (3, 0),
}
# Per vector: acknowledged afterwards, and whether the session is over, with an error.
OUTCOMES = {
    "clt_close_with_pending_acks": (3, True, False),
    "clt_serverclose_hint_with_outstanding": (2, True, True),
    "clt_ack_split_across_segments": (3, False, False),
    "clt_nak_500": (1, False, False),
    "clt_open_rsp_500": (0, True, True),
    "clt_open_rsp_zero_length": (0, True, True),
    "clt_ack_unknown_txnr": (1, True, True),
    "clt_ack_without_text": (1, False, False),
    "clt_unknown_hint": (3, False, False),
}


def ways_to_cut(vector: dict[str, Any]) -> Iterator[list[bytes]]:
    stream = vector["bytes"].encode("latin-1")
    yield [stream]
    yield [stream[index : index + 1] for index in range(len(stream))]
    for cut in range(1, len(stream)):
        yield [stream[:cut], stream[cut:]]


def sender_in(vector: dict[str, Any]) -> Sender:
    sender = Sender([message.encode() for message in vector["application_submits"]])
    if vector["precondition"] in SITUATIONS:
        sent, acknowledged = SITUATIONS[vector["precondition"]]
        sender.receive(OPEN_OK)
        sender.send(sent)
        sender.receive(encode_answers(2, acknowledged))
    if "client sent close" in vector["precondition"]:
        sender.session.close()
        assert sender.session.data_to_send().endswith(b"5 close 0\n")
    return sender


@pytest.mark.parametrize("vector", VECTORS)
def test_conversation(vector: dict[str, Any]) -> None:
    for chunks in ways_to_cut(vector):
        sender = sender_in(vector)
        if vector["expected_response"] == "{OPEN:1}":
            (frame,) = RelpFrameDecoder(data_bytes_max=1000).feed(sender.output)
            assert frame[:2] == (1, b"open")
            assert b"relp_version=0\n" in frame.data
            continue
        sender.receive(*chunks)
        session = sender.session
        outcome = OUTCOMES.get(vector["name"], (0, False, False))
        assert (sender.acknowledged, session.over, session.error is not None) == outcome
        if "restarted" in vector["precondition"]:
            sender.connect()
            sender.receive(OPEN_OK)
        if "open_rsp" in vector["name"]:  # refused: nothing may be sent
            assert (session.room, session.data_to_send()) == (0, b"")
        elif vector["expected_response"] is not None:
            assert sender.resumed.decode("latin-1") == vector["expected_response"]


# Opening.


def test_the_client_speaks_first_and_nothing_else_until_it_is_answered() -> None:
    session = new_session(window_records=4)
    opening = session.data_to_send()
    assert opening.startswith(b"1 open ")
    assert (session.ready, session.room, session.data_to_send()) == (False, 0, b"")
    session.receive(OPEN_OK)
    assert (session.ready, session.room, session.over) == (True, 4, False)


@pytest.mark.parametrize(
    "data",
    [
        b"200 OK\ncommands=syslog",
        b"200 \nrelp_version=0\ncommands=syslog",
        b"200\nrelp_version=0\ncommands=syslog",
        b"200 OK\nrelp_version=0\ncommands=eventlog,syslog\n",
        b"200 OK relp_version=0\nrelp_software=logstash,1,x\ncommands=syslog",
        b"200 OK\nnonsense\nrelp_version=\ncommands=syslog",
    ],
)
def test_taken_as_an_accepted_session(data: bytes) -> None:
    session = new_session(window_records=4)
    session.receive(encode_frame(1, b"rsp", data))
    assert (session.ready, session.error) == (True, None)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no status code"),
        (b"20", "refused"),
        (b"2000 OK\ncommands=syslog", "refused"),
        (b"500 go away", "500 go away"),
        (b"201 OK\ncommands=syslog", "201 OK"),
        (b"200 OK", "does not take syslog"),
        (b"200 OK\ncommands=eventlog", "does not take syslog"),
        (b"200 OK\nrelp_version=1\ncommands=syslog", "version"),
        (b"500 \xff\xfe", "\\xff"),
    ],
)
def test_taken_as_a_refused_session(data: bytes, reason: str) -> None:
    session = new_session(window_records=4)
    session.receive(encode_frame(1, b"rsp", data))
    assert (session.ready, session.over, session.room) == (False, True, 0)
    assert reason in str(session.error)


# Messages and answers.


def test_the_window_holds_what_is_not_acknowledged(session: RelpClientSession) -> None:
    assert (len(session.inflight), session.room) == (3, 1)
    assert session.receive(b"2 rsp 6 200 OK\n") == 1
    assert (len(session.inflight), session.room) == (2, 2)
    session.send([b"d", b"e"])
    assert session.data_to_send() == encode_syslog(5, [b"d", b"e"])
    assert session.room == 0


def test_answers_may_come_in_any_order(session: RelpClientSession) -> None:
    assert session.receive(b"4 rsp 6 200 OK\n3 rsp 6 200 OK\n") == 0
    assert session.receive(b"2 rsp 6 200 OK\n") == 3


@pytest.mark.parametrize("data", [b"200", b"200 ", b"200 OK", b"200\n", b"200 fine\nmore"])
def test_taken_as_an_acknowledgement(session: RelpClientSession, data: bytes) -> None:
    assert session.receive(encode_frame(2, b"rsp", data)) == 1
    assert not session.over


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"5 rsp 6 200 OK\n", "txnr 5"),
        (b"77 rsp 8 500 nope\n", "txnr 77"),
        (b"1 rsp 6 200 OK\n", "txnr 1"),
        (b"0 rsp 6 200 OK\n", "txnr 0"),
        (b"4 rsp 6 200 OK\n4 rsp 6 200 OK\n", "txnr 4"),
        (b"3 rsp 0\n", "not an answer"),
        (b"3 rsp 2 OK\n", "not an answer"),
        (b"3 rsp 4 2000\n", "not an answer"),
        (b"3 syslog 1 x\n", "unexpected"),
        (b"1 serverclose 0\n", "unexpected"),
        (b"0 serverclose 0\n", "closed the session"),
        (b"nonsense", "no RELP header"),
        (b"3 rsp 999999999 ", "at most"),
    ],
)
def test_what_ends_a_session_acknowledges_what_came_before_it_only(
    session: RelpClientSession, stream: bytes, reason: str
) -> None:
    assert session.receive(b"2 rsp 6 200 OK\n" + stream) == 1
    assert session.over
    assert reason in str(session.error)
    assert session.receive(b"3 rsp 6 200 OK\n4 rsp 6 200 OK\n") == 0
    assert (len(session.inflight), session.room) == (2, 0)


def test_hints_that_say_nothing_to_us_are_ignored(session: RelpClientSession) -> None:
    assert session.receive(b"0 foo 3 bar\n2 rsp 6 200 OK\n") == 1
    assert (session.over, session.data_to_send()) == (False, b"")


def test_a_refused_message_is_not_acknowledged_and_not_passed_over(
    session: RelpClientSession,
) -> None:
    assert session.receive(b"3 rsp 8 500 nope\n4 rsp 6 200 OK\n") == 0
    assert session.inflight.refusal is None  # the one before it has no answer yet
    assert session.receive(b"2 rsp 6 200 OK\n") == 1
    assert session.inflight.refusal == "500 nope"
    assert session.skip_refused() == 1
    assert (session.inflight.refusal, len(session.inflight), session.over) == (None, 0, False)


def test_a_refusal_in_other_bytes_than_text_is_readable(session: RelpClientSession) -> None:
    session.receive(encode_frame(2, b"rsp", b"500 \xff" + b"x" * 500))
    assert session.inflight.refusal is not None
    assert session.inflight.refusal.startswith("500 \\xff")
    assert len(session.inflight.refusal) <= 200


orders = st.integers(1, 20).flatmap(lambda count: st.permutations(range(2, count + 2)))


@given(orders, st.lists(st.integers(0, 400)))
def test_what_is_acknowledged_is_a_prefix_of_what_was_answered(
    order: list[int], cuts: list[int]
) -> None:
    session = new_session(window_records=len(order))
    session.receive(OPEN_OK)
    session.send([b"x"] * len(order))
    stream = b"".join(encode_answers(txnr, 1) for txnr in order)
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    acknowledged = 0
    for start, stop in pairwise(at):
        acknowledged += session.receive(stream[start:stop])
        answered = set(order[: stream[:stop].count(b"\n")])
        assert answered.issuperset(range(2, 2 + acknowledged))
        assert 2 + acknowledged not in answered
    assert (acknowledged, len(session.inflight)) == (len(order), 0)


HOSTILE = "\x1b[2J\x07\r\n\u202e\u2066".encode() + b"\x9b31m\0"


@pytest.mark.parametrize("tail", [b"", b"x" * 100_000], ids=["short", "100 KB"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"%d rsp %d 500 %s\n", id="a refusal"),
        pytest.param(b"%d rsp %d %s\n", id="no code"),
        pytest.param(b"9%d rsp %d 200 %s\n", id="of nothing"),
        pytest.param(b"%d serverclose %d %s\n", id="another command"),
    ],
)
def test_what_a_server_says_is_one_short_printable_line(
    session: RelpClientSession, answer: bytes, tail: bytes
) -> None:
    text = HOSTILE + tail
    for txnr in (2, 3, 4):
        length = len(text) + (4 if b" 500 " in answer or b" 200 " in answer else 0)
        session.receive(answer % (txnr, length, text))
    reason = session.inflight.refusal or str(session.error)
    assert reason.isprintable(), repr(reason)
    assert len(reason) <= 300


@pytest.mark.parametrize("tail", [b"", b"x" * 100_000], ids=["short", "100 KB"])
@pytest.mark.parametrize(
    "answer", [b"500 %s", b"%s", b"200 OK\nrelp_version=%s\ncommands=syslog", b"200 OK\n%s"]
)
def test_what_a_server_says_to_open_is_one_short_printable_line(answer: bytes, tail: bytes) -> None:
    session = new_session(window_records=4)
    session.receive(encode_frame(1, b"rsp", answer % (HOSTILE + tail)))
    reason = str(session.error)
    assert session.over and reason.isprintable(), repr(reason)
    assert len(reason) <= 300


answers = [b"2 rsp 6 200 OK\n", b"3 rsp 3 200\n", b"4 rsp 5 500 x\n", b"0 foo 0\n", b"5 rsp 0\n"]
streams = st.one_of(st.binary(), st.lists(st.sampled_from(answers)).map(b"".join))


@given(st.lists(streams))
def test_no_server_makes_it_raise_or_acknowledge_what_was_not_sent(chunks: list[bytes]) -> None:
    opening = new_session(window_records=4)
    ready = new_session(window_records=4)
    ready.receive(OPEN_OK)
    ready.send([b"a", b"b", b"c"])
    assert sum(opening.receive(chunk) for chunk in chunks) == 0
    assert sum(ready.receive(chunk) for chunk in chunks) <= 3


# The end.


def test_close_waits_for_its_answer_and_takes_answers_until_then(
    session: RelpClientSession,
) -> None:
    session.close()
    session.close()
    assert (session.data_to_send(), session.room, session.over) == (b"5 close 0\n", 0, False)
    assert session.receive(b"2 rsp 6 200 OK\n5 rsp 0\n") == 1
    assert (session.over, session.error, len(session.inflight)) == (True, None, 2)


def test_a_session_that_was_never_opened_is_over_when_closed() -> None:
    session = new_session(window_records=4)
    session.data_to_send()
    session.close()
    assert (session.over, session.data_to_send()) == (True, b"")


def test_the_numbers_end_before_the_wrap() -> None:
    session = new_session(window_records=4, txnr_limit=7)
    session.receive(OPEN_OK)
    session.send([b"a", b"b", b"c"])
    session.receive(encode_answers(2, 3))
    assert (session.room, session.exhausted) == (2, False)
    session.send([b"d", b"e"])
    assert (session.room, session.exhausted) == (0, True)
    assert session.receive(encode_answers(5, 2)) == 2
    assert session.room == 0
    session.close()
    assert session.data_to_send().endswith(b"7 close 0\n")
    assert session.receive(b"7 rsp 0\n") == 0
    assert session.error is None


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(0, 60), st.booleans())
def test_usual_and_unusual_answers_come_to_the_same(
    cuts: list[int], odd: int, with_hint: bool
) -> None:
    """The quick way through usual answers and the decoder agree on every cutting."""
    answers = [encode_frame(txnr, b"rsp", b"200 OK") for txnr in range(2, 52)]
    if odd < 50:
        answers[odd] = encode_frame(2 + odd, b"rsp", b"200 Okay")
    if with_hint:
        answers.insert(odd, b"0 hello 0\n")
    stream = b"".join(answers)
    session = new_session(window_records=64)
    session.receive(OPEN_OK)
    session.send([b"m"] * 50)
    total, start = 0, 0
    for cut in cuts:
        total += session.receive(stream[start : start + cut])
        start += cut
        done = stream[:start].count(b"\n") - (with_hint and b"hello 0\n" in stream[:start])
        assert total == done, "an answer counts when its last byte is there"
    total += session.receive(stream[start:])
    assert (total, len(session.inflight), session.over) == (50, 0, False)


def test_an_answer_in_two_parts_then_something_else(session: RelpClientSession) -> None:
    assert session.receive(b"2 rsp 6 20") == 0
    assert session.receive(b"0 OK\n3 rsp 8 500 no") == 1
    assert session.receive(b"pe\n") == 0
    assert session.inflight.refusal == "500 nope"


# Offers of our own.


def test_without_an_offer_of_our_own_the_opening_is_as_ever() -> None:
    session = new_session(window_records=4)
    offers = b"relp_version=0\nrelp_software=test,1.0,http://example.net\ncommands=syslog"
    assert session.data_to_send() == encode_frame(1, b"open", offers)


def test_an_offer_of_our_own_is_the_last_line() -> None:
    session = new_session(window_records=4, offer=b"x=1,2")
    assert session.data_to_send().endswith(b"\ncommands=syslog\nx=1,2\n")


def test_what_the_server_offers_can_be_seen() -> None:
    session = new_session(window_records=4)
    assert session.server_offers == {}
    session.receive(encode_frame(1, b"rsp", b"200 OK\ncommands=syslog\nx=1,2"))
    assert session.ready
    assert session.server_offers == {b"commands": [b"syslog"], b"x": [b"1", b"2"]}


# Hops.

HOP = b"0000000000000001@here"
RECORDS = [b"a", with_hops(b"b", HOP), with_hops(b"\0c", b"")]


def sent(hop: bytes | None, answer: bytes) -> bytes:
    session = new_session(window_records=8, hop=hop)
    session.data_to_send()
    session.receive(answer)
    session.send(RECORDS)
    return session.data_to_send()


def test_records_go_with_their_hops_to_a_relay_that_takes_them() -> None:
    offers = b"200 OK\nrelp_version=0\ncommands=syslog\nsyslogrelay_hop=" + HOP
    taken = b"".join(
        encode_frame(txnr, b"syslog", record) for txnr, record in enumerate(RECORDS, 2)
    )
    assert sent(HOP, encode_frame(1, b"rsp", offers)) == taken
    assert sent(None, OPEN_OK) == taken  # they are messages


@pytest.mark.parametrize("hop", [b"", HOP])
def test_others_get_payloads(hop: bytes) -> None:
    payloads = enumerate([b"a", b"b", b"\0c"], 2)
    frames = [encode_frame(txnr, b"syslog", payload) for txnr, payload in payloads]
    assert sent(hop, OPEN_OK) == b"".join(frames)


def test_a_relay_offers_its_hop() -> None:
    session = new_session(window_records=1, offer=b"x=1", hop=HOP)
    assert session.data_to_send().endswith(b"commands=syslog\nx=1\nsyslogrelay_hop=" + HOP + b"\n")
    assert b"hop" not in new_session(window_records=1, hop=b"").data_to_send()
