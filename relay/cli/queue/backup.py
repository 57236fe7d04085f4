"""`syslogrelay queue backup` and `queue restore`: all queues in one consistent copy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from relay import SOFTWARE
from relay.cli.control_client import AskFailed
from relay.cli.output import give_up
from relay.cli.queue.access import Access, accounts, opened, stopped
from relay.cli.queue.changes import check_all
from relay.cli.where import Where, where_options
from relay.model.text import counted, size
from relay.queue.backup.restoring import restore_queue
from relay.queue.backup.writing import BackupNote, BackupWriter, Course, Pace, place_for, write_note
from relay.queue.inspect.copying import CopyPage
from relay.service.queue.state_dir import running_relay

_RATE_MIB = 32.0


@click.command()
@where_options
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--rate",
    default=_RATE_MIB,
    show_default=True,
    type=click.FloatRange(0, 10_000),
    help="MiB a second to copy at most, so that commits stay fast; 0 = no limit.  What comes "
    "while the rest is copied is copied without a limit.",
)
def backup(where: Where, directory: Path, rate: float) -> None:
    """Write all queues, quarantines, histories and positions to a new DIRECTORY.

    A running relay continues; the copy is what one moment had.  It is synced and every checksum
    is verified before DIRECTORY has its name; until then it is DIRECTORY.partial.  Messages in it
    are not encrypted, and tokens in them are readable: keep it as safe as the queue.

    Status 1: the backup is complete, but damaged blocks are in the queue and so in the backup.
    """
    path = str(directory)
    with opened(where) as access:
        used = access.used_bytes
        with place_for(path, used + used // 8) as place:
            writer = BackupWriter(place.folder, used)
            try:
                pace = Pace(rate * 2**20, time.monotonic, time.sleep)
                count = _copy_all(access, writer, Course(used, pace))
                at = time.time()
                writer.finish()
            finally:
                writer.close()
            place.unlock()
            records, damage = _read_back(place.folder)
            note = BackupNote(at, where.state_dir, SOFTWARE, records, writer.unreadable)
            write_note(place.folder, note)
    click.echo(f"{path}: {_contents(note)}, {size(count)}, verified")
    _tell_damage(path, [*note.unreadable, *damage])


def _tell_damage(path: str, lines: Sequence[str]) -> None:
    """Say what is damaged, and end with status 1 if anything is."""
    for line in lines:
        click.echo(f"{path}: {line}", err=True)
    if lines:
        click.echo(f"{path}: damaged blocks are set aside when their turn comes", err=True)
        raise SystemExit(1)


def _copy_all(access: Access, writer: BackupWriter, course: Course) -> int:
    """Copy until all is there; return about how many bytes."""
    while True:
        try:
            page = access.ask("queue-copy", CopyPage, writer.wanted(course.step_bytes))
        except AskFailed as error:  # it was stopped, for example
            raise AskFailed(f"the backup is not complete and was removed: {error}") from error
        count, is_complete = writer.write(page)
        if is_complete:
            return course.copied_bytes + count
        course.step(count)


def _read_back(folder: str) -> tuple[dict[str, int], list[str]]:
    """How many records wait in each queue of a backup, and damage of its blocks."""
    damage: list[str] = []
    with stopped(folder) as access:
        known = accounts(access)
        for id, account in known.items():
            damage += check_all(access, id, checksums=True).problems
            if account.history_since is not None:
                history = check_all(access, id, checksums=True, command="history-check")
                damage += history.problems
    return {id: account.queued for id, account in known.items()}, damage


@click.command()
@where_options
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def restore(where: Where, directory: Path) -> None:
    """Make the queues of a state directory from the backup in DIRECTORY, while no relay runs.

    Refuses a state directory that has a queue.  Messages that were delivered after the backup
    was made are in it, and may be sent once more: a relay that receives over relp:// refuses
    those that it knows, unless it has newer ones of this relay, others cannot tell.
    """
    if pid := running_relay(where.state_dir):
        give_up(
            f"a relay (process {pid}) runs with state directory {where.state_dir}; stop it, and "
            "move its queue away, or restore into another directory"
        )
    restored = restore_queue(str(directory), where.queue_path)
    _, damage = _read_back(
        str(directory)
    )  # of messages, which is no reason to keep the others back
    click.echo(f"{where.queue_path}: {_contents(restored.note)}, {size(restored.size)}, verified")
    click.echo(f"messages delivered since {_stamp(restored.note)} may be sent once more")
    _tell_damage(where.queue_path, damage)


def _contents(note: BackupNote) -> str:
    queues = ", ".join(f"{count:,} in {id}" for id, count in note.records.items() if count)
    total = counted(sum(note.records.values()), "record")
    return f"backup of {_stamp(note)}: {total} queued{f' ({queues})' if queues else ''}"


def _stamp(note: BackupNote) -> str:
    return f"{datetime.fromtimestamp(note.made_at, UTC):%Y-%m-%d %H:%M:%S} UTC"
