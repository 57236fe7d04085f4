"""`syslogrelay quarantine`: list, show, replay and purge quarantined messages."""

from __future__ import annotations

import click
import msgspec
from msgspec.structs import replace

from relay.cli.control_client import AskFailed
from relay.cli.groups import Commands
from relay.cli.output import binary_output, give_up, print_document
from relay.cli.queue.access import Access, accounts, key_and_text, opened, pages, stamp, text_of
from relay.cli.screen import Screen, Table
from relay.cli.support.known_ids import completing
from relay.cli.where import Where, where_options
from relay.model.errors import QueueError
from relay.model.text import counted, size
from relay.queue.changes import OPERATOR
from relay.queue.inspect.commands import PurgeQuarantined, ReplayQuarantined, TakenOut
from relay.queue.inspect.queries import Entry, EntryPage, ReadEntries, Tally
from relay.queue.quarantine import DAMAGED
from relay.queue.transaction import destination_of, is_of_source
from relay.rewrite.forms.record_key import split_key

_PREVIEW_BYTES = 200
_WHOLE_BYTES = 32 * 1024 * 1024


@click.group(cls=Commands)
def quarantine() -> None:
    """Show, replay or purge quarantined messages.

    ID is that of a destination, or `source/ID` for the quarantine of a source.

    Status 0: success.  2: failure; standard error gives the reason.
    """


@quarantine.command()
@where_options
@click.argument("id", required=False, shell_complete=completing("sources", "destinations"))
@click.option("--json", "as_json", is_flag=True, help="JSON: one document, or one entry per line.")
def ls(where: Where, id: str | None, as_json: bool) -> None:
    """List the quarantines, or the entries of one."""
    with opened(where) as access:
        if id is None:
            _list_accounts(access, as_json)
        else:
            _list_entries(where, access, id, as_json)


def _list_accounts(access: Access, as_json: bool) -> None:
    rows = []
    for account in accounts(access, sources=True).values():
        if account.quarantined:
            oldest = access.ask("quarantine-read", EntryPage, ReadEntries(account.id, 0, 1, 0))
            rows.append((account, oldest.entries[0] if oldest.entries else None))
    if as_json:
        found = [
            {"id": each.id, "records": each.quarantined, "bytes": each.quarantine_bytes}
            for each, _ in rows
        ]
        print_document(found)
        return
    screen = Screen.of_output()
    if not rows:
        screen.say("nothing is in quarantine")
        return
    table = Table("quarantine", "oldest", "records", "bytes", texts=2)
    for account, entry in rows:
        oldest_at = "-" if entry is None else stamp(entry.at)
        numbers = (f"{account.quarantined:,}", size(account.quarantine_bytes))
        table.add(account.id, oldest_at, *numbers)
    screen.show(table)
    screen.say()
    for account, entry in rows:
        if entry is not None:
            screen.say(f"its oldest: {_reason(entry)}", about=account.id)


def _list_entries(where: Where, access: Access, id: str, as_json: bool) -> None:
    wanted = ReadEntries(id, payload_bytes_max=_PREVIEW_BYTES)
    found = pages(access, "quarantine-read", EntryPage, wanted)
    for entry in (entry for page in found for entry in page.entries):
        if as_json:
            click.echo(msgspec.json.encode(_document(where, entry)))
            continue
        peer = f" from {entry.peer}" if entry.peer else ""
        click.echo(f"{entry.seq}  {stamp(entry.at)}  {_kind(entry)}{peer}: {_reason(entry)}")
        more = "…" if entry.size > len(entry.payload) else ""
        if entry.kind not in ("block", DAMAGED):
            _, text = key_and_text(entry.payload, where.secrets)
            click.echo(f"    {text}{more}")


@quarantine.command()
@where_options
@click.argument("id", shell_complete=completing("sources", "destinations"))
@click.argument("seq", type=int)
@click.option("--raw", is_flag=True, help="Only its bytes, unchanged, tokens included.")
@click.option("--json", "as_json", is_flag=True)
def show(where: Where, id: str, seq: int, raw: bool, as_json: bool) -> None:
    """Show one entry: its reason and full text.  Tokens are masked."""
    wanted = ReadEntries(id, seq, entries_max=1, payload_bytes_max=_WHOLE_BYTES)
    with opened(where) as access:
        page = access.ask("quarantine-read", EntryPage, wanted)
    if not page.entries or page.entries[0].seq != seq:
        give_up(f"quarantine of {id}: there is no {seq}")
    entry = page.entries[0]
    if raw:
        binary_output().write(split_key(entry.payload)[1])
    elif as_json:
        click.echo(msgspec.json.encode(_document(where, entry)))
    else:
        key, text = key_and_text(entry.payload, where.secrets)
        cut = f", cut from {entry.original_bytes:,}" if entry.original_bytes else ""
        for name, value in (
            ("seq", entry.seq),
            ("set aside", stamp(entry.at)),
            ("reason", _reason(entry)),
            ("what", _kind(entry)),
            ("peer", entry.peer or "-"),
            ("bytes", f"{entry.size:,}{cut}"),
            *key.items(),
        ):
            click.echo(f"{name:>9}  {value}")
        click.echo(f"\n{text}")


@quarantine.command()
@where_options
@click.argument("id", shell_complete=completing("sources", "destinations"))
@click.argument("seqs", type=int, nargs=-1, metavar="[SEQ]...")
@click.option("--all", "everything", is_flag=True, help="All entries that exist now.")
@click.option(
    "--to", metavar="DESTINATION", help="Destination whose queue receives them; default: ID."
)
def replay(where: Where, id: str, seqs: tuple[int, ...], everything: bool, to: str | None) -> None:
    """Send entries again: each becomes a new record at the end of a queue."""
    _check_choice(seqs, everything)
    if to is None:
        if is_of_source(id):
            raise click.UsageError(
                "messages that a source quarantined need a destination: add --to"
            )
        to = destination_of(id)
    with opened(where) as access:
        done = in_steps(access, "quarantine-replay", ReplayQuarantined(id, to, seqs))
    say_moved(done, f"to the queue of {to}")


@quarantine.command()
@where_options
@click.argument("id", shell_complete=completing("sources", "destinations"))
@click.argument("seqs", type=int, nargs=-1, metavar="[SEQ]...")
@click.option("--all", "everything", is_flag=True, help="All entries that exist now.")
@click.option("--yes", is_flag=True, help="Required: purged records cannot be restored.")
def purge(where: Where, id: str, seqs: tuple[int, ...], everything: bool, yes: bool) -> None:
    """Drop entries; they are counted as dropped, under `operator`."""
    _check_choice(seqs, everything)
    with opened(where) as access:
        found = access.ask("quarantine-tally", Tally, ReadEntries(id))  # fails if there is none
        if not yes:
            give_up(
                f"this drops entries of the quarantine of {id}, which holds "
                f"{counted(found.records, 'record')}: add --yes"
            )
        done = in_steps(access, "quarantine-purge", PurgeQuarantined(id, seqs))
    click.echo(f"{counted(done.records, 'record')} dropped ({OPERATOR})")


def in_steps(
    access: Access, command: str, wanted: PurgeQuarantined | ReplayQuarantined
) -> TakenOut:
    """Repeat until all entries that existed at the start are done."""
    if not wanted.seqs and (account := accounts(access, sources=True).get(wanted.account)):
        wanted = replace(wanted, upto=account.next_seq)
    whole = TakenOut()
    try:
        for step in pages(access, command, TakenOut, wanted):
            whole.records += step.records
            whole.skipped += step.skipped
    except (AskFailed, QueueError) as error:
        if not whole.records:
            raise
        give_up(f"{error}; before that: {counted(whole.records, 'record')}")
    return whole


def say_moved(done: TakenOut, where: str) -> None:
    click.echo(f"{counted(done.records, 'record')} moved {where}")
    if done.skipped:
        blocks = counted(done.skipped, "damaged block")
        click.echo(f"not moved, because they cannot be read: {blocks}")


def _check_choice(seqs: tuple[int, ...], everything: bool) -> None:
    if bool(seqs) == everything:
        raise click.UsageError(
            "name the entries: numbers as `quarantine ls ID` shows them, or --all"
        )


def _kind(entry: Entry) -> str:
    if entry.kind == "block":
        return f"damaged block of {counted(entry.records, 'record')}"
    return entry.kind


def _reason(entry: Entry) -> str:
    return text_of(entry.reason.encode(), [])


def _document(where: Where, entry: Entry) -> dict[str, object]:
    names = ("seq", "at", "reason", "kind", "peer", "records", "size", "original_bytes")
    fields = {name: getattr(entry, name) for name in names}
    key, text = key_and_text(entry.payload, where.secrets)
    return {**fields, "at": stamp(entry.at), **key, "payload": text}
