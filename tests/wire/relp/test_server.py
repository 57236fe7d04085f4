from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import TXNR_MAX, encode_syslog
from relay.wire.framing.long_frame import split_frame
from relay.wire.hops import parted, with_hops
from relay.wire.relp.frame import (
    SERVERCLOSE,
    RelpFrame,
    RelpFrameDecoder,
    encode_answers,
    encode_frame,
)
from relay.wire.relp.lineage import PASSED
from relay.wire.relp.server import RelpServerSession

VECTORS = [
    pytest.param(vector, id=vector["name"])
    for vector in json.loads((Path(__file__).parents[1] / "vectors" / "relp.json").read_text())
    if vector["role_under_test"] == "server"
]

OPEN = encode_frame(1, b"open", b"relp_version=0\nrelp_software=x,1,y\ncommands=syslog")
# What the placeholders of the vectors stand for, such as {OPEN_OK:1} or {RSP:1:500}.
PLACEHOLDERS = {
    "OPEN_OK": r" rsp \d+ 200 OK\nrelp_version=0\n[^\n]*\ncommands=syslog\n",
    "RSP": r" rsp \d+ 5\d\d [^\n]*\n",
}


def new_session(**options: Any) -> RelpServerSession:
    return RelpServerSession(software=b"test,1.0,http://example.net", **options)


@pytest.fixture
def session() -> RelpServerSession:
    """An opened one."""
    session = new_session(data_bytes_max=64)
    assert session.receive(OPEN) == []
    assert session.data_to_send().startswith(b"1 rsp ")
    return session


def frames_in(output: bytes) -> list[RelpFrame]:
    decoder = RelpFrameDecoder(data_bytes_max=1000)
    frames = decoder.feed(output)
    assert decoder.error is None
    assert not decoder.inside_frame
    return frames


def singly(stream: bytes) -> list[bytes]:
    return [stream[index : index + 1] for index in range(len(stream))]


# Conformance.


def session_for(vector: dict[str, Any]) -> RelpServerSession:
    config = vector.get("config", {})
    mode = config.get("oversize_mode", "truncate")
    # There is no mode "accept" here; it amounts to a limit above what is sent.
    limit = config.get("max_data_size", 8096) if mode != "accept" else 128 * 1024
    return new_session(data_bytes_max=limit, truncate=mode != "abort")


def converse(vector: dict[str, Any], chunks: list[bytes], *, late: bool) -> dict[str, Any]:
    """What the other side sees.  `late`: messages are stored when all have come."""
    session = session_for(vector)
    delivered: list[bytes] = []
    response = b""
    for chunk in chunks:
        delivered += session.receive(chunk)
        response += session.data_to_send()
        if not late:
            session.answer(session.unanswered)
            response += session.data_to_send()
    if vector.get("half_close_after_send"):
        session.end_of_input()
    session.answer(session.unanswered)
    response += session.data_to_send()
    return {
        "delivered": [message.decode("latin-1") for message in delivered],
        "response": response,
        "connection": "closed" if session.finished else "open",
    }


def matches(vector: dict[str, Any], response: bytes) -> bool:
    expected, hint = vector["expected_response"], SERVERCLOSE.decode()
    optional = f"({hint})?" if vector.get("serverclose_hint_optional") else ""
    literal, *rest = re.split(r"\{(\w+):(\d+)[:\d]*\}", expected.removesuffix(optional and hint))
    pattern = re.escape(literal)
    while rest:
        kind, txnr, literal, *rest = rest
        pattern += txnr + PLACEHOLDERS[kind] + re.escape(literal)
    return re.fullmatch(pattern + optional, response.decode("latin-1")) is not None


def ways_to_cut(vector: dict[str, Any]) -> Iterator[list[bytes]]:
    stream = vector["bytes"].encode("latin-1")
    yield [stream]
    yield singly(stream)
    cuts = [0, *vector.get("split", []), len(stream)]
    yield [stream[a:b] for a, b in pairwise(cuts)]
    for cut in range(1, len(stream)):
        yield [stream[:cut], stream[cut:]]


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])
@pytest.mark.parametrize("vector", VECTORS)
def test_conversation(vector: dict[str, Any], late: bool) -> None:
    for chunks in ways_to_cut(vector):
        seen = converse(vector, chunks, late=late)
        frames_in(seen["response"])
        if vector["delivered"] is not None:
            assert seen["delivered"] == vector["delivered"]
        if vector["level"] != "either":  # then it is enough that nothing breaks
            assert matches(vector, seen["response"]), seen["response"]
            assert vector["expected_connection"] in (seen["connection"], "any")


# Answers.


def test_an_answer_is_given_only_when_told_and_oldest_first(session: RelpServerSession) -> None:
    assert session.receive(encode_syslog(2, [b"a", b"b", b"c"])) == [b"a", b"b", b"c"]
    assert (session.data_to_send(), session.unanswered) == (b"", 3)
    session.answer(1)
    assert session.data_to_send() == b"2 rsp 6 200 OK\n"
    assert session.receive(encode_syslog(5, [b"d"])) == [b"d"]
    session.answer(3)
    assert session.data_to_send() == b"3 rsp 6 200 OK\n4 rsp 6 200 OK\n5 rsp 6 200 OK\n"
    assert (session.data_to_send(), session.unanswered) == (b"", 0)


def test_no_more_is_answered_than_came(session: RelpServerSession) -> None:
    session.receive(encode_syslog(2, [b"a"]))
    with pytest.raises(AssertionError):
        session.answer(2)


def test_the_number_after_the_last_is_one(session: RelpServerSession) -> None:
    session._next_txnr = TXNR_MAX - 1  # a session that gets there takes weeks
    stream = encode_syslog(TXNR_MAX - 1, [b"a", b"b"]) + encode_syslog(1, [b"c", b"d"])
    assert session.receive(stream) == [b"a", b"b", b"c", b"d"]
    session.answer(1)
    session.answer(2)
    session.answer(1)
    numbers = [frame.txnr for frame in frames_in(session.data_to_send())]
    assert numbers == [TXNR_MAX - 1, TXNR_MAX, 1, 2]
    assert session.error is None


def test_a_message_before_open_is_refused_and_its_number_is_used_up() -> None:
    session = new_session(data_bytes_max=1000)
    assert session.receive(encode_syslog(1, [b"early"])) == []
    assert session.data_to_send() == b"1 rsp 20 500 command disabled\n"
    assert session.receive(encode_frame(2, b"open", b"commands=syslog")) == []
    assert session.opened
    assert session.receive(encode_syslog(3, [b"x"])) == [b"x"]
    session.answer(1)
    assert frames_in(session.data_to_send())[-1] == RelpFrame(3, b"rsp", b"200 OK")


def test_long_messages_are_cut_counted_and_answered(session: RelpServerSession) -> None:
    assert session.receive(encode_syslog(2, [b"x" * 100, b"y"])) == [b"x" * 64, b"y"]
    assert (session.truncated, session.unanswered) == (1, 2)
    assert (session.cut, session.pieces) == ({0: 100}, {})


LONG = b"<0>: " + b"0123456789" * 20
SPLIT = split_frame(LONG, frame_bytes_max=64)
CONVERSATION = OPEN + encode_syslog(2, [b"a", LONG, b"b"]) + b"5 close 0\n"


@pytest.mark.parametrize("split", [False, True])
def test_what_became_of_long_messages_is_said_by_message(split: bool) -> None:
    """The frames before them that are no messages do not count."""
    ways = [[CONVERSATION[:at], CONVERSATION[at:]] for at in range(len(CONVERSATION) + 1)]
    for chunks in (singly(CONVERSATION), *ways):
        session = new_session(data_bytes_max=64, split=split)
        found = []
        for chunk in chunks:
            found += [
                (message, session.cut.get(index, 0), session.pieces.get(index, 0))
                for index, message in enumerate(session.receive(chunk))
            ]
        long = [(piece, 0, number) for number, piece in enumerate(SPLIT, 1)]
        assert found == [
            (b"a", 0, 0),
            *(long if split else [(LONG[:64], len(LONG), 0)]),
            (b"b", 0, 0),
        ]
        assert session.unanswered == 3
        session.answer(3)
        answers = frames_in(session.data_to_send())[1:4]
        assert [frame.txnr for frame in answers] == [2, 3, 4]
        assert (session.finished, session.error) == (True, None)


def test_a_split_message_is_unanswered_when_its_last_piece_has_come() -> None:
    session = new_session(data_bytes_max=64, split=True)
    session.receive(OPEN)
    session.data_to_send()
    stream = encode_syslog(2, [LONG])
    assert session.receive(stream[:100]) == SPLIT[:1]
    assert session.unanswered == 0
    assert session.receive(stream[100:-1]) == SPLIT[1:-1]
    assert session.unanswered == 0
    assert session.receive(stream[-1:] + encode_syslog(3, [b"b"])) == [SPLIT[-1], b"b"]
    assert session.unanswered == 2
    session.answer(1)
    session.answer(1)
    assert session.data_to_send() == b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n"


@pytest.mark.parametrize("rest", [b"X", b"\n9 syslog 1 x\n", b"\nGET /"])
def test_a_violation_after_pieces(rest: bytes) -> None:
    """Pieces of a message without its end are not answered: it comes again."""
    session = new_session(data_bytes_max=64, split=True)
    session.receive(OPEN)
    stream = encode_syslog(2, [b"a", LONG])[:-1] + rest
    messages = session.receive(stream)
    complete = rest != b"X"
    assert messages == [b"a", *(SPLIT if complete else SPLIT[:-1])]
    assert session.unanswered == 1 + complete
    assert session.error is not None
    session.answer(session.unanswered)
    assert session.finished


def test_a_number_that_comes_twice_is_no_piece() -> None:
    session = new_session(data_bytes_max=64, split=True)
    session.receive(OPEN)
    assert session.receive(encode_syslog(2, [b"a"]) * 2) == [b"a"]
    assert session.error is not None


def test_a_long_message_before_open_is_refused_once() -> None:
    session = new_session(data_bytes_max=64, split=True)
    stream = encode_syslog(1, [LONG])
    for chunk in (stream[:100], stream[100:]):
        assert session.receive(chunk) == []
    assert session.data_to_send() == b"1 rsp 20 500 command disabled\n"
    assert session.receive(encode_frame(2, b"open", b"commands=syslog")) == []
    assert session.receive(encode_syslog(3, [b"x"])) == [b"x"]
    assert (session.unanswered, session.error) == (1, None)


# Ends.


@pytest.mark.parametrize(
    ("stream", "farewell"),
    [
        (b"4 close 0\n", b"4 rsp 0\n" + SERVERCLOSE),
        (b"4 close 0\n5 syslog 1 z\n", b"4 rsp 0\n" + SERVERCLOSE),
        (b"4 close 0\nnonsense", b"4 rsp 0\n" + SERVERCLOSE),
        (b"5 syslog 1 z\n", SERVERCLOSE),
        (b"3 syslog 1 z\n", SERVERCLOSE),
        (b"4 nonsense 0\n5 syslog 1 z\n", SERVERCLOSE),
        (b"nonsense", SERVERCLOSE),
        (
            encode_frame(4, b"open", b"commands=syslog") + b"5 syslog 1 z\n",
            b"4 rsp 43 500 protocol error: connection already open\n" + SERVERCLOSE,
        ),
    ],
)
def test_the_farewell_comes_after_the_last_answer(
    session: RelpServerSession, stream: bytes, farewell: bytes
) -> None:
    assert session.receive(encode_syslog(2, [b"a", b"b"]) + stream) == [b"a", b"b"]
    assert session.ending
    assert (session.finished, session.data_to_send()) == (False, b"")
    assert session.receive(b"5 syslog 1 z\n") == []
    session.answer(1)
    assert (session.finished, session.data_to_send()) == (False, b"2 rsp 6 200 OK\n")
    session.answer(1)
    assert (session.finished, session.data_to_send()) == (True, b"3 rsp 6 200 OK\n" + farewell)
    assert (session.error is None) == stream.startswith(b"4 close")


@pytest.mark.parametrize(
    ("stream", "farewell"), [(b"2 close 0\n", b"2 rsp 0\n" + SERVERCLOSE), (b"?", SERVERCLOSE)]
)
def test_with_nothing_to_answer_the_farewell_comes_at_once(
    session: RelpServerSession, stream: bytes, farewell: bytes
) -> None:
    session.receive(stream)
    assert (session.finished, session.data_to_send()) == (True, farewell)


def test_what_was_sent_before_the_end_of_input_is_answered(session: RelpServerSession) -> None:
    session.receive(encode_syslog(2, [b"a"]))
    session.end_of_input()
    assert (session.finished, session.error) == (False, None)
    session.answer(1)
    assert (session.finished, session.data_to_send()) == (True, b"2 rsp 6 200 OK\n")


def test_an_end_of_input_inside_a_frame_is_an_error(session: RelpServerSession) -> None:
    session.receive(b"2 syslog 5 hel")
    session.end_of_input()
    assert session.finished
    assert session.error is not None


def test_an_end_of_input_after_close_is_none(session: RelpServerSession) -> None:
    session.receive(b"2 syslog 1 a\n3 close 0\n4 sys")
    session.end_of_input()
    session.answer(1)
    assert session.data_to_send() == b"2 rsp 6 200 OK\n3 rsp 0\n" + SERVERCLOSE
    assert session.error is None


def test_a_shut_down_waits_for_the_answers_and_takes_no_more(session: RelpServerSession) -> None:
    session.receive(b"2 syslog 1 a\n3 syslog 5 he")
    session.shut_down()
    assert session.receive(b"llo\n4 syslog 1 z\n") == []
    assert (session.finished, session.data_to_send()) == (False, b"")
    session.answer(1)
    assert session.data_to_send() == b"2 rsp 6 200 OK\n" + SERVERCLOSE
    assert (session.finished, session.error) == (True, None)


def test_an_idle_session_shuts_down_at_once(session: RelpServerSession) -> None:
    session.shut_down()
    assert (session.finished, session.data_to_send()) == (True, SERVERCLOSE)


def test_after_abandon_nothing_is_answered_any_more(session: RelpServerSession) -> None:
    session.receive(encode_syslog(2, [b"a", b"not stored", b"c"]))
    session.answer(1)
    session.abandon()
    assert (session.finished, session.ending) == (True, True)
    assert session.receive(b"5 syslog 1 d\n") == []
    session.answer(1)  # "c" was stored after all, but "not stored" would be answered
    session.abandon()
    assert session.data_to_send() == b"2 rsp 6 200 OK\n" + SERVERCLOSE


# Runs of messages.

MANY = [b"%d " % number + b"x" * 50 for number in range(60)]


def test_what_comes_after_a_run_is_counted_from_its_start() -> None:
    session = new_session(data_bytes_max=120)
    session.receive(OPEN)
    long = b"y" * 130
    stream = encode_syslog(2, [*MANY, b"short", long]) + b"64 close 0\n"
    assert session.receive(stream) == [*MANY, b"short", long[:120]]
    assert (session.cut, session.pieces, session.unanswered) == ({61: 130}, {}, 62)
    session.data_to_send()
    session.answer(62)
    assert session.data_to_send() == encode_answers(2, 62) + b"64 rsp 0\n" + SERVERCLOSE


def test_a_long_close_after_a_run_is_no_message() -> None:
    session = new_session(data_bytes_max=60)
    session.receive(OPEN)
    assert session.receive(encode_syslog(2, MANY) + b"62 close 61 " + b"z" * 61 + b"\n") == MANY
    assert (session.cut, session.unanswered) == ({}, 60)


@pytest.mark.parametrize("answered", [0, 1, 60])
def test_answers_go_on_from_run_to_run(session: RelpServerSession, answered: int) -> None:
    output = b""
    for first in (2, 62, 122):
        assert session.receive(encode_syslog(first, MANY)) == MANY
        session.answer(answered)
        output += session.data_to_send()
    session.answer(session.unanswered)
    assert output + session.data_to_send() == encode_answers(2, 180)


def test_a_run_goes_on_after_the_last_number(session: RelpServerSession) -> None:
    session._next_txnr = TXNR_MAX - 29
    stream = encode_syslog(TXNR_MAX - 29, MANY[:30]) + encode_syslog(1, MANY[30:])
    assert session.receive(stream) + session.receive(encode_syslog(31, MANY)) == MANY + MANY
    session.answer(120)
    assert session.data_to_send() == encode_answers(TXNR_MAX - 29, 120)
    assert session.error is None


# Anything.

frames = [OPEN, b"2 syslog 1 a\n", b"3 syslog 0\n", b"4 syslog 70 ", b"2 close 0\n", b"1 rsp 0\n"]
streams = st.one_of(st.binary(), st.lists(st.sampled_from(frames)).map(b"".join))


@given(st.lists(streams), st.data())
def test_whatever_comes_each_message_is_answered_once_and_in_order(
    chunks: list[bytes], data: Any
) -> None:
    session = new_session(data_bytes_max=64)
    delivered, output = 0, b""
    for chunk in chunks:
        delivered += len(session.receive(chunk))
        session.answer(data.draw(st.integers(0, session.unanswered)))
        output += session.data_to_send()
    session.end_of_input()
    session.answer(session.unanswered)
    responses = [frame for frame in frames_in(output + session.data_to_send()) if frame.txnr]
    assert [frame.txnr for frame in responses] == sorted({frame.txnr for frame in responses})
    assert [frame.data for frame in responses].count(b"200 OK") == delivered
    assert session.finished


# Lineages.

LINEAGE = b"syslogrelay_lineage=0b5a8d7e-58a3-4e63-9c5f-6d0a4f1f2a3b,00000000deadbeef,5,9"
OPEN_WITH_LINEAGE = encode_frame(1, b"open", b"relp_version=0\ncommands=syslog\n" + LINEAGE)


@pytest.fixture
def asked() -> RelpServerSession:
    """One that was offered a lineage and has not answered."""
    session = new_session(data_bytes_max=480, takes_lineages=True)
    assert session.receive(OPEN_WITH_LINEAGE) == []
    return session


def test_a_lineage_makes_the_opening_wait(asked: RelpServerSession) -> None:
    assert asked.opened
    assert asked.lineage is not None and (asked.lineage.first, asked.lineage.end) == (5, 9)
    assert asked.data_to_send() == b""
    asked.answer_open(b"x=1")
    assert asked.data_to_send().endswith(b"\ncommands=syslog\nx=1\n")
    assert asked.receive(encode_syslog(2, [b"one"])) == [b"one"]
    asked.answer(1)
    assert asked.data_to_send() == b"2 rsp 6 200 OK\n"


def test_a_client_may_have_other_receivers_too() -> None:
    session = new_session(data_bytes_max=480, takes_lineages=True)
    offers = b"relp_version=0\ncommands=syslog\n%s\nsyslogrelay_elsewhere=1" % LINEAGE
    session.receive(b"1 open %d %s\n" % (len(offers), offers))
    assert session.lineage is not None and session.lineage.elsewhere


def test_a_client_may_know_servers_that_pass_its_numbers_on(asked: RelpServerSession) -> None:
    assert asked.lineage is not None and not asked.lineage.knows_pass
    session = new_session(data_bytes_max=480, takes_lineages=True)
    session.receive(encode_frame(1, b"open", b"commands=syslog\n%s\nsyslogrelay_pass=1" % LINEAGE))
    assert session.lineage is not None and session.lineage.knows_pass
    session.answer_open(PASSED)
    assert session.data_to_send().endswith(b"\ncommands=syslog\nsyslogrelay_have=pass\n")
    assert session.receive(encode_syslog(2, [b"one"])) == [b"one"]


def test_who_takes_no_lineages_answers_as_ever() -> None:
    session = new_session(data_bytes_max=480)
    session.receive(OPEN_WITH_LINEAGE)
    plain = new_session(data_bytes_max=480, takes_lineages=True)
    plain.receive(OPEN)
    assert session.data_to_send() == plain.data_to_send() != b""
    assert (session.lineage, plain.lineage, plain.lineage_malformed) == (None, None, False)


def test_a_malformed_lineage_is_as_good_as_none() -> None:
    session = new_session(data_bytes_max=480, takes_lineages=True)
    session.receive(encode_frame(1, b"open", b"commands=syslog\nsyslogrelay_lineage=x"))
    assert session.data_to_send().startswith(b"1 rsp ")
    assert (session.lineage, session.lineage_malformed) == (None, True)


@pytest.mark.parametrize("early", [encode_syslog(2, [b"one"]), b"2 close 0\n"])
def test_nothing_may_come_before_the_answer(asked: RelpServerSession, early: bytes) -> None:
    assert asked.receive(early) == []
    assert asked.finished and asked.error is not None
    assert "before open was answered" in str(asked.error)
    assert asked.data_to_send() == SERVERCLOSE
    asked.answer_open(b"x=1")
    assert asked.data_to_send() == b""


def test_a_session_that_ends_before_the_answer(asked: RelpServerSession) -> None:
    asked.shut_down()
    assert asked.finished
    asked.answer_open(b"x=1")
    assert asked.data_to_send() == SERVERCLOSE


# Hops.

HOP, OTHER = b"0000000000000001@here", b"0000000000000002@there"
OPEN_WITH_HOP = encode_frame(
    1, b"open", b"relp_version=0\ncommands=syslog\nsyslogrelay_hop=" + OTHER
)


def test_relays_tell_each_other_their_hops() -> None:
    session = new_session(data_bytes_max=128, hop=HOP)
    session.receive(OPEN_WITH_HOP)
    assert session.data_to_send().endswith(b"\nsyslogrelay_hop=" + HOP + b"\n")
    assert session.client_hop == OTHER


@pytest.mark.parametrize(
    ("hop", "opening"),
    [
        (b"", OPEN_WITH_HOP),
        (HOP, OPEN),
        (HOP, encode_frame(1, b"open", b"commands=syslog\nsyslogrelay_hop=x")),
    ],
)
def test_others_hear_nothing_of_hops(hop: bytes, opening: bytes) -> None:
    session = new_session(data_bytes_max=128, hop=hop)
    session.receive(opening)
    assert b"hop" not in session.data_to_send()
    assert session.client_hop == b""
    assert session.receive(encode_frame(2, b"syslog", with_hops(b"a", OTHER))) == [
        with_hops(b"a", OTHER)
    ]


@pytest.mark.parametrize("split", [False, True])
def test_long_messages_keep_their_hops(split: bool) -> None:
    record = with_hops(b"\0" + b"x" * 200, OTHER)
    stream = OPEN_WITH_HOP + encode_frame(2, b"syslog", record) + encode_frame(3, b"syslog", b"y")
    for chunks in ([stream], singly(stream)):
        session = new_session(data_bytes_max=128, hop=HOP, split=split)
        found: list[tuple[bytes, bytes]] = []
        for chunk in chunks:
            messages = session.receive(chunk)
            payloads, hops = parted(messages)
            found += [(hops.get(index, b""), each) for index, each in enumerate(payloads)]
            assert not session.cut or session.cut == {0: 201}
        text = b"".join(payload for way, payload in found if way == OTHER)
        whole = b"\0" + b"x" * 200
        assert text == (whole if split else whole[: 128 - len(with_hops(b"", OTHER))])
        assert found[-1] == (b"", b"y")
        assert session.unanswered == 2
