"""Messages that the relay gave up when it stopped: noted then, counted by the next start."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.logger import Logger

from relay.model.clock import Now
from relay.model.errors import QueueError
from relay.model.text import counted
from relay.queue.files.given_up import COUNTED, GivenUp
from relay.queue.pending import NOT_STORED
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction, destination_of, is_of_source

__all__ = ["count_given_up", "note_given_up"]


def note_given_up(lost: Mapping[str, int], path: str, log: Logger) -> None:
    """Note in the directory `path` of the queue that these messages are lost, by account."""
    kept = "the next start counts them"
    try:
        GivenUp(path).write(lost)
    except OSError as error:
        kept = f"that cannot be noted for the next start: {error.strerror}"
    log.critical(
        "queue: gave up {what}, because nothing could be stored; {kept}",
        what=_in_words(lost),
        kept=kept,
    )


def count_given_up(store: QueueStore, path: str, *, now: Now, log: Logger) -> None:
    """Count the messages that the last stop gave up in the accounts of `store`."""
    given_up = GivenUp(path)
    note = given_up.read()
    if note is not None and store.positions(COUNTED).get("last") != note.id.encode():
        known = {id: count for id, count in note.lost.items() if id in store.ledgers}
        transaction = Transaction(
            now(),
            drops={id: {NOT_STORED: count} for id, count in known.items()},
            positions={f"{COUNTED}/last": note.id.encode()},
        )
        what = _in_words(note.lost)
        try:
            store.commit(transaction)
        except QueueError as error:
            log.warn(
                "the last stop gave up {what}; not counted yet: {error}", what=what, error=error
            )
            return
        log.warn("the last stop gave up {what}", what=what)
    given_up.clear()


def _in_words(lost: Mapping[str, int]) -> str:
    """Messages by account, as in ``30,226 messages for central (not-stored)``."""
    parts = [
        f"{counted(count, 'message')} "
        + (f"of {id.partition('/')[2]}" if is_of_source(id) else f"for {destination_of(id)}")
        for id, count in sorted(lost.items())
    ]
    return ", ".join(parts) + f" ({NOT_STORED})"
