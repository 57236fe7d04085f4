from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.model.errors import QueueError, QueueInUse
from relay.queue.ownership import hold_existing, sync_names, take_ownership


def test_a_directory_has_one_owner_at_a_time_and_names_it(tmp_path: Path) -> None:
    path = str(tmp_path / "state" / "queue")
    first = take_ownership(path)
    with pytest.raises(QueueInUse, match=f"in use by process {os.getpid()};"):
        take_ownership(path)
    os.close(first)
    os.close(take_ownership(path))


def test_a_directory_is_for_its_user_only(tmp_path: Path) -> None:
    os.close(take_ownership(str(tmp_path / "queue")))
    assert (tmp_path / "queue").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "queue" / "owner.lock").stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(QueueError, match=r"file/queue: .*has to be a directory"):
        take_ownership(str(tmp_path / "file" / "queue"))


def test_syncing_names_gives_up_quietly_where_it_cannot(tmp_path: Path) -> None:
    sync_names(str(tmp_path))
    sync_names(str(tmp_path / "missing"))


def test_who_only_looks_keeps_relays_away_and_makes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "queue")
    with pytest.raises(QueueError, match="there is none"):
        hold_existing(path)
    os.close(take_ownership(path))
    (tmp_path / "queue" / "data.mdb").touch()
    looking = hold_existing(path)
    with pytest.raises(QueueInUse):
        take_ownership(path)
    os.close(looking)
    owner = take_ownership(path)
    with pytest.raises(QueueInUse, match=f"process {os.getpid()}; stop that relay, or ask it"):
        hold_existing(path)
    os.close(owner)
    (tmp_path / "queue" / "owner.lock").unlink()
    os.close(hold_existing(path))
    assert not (tmp_path / "queue" / "owner.lock").exists()
