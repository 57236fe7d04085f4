from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.model.output import KeyTemplate
from relay.rewrite.batch import MacroContext
from relay.rewrite.forms.form import form_of
from relay.rewrite.forms.record_key import (
    KEY_BYTES_MAX,
    Keyed,
    split_key,
    with_key,
    without_keys,
)
from relay.rewrite.forms.token import with_slots
from relay.wire.parse import parse_all, read_lines

ORIGIN = Origin("in", Transport.UDP, "192.0.2.1", received_at=1_800_000_000.0)
OTHER = ORIGIN._replace(peer_host="192.0.2.2")
CONTEXT = MacroContext(relay_name=b"relay", now=lambda: 0.0)
FRAMES = [b"<13>Oct 11 22:14:15 web su: one", b"<13>Oct 11 22:14:15 db su: two", b"<13>three"]
KEYS = st.binary(max_size=KEY_BYTES_MAX).filter(lambda key: not {0, 10} & set(key))


def texts(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
    return [b"" if message.msg == b"two" else message.msg for message in messages]


def keyed(text: str = "$SOURCEIP-$HOST", *, finish: bytes = b"") -> Keyed:
    template = KeyTemplate(text, escape=bytes.upper, finish=lambda key: key + finish)
    return Keyed(form_of(texts), template, CONTEXT)


@given(key=KEYS, payload=st.binary(max_size=50))
def test_a_record_is_its_key_and_its_payload(key: bytes, payload: bytes) -> None:
    assert split_key(with_key(key, payload)) == (key, payload)


@pytest.mark.parametrize(
    "record",
    [
        b"<13>KEY web\0text",
        b"\0KEY web",
        b"\0KEY we\nb\0text",
        b"\0KEY " + b"x" * 1025 + b"\0text",
        *with_slots([b"<13>PLACE"], {b"PLACE": b"-"}),
        *with_slots([with_key(b"web", b"<13>PLACE")], {b"PLACE": b"-"}),
    ],
)
def test_what_has_no_key_is_all_payload(record: bytes) -> None:
    assert split_key(record) == (None, record)
    assert without_keys([record]) == [record]


def test_keys_are_taken_off_where_nobody_wants_them() -> None:
    plain = [b"one", b"two"]
    assert without_keys(plain) is plain
    assert without_keys([b"one", with_key(b"web", b"two"), b"\0"]) == [b"one", b"two", b"\0"]


def test_each_message_has_the_key_of_its_sender_and_an_empty_payload_stays_empty() -> None:
    lines = read_lines(FRAMES)
    arrival = Arrival([(2, ORIGIN), (3, OTHER)], 0.0, 0.0)
    whole = [b"\0KEY 192.0.2.1-WEB\0one", b"", b"\0KEY 192.0.2.2-192.0.2.2\0three"]
    assert list(keyed().write(lines, None, arrival)) == whole
    assert list(keyed().write(lines, [0, 2], arrival)) == [whole[0], whole[2]]
    assert keyed().write_messages(parse_all(FRAMES[:2]), ORIGIN) == whole[:2]


@pytest.mark.parametrize("text", ["$MSG", "$MSG$MSG"])
def test_a_key_is_bounded_and_has_no_delimiter(text: str) -> None:
    messages = parse_all([b"<13>Oct 11 22:14:15 web su: " + b"a\0b" * 400])
    form = keyed(text, finish=b"\n\0")
    for _ in range(2):
        (record,) = form.write_messages(messages, ORIGIN)
        key, _ = split_key(record)
        assert key is not None and key == (b"A_B" * 800)[: len(key)]
        assert len(key) == KEY_BYTES_MAX


def test_delimiters_in_a_short_key_become_underscores() -> None:
    messages = parse_all([b"<13>Oct 11 22:14:15 web su: one"])
    assert keyed("$HOST", finish=b"\n\0").write_messages(messages, ORIGIN) == [b"\0KEY WEB__\0one"]


def test_a_wrong_template_says_where() -> None:
    with pytest.raises(ValueError, match="at character 4"):
        keyed("abc${")
