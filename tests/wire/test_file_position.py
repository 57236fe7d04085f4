from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.file_position import FilePosition, fingerprint_of, parse_position

POSITION = FilePosition("/var/log/a.log", 0x801, 77, 1000, fingerprint_of(b"x"), 1, 5.5)


@pytest.mark.parametrize("path", ["/a", "/ä", "/\udcff", '/"\\\n'])
def test_what_is_written_is_read(path: str) -> None:
    position = POSITION._replace(path=path)
    assert parse_position(position.encode()) == position


def test_it_is_json_and_named_by_device_and_inode() -> None:
    assert json.loads(POSITION.encode())["offset"] == 1000
    assert POSITION.name == "801-4d"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[1]",
        b"\xff",
        b"[" * 100_000,
        POSITION._replace(offset=-1).encode(),
        POSITION._replace(offset="1").encode(),  # type: ignore[arg-type]
        POSITION._replace(path=1).encode(),  # type: ignore[arg-type]
        POSITION._replace(gone_at="x").encode(),  # type: ignore[arg-type]
        POSITION.encode().replace(b"inode", b"other"),
    ],
)
def test_anything_else_is_none(data: bytes) -> None:
    assert parse_position(data) is None


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(data: bytes) -> None:
    assert parse_position(data) is None


def test_fingerprints_differ() -> None:
    assert fingerprint_of(b"") == ""
    assert len({fingerprint_of(head) for head in (b"", b"a", b"b", b"aa")}) == 4
