"""`syslogrelay queue`: commands that change queues or verify their blocks."""

from __future__ import annotations

import click
import msgspec

from relay.cli.control_client import AskFailed, NoRelay, ask
from relay.cli.output import give_up
from relay.cli.queue.access import Access, accounts, opened, pages
from relay.cli.support.known_ids import completing
from relay.cli.where import Where, where_options
from relay.model.errors import QueueError
from relay.model.text import counted, printable, size
from relay.queue.changes import OPERATOR
from relay.queue.compaction.offline import compact_queue
from relay.queue.inspect.commands import Adopt, Adopted, Purge
from relay.queue.inspect.queries import Check, Checked
from relay.service.destinations.commands import SomeDestination, SomeDestinations
from relay.service.queue.commands import Purged
from relay.service.queue.compaction import Compact, Compacted


@click.command()
@where_options
@click.argument("destination", shell_complete=completing("destinations"))
@click.option("--yes", is_flag=True, help="Required: purged records cannot be restored.")
@click.option(
    "--reason",
    default=OPERATOR,
    show_default=True,
    help="Reason under which the records are counted.",
)
def purge(where: Where, destination: str, yes: bool, reason: str) -> None:
    """Drop all queued records of DESTINATION (or of an orphan).

    Records in flight to an upstream that does not answer are dropped too, although it
    may have received them; the connection is closed.
    """
    records, upto = 0, 0
    with opened(where) as access:
        known = accounts(access)
        if destination not in known:
            queues = ", ".join(known) or "none"
            raise AskFailed(f"no queue {destination!r}; queues: {queues}")
        if not yes:
            waiting = counted(known[destination].queued, "record")
            give_up(f"this drops all queued records of {destination}, {waiting}: add --yes")
        while True:
            wanted = Purge(destination, upto=upto, reason=reason)
            done = access.ask("queue-purge", Purged, wanted)
            records, upto = records + done.records, done.upto
            if not done.left:
                break
            click.echo(f"{done.left:,} to go", err=True)
    click.echo(f"{counted(records, 'record')} dropped ({reason})")


@click.command()
@where_options
@click.argument("orphan", shell_complete=completing("orphans"))
@click.argument("destination", shell_complete=completing("destinations"))
def adopt(where: Where, orphan: str, destination: str) -> None:
    """Move all records of ORPHAN's queue to the end of DESTINATION's.

    After an interruption each record is in exactly one of the queues; run the command
    again to continue.  It stops at the limit of DESTINATION's queue, unless that drops
    its oldest records.
    """
    records = set_aside = 0
    with opened(where) as access:
        while True:
            try:
                done = access.ask("queue-adopt", Adopted, Adopt(orphan, destination))
            except (AskFailed, QueueError) as error:
                if records:
                    click.echo(_moved(records, orphan, destination))
                give_up(str(error))
            records, set_aside = records + done.records, set_aside + done.set_aside
            if not done.left:
                break
            click.echo(f"{done.left:,} to go", err=True)
    click.echo(_moved(records, orphan, destination))
    if set_aside:
        click.echo(f"{set_aside:,} in damaged blocks went to the quarantine of {orphan}")


def _moved(records: int, orphan: str, destination: str) -> str:
    return f"{counted(records, 'record')} moved from {orphan} to {destination}"


@click.command()
@where_options
@click.argument("destination", required=False, shell_complete=completing("destinations"))
def verify(where: Where, destination: str | None) -> None:
    """Read every block of one queue or of all, including histories, and report damage.

    Changes nothing.  Status 1 if there is damage.
    """
    damaged = False
    with opened(where) as access:
        known = accounts(access)
        for id in known if destination is None else [destination]:
            damaged |= _verify(id, check_all(access, id, checksums=True))
            if known[id].history_since is not None:
                checked = check_all(access, id, checksums=True, command="history-check")
                damaged |= _verify(f"history of {id}", checked)
    raise SystemExit(1 if damaged else 0)


def _verify(what: str, checked: Checked) -> bool:
    """Print the result.  Returns whether there is damage."""
    outcome = "damaged" if checked.problems else "whole"
    click.echo(
        f"{what}: {outcome}: {counted(checked.records, 'record')} "
        f"in {counted(checked.blocks, 'block')} of {size(checked.size)}"
    )
    for problem in checked.problems:
        click.echo(f"{what}: {problem}")
    return bool(checked.problems)


def check_all(access: Access, id: str, *, checksums: bool, command: str = "queue-check") -> Checked:
    """All pages of the check of a queue, or of a history, as one."""
    whole = Checked()
    for page in pages(access, command, Checked, Check(id, checksums=checksums)):
        whole.blocks += page.blocks
        whole.records += page.records
        whole.size += page.size
        whole.problems = whole.problems + page.problems
    return whole


@click.command()
@where_options
def compact(where: Where) -> None:
    """Return free pages of the queue's file to the file system.

    A running relay continues meanwhile.  Needs room for a second copy of the data in use;
    the copy replaces the file atomically.
    """
    try:
        before, after = _compact_live(where.state_dir)
    except NoRelay:
        before, after = compact_queue(where.queue_path)
    click.echo(f"{where.queue_path}: {size(before)} before, {size(after)} now")


def _compact_live(state_dir: str) -> tuple[int, int]:
    """Bytes that the file took on the disk before, and takes now."""
    done = Compacted(0, False, 0)
    while not done.is_over:
        wanted = msgspec.to_builtins(Compact(done.number))
        done = msgspec.convert(ask(state_dir, "queue-compact", wanted), type=Compacted)
    if done.error:
        raise AskFailed(f"not compacted: {done.error}")
    return done.bytes_before, done.bytes_after


@click.command()
@where_options
@click.argument("destination", shell_complete=completing("destinations"))
def pause(where: Where, destination: str) -> None:
    """Stop sending to DESTINATION.

    Its queue grows until `resume`; a restart of the relay does not end the pause.
    """
    with opened(where) as access:
        access.ask("pause", type(None), SomeDestination(destination))
    click.echo(f"{destination}: paused, until `syslogrelay resume {destination}`")


@click.command()
@where_options
@click.argument("destination", shell_complete=completing("destinations"))
def resume(where: Where, destination: str) -> None:
    """Send to DESTINATION again after `pause`, and connect to it at once."""
    with opened(where) as access:
        access.ask("resume", type(None), SomeDestination(destination))
    click.echo(f"{destination}: resumed")


@click.command()
@where_options
@click.argument("destination", required=False, shell_complete=completing("destinations"))
def connect(where: Where, destination: str | None) -> None:
    """Connect to DESTINATION now instead of at the next retry; without DESTINATION, to all.

    Existing connections, and those being opened, are left alone.
    """
    with opened(where) as access:
        states = access.ask("connect", dict[str, str], SomeDestinations(destination or ""))
    for id, state in states.items():
        click.echo(f"{id}: {printable(state, length_max=None)}")
