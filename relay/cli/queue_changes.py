"""`syslogrelay queue`: what changes queues, and what checks them block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import click

from relay.cli.queue_access import Access, Where, give_up, opened, where_options
from relay.cli.status import size
from relay.queue.compaction import compact_queue
from relay.queue.inspection import Account, Check, Checked
from relay.queue.operations import Adopted
from relay.queue.transaction import is_of_source
from relay.service.queue_tools import (
    AdoptQueue,
    Appended,
    AppendTo,
    Purged,
    PurgeQueue,
    SomeDestination,
)
from relay.wire.framing import NewlineDecoder, OctetCountingDecoder

__all__ = ["adopt", "compact", "pause", "purge", "replay", "resume", "verify"]

_CHUNK_BYTES = 256 * 1024
_FRAME_BYTES_MAX = 16 * 1024 * 1024  # what frame_bytes_max can be
_BATCH_RECORDS = 1000


@click.command()
@where_options
@click.argument("file", type=click.File("rb"))
@click.option("--to", required=True, metavar="DESTINATION", help="Whose queue gets them.")
@click.option("--lines", is_flag=True, help="FILE has one message a line.")
def replay(where: Where, file: IO[bytes], to: str, lines: bool) -> None:
    """Put the messages in FILE (- is standard input) at the end of a queue.

    FILE is what `queue export` writes.  Each message is on disk when it is
    counted; after an error, the first ones that were counted are there.
    """
    stored = 0
    with opened(where) as access:
        try:
            for batch in _messages(file, lines):
                stored += access.ask("queue-append", Appended, AppendTo(to, batch)).records
        except ValueError as error:
            give_up(f"{file.name}: {error}; {stored:,} messages were stored")
        finally:
            click.echo(f"{stored:,} messages are in the queue of {to}", err=not stored)


def _messages(file: IO[bytes], lines: bool) -> Iterator[list[bytes]]:
    """What is in the file, in batches of moderate size."""
    decoder: NewlineDecoder | OctetCountingDecoder
    if lines:
        decoder = NewlineDecoder(frame_bytes_max=_FRAME_BYTES_MAX)
    else:
        decoder = OctetCountingDecoder(frame_bytes_max=_FRAME_BYTES_MAX)
    ended = False
    while not ended:
        chunk = file.read(_CHUNK_BYTES)
        ended = not chunk
        frames = decoder.feed(chunk) if chunk else decoder.finish()
        for start in range(0, len(frames), _BATCH_RECORDS):
            yield frames[start : start + _BATCH_RECORDS]
        if decoder.error is not None:
            raise ValueError(f"{decoder.error}; is it one message a line (--lines)?")


@click.command()
@where_options
@click.argument("destination")
@click.option("--yes", is_flag=True, help="Needed: what is purged is gone.")
@click.option("--reason", default="purged", show_default=True, help="What it is counted under.")
def purge(where: Where, destination: str, yes: bool, reason: str) -> None:
    """Give up all that waits for DESTINATION (or an orphan) now.

    Records that are with an upstream which does not answer are given up too,
    though it may have them; the connection to it is cut.
    """
    if not yes:
        raise click.UsageError(f"this gives up all that waits for {destination}: say --yes")
    records, upto = 0, 0
    with opened(where) as access:
        while True:
            done = access.ask("queue-purge", Purged, PurgeQueue(destination, upto, reason))
            records, upto = records + done.records, done.upto
            if not done.left:
                break
            click.echo(f"{done.left:,} to go", err=True)
    click.echo(f"{records:,} records were dropped ({reason})")


@click.command()
@where_options
@click.argument("orphan")
@click.argument("destination")
def adopt(where: Where, orphan: str, destination: str) -> None:
    """Move all that waits in ORPHAN's queue to the end of DESTINATION's.

    Whatever interrupts this, each record is in one of them; say it again to go on.
    At the limit of DESTINATION's queue it ends, unless the oldest leave there.
    """
    records = set_aside = 0
    with opened(where) as access:
        try:
            while True:
                done = access.ask("queue-adopt", Adopted, AdoptQueue(orphan, destination))
                records, set_aside = records + done.records, set_aside + done.set_aside
                if not done.left:
                    break
                click.echo(f"{done.left:,} to go", err=True)
        finally:
            click.echo(f"{records:,} records moved from {orphan} to {destination}", err=not records)
    if set_aside:
        click.echo(f"{set_aside:,} in damaged blocks went to the quarantine of {orphan}")


@click.command()
@where_options
@click.argument("destination", required=False)
def verify(where: Where, destination: str | None) -> None:
    """Read every block of one queue or of all, and say which are damaged.

    Changes nothing.  Status 1 if there is damage.
    """
    damaged = False
    with opened(where) as access:
        ids = [destination] if destination else queues_of(access)
        for id in ids:
            checked = check_all(access, id, checksums=True)
            outcome = "damaged" if checked.problems else "whole"
            click.echo(
                f"{id}: {outcome}: {checked.records:,} records "
                f"in {checked.blocks:,} blocks of {size(checked.octets)}"
            )
            for problem in checked.problems:
                click.echo(f"{id}: {problem}")
            damaged = damaged or bool(checked.problems)
    raise SystemExit(1 if damaged else 0)


def queues_of(access: Access) -> list[str]:
    """Ids of all destinations and orphans."""
    accounts = access.ask("queue-accounts", list[Account])
    return [account.id for account in accounts if not is_of_source(account.id)]


def check_all(access: Access, id: str, *, checksums: bool) -> Checked:
    """All pages of the check of a queue, as one."""
    whole = Checked()
    start = 0
    while True:
        page = access.ask("queue-check", Checked, Check(id, start=start, checksums=checksums))
        whole.blocks += page.blocks
        whole.records += page.records
        whole.octets += page.octets
        whole.problems = whole.problems + page.problems
        if not page.next_seq:
            return whole
        start = page.next_seq


@click.command()
@where_options
def compact(where: Where) -> None:
    """Give free pages of the queue's file back to the file system.

    Only while the relay is stopped.  Needs room for a second copy of what is in
    use; the copy takes the place of the file in one step.
    """
    before, after = compact_queue(where.queue_path)
    click.echo(f"{where.queue_path}: {size(before)} before, {size(after)} now")


@click.command()
@where_options
@click.argument("destination")
def pause(where: Where, destination: str) -> None:
    """Send nothing more to DESTINATION.

    Its queue grows meanwhile; `resume` ends that, and so does a restart of the relay.
    """
    with opened(where) as access:
        access.ask("pause", type(None), SomeDestination(destination))
    click.echo(f"{destination}: paused, until `resume` or a restart of the relay")


@click.command()
@where_options
@click.argument("destination")
def resume(where: Where, destination: str) -> None:
    """Send to DESTINATION again after `pause`."""
    with opened(where) as access:
        access.ask("resume", type(None), SomeDestination(destination))
    click.echo(f"{destination}: resumed")
