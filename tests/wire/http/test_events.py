from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.rewrite.forms.token import find_claim
from relay.wire.http.events import Frames, stamp_of
from relay.wire.json.pairs import text_of
from relay.wire.parse import parse


def message_of(document: object, bytes_max: int = 10_000) -> SyslogMessage:
    frames = Frames(bytes_max)
    frames.add_json(document if isinstance(document, bytes) else json.dumps(document).encode())
    (frame,) = frames.frames
    return parse(frame)


def test_the_names_that_programs_use() -> None:
    message = message_of(
        {
            "@timestamp": "2026-01-02T03:04:05.678+01:00",
            "host": "web1",
            "program": "nginx",
            "pid": 7,
            "level": "WARN",
            "facility": "local0",
            "message": "hello",
            "msgid": "M1",
        }
    )
    assert message.raw == b"<132>1 2026-01-02T03:04:05.678+01:00 web1 nginx 7 M1 - hello"


def test_all_else_becomes_pairs_whose_numbers_keep_their_digits() -> None:
    message = message_of(b'{"message":"m","n":1.10,"a":{"b":"x"},\n"big":123456789012345678901}')
    assert message.pairs == {"n": b"1.10", "a.b": b"x", "big": b"123456789012345678901"}
    assert message.msg == b"m"
    assert b"\n" not in message.raw


def test_names_of_ecs() -> None:
    message = message_of(
        {"message": "m", "host": {"name": "h", "ip": "::1"}, "log": {"level": "error"}}
    )
    assert (message.hostname, message.severity) == (b"h", 3)
    assert message.pairs == {"host.name": b"h", "host.ip": b"::1", "log.level": b"error"}


def test_a_tag_as_rsyslog_writes_it() -> None:
    message = message_of({"message": "m", "syslog-tag": "sshd[12]:", "source": "sshd"})
    assert (message.app_name, message.procid, message.pairs) == (b"sshd", b"12", None)


def test_without_a_message_the_object_is_the_message() -> None:
    message = message_of(b'{"a": 1,\n"b": "x"}')
    assert message.msg == b'{"a": 1, "b": "x"}'
    assert message.pairs == {"a": b"1", "b": b"x"}


@pytest.mark.parametrize(
    ("document", "msg"), [('"text"', b"text"), ("12", b"12"), ("[1]", b"[1]"), ("null", b"null")]
)
def test_what_is_no_object_is_the_message(document: str, msg: bytes) -> None:
    assert message_of(document.encode()).msg == msg


def test_an_object_that_is_too_deep_is_the_message() -> None:
    deep = b'{"a":' * 70 + b"1" + b"}" * 70
    assert message_of(deep).msg == deep


def test_what_has_no_place_in_a_header_is_not_lost() -> None:
    message = message_of({"message": "m", "host": "a b", "program": "é" * 40, "pid": "x y"})
    assert (message.hostname, message.procid) == (b"a b", b"x y")
    assert message.app_name == ("é" * 40).encode()


def test_names_of_the_envelope_do_not_take_the_place_of_fields() -> None:
    message = message_of({"message": "m", "MESSAGE": "other", "host": "h", "HOST": "o", "": 1})
    assert (message.msg, message.hostname) == (b"m", b"h")
    assert message.pairs == {"_MESSAGE": b"other", "_HOST": b"o", "_": b"1"}


def test_an_object_with_a_token_is_the_message_where_the_token_is_found() -> None:
    text = b'{"message":"m","logsene-app-token":"t0ken","host":"a b","level":"err"}'
    frames = Frames(1000)
    frames.add_json(text)
    frames.add_json(b'{"message":"m"}')
    claim = find_claim(parse(frames.frames[0]))
    assert claim is not None
    assert claim.secrets == (b"t0ken",)
    assert (parse(frames.frames[0]).severity, frames.with_token) == (3, 1)


def test_an_object_of_too_many_members_is_the_message() -> None:
    text = b"{%b}" % b",".join(b'"%d":1' % number for number in range(100_001))
    assert message_of(text, 10**7).msg == text


@pytest.mark.parametrize(
    ("value", "stamp"),
    [
        (b'"2026-01-02T03:04:05Z"', b"2026-01-02T03:04:05Z"),
        (b'"2026-01-02 03:04:05,5"', b"2026-01-02T03:04:05.5+00:00"),
        (b'"2026-01-02T03:04:05+0100"', b"2026-01-02T03:04:05+01:00"),
        (b"1767323045", b"2026-01-02T03:04:05.000000Z"),
        (b"1767323045.25", b"2026-01-02T03:04:05.250000Z"),
        (b'"1767323045.123456789"', b"2026-01-02T03:04:05.123456789Z"),
        (b"1767323045250", b"2026-01-02T03:04:05.250000Z"),
        (b"1767323045250000", b"2026-01-02T03:04:05.250000Z"),
        (b"1767323045250000001", b"2026-01-02T03:04:05.250000001Z"),
        (b"12.5", None),
        (b"-1767323045", None),
        (b'"yesterday"', None),
        (b"null", None),
        (b"{}", None),
    ],
)
def test_stamps(value: bytes, stamp: bytes | None) -> None:
    assert stamp_of(value) == stamp


def test_a_stamp_that_is_none_stays_a_pair() -> None:
    message = message_of({"message": "m", "time": 12.5})
    assert (message.timestamp, message.pairs) == (None, {"time": b"12.5"})


def test_nanoseconds_travel_beside_a_header_that_has_no_room_for_them() -> None:
    message = message_of({"message": "m", "time": 1767323045123456789})
    assert b" 2026-01-02T03:04:05.123456Z " in message.raw
    assert message.timestamp == b"2026-01-02T03:04:05.123456789Z"
    assert message.pairs is None


def test_a_long_message_is_cut_and_its_pairs_stay() -> None:
    frames = Frames(200)
    frames.add_json(json.dumps({"message": "é\n" * 200, "a": 1}, ensure_ascii=False).encode())
    (frame,) = frames.frames
    message = parse(frame)
    assert len(frame) <= 200
    assert frames.cut[0] > 200
    assert message.pairs == {"a": b"1"}
    assert ("é\n" * 200).encode().startswith(message.msg)
    assert len(message.msg) > 20


def test_pairs_that_are_too_long_leave_the_text() -> None:
    frames = Frames(200)
    frames.add_json(json.dumps({"message": "m", "a": "x" * 300}).encode())
    (frame,) = frames.frames
    assert 199 <= len(frame) <= 200
    assert parse(frame).msg.startswith(b'{"message": "m", "a": "xxx')
    assert list(frames.cut) == [0]


def test_lines_with_a_pri_are_frames() -> None:
    frames = Frames(20)
    for line in (b"<34>Oct 11 22:14:15 h su: no", b"plain"):
        frames.add_line(line)
    assert frames.frames[0] == b"<34>Oct 11 22:14:15 "
    assert frames.cut == {0: 28, 1: 23}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["message", "host", "pid", "time", "level", "program", "x", "HOST"]), values
    )
)
def test_every_event_comes_out_as_it_went_in(document: dict[str, object]) -> None:
    message = message_of(document)
    assert not message.tags
    texts = [text_of(value) for value in (message.pairs or {}).values()]
    fields = [message.hostname, message.app_name, message.procid, message.msg]
    for name in ("message", "host", "program", "pid", "x"):
        value = document.get(name)
        if isinstance(value, str) and value and name != "message":
            assert value.encode() in (*texts, *fields)


@given(st.binary(max_size=60), st.integers(60, 120))
def test_no_frame_is_longer_than_allowed(line: bytes, bytes_max: int) -> None:
    frames = Frames(bytes_max)
    frames.add_line(line.decode(errors="replace").encode())
    frames.add_json(json.dumps({"message": line.hex(), "a": line.hex(), "host": "h"}).encode())
    assert all(len(frame) <= bytes_max for frame in frames.frames)
