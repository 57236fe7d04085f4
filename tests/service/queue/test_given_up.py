from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.service.queue.given_up import GivenUp


def test_a_note_is_written_into_room_that_is_there(tmp_path: Path) -> None:
    given_up = GivenUp(str(tmp_path))
    assert given_up.read() is None
    given_up.clear()
    assert given_up.read() is None
    size = (tmp_path / "given-up").stat().st_size
    given_up.write({"a": 30_226, "source/in": 1})
    assert (tmp_path / "given-up").stat().st_size == size
    note = given_up.read()
    assert note is not None and note.lost == {"a": 30_226, "source/in": 1}


def test_two_stops_make_one_note(tmp_path: Path) -> None:
    given_up = GivenUp(str(tmp_path))
    given_up.write({"a": 2, "b": 1})
    first = given_up.read()
    given_up.write({"a": 3})
    second = given_up.read()
    assert first is not None and second is not None
    assert second.lost == {"a": 5, "b": 1} and second.id != first.id


@pytest.mark.parametrize("text", [b"", b"\0" * 100, b"{", b'{"id": 1}'])
def test_whatever_is_there_is_no_reason_to_fail(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "given-up").write_bytes(text)
    assert GivenUp(str(tmp_path)).read() is None


def test_a_directory_that_is_gone_is_said_when_writing(tmp_path: Path) -> None:
    given_up = GivenUp(os.path.join(tmp_path, "gone"))
    given_up.clear()
    with pytest.raises(FileNotFoundError):
        given_up.write({"a": 1})
