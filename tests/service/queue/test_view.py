from __future__ import annotations

import os

import pytest

from tests.queue_files import put
from tests.queue_service import Setup


def test_a_damaged_position_is_not_believed_and_said(setup: Setup) -> None:
    service = setup.started()
    setup.reactor.settle(
        service.committer.append({}, positions={"in/f": b"offset 7", "in/g": b"offset 8"})
    )
    setup.stop(service)
    stored = put(setup.path, "positions", b"in/f", None) or b""
    put(setup.path, "positions", b"in/f", stored.replace(b"7", b"9"))
    service = setup.started()
    assert service.view.positions("in") == {"f": b"", "g": b"offset 8"}
    assert "1 of 2" in str(setup.notices.said)
    setup.stop(service)


def test_the_age_of_the_oldest(setup: Setup) -> None:
    service = setup.started()
    assert service.view.oldest_received_at("out") is None
    setup.reactor.advance(1000.5)
    setup.commit(service, {"out": [b"one"]})
    assert service.view.oldest_received_at("out") == pytest.approx(1000.5, abs=0.001)
    setup.stop(service)


def test_a_queue_without_a_destination_is_an_orphan(setup: Setup) -> None:
    service = setup.started("out", "old", "empty")
    setup.commit(service, {"old": [b"one"]})
    assert service.view.orphans == []
    setup.stop(service)
    service = setup.started("out")
    assert service.view.orphans == ["old"]
    setup.stop(service)


def test_the_file_its_use_and_the_room_for_it(setup: Setup) -> None:
    service = setup.started()
    setup.commit(service, {"out": [b"x" * 100_000]})
    assert 100_000 < service.view.used_bytes < service.view.allocated_bytes
    free = os.statvfs(setup.path)
    # Others use the disk too: only a rough comparison holds.
    assert service.view.free_bytes > 0
    assert service.view.free_bytes < free.f_blocks * free.f_frsize + service.view.allocated_bytes
    assert service.limit("out") is None
    setup.stop(service)
