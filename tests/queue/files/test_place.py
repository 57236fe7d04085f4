from __future__ import annotations

from pathlib import Path

import pytest

from relay.model.errors import QueueInUse, QueueMisplaced
from relay.queue.files.ownership import Ownership, take_ownership
from relay.queue.files.place import Place, Placement


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "queue" / "data.mdb"
    file.parent.mkdir()
    file.write_bytes(b"x")
    return file


def test_a_file_is_in_its_place_until_it_is_removed(file: Path) -> None:
    place = Place(str(file.parent))
    assert (place.trouble(), place.is_taken, place.whereabouts) == ("", False, str(file))
    file.unlink()
    assert place.trouble() == f"{file} was removed or moved (No such file or directory)"
    assert (place.is_taken, place.whereabouts) == (False, "")
    file.write_bytes(b"x")
    assert place.trouble() == f"another file lies in the place of {file}"
    assert (place.is_taken, place.whereabouts) == (True, "")
    place.close()


def test_a_file_that_was_moved_is_found(file: Path, tmp_path: Path) -> None:
    place = Place(str(file.parent))
    file.parent.rename(tmp_path / "moved")
    assert "removed or moved" in place.trouble()
    assert place.whereabouts == str(tmp_path / "moved" / "data.mdb")
    (tmp_path / "moved").rename(file.parent)
    assert place.trouble() == ""
    place.close()


def test_what_cannot_be_brought_back_must_not_be_answered(file: Path) -> None:
    placement = Placement(str(file.parent), take_ownership(str(file.parent)))
    placement.require()
    assert placement.misplaced == ""
    file.unlink()
    with pytest.raises(QueueMisplaced, match=r"nothing can be stored: .* removed or moved"):
        placement.require()
    assert placement.misplaced.startswith("nothing can be stored: ")

    def bring_back(place: Place) -> None:
        file.write_bytes(b"x")
        placement.moved()

    placement.bring_back = bring_back
    placement.require()
    assert (placement.misplaced, placement.trouble) == ("", "")
    placement.close()


def test_a_new_directory_is_owned_too(file: Path, tmp_path: Path) -> None:
    path = str(file.parent)
    placement = Placement(path, take_ownership(path))
    file.parent.rename(tmp_path / "moved")
    placement.own_again()
    with pytest.raises(QueueInUse):
        take_ownership(path)
    take_ownership(str(tmp_path / "moved")).release()
    placement.close()


def test_where_nothing_is_committed_there_is_no_place() -> None:
    placement = Placement(None, Ownership())
    placement.require()
    placement.moved()
    placement.close()
