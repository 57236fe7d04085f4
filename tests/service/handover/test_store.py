from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.service.handover.store import DescriptorStore
from tests.descriptor_store import DescriptorStoreStandIn


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[DescriptorStoreStandIn]:
    manager = DescriptorStoreStandIn(tmp_path)
    yield manager
    manager.close()


def test_descriptors_are_kept_by_name_until_they_are_removed(
    manager: DescriptorStoreStandIn,
) -> None:
    store = DescriptorStore(manager.path, 10)
    with socket.socket() as first, socket.socket() as second:
        assert store.add("held a", [first.fileno()])
        assert store.add("held b", [second.fileno(), first.fileno()])  # the first is there
    store.wait()
    assert manager.names == ["held a", "held b"]
    assert all(each["FDPOLL"] == "0" for each in manager.reports if "FDSTORE" in each)
    store.remove("held a")
    store.remove("held c")  # which is not there
    store.wait()
    assert manager.names == ["held b"]
    assert sum("FDSTOREREMOVE" in each for each in manager.reports) == 1


def test_many_go_in_several_messages(manager: DescriptorStoreStandIn) -> None:
    store = DescriptorStore(manager.path, 1000)
    sockets = [socket.socket() for _ in range(300)]
    assert store.add("held connections", [each.fileno() for each in sockets])
    store.wait()
    assert len(manager.stored) == 300
    for each in sockets:
        each.close()


def test_no_more_than_there_is_room_for(manager: DescriptorStoreStandIn) -> None:
    store = DescriptorStore(manager.path, 3)
    store.note("held from before")
    assert store.room == 2
    assert not store.add("held a", [0, 1, 2])
    assert store.add("held b", [0])
    assert store.room == 1
    store.wait()
    assert manager.names == ["held b"]


def test_what_was_there_at_the_start_takes_no_room_twice(
    manager: DescriptorStoreStandIn,
) -> None:
    store = DescriptorStore(manager.path, 2)
    store.note("held a")
    store.note("held b")
    assert store.add("held a", [0]) and store.add("held b", [1])
    assert store.room == 0
    assert not store.add("held a", [2])
    store.wait()


@pytest.mark.parametrize("most", [0, 5])
def test_without_a_store_nothing_is_sent(most: int) -> None:
    store = DescriptorStore("" if most else "/nowhere", most)
    assert not store.exists
    assert not store.add("held a", [0])
    store.remove("held a")
    store.wait()


def test_a_manager_that_is_gone_has_no_store_any_more(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    store = DescriptorStore(str(tmp_path / "gone"), 5)
    assert not store.add("held a", [0])
    assert not store.exists
    assert len(os.listdir("/proc/self/fd")) == before
