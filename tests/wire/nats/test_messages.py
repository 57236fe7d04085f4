"""Commands for messages and batches, and headers."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from relay.wire.nats.messages import (
    Message,
    encode_batch,
    header_line,
    header_value,
    split_headers,
)

_COMMAND = re.compile(rb"HPUB (\S+) (?:(\S+) )?([0-9]+) ([0-9]+)\r\n")


def commands(written: bytes) -> list[tuple[bytes, bytes, dict[bytes, bytes], bytes]]:
    """Subject, inbox, headers and data of each command, as a server reads them."""
    found = []
    while written:
        command = _COMMAND.match(written)
        assert command is not None, written[:60]
        subject, inbox, head, whole = command.groups()
        block = written[command.end() :][: int(whole)]
        found.append(
            (subject, inbox or b"", split_headers(block[: int(head)])[1], block[int(head) :])
        )
        rest = written[command.end() + int(whole) :]
        assert rest.startswith(b"\r\n")
        written = rest[2:]
    return found


def test_a_single_message_is_no_batch() -> None:
    message = Message(b"logs.a", header_line("x", b"1"), b"data", expected=7)
    ((subject, inbox, headers, data),) = commands(
        encode_batch([message], batch_id="b", inbox="in.1")
    )
    assert (subject, inbox, data) == (b"logs.a", b"in.1", b"data")
    assert headers == {b"x": b"1", b"nats-expected-last-subject-sequence": b"7"}


def test_a_batch_numbers_its_messages_and_commits_with_the_last() -> None:
    messages = [Message(b"logs.a", b"", b"1", expected=0), Message(b"logs.b", b"", b"2")]
    messages.append(Message(b"logs.a", b"", b"3"))
    first, second, third = commands(encode_batch(messages, batch_id="b", inbox="in.1"))
    assert first[2] == {
        b"nats-batch-id": b"b",
        b"nats-batch-sequence": b"1",
        b"nats-expected-last-subject-sequence": b"0",
    }
    assert second[1:3] == (b"", {b"nats-batch-id": b"b", b"nats-batch-sequence": b"2"})
    assert third[1] == b"in.1"
    assert third[2][b"nats-batch-commit"] == b"1"


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=20))
def test_data_of_any_kind_comes_out_as_it_was(datas: list[bytes]) -> None:
    messages = [Message(b"s", b"", data) for data in datas]
    read = commands(encode_batch(messages, batch_id="b", inbox="i"))
    assert [data for *_, data in read] == datas


@given(st.binary(max_size=200))
def test_any_headers_can_be_read(block: bytes) -> None:
    status, headers = split_headers(block)
    assert 0 <= status <= 999
    assert all(name == name.lower() for name in headers)
    header_value(block, b"\r\nx: ")


def test_a_status_has_a_description() -> None:
    block = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 5\r\n\r\n"
    assert split_headers(block) == (
        408,
        {b"nats-pending-messages": b"5", b"description": b"Request Timeout"},
    )


def test_one_header_is_found_without_the_others() -> None:
    block = b"NATS/1.0\r\na: 1\r\nsyslogrelay: x,1,0\r\n\r\n"
    assert header_value(block, b"\r\nsyslogrelay: ") == b"x,1,0"
    assert header_value(block, b"\r\nother: ") is None
    assert header_value(b"NATS/1.0\r\na: 1", b"\r\na: ") is None
