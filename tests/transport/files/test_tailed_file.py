from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from relay.transport.files.tailed_file import CHUNK_BYTES, TailedFile, fits, start_of_last_line
from relay.wire.file_position import fingerprint_of
from relay.wire.framing.charset import Charset
from relay.wire.framing.lines import LineDecoder


class Tail:
    """A file and what reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: list[TailedFile] = []

    def opened(self, offset: int = 0) -> TailedFile:
        file = TailedFile(
            os.open(self.path, os.O_RDONLY),
            path=str(self.path),
            offset=offset,
            new_decoder=lambda start, head: LineDecoder(start=start, frame_bytes_max=100),
            now=0.0,
        )
        self._open.append(file)
        return file

    def close(self) -> None:
        for file in self._open:
            file.close()


@pytest.fixture
def tail(tmp_path: Path) -> Iterator[Tail]:
    tail = Tail(tmp_path / "a.log")
    yield tail
    tail.close()


def test_it_grows(tail: Tail) -> None:
    tail.path.write_bytes(b"one\ntw")
    file = tail.opened()
    assert file.has_changed()
    assert not file.was_truncated()
    assert file.decoder.feed(file.read()).frames == [b"one"]
    assert not file.has_changed()
    position = file.position()
    assert (position.offset, position.fingerprint) == (4, fingerprint_of(b"one\n"))
    assert (position.device, position.inode) == file.identity
    assert file.behind_bytes == 6
    with tail.path.open("ab") as end:
        end.write(b"o\n")
    assert file.has_changed()
    assert not file.was_truncated()
    assert file.decoder.feed(file.read()).frames == [b"two"]


@pytest.mark.parametrize("new", [b"", b"on", b"other\nmore\nthan\nbefore\n"])
def test_it_is_truncated(tail: Tail, new: bytes) -> None:
    tail.path.write_bytes(b"one\ntwo\n")
    file = tail.opened()
    file.decoder.feed(file.read())
    tail.path.write_bytes(new)
    assert file.was_truncated()
    file.begin_again()
    assert not file.was_truncated()
    assert file.read() == new


def test_it_is_deleted(tail: Tail) -> None:
    tail.path.write_bytes(b"one\n")
    file = tail.opened()
    tail.path.unlink()
    file.has_changed()
    assert file.is_deleted
    assert file.read() == b"one\n"


@pytest.mark.parametrize("offset", [0, 4, 255, 256, 300])
def test_whether_a_position_fits(tail: Tail, offset: int) -> None:
    data = b"x" * 3 + b"\n" + b"y" * 250 + b"\n" + b"z" * 100
    tail.path.write_bytes(data)
    file = tail.opened(offset)
    position = file.position()
    assert position.fingerprint_bytes == min(offset, 256)
    check = partial(fits, position=position)
    fd = os.open(tail.path, os.O_RDONLY)
    try:
        assert check(fd)
        tail.path.write_bytes(b"!" + data[1:])
        assert check(fd) == (offset == 0)
        tail.path.write_bytes(data[: max(0, offset - 1)])
        assert check(fd) == (offset == 0)
    finally:
        os.close(fd)


def new_decoder(start: int, head: bytes) -> LineDecoder:
    return LineDecoder(start=start, frame_bytes_max=100)


def new_wide_decoder(start: int, head: bytes) -> LineDecoder:
    charset = Charset("utf-16le")
    return LineDecoder(start=start, frame_bytes_max=100, charset=charset, head=head)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", 0),
        ("one\n", 8),
        ("one\ntw", 8),
        ("on", 0),
        ("\u0d00\n\u000a0\u0a00\u0a0a\u0a0d", 6),
        ("\u0a00" * (CHUNK_BYTES // 2) + "x", CHUNK_BYTES + 2),
    ],
)
def test_where_the_last_line_begins_in_other_character_sets(
    tail: Tail, text: str, start: int
) -> None:
    for name, mark in (("utf-16le", b"\xff\xfe"), ("utf-16be", b"\xfe\xff")):
        tail.path.write_bytes(mark + text.encode(name))
        fd = os.open(tail.path, os.O_RDONLY)
        try:
            found = start_of_last_line(fd, new_wide_decoder)
        finally:
            os.close(fd)
        assert found == (start + 2 if start else 0)


@pytest.mark.parametrize(
    ("data", "start"),
    [
        (b"", 0),
        (b"one\n", 4),
        (b"one\ntw", 4),
        (b"on", 0),
        (b"x" * (CHUNK_BYTES + 1), CHUNK_BYTES + 1),
        (b"x" * CHUNK_BYTES + b"\ntw", CHUNK_BYTES + 1),
    ],
)
def test_where_the_last_line_begins(tail: Tail, data: bytes, start: int) -> None:
    tail.path.write_bytes(data)
    fd = os.open(tail.path, os.O_RDONLY)
    try:
        assert start_of_last_line(fd, new_decoder) == start
    finally:
        os.close(fd)
