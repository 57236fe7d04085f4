"""What drains in tests need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relay.flow.drain import Drain, DrainEvents
from relay.flow.pacing import Allowance, Pacing, Window
from relay.flow.refusals import Refusals
from relay.model.clock import Clock
from relay.queue.cursor import Cursor
from relay.queue.ledger import Ledger

__all__ = ["new_drain", "new_refusals"]


def new_refusals(refusals_max: int) -> Refusals:
    """Those of an upstream that nobody is told of."""
    return Refusals(
        refusals_max, now=lambda: 0.0, on_held=lambda text: None, on_taken=lambda text: None
    )


def new_drain(
    queue_id: str,
    *,
    cursor: Cursor,
    queue: Any,
    begins: int,
    ends: int,
    clock: Clock,
    refusals: Refusals | None = None,
    window: Window | None = None,
    pace: Pacing | None = None,
    on_progress: Callable[[], None] = lambda: None,
    on_trouble: Callable[[str], None] = lambda text: None,
    on_session: Callable[[], None] = lambda: None,
) -> Drain:
    """The drain of a queue with the records from `begins` to before `ends`."""
    return Drain(
        queue_id,
        cursor=cursor,
        queue=queue,
        ledger=Ledger(acknowledged_seq=begins, next_seq=ends),
        allowance=Allowance(refusals or new_refusals(3), window=window, pace=pace),
        clock=clock,
        events=DrainEvents(on_progress, on_trouble, on_session),
    )
