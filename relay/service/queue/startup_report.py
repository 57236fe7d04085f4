"""Log messages about the queue found at startup."""

from __future__ import annotations

from collections.abc import Container, Mapping

from twisted.logger import Logger

from relay.model.text import counted, span
from relay.queue.ledger import Ledger
from relay.queue.repair.replace import Recovery

__all__ = ["log_queues", "log_recovery"]


def log_recovery(recovery: Recovery, path: str, log: Logger) -> None:
    """Log that the queue in directory `path` was damaged, and what could be salvaged."""
    salvaged = recovery.salvaged
    lost = [f"the counts of {id} begin anew" for id in salvaged.lost_ledgers]
    if salvaged.may_lack_more:
        lost.append("there may have been more")
    log.critical(
        "queue {path} was damaged: {problem}{more}; {records} could be read, "
        "{unreadable} set aside unread{lost}; the file is kept as {kept}: look at the "
        "disk",
        path=path,
        problem=recovery.problems[0],
        more=f" and {len(recovery.problems) - 1} more" if recovery.problems[1:] else "",
        records=counted(salvaged.records, "record"),
        unreadable=salvaged.unreadable_records,
        lost="".join(f", {words}" for words in lost),
        kept=recovery.kept_as,
    )


def log_queues(ledgers: Mapping[str, Ledger], configured: Container[str], log: Logger) -> None:
    """Log how many records wait in each queue.

    Args:
        configured: Accounts of configured destinations; the others are orphans.
    """
    for id, ledger in sorted(ledgers.items()):
        if ledger.queued:
            log.info(
                "queue of {id}: {records}, {numbers}{orphan}",
                records=counted(ledger.queued, "record"),
                id=id,
                numbers=span("number", ledger.acknowledged_seq, ledger.next_seq - 1),
                orphan="" if id in configured else ", which is not in the configuration",
            )
