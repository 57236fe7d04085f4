from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.http.protobuf import DEPTH_MAX, MessageReader, Schema, write_fields

FIELDS = {
    1: ("name", "text"),
    2: ("numbers", "unsigned*"),
    3: ("inner", "outer"),
    4: ("signed", "int"),
    5: ("real", "double"),
    6: ("id", "hex"),
    7: ("yes", "bool"),
}
SCHEMA: Schema = {"outer": FIELDS}


def read(data: bytes) -> dict[str, object]:
    return MessageReader(SCHEMA, messages_max=1000).read(data, "outer")


def test_fields_by_name() -> None:
    data = write_fields(
        (1, b"caf\xc3\xa9"),
        (2, 1),
        (2, 300),
        (3, write_fields((1, b"x"))),
        (6, b"\x01\xff"),
        (7, 1),
    )
    data += write_fields((4, 2**64 - 1), (99, b"unknown")) + b"\x29" + b"\0" * 6 + b"\xf8\x3f"
    assert read(data) == {
        "name": "café",
        "numbers": [1, 300],
        "inner": {"name": "x"},
        "id": "01ff",
        "yes": True,
        "signed": -1,
        "real": 1.5,
    }


@pytest.mark.parametrize(
    "data",
    [
        *(b"\x0a\x05ab", b"\x0a", b"\x10", b"\x10" + b"\xff" * 11, b"\x0b", b"\x0f"),
        *(b"\x08\x01", b"\x12\x01a", b"\x29\x00"),  # kinds that do not fit; cut off
    ],
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(ValueError):
        read(data)


def test_depth_is_bounded() -> None:
    data = b""
    for _ in range(DEPTH_MAX):
        data = write_fields((3, data))
    with pytest.raises(ValueError, match="nested"):
        read(data)


def test_the_number_of_messages_is_bounded() -> None:
    read(write_fields((3, b"")) * 999)
    with pytest.raises(ValueError, match="smaller batches"):
        read(write_fields((3, b"")) * 1000)


@given(st.binary(max_size=60))
def test_anything_is_read_or_malformed(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert set(read(data)) <= {name for name, _ in FIELDS.values()}
