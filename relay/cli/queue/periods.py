"""Times on the command line, and the records that they select."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import update_wrapper

import click
import msgspec

from relay.model.text import seconds_in
from relay.queue.inspect.queries import Period


class Chosen(msgspec.Struct):
    """The records that a command reads."""

    period: Period
    history: bool
    """Delivered records instead of queued ones."""


def instant(text: str, option: str, *, now: float) -> float:
    """Seconds since 1970-01-01 UTC of a stamp (RFC 3339, or less of it), or of an age.

    A stamp without a zone is in that of this host.

    Raises:
        ValueError: It is neither; the text names `option`.
    """
    try:
        return now - seconds_in(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{option}: {text!r} is no time such as 2026-10-01T22:00:00Z or 2026-10-01, and no age "
            "such as 2h or 30m"
        ) from None


def period_of(since: str | None, until: str | None, *, by_receipt: bool = False) -> Period:
    """The period between two times as they were written.

    Raises:
        click.UsageError: One of them is no time, or nothing can be between them.
    """
    now = time.time()
    try:
        period = Period(
            0.0 if since is None else instant(since, "--since", now=now),
            0.0 if until is None else instant(until, "--until", now=now),
            by_receipt,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if period.to and period.to <= period.since:
        raise click.UsageError("--until is not after --since, so nothing can be between them")
    return period


_OPTIONS = (  # the last one is applied first, and comes first in the help
    click.option("--received", is_flag=True, help="With --history, times are those of receipt."),
    click.option(
        "--history",
        is_flag=True,
        help="Delivered records; --since and --until are times of delivery.",
    ),
    click.option("--until", metavar="TIME", help="Before this."),
    click.option(
        "--since",
        metavar="TIME",
        help="Received at or after this: 2026-10-01T22:00:00Z, or an age such as 2h.",
    ),
)


def period_options(command: Callable[..., object]) -> Callable[..., object]:
    """Give `command` options for a period and the history, as the argument `chosen`."""

    def with_period(
        *, since: str | None, until: str | None, history: bool, received: bool, **arguments: object
    ) -> object:
        period = period_of(since, until, by_receipt=received)
        return command(chosen=Chosen(period, history), **arguments)

    update_wrapper(with_period, command)  # with its options: click keeps them in __dict__
    for option in _OPTIONS:
        with_period = option(with_period)
    return with_period
