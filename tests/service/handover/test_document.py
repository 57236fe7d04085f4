from __future__ import annotations

import os

import msgspec
import pytest

from relay.service.handover.document import (
    ConnectionEntry,
    Document,
    SocketEntry,
    read_document,
    write_document,
)
from relay.transport.held_sockets import LinesState, StreamState
from relay.wire.framing.open_frames import DecoderState, LongFrameState

WHOLE = Document(
    id="a1",
    version="1.2.3",
    stopped_at=12.5,
    descriptors={"7": "held stream :514"},
    sockets=(SocketEntry("held stream :514", 99, "in", 3, (1, 2)),),
    connections=(
        ConnectionEntry(
            "held stream :514",
            98,
            StreamState(
                DecoderState(b"\xff\0", long=LongFrameState("split", 3, b"\r", b"x", header=b"h")),
                unread=b"\xfe",
                peer=("192.0.2.1", 5),
                lines=LinesState((b"a", b"\xfd"), 9, 2),
            ),
        ),
    ),
)


def test_it_comes_back_as_it_was() -> None:
    number = write_document(WHOLE)
    assert not os.get_inheritable(number)
    assert read_document(number) == WHOLE
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(number)


def in_memory(text: bytes) -> int:
    number = os.memfd_create("test")
    os.write(number, text)
    return number


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "its text does not fit"),
        (b"\xff", "its text does not fit"),
        (b'{"sockets": 5}', "its text does not fit"),
        (b'{"descriptors": {"x\\n": "held state"}}', r"x\\n is no descriptor"),
        (b'{"descriptors": {"-1": "held state"}}', "-1 is no descriptor"),
        (b'{"descriptors": {"9999999999": "held state"}}', "9999999999 is no descriptor"),
        (msgspec.json.encode({"format": 2}), "it has format 2, this version knows format 1"),
    ],
)
def test_what_cannot_be_read_says_why(text: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_document(in_memory(text))


def test_a_descriptor_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="it cannot be read"):
        read_document(1_000_000)


def test_a_field_of_a_newer_version_is_no_obstacle() -> None:
    assert read_document(in_memory(b'{"later": 1, "id": "x"}')).id == "x"


def test_what_is_no_file_is_not_read() -> None:
    ours, theirs = os.pipe()
    os.close(theirs)
    for number in (ours, os.open("/dev/zero", os.O_RDONLY)):
        with pytest.raises(ValueError, match="it is no file in memory"):
            read_document(number)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(number)
    with pytest.raises(ValueError, match="no such descriptor"):
        read_document(10**20)
