from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.framing.dtls_records import (
    FRAME_BYTES_MAX,
    PLAINTEXT_BYTES_MAX,
    client_random,
    frames_of,
    join_records,
    split_records,
)


def record(content: bytes, kind: int = 23, epoch: int = 1) -> bytes:
    return bytes([kind, 254, 253, 0, epoch, *bytes(6)]) + len(content).to_bytes(2, "big") + content


def hello(random: bytes, cookie: bytes = b"") -> bytes:
    body = b"\xfe\xfd" + random + b"\0" + bytes([len(cookie)]) + cookie
    size = len(body).to_bytes(3, "big")
    return record(b"\x01" + size + b"\0\0" + b"\0\0\0" + size + body, kind=22, epoch=0)


@given(st.lists(st.binary(min_size=1, max_size=60)), st.integers(1, 300))
def test_records_are_cut_as_they_were_joined(contents: list[bytes], bytes_max: int) -> None:
    records = [record(content) for content in contents]
    datagrams = join_records(records, bytes_max)
    assert split_records(b"".join(records)) == records
    assert [each for datagram in datagrams for each in split_records(datagram)] == records
    assert all(len(each) <= bytes_max or each in records for each in datagrams)


@given(st.binary(max_size=200))
def test_any_bytes_are_cut_from_their_start(data: bytes) -> None:
    assert data.startswith(b"".join(split_records(data)))


@pytest.mark.parametrize("cut", range(1, 20))
def test_an_incomplete_record_ends_the_list(cut: int) -> None:
    whole = record(b"one")
    assert split_records(whole + record(b"seven")[: 18 - cut]) == [whole]


def test_records_that_no_cipher_makes_are_not_taken() -> None:
    assert split_records(record(b"")) == []
    assert split_records(record(bytes(PLAINTEXT_BYTES_MAX + 257))) == []
    assert len(split_records(record(bytes(PLAINTEXT_BYTES_MAX + 256)))) == 1


def test_a_client_hello_is_known_by_its_random_with_and_without_a_cookie() -> None:
    random = bytes(range(32))
    assert client_random(hello(random)) == client_random(hello(random, b"cookie")) == random


@pytest.mark.parametrize("place", [0, 4, 13, 19], ids=["type", "epoch", "message", "fragment"])
def test_other_records_are_no_client_hello(place: int) -> None:
    other = bytearray(hello(bytes(range(32))))
    other[place] ^= 8
    assert client_random(bytes(other)) == b""


@given(st.binary(max_size=80))
def test_any_bytes_have_a_random_or_none(data: bytes) -> None:
    assert len(client_random(data)) in (0, 32)


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (b"7 <13>one", [b"<13>one"]),
        (b"7 <13>one7 <13>two", [b"<13>one", b"<13>two"]),
        (b"9 <13>a\nb\nc", [b"<13>a\nb\nc"]),
        (b"<13>no length\nand two lines\r\n", [b"<13>no length\nand two lines"]),
        (b"<13>7 <13>one", [b"<13>7 <13>one"]),
        (b"no PRI", [b"no PRI"]),
        (b"", []),
        (b"\n", []),
    ],
)
def test_the_messages_of_a_record(data: bytes, frames: list[bytes]) -> None:
    assert frames_of(data) == (frames, "")


def test_a_frame_that_spans_records_is_kept_and_a_problem() -> None:
    found = frames_of(b"7 <13>one70 <13>half of i")
    assert found.frames == [b"<13>one", b"<13>half of i"]
    assert "before the end of a frame" in found.problem


@given(st.lists(st.binary(min_size=1, max_size=300).map(lambda text: b"<13>" + text), min_size=1))
def test_counted_messages_come_out_as_they_went_in(messages: list[bytes]) -> None:
    data = b"".join(b"%d %s" % (len(message), message) for message in messages)
    assert frames_of(data) == (messages, "")


@given(st.binary(max_size=300) | st.from_regex(rb"[0-9]{1,3} (<[0-9]{1,3}>)?[a-c\n0-9 ]{0,9}"))
def test_any_record_gives_frames_of_its_own_bytes(data: bytes) -> None:
    for frame in frames_of(data).frames:
        assert frame in data


def test_the_longest_message_fits_a_record_with_its_length() -> None:
    message = b"x" * FRAME_BYTES_MAX
    assert len(b"%d %s" % (len(message), message)) == PLAINTEXT_BYTES_MAX
