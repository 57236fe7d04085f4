from __future__ import annotations

from functools import partial

import pytest
from twisted.logger import LogLevel, capturedLogs, formatEvent

from relay.model.errors import QueueError
from relay.queue.inspect.queries import Read, read
from relay.queue.repair.verify import verify
from relay.queue.repair.verify_lazily import FileDamaged
from tests.queue_files import kept, make_long_queue
from tests.queue_service import Setup


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
            error = setup.reactor.settle(service.view.look(reading))
            assert isinstance(error, FileDamaged), error
        setup.reactor.run_handed_over()
    (event,) = [event for event in events if event["log_level"] == LogLevel.critical]
    assert f"page {leaf}: " in formatEvent(event)
    assert setup.reactor.stops == 1
    setup.stop(service)
    service = setup.started()
    assert service.view.ledger("out").queued == 12_000
    assert len(service.view.damaged_files) == 1
    setup.stop(service)


def test_a_failing_commit_is_said_and_tried_again(setup: Setup) -> None:
    service = setup.service()
    service.failures.failed(QueueError("no space left"))
    ((subject, kind, text),) = setup.notices.said
    assert (subject, kind) == ("queue", "commit")
    assert "no space left" in text
    assert f"{setup.folder}/state/queue: " in text
    assert "make room" in text
    assert setup.reactor.stops == 0


def test_when_a_commit_fails_what_is_kept_goes_first(setup: Setup) -> None:
    setup.histories = kept("out")
    service = setup.service()
    service.startService()
    for _ in range(2):
        setup.commit(service, {"out": [b"x" * 5000]})
        service.committer.acknowledge("out", service.view.ledger("out").next_seq)
        setup.commit(service, {"out": [b"left"]})
        assert service.histories.used_bytes > 0
    service.failures.failed(QueueError("mdb_txn_commit: Input/output error"))
    assert service.histories.disk_full
    setup.commit(service, {"out": [b"next"]})
    assert service.histories.used_bytes == 0
    assert service.view.ledger("out").queued == 2
    setup.stop(service)
    service.failures.failed(QueueError("it is closed"))


def test_a_defect_stops_the_relay(setup: Setup) -> None:
    setup.service().failures.failed(ZeroDivisionError())
    assert (setup.reactor.stops, setup.notices.said) == (1, [])
