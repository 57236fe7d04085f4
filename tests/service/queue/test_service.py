from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.logger import LogLevel, capturedLogs, formatEvent

from relay.flow.exactly_once.lineages import RECEIVED, Lease
from relay.model.errors import QueueFull
from relay.model.seq import SeqRange
from relay.queue.admission.limits import QueueLimit
from relay.queue.inspect.queries import Read, read_history
from relay.queue.ledger import Ledger
from relay.queue.lineage import Lineage
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction
from relay.service.refusal import StartRefused
from relay.wire.relp.lineage import HighWaterMark, LineageOffer
from tests.connections import fired
from tests.queue_files import kept, put
from tests.queue_service import Setup


def test_nothing_is_opened_before_the_start(setup: Setup) -> None:
    setup.service()
    assert (setup.checked, list(setup.folder.iterdir())) == ([], [])


def test_what_was_stored_is_there_after_a_stop_and_a_start(setup: Setup) -> None:
    service = setup.started()
    assert setup.checked == [str(setup.path)]
    assert setup.commit(service, {"out": [b"one", b"two"]}) is None
    service.committer.append({"out": [b"three"]})
    setup.stop(service)
    service = setup.started()
    assert (service.view.ledger("out").queued, service.view.ledger("out").delivered) == (3, 0)
    batch = setup.reactor.settle(
        ensureDeferred(service.cursor("out").take(records_max=10, bytes_max=100))
    )
    assert batch.payloads == [b"one", b"two", b"three"]
    setup.stop(service)


def test_what_was_acknowledged_is_gone_and_what_was_set_aside_is_counted(setup: Setup) -> None:
    service = setup.started()
    setup.commit(service, {"out": [b"one", b"two", b"three"]})
    service.committer.acknowledge("out", 2)
    service.committer.set_aside("out", SeqRange(2, 3), "refused")
    setup.stop(service)
    service = setup.started()
    ledger = service.view.ledger("out")
    assert (ledger.delivered, ledger.quarantined, ledger.queued) == (1, 1, 1)
    batch = setup.reactor.settle(
        ensureDeferred(service.cursor("out").take(records_max=10, bytes_max=100))
    )
    assert batch.payloads == [b"three"]
    setup.stop(service)


def damage(setup: Setup) -> bytes:
    """A queue with one record whose file has a damaged meta page; its bytes."""
    service = setup.started()
    setup.commit(service, {"out": [b"one"]})
    setup.commit(service, {"out": [b"two"]})
    setup.stop(service)
    data = setup.path / "data.mdb"
    image = bytearray(data.read_bytes())
    older = min((0, 1), key=lambda meta: image[meta * 4096 + 144])
    image[older * 4096 + 16] ^= 1
    data.write_bytes(image)
    return bytes(image)


def test_a_damaged_queue_is_put_aside_loudly(setup: Setup) -> None:
    image = damage(setup)
    with capturedLogs() as events:
        service = setup.started()
    (event,) = [event for event in events if event["log_level"] == LogLevel.critical]
    assert "2 records could be read, 0 set aside" in formatEvent(event)
    (kept,) = service.view.damaged_files
    assert kept in formatEvent(event)
    assert Path(kept).read_bytes() == image
    assert service.view.ledger("out").queued == 2
    setup.stop(service)


def test_a_strict_relay_does_not_start_with_a_damaged_queue(setup: Setup) -> None:
    image = damage(setup)
    with pytest.raises(StartRefused, match="is damaged"):
        setup.service(strict=True).startService()
    assert (setup.path / "data.mdb").read_bytes() == image


OFFER = LineageOffer("0b5a8d7e-58a3-4e63-9c5f-6d0a4f1f2a3c", "00000000deadbeef", 1, 9)


def test_a_lineage_with_a_damaged_position_is_a_new_one(setup: Setup) -> None:
    """Believed, it would have the sender forget what never came."""
    service = setup.started()
    setup.reactor.settle(
        service.committer.append(
            {"out": [b"x"]}, positions={f"{RECEIVED}/{OFFER.id}": b'{"have": 100}'}
        )
    )
    setup.stop(service)
    key = f"{RECEIVED}/{OFFER.id}".encode()
    stored = put(setup.path, "positions", key, None) or b""
    position = b'{"have":900,"epoch":"0000000000000001","seen":5}'
    put(setup.path, "positions", key, stored[:9] + position)
    service = setup.started()
    granted: list[HighWaterMark] = []
    service.lineages.lease(
        OFFER, None, granted=lambda claim, have: granted.append(have), lost=lambda: None
    )
    assert granted[0].seq == 0
    setup.stop(service)


def test_a_subscriber_hears_of_its_own_commits(setup: Setup) -> None:
    service = setup.started("out", "other")
    heard: list[tuple[int, list[bytes]]] = []
    service.subscribe("out", lambda seq, payloads: heard.append((seq, list(payloads))))
    setup.commit(service, {"other": [b"x"]})
    setup.commit(service, {"out": [b"one", b"two"]})
    assert heard == [(3, [b"one", b"two"])]
    setup.stop(service)


def test_a_cursor_that_keeps_up_needs_no_thread_to_read(setup: Setup) -> None:
    service = setup.started("out", "other")
    cursor = service.cursor("out")
    service.subscribe("out", cursor.stored)
    setup.commit(service, {"other": [b"x"]})
    setup.commit(service, {"out": [b"one", b"two"]})
    taken = fired(ensureDeferred(cursor.take(records_max=10, bytes_max=1000)))
    assert [batch.payloads for batch in taken] == [[b"one", b"two"]]
    later = service.cursor("out")  # nobody told it
    taking = ensureDeferred(later.take(records_max=10, bytes_max=1000))
    assert setup.reactor.settle(taking).payloads == [b"one", b"two"]
    setup.stop(service)


def test_a_queue_in_use_refuses_the_start(setup: Setup) -> None:
    service = setup.started()
    with pytest.raises(StartRefused, match="is in use by process"):
        setup.service().startService()
    setup.stop(service)


def test_a_place_that_is_no_place_for_a_queue(setup: Setup) -> None:
    def refuse(path: str) -> None:
        raise StartRefused("on tmpfs")

    setup.check_path = refuse
    service = setup.service()
    with pytest.raises(StartRefused, match="on tmpfs"):
        service.startService()
    assert not setup.path.exists()


def test_a_state_directory_that_cannot_be_made(setup: Setup) -> None:
    (setup.folder / "state").write_text("a file")
    with pytest.raises(
        StartRefused, match=r"queue .*/state/queue: .*/state is a file, and has to be a directory"
    ):
        setup.service().startService()


def test_what_is_delivered_is_kept_where_that_is_wanted(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = os.statvfs(setup.folder)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)  # which others use, too
    setup.histories = kept("out")
    service = setup.service()
    service.startService()
    setup.commit(service, {"out": [b"one", b"two"]})
    free = service.view.free_bytes
    service.committer.acknowledge("out", 3)
    setup.commit(service, {"out": [b"three"]})
    found = setup.reactor.settle(service.view.look(partial(read_history, wanted=Read("out"))))
    assert [record.payload for record in found.records] == [b"one", b"two"]
    assert service.histories.used_bytes == 4096
    assert service.view.free_bytes > free  # what is kept counts as free
    setup.stop(service)


def test_each_queue_has_a_lineage_and_each_start_an_epoch(setup: Setup) -> None:
    service = setup.started("a", "b")
    lineage = service.lineage("a")
    assert lineage is not None and lineage != service.lineage("b")
    setup.commit(service, {"a": [b"x"]})
    setup.stop(service)
    service = setup.started("a", "b", "c")
    again = service.lineage("a")
    assert again is not None and again.id == lineage.id
    assert [start for _, start in again.epochs] == [1, 2]
    assert again.epochs[0] == lineage.epochs[0]
    assert service.lineage("c") is not None
    setup.stop(service)


def test_a_lineage_can_be_replaced(setup: Setup) -> None:
    service = setup.started()
    renewed = Lineage.new(1)
    assert setup.reactor.settle(service.keep_lineage("out", renewed)) is None
    setup.stop(service)
    service = setup.started()
    lineage = service.lineage("out")
    assert lineage is not None and lineage.id == renewed.id
    setup.stop(service)


class Full(QueueStore):
    def commit(self, transaction: Transaction) -> dict[str, Ledger]:
        raise QueueFull("no space")


def test_a_full_disk_costs_exactly_once_and_not_the_start(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.service.queue.service.QueueStore", Full)
    service = setup.started()
    assert service.lineage("out") is None
    ((_, kind, text),) = setup.notices.said
    assert kind == "epochs" and "no space; until the next start" in text
    setup.stop(service)


def test_what_was_received_of_lineages_is_known_again(setup: Setup) -> None:
    offer = LineageOffer("0b5a8d7e-58a3-4e63-9c5f-6d0a4f1f2a3b", "00000000deadbeef", 1, 9)
    service = setup.started()
    haves: list[HighWaterMark] = []

    def claimed() -> Lease:
        claim = service.lineages.lease(
            offer, None, granted=lambda _, have: haves.append(have), lost=lambda: None
        )
        assert claim is not None
        return claim

    setup.reactor.settle(
        service.committer.append({"out": [b"x", b"y"]}, positions=claimed().take(2))
    )
    setup.stop(service)
    service = setup.started()
    claimed()
    assert haves == [(0, "0" * 16), (2, offer.epoch)]
    setup.stop(service)


def test_what_has_left_undelivered_is_told_to_whom_it_concerns(setup: Setup) -> None:
    dropped: list[tuple[int, str]] = []
    setup.limits = [QueueLimit(destination="out", on_drop=lambda *drop: dropped.append(drop))]
    service = setup.service()
    service.startService()
    evicted: list[tuple[int, str]] = []
    service.subscribe("out", lambda seq, payloads: None, lambda *gone: evicted.append(gone))
    setup.commit(service, {"out": [b"one", b"two"]})
    service.committer.expire("out", setup.reactor.seconds() + 1)
    service.committer.expire("out", setup.reactor.seconds() + 1)
    setup.commit(service, {"out": [b"three"]})
    assert (evicted[0], dropped[0]) == ((3, "too-old"), (2, "too-old"))
    service.committer.acknowledge_late("out", 1, "too-old")
    setup.stop(service)
    service = setup.started()
    ledger = service.view.ledger("out")
    assert (ledger.delivered, ledger.received, ledger.gap) == (1, 3, 0)
    setup.stop(service)


def test_a_map_smaller_than_what_is_there_still_lets_it_leave(setup: Setup) -> None:
    service = setup.started()
    setup.commit(service, {"out": [b"x" * 100_000] * 50})
    setup.stop(service)
    service = setup.service()
    service._map_bytes = 65536
    service.startService()
    setup.commit(service, {"out": [b"x" * 100_000] * 50})
    service.committer.acknowledge("out", 101)
    setup.stop(service)
    service = setup.started()
    ledger = service.view.ledger("out")
    assert (ledger.delivered, ledger.queued) == (100, 0)
    setup.stop(service)


def test_a_destination_with_two_lanes_has_two_queues_and_two_lineages(setup: Setup) -> None:
    service = setup.started("a", "b")
    before = service.lineage("b")
    assert service.lineage("lane/b") is None
    setup.stop(service)
    service = setup.started("a", "b", lanes=["b"])
    same, second = service.lineage("b"), service.lineage("lane/b")
    assert before is not None and same is not None and second is not None
    assert before.id == same.id != second.id
    service.lane_queues.direct("b", older="b", newer="lane/b")
    setup.commit(service, {"a": [b"1"], "b": [b"2"]})
    assert [service.view.ledger(id).queued for id in ("a", "b", "lane/b")] == [1, 0, 1]
    assert service.view.orphans == []
    setup.stop(service)
    service = setup.started("a", "b")
    same = service.lineage("b")
    assert same is not None and same.id == before.id
    assert service.view.orphans == ["lane/b"]
    setup.stop(service)
    service = setup.started("a", "b", lanes=["b"])  # what was there may have been adopted
    third = service.lineage("lane/b")
    assert third is not None and third.id != second.id
    setup.stop(service)
