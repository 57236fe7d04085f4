"""JetStream's answers."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.nats.answers import (
    Fate,
    LastMessage,
    Stored,
    StreamError,
    check_answer,
    read_last_message,
    read_stored,
)


def refusal(code: int, description: str = "x") -> bytes:
    text = f'{{"error":{{"code":400,"err_code":{code},"description":"{description}"}},"seq":0}}'
    return text.encode()


def test_what_is_stored_has_a_number() -> None:
    assert read_stored(0, b'{"stream":"LOGS","seq":1006,"count":1000}') == Stored(1006)


@pytest.mark.parametrize(
    ("code", "fate"),
    [
        (10071, Fate.MISMATCH),
        (10077, Fate.FULL),
        (10054, Fate.TOO_LARGE),
        (10174, Fate.UNUSABLE),
        (10008, Fate.UNKNOWN),
        (99999, Fate.UNKNOWN),
    ],
)
def test_an_error_says_what_became_of_the_messages(code: int, fate: Fate) -> None:
    with pytest.raises(StreamError) as caught:
        read_stored(0, refusal(code))
    assert caught.value.fate is fate


def test_nobody_who_listens_may_be_an_election() -> None:
    with pytest.raises(StreamError, match="no stream answers") as caught:
        read_stored(503, b"")
    assert caught.value.fate is Fate.UNKNOWN


def test_the_last_message_of_a_subject() -> None:
    headers = b"NATS/1.0\r\nsyslogrelay: x\r\n\r\n"
    text = base64.b64encode(headers).decode()
    answer = f'{{"message":{{"subject":"a","seq":6,"hdrs":"{text}","data":"Mw=="}}}}'
    assert read_last_message(answer.encode()) == LastMessage(6, headers)


def test_a_subject_without_messages() -> None:
    assert read_last_message(refusal(10037)) is None


def test_an_error_is_no_subject_without_messages() -> None:
    with pytest.raises(StreamError, match="not found"):
        read_last_message(refusal(10059, "stream not found"))


def test_an_answer_of_the_api() -> None:
    check_answer(b'{"config":{}}')
    with pytest.raises(StreamError):
        check_answer(refusal(10059))


@given(st.integers(0, 999), st.binary(max_size=100))
def test_any_answer_is_read_or_refused(status: int, data: bytes) -> None:
    for read in (lambda: read_stored(status, data), lambda: read_last_message(data)):
        try:
            read()
        except StreamError as error:
            assert "\n" not in str(error)
