"""`syslogrelay queue replay` and `requeue`: send messages again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import IO

import click
from msgspec.structs import replace

from relay.cli.control_client import AskFailed
from relay.cli.output import give_up
from relay.cli.queue.access import Access, accounts, opened, stamp
from relay.cli.queue.periods import period_of
from relay.cli.queue.quarantine import in_steps, say_moved
from relay.cli.support.known_ids import completing
from relay.cli.where import Where, where_options
from relay.model.errors import FramingError, QueueError
from relay.model.text import counted
from relay.queue.inspect.commands import Replayed, ReplayHistory, ReplayQuarantined
from relay.queue.inspect.queries import Period
from relay.queue.transaction import account_of_lane
from relay.service.destinations.commands import SomeDestination
from relay.service.queue.commands import AppendTo
from relay.wire.framing.file_frames import counted_frames_in, lines_in

_FRAME_BYTES_MAX = 16 * 1024 * 1024  # what frame_bytes_max can be
_BATCH_RECORDS, _BATCH_BYTES = 1000, 256 * 1024
_WAIT_SECONDS = 1.0


@click.command()
@where_options
@click.argument("what", metavar="DESTINATION|FILE")
@click.option(
    "--since", metavar="TIME", help="Delivered at or after this: a stamp, or an age such as 2h."
)
@click.option("--until", metavar="TIME", help="Delivered before this.")
@click.option(
    "--to", metavar="DESTINATION", help="Destination whose queue receives the messages of FILE."
)
@click.option(
    "--from",
    "origin",
    metavar="DESTINATION",
    help="Destination whose history is read; default: its own.",
)
@click.option("--received", is_flag=True, help="Times are those of receipt.")
@click.option("--lines", is_flag=True, help="FILE has one message a line.")
def replay(
    where: Where,
    what: str,
    since: str | None,
    until: str | None,
    to: str | None,
    origin: str | None,
    received: bool,
    lines: bool,
) -> None:
    """Append messages to a queue: delivered ones, or those in a file.

    DESTINATION --since TIME [--until TIME] sends messages of its history again, which a
    destination with `history = "6h"` keeps.  Times are stamps such as
    2026-10-01T22:00:00Z, or ages such as 2h.  While the queue is full, the command waits
    for room.

    FILE --to DESTINATION sends the output of `queue export` (- is standard input).
    Messages are counted once they are on disk; after an error, the counted ones are in
    the queue.
    """
    if since is not None:
        if lines or to is not None:
            raise click.UsageError(
                "--to and --lines are for files, --since is for delivered messages"
            )
        period = period_of(since, until, by_receipt=received)
        _replay_history(where, origin or what, what, period)
        return
    if origin is not None or until is not None or received:
        raise click.UsageError("to send delivered messages again, add --since")
    if to is None:
        raise click.UsageError(
            "add --since TIME for delivered messages of DESTINATION, or --to DESTINATION for a file"
        )
    try:
        file = click.open_file(what, "rb")
    except OSError as error:
        give_up(f"{what}: {error.strerror}")
    with file:
        _replay_file(where, file, to, lines)


def _again(count: int, noun: str, to: str) -> str:
    return f"{counted(count, noun)} {'is' if count == 1 else 'are'} in the queue of {to} again"


def _replay_history(where: Where, origin: str, to: str, period: Period) -> None:
    done = Replayed()
    try:
        with opened(where) as access:
            lane = account_of_lane(origin)
            second = accounts(access).get(lane)
            for queue in (origin, lane) if second and second.history_bytes else (origin,):
                _replay_one(access, queue, to, period, done)
    except (AskFailed, QueueError, KeyboardInterrupt):
        if done.records:
            click.echo(_again(done.records, "message", to))
        raise
    click.echo(_again(done.records, "message", to))
    if done.damaged:
        click.echo(f"{done.damaged:,} cannot be read and are not among them", err=True)
    if done.gone:
        click.echo(
            f"up to {done.gone:,} are not among them: they left the history meanwhile, to make "
            "room for new records",
            err=True,
        )
    raise SystemExit(1 if done.damaged or done.gone else 0)


def _replay_one(access: Access, queue: str, to: str, period: Period, done: Replayed) -> None:
    wanted = ReplayHistory(queue, to, period)
    begun, said = False, ""
    while True:
        step = access.ask("history-replay", Replayed, wanted)
        has_begun = step.begins_at is not None or not step.waits
        if has_begun and not begun:
            _say_beginning(queue, period, step.begins_at)
        begun = begun or has_begun
        done.records += step.records
        done.damaged += step.damaged
        done.gone += step.gone
        wanted = replace(wanted, start=step.next_seq, upto=step.upto)
        if step.waits:
            if step.waits != said:
                click.echo(f"{step.waits}: waiting; {done.records:,} so far", err=True)
            said = step.waits
            time.sleep(_WAIT_SECONDS)
        elif not step.next_seq:
            return


def _say_beginning(origin: str, period: Period, begins_at: float | None) -> None:
    """Warn if the history does not reach back as far as requested."""
    if begins_at is None:
        click.echo(f"the history of {origin} is empty", err=True)
    elif period.since < begins_at and not period.by_receipt:
        click.echo(f"the history of {origin} begins with {stamp(begins_at)}", err=True)


def _replay_file(where: Where, file: IO[bytes], to: str, lines: bool) -> None:
    stored = 0
    with opened(where) as access:
        try:
            for batch in _messages(file, lines):
                stored += access.ask("queue-append", int, AppendTo(to, batch))
        except (OSError, ValueError, AskFailed, QueueError) as error:
            if stored:
                click.echo(_stored(stored, to))
            about = "" if isinstance(error, AskFailed | QueueError) else f"{file.name}: "
            give_up(f"{about}{error.strerror if isinstance(error, OSError) else error}")
    click.echo(_stored(stored, to))


def _stored(count: int, to: str) -> str:
    return f"{counted(count, 'message')} went into the queue of {to}"


def _messages(file: IO[bytes], lines: bool) -> Iterator[list[bytes]]:
    """The messages of the file, in batches of moderate size."""
    batch: list[bytes] = []
    size = 0
    problem: Exception | None = None
    try:
        for frame in (lines_in if lines else counted_frames_in)(file, _FRAME_BYTES_MAX):
            batch.append(frame)
            size += len(frame)
            if len(batch) == _BATCH_RECORDS or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
    except FramingError as error:
        problem = ValueError(f"{error}; is it one message a line (--lines)?")
    except OSError as error:
        problem = error
    if batch:  # also those before an error
        yield batch
    if problem is not None:
        raise problem


@click.command()
@where_options
@click.argument("destination", shell_complete=completing("destinations"))
@click.argument("seqs", type=int, nargs=-1, metavar="[SEQ]...")
def requeue(where: Where, destination: str, seqs: tuple[int, ...]) -> None:
    """Retry the records that DESTINATION has not accepted.

    With numbers: moves these entries of its quarantine to the end of its queue.
    Without: moves all entries, and sends the records in flight again over a new
    connection, after closing the present one.  The upstream may have received some of
    these already; another syslogrelay detects that, others receive duplicates.
    """
    with opened(where) as access:
        wanted = ReplayQuarantined(destination, destination, seqs)
        again = 0 if seqs else access.ask("requeue", int, SomeDestination(destination))
        done = in_steps(access, "quarantine-replay", wanted)
    say_moved(done, f"from the quarantine to {destination}")
    if not seqs:
        click.echo(f"{counted(again, 'record')} in flight: sent again")
