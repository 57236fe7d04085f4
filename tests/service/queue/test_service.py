from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.logger import LogLevel, capturedLogs, formatEvent

from relay.flow.lineages import RECEIVED, Claim
from relay.model.errors import QueueError, QueueFull
from relay.model.seq import SeqRange
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.inspect.queries import Read, ReadHistory, read, read_history
from relay.queue.ledger import Ledger
from relay.queue.lineage import Lineage
from relay.queue.repair.verify import verify
from relay.queue.repair.verify_lazily import FileDamaged
from relay.queue.store import QueueStore, Refusal, Transaction
from relay.service.exit_status import ExitStatus
from relay.service.queue.service import QueueService
from relay.service.refusal import StartRefused
from relay.wire.relp.lineage import Have, LineageOffer
from tests.clocks import wall_of
from tests.connections import RecordingNotices, fired
from tests.queue_files import kept, make_long_queue, put
from tests.threads import Reactor


class Setup:
    """A queue service in a directory, with everything it talks to."""

    def __init__(self, folder: Path) -> None:
        self.reactor = Reactor()
        self.notices: Any = RecordingNotices()
        self.checked: list[str] = []
        self.folder = folder
        self.path = folder / "state" / "queue"
        self.services: list[QueueService] = []

    def service(
        self, *destinations: str, strict: bool = False, lanes: Sequence[str] = ()
    ) -> QueueService:
        service = QueueService(
            path=str(self.path),
            destinations=destinations or ("out",),
            sources=("in",),
            map_bytes=10 * 2**20,
            admission=Admission(pending_bytes_max=10**6, queue_bytes_max=10**6),
            notices=self.notices,
            wall=wall_of(self.reactor),
            reactor=self.reactor,
            exit_status=ExitStatus(self.reactor),
            check_path=self.checked.append,
            lanes=lanes,
            strict=strict,
        )
        self.services.append(service)
        return service

    def started(self, *destinations: str, lanes: Sequence[str] = ()) -> QueueService:
        service = self.service(*destinations, lanes=lanes)
        service.startService()
        return service

    def stop(self, service: QueueService) -> None:
        assert self.reactor.settle(service.stopService()) is None


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path)
    yield setup
    names = [thread.name for thread in threading.enumerate()]
    are_left = any("queue-" in name for name in names)
    if are_left:  # by a test that failed: the interpreter would wait for them at its end
        for service in filter(lambda each: each.running, setup.services):
            setup.reactor.settle(service.stopService())
    assert not are_left, names


def test_nothing_is_opened_before_the_start(setup: Setup) -> None:
    setup.service()
    assert (setup.checked, list(setup.folder.iterdir())) == ([], [])


def test_what_was_stored_is_there_after_a_stop_and_a_start(setup: Setup) -> None:
    service = setup.started()
    assert setup.checked == [str(setup.path)]
    assert setup.reactor.settle(service.append({"out": [b"one", b"two"]})) is None
    service.append({"out": [b"three"]})
    setup.stop(service)
    service = setup.started()
    assert (service.ledger("out").queued, service.ledger("out").delivered) == (3, 0)
    batch = setup.reactor.settle(
        ensureDeferred(service.cursor("out").take(records_max=10, bytes_max=100))
    )
    assert batch.payloads == [b"one", b"two", b"three"]
    setup.stop(service)


def test_what_was_acknowledged_is_gone_and_what_was_set_aside_is_counted(setup: Setup) -> None:
    service = setup.started()
    setup.reactor.settle(service.append({"out": [b"one", b"two", b"three"]}))
    service.acknowledge("out", 2)
    service.set_aside("out", SeqRange(2, 3), "refused")
    setup.stop(service)
    service = setup.started()
    ledger = service.ledger("out")
    assert (ledger.delivered, ledger.quarantined, ledger.queued) == (1, 1, 1)
    batch = setup.reactor.settle(
        ensureDeferred(service.cursor("out").take(records_max=10, bytes_max=100))
    )
    assert batch.payloads == [b"three"]
    setup.stop(service)


def test_a_full_quarantine_is_said(setup: Setup) -> None:
    def set_aside(service: QueueService, *frames: bytes) -> None:
        refusal = Refusal("in", "too-long", "192.0.2.1:5", frames, 200, [9000] * len(frames))
        assert setup.reactor.settle(service.append({}, [refusal])) is None

    service = setup.started()
    set_aside(service, b"a" * 50)
    assert setup.notices.said == []
    set_aside(service, b"b" * 50, b"c" * 50)
    setup.stop(service)
    service = setup.started()  # what was said before is not said again
    set_aside(service, b"d" * 50)
    assert setup.notices.said == [
        (
            "source in",
            "quarantine-full",
            f"{count} dropped: its quarantine is full (quarantine_bytes_max)",
        )
        for count in (2, 1)
    ]
    account = service.source_ledger("in")
    assert account is not None
    assert (account.quarantined, account.dropped) == (1, {"quarantine-full": 3})
    assert service.source_ledger("other") is None
    setup.stop(service)


def damage(setup: Setup) -> bytes:
    """A queue with one record whose file has a damaged meta page; its octets."""
    service = setup.started()
    setup.reactor.settle(service.append({"out": [b"one"]}))
    setup.reactor.settle(service.append({"out": [b"two"]}))
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
    (kept,) = service.damaged_files
    assert kept in formatEvent(event)
    assert Path(kept).read_bytes() == image
    assert service.ledger("out").queued == 2
    setup.stop(service)


def test_a_strict_relay_does_not_start_with_a_damaged_queue(setup: Setup) -> None:
    image = damage(setup)
    with pytest.raises(StartRefused, match="is damaged"):
        setup.service(strict=True).startService()
    assert (setup.path / "data.mdb").read_bytes() == image


def test_damage_that_is_found_late_ends_the_relay_once_and_loudly(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_long_queue(setup.path, [b"%06d" % seq * 45 for seq in range(1, 12_001)], "out")
    lazily = partial(verify, reads_max=99, lazy_reads_min=99)
    monkeypatch.setattr("relay.queue.repair.guarded.verify", lazily)
    with open(setup.path / "data.mdb", "r+b") as data:
        leaf = data.read().index(b"007401" * 45) // 4096
        data.seek(leaf * 4096)
        data.write(b"\xff\xff\xff")
    service = setup.started()
    with capturedLogs() as events:
        for _ in range(2):
            reading = partial(read, wanted=Read("out", start=7401))
            error = setup.reactor.settle(service.look(reading))
            assert isinstance(error, FileDamaged), error
        setup.reactor.run_handed_over()
    (event,) = [event for event in events if event["log_level"] == LogLevel.critical]
    assert f"page {leaf}: " in formatEvent(event)
    assert setup.reactor.stops == 1
    setup.stop(service)
    service = setup.started()
    assert service.ledger("out").queued == 12_000
    assert len(service.damaged_files) == 1
    setup.stop(service)


def test_a_damaged_position_is_not_believed_and_said(setup: Setup) -> None:
    service = setup.started()
    setup.reactor.settle(service.append({}, positions={"in/f": b"offset 7", "in/g": b"offset 8"}))
    setup.stop(service)
    stored = put(setup.path, "positions", b"in/f", None) or b""
    put(setup.path, "positions", b"in/f", stored.replace(b"7", b"9"))
    service = setup.started()
    assert service.positions("in") == {"f": b"", "g": b"offset 8"}
    assert "1 of 2" in str(setup.notices.said)
    setup.stop(service)


OFFER = LineageOffer("0b5a8d7e-58a3-4e63-9c5f-6d0a4f1f2a3c", "00000000deadbeef", 1, 9)


def test_a_lineage_with_a_damaged_position_is_a_new_one(setup: Setup) -> None:
    """Believed, it would have the sender forget what never came."""
    service = setup.started()
    setup.reactor.settle(
        service.append({"out": [b"x"]}, positions={f"{RECEIVED}/{OFFER.id}": b'{"have": 100}'})
    )
    setup.stop(service)
    key = f"{RECEIVED}/{OFFER.id}".encode()
    stored = put(setup.path, "positions", key, None) or b""
    position = b'{"have":900,"epoch":"0000000000000001","seen":5}'
    put(setup.path, "positions", key, stored[:9] + position)
    service = setup.started()
    granted: list[Have] = []
    service.lineages.claim(
        OFFER, None, granted=lambda claim, have: granted.append(have), lost=lambda: None
    )
    assert granted[0].seq == 0
    setup.stop(service)


def test_a_subscriber_hears_of_its_own_commits(setup: Setup) -> None:
    service = setup.started("out", "other")
    heard: list[int] = []
    service.subscribe("out", heard.append)
    setup.reactor.settle(service.append({"other": [b"x"]}))
    setup.reactor.settle(service.append({"out": [b"one", b"two"]}))
    assert heard == [3]
    setup.stop(service)


def test_a_cursor_that_keeps_up_needs_no_thread_to_read(setup: Setup) -> None:
    service = setup.started("out", "other")
    cursor = service.cursor("out")
    setup.reactor.settle(service.append({"other": [b"x"]}))
    setup.reactor.settle(service.append({"out": [b"one", b"two"]}))
    taken = fired(ensureDeferred(cursor.take(records_max=10, bytes_max=1000)))
    assert [batch.payloads for batch in taken] == [[b"one", b"two"]]
    later = service.cursor("out")  # nobody told it
    taking = ensureDeferred(later.take(records_max=10, bytes_max=1000))
    assert setup.reactor.settle(taking).payloads == [b"one", b"two"]
    setup.stop(service)


def test_the_age_of_the_oldest(setup: Setup) -> None:
    service = setup.started()
    assert service.oldest_received_at("out") is None
    setup.reactor.advance(1000.5)
    setup.reactor.settle(service.append({"out": [b"one"]}))
    assert service.oldest_received_at("out") == pytest.approx(1000.5, abs=0.001)
    setup.stop(service)


def test_a_queue_without_a_destination_is_an_orphan(setup: Setup) -> None:
    service = setup.started("out", "old", "empty")
    setup.reactor.settle(service.append({"old": [b"one"]}))
    assert service.orphans == []
    setup.stop(service)
    service = setup.started("out")
    assert service.orphans == ["old"]
    setup.stop(service)


def test_a_queue_in_use_refuses_the_start(setup: Setup) -> None:
    service = setup.started()
    with pytest.raises(StartRefused, match="is in use by process"):
        setup.service().startService()
    setup.stop(service)


def test_a_place_that_is_no_place_for_a_queue(setup: Setup) -> None:
    def refuse(path: str) -> None:
        raise StartRefused("on tmpfs")

    service = setup.service()
    service._check_path = refuse
    with pytest.raises(StartRefused, match="on tmpfs"):
        service.startService()
    assert not setup.path.exists()


def test_a_state_directory_that_cannot_be_made(setup: Setup) -> None:
    (setup.folder / "state").write_text("a file")
    with pytest.raises(
        StartRefused, match=r"queue .*/state/queue: .*/state is a file, and has to be a directory"
    ):
        setup.service().startService()


def test_a_failing_commit_is_said_and_tried_again(setup: Setup) -> None:
    service = setup.service()
    service.failed(QueueError("no space left"))
    ((subject, kind, text),) = setup.notices.said
    assert (subject, kind) == ("queue", "commit")
    assert "no space left" in text
    assert f"{setup.folder}/state/queue: " in text
    assert "make room" in text
    assert setup.reactor.stops == 0


def test_when_a_commit_fails_what_is_kept_goes_first(setup: Setup) -> None:
    service = setup.service()
    service.histories = kept("out")
    service.startService()
    for _ in range(2):
        setup.reactor.settle(service.append({"out": [b"x" * 5000]}))
        service.acknowledge("out", service.ledger("out").next_seq)
        setup.reactor.settle(service.append({"out": [b"left"]}))
        assert service.histories.used_bytes > 0
    service.failed(QueueError("mdb_txn_commit: Input/output error"))
    assert service.histories.disk_full
    setup.reactor.settle(service.append({"out": [b"next"]}))
    assert service.histories.used_bytes == 0
    assert service.ledger("out").queued == 2
    setup.stop(service)
    service.failed(QueueError("it is closed"))


def test_what_is_delivered_is_kept_where_that_is_wanted(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = os.statvfs(setup.folder)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)  # which others use, too
    service = setup.service()
    service.histories = kept("out")
    service.startService()
    setup.reactor.settle(service.append({"out": [b"one", b"two"]}))
    free = service.free_bytes
    service.acknowledge("out", 3)
    setup.reactor.settle(service.append({"out": [b"three"]}))
    found = setup.reactor.settle(service.look(partial(read_history, wanted=ReadHistory("out"))))
    assert [record.payload for record in found.records] == [b"one", b"two"]
    assert service.histories.used_bytes == 4096
    assert service.free_bytes > free  # what is kept counts as free
    setup.stop(service)


def test_a_defect_stops_the_relay(setup: Setup) -> None:
    setup.service().failed(ZeroDivisionError())
    assert (setup.reactor.stops, setup.notices.said) == (1, [])


def test_each_queue_has_a_lineage_and_each_start_an_epoch(setup: Setup) -> None:
    service = setup.started("a", "b")
    lineage = service.lineage("a")
    assert lineage is not None and lineage != service.lineage("b")
    setup.reactor.settle(service.append({"a": [b"x"]}))
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
    haves: list[Have] = []

    def claimed() -> Claim:
        claim = service.lineages.claim(
            offer, None, granted=lambda _, have: haves.append(have), lost=lambda: None
        )
        assert claim is not None
        return claim

    setup.reactor.settle(service.append({"out": [b"x", b"y"]}, positions=claimed().take(2)))
    setup.stop(service)
    service = setup.started()
    claimed()
    assert haves == [(0, "0" * 16), (2, offer.epoch)]
    setup.stop(service)


# Limits.


def test_what_has_left_undelivered_is_told_to_whom_it_concerns(setup: Setup) -> None:
    dropped: list[tuple[int, str]] = []
    service = setup.service()
    service._limits = {
        "out": QueueLimit(destination="out", on_drop=lambda *drop: dropped.append(drop))
    }
    service.startService()
    evicted: list[tuple[int, str]] = []
    service.subscribe("out", lambda seq: None, lambda *gone: evicted.append(gone))
    setup.reactor.settle(service.append({"out": [b"one", b"two"]}))
    service.expire("out", setup.reactor.seconds() + 1)
    service.expire("out", setup.reactor.seconds() + 1)
    setup.reactor.settle(service.append({"out": [b"three"]}))
    assert (evicted[0], dropped[0]) == ((3, "too-old"), (2, "too-old"))
    service.acknowledge_late("out", 1, "too-old")
    setup.stop(service)
    service = setup.started()
    ledger = service.ledger("out")
    assert (ledger.delivered, ledger.received, ledger.gap) == (1, 3, 0)
    setup.stop(service)


def test_the_file_its_use_and_the_room_for_it(setup: Setup) -> None:
    service = setup.started()
    setup.reactor.settle(service.append({"out": [b"x" * 100_000]}))
    assert 100_000 < service.used_bytes < service.allocated_bytes
    free = os.statvfs(setup.path)
    # Others use the disk too: only a rough comparison holds.
    assert service.free_bytes > 0
    assert service.free_bytes < free.f_blocks * free.f_frsize + service.allocated_bytes
    assert service.limit("out") is None
    setup.stop(service)


def test_a_map_smaller_than_what_is_there_still_lets_it_leave(setup: Setup) -> None:
    service = setup.started()
    setup.reactor.settle(service.append({"out": [b"x" * 100_000] * 50}))
    setup.stop(service)
    service = setup.service()
    service._map_bytes = 65536
    service.startService()
    setup.reactor.settle(service.append({"out": [b"x" * 100_000] * 50}))
    service.acknowledge("out", 101)
    setup.stop(service)
    service = setup.started()
    ledger = service.ledger("out")
    assert (ledger.delivered, ledger.queued) == (100, 0)
    setup.stop(service)


def test_a_destination_with_two_lanes_has_two_queues_and_no_lineage(setup: Setup) -> None:
    service = setup.started("a", "b")
    before = service.lineage("b")
    setup.stop(service)
    service = setup.started("a", "b", lanes=["b"])
    assert service.lineage("a") is not None
    assert service.lineage("b") is None
    service.lane_queues.direct("b", older="b", newer="lane/b")
    setup.reactor.settle(service.append({"a": [b"1"], "b": [b"2"]}))
    assert [service.ledger(id).queued for id in ("a", "b", "lane/b")] == [1, 0, 1]
    assert service.orphans == []
    setup.stop(service)
    service = setup.started("a", "b")
    again = service.lineage("b")
    assert before is not None and again is not None and again.id != before.id
    assert service.orphans == ["lane/b"]
    setup.stop(service)
