from __future__ import annotations

from twisted.logger import Logger, capturedLogs, formatEvent

from relay.queue.ledger import Ledger
from relay.queue.repair.replace import Recovery
from relay.queue.repair.salvage import Salvaged
from relay.service.queue.service import log_queues, log_recovery

LOG = Logger(namespace="test")


def test_queues_are_named_with_what_waits_in_them() -> None:
    ledgers = {
        "old": Ledger(next_seq=9, acknowledged_seq=8, delivered=7),
        "a": Ledger(next_seq=5, acknowledged_seq=2, delivered=1),
        "empty": Ledger(next_seq=5, acknowledged_seq=5, delivered=4),
    }
    with capturedLogs() as events:
        log_queues(ledgers, {"a", "empty"}, LOG)
    assert [formatEvent(event) for event in events] == [
        "queue of a: 3 records, numbers 2 to 4",
        "queue of old: 1 record, number 8, which is not in the configuration",
    ]


def test_what_could_be_saved_is_said_and_what_could_not() -> None:
    salvaged = Salvaged(records=5, unreadable_records=2, lost_ledgers=["a"], may_lack_more=True)
    recovery = Recovery("queue/damaged-1.mdb", ["page 7 is noise", "page 9 too"], salvaged)
    with capturedLogs() as events:
        log_recovery(recovery, "queue", LOG)
    assert [formatEvent(event) for event in events] == [
        "queue queue was damaged: page 7 is noise and 1 more; 5 records could be read, 2 set "
        "aside unread, the counts of a begin anew, there may have been more; the file is kept as "
        "queue/damaged-1.mdb: look at the disk"
    ]
