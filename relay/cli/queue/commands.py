"""`syslogrelay queue`: read queues without changing them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import click
import msgspec

from relay.cli.control_client import ask
from relay.cli.groups import Commands
from relay.cli.output import binary_output, give_up, print_document, wait_while_read
from relay.cli.queue.access import Access, accounts, key_and_text, opened, page_of, records, stamp
from relay.cli.queue.backup import backup, restore
from relay.cli.queue.changes import adopt, compact, purge, verify
from relay.cli.queue.periods import Chosen, period_options
from relay.cli.queue.replay import replay, requeue
from relay.cli.screen import Screen, Table
from relay.cli.support.known_ids import completing
from relay.cli.where import Where, where_options
from relay.model.text import Document, counted, duration, size
from relay.queue.inspect.queries import Record
from relay.queue.transaction import account_of_lane
from relay.rewrite.forms.record_key import split_key
from relay.service.tapping import message_test

_POLL_SECONDS = 0.5
_WORTH_BYTES = 64 * 1024 * 1024  # a smaller file is not worth compacting


@click.group(cls=Commands)
def queue() -> None:
    """Show, export, move or discard queued records.

    Uses the running relay with the state directory.  If none runs, commands that only read
    open the queue's files; no other process may use these meanwhile.

    Status 0: success.  1: `verify` or `export` found damage, or `grep` found nothing.
    2: failure; standard error gives the reason.
    """


@queue.command()
@where_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def ls(where: Where, as_json: bool) -> None:
    """List destinations and orphans with their queued records."""
    with opened(where) as access:
        rows = _queues(where, access)
        used = access.used_bytes
    if as_json:
        print_document(rows)
        return
    columns = ["records", "bytes", "oldest", "quarantined"]
    has_history = any(row["history_bytes"] for row in rows)
    if has_history:
        columns += ["history", "since"]
    table = Table("queue", *columns)
    for row in rows:
        kept = (size(row["history_bytes"]), _age(row["history_seconds"])) if has_history else ()
        table.add(
            row["id"],
            f"{row['records']:,}",
            size(row["bytes"]),
            _age(row["oldest_seconds"]),
            f"{row['quarantined']:,}",
            *kept,
        )
    screen = Screen.of_output()
    screen.show(table)
    screen.say()
    for row in rows:
        screen.say(row["state"], about=row["id"])
    screen.say()
    screen.say(_space(os.path.join(where.queue_path, "data.mdb"), used))


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _space(path: str, used_bytes: int) -> str:
    """The file's size on disk, and how much of it is in use."""
    try:
        on_disk = os.stat(path).st_blocks * 512
    except OSError as error:
        return f"{path}: {error.strerror}"
    text = f"{path} takes {size(on_disk)} on disk, {size(used_bytes)} are in use"
    if on_disk > max(_WORTH_BYTES, 2 * used_bytes):
        text += "; the rest is used again, or `queue compact` gives it back"
    return text


def _queues(where: Where, access: Access) -> list[Document]:
    states: dict[str, str] | None = None
    listed: set[str] = set()  # even if they are empty
    if access.live:
        reports = ask(where.state_dir, "status")["destinations"]
        states = {report["id"]: report["state"] for report in reports}
        for report in reports:
            states |= _states_of_lanes(report.get("lanes") or {})
        listed = set(states)
    elif (ids := where.destinations) is not None:
        states = dict.fromkeys([*ids, *map(account_of_lane, ids)], "the relay is stopped")
        listed = set(ids)
    rows = []
    for account in accounts(access).values():
        state = "the relay is stopped"
        if states is not None:
            state = states.get(account.id, "orphan: no destination of the configuration")
            is_empty = not (account.queued or account.quarantined or account.history_bytes)
            if is_empty and account.id not in listed:
                continue
        rows.append(
            {
                "id": account.id,
                "state": state,
                "records": account.queued,
                "bytes": account.queued_bytes,
                "oldest_seconds": _seconds_since(account.oldest_at),
                "quarantined": account.quarantined,
                "history_bytes": account.history_bytes,
                "history_seconds": _seconds_since(account.history_since),
            }
        )
    return rows


def _states_of_lanes(lanes: Document) -> dict[str, str]:
    """The states of a destination's two queues as in `status`.

    Which is the backlog is decided when a connection begins, so a lane has a name only while
    both are connected or connect.
    """
    are_two = all(lane["state"] != "idle" for lane in lanes.values())
    return {
        lane["queue"]: f"{name}: {lane['state']}" if are_two else lane["state"]
        for name, lane in lanes.items()
    }


def _seconds_since(at: float | None) -> float | None:
    return None if at is None else max(0.0, time.time() - at)


@queue.command()
@where_options
@click.argument("destination", shell_complete=completing("destinations", "orphans"))
@click.option("-n", "count", default=10, show_default=True, help="Number of records.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@period_options
def peek(where: Where, destination: str, count: int, as_json: bool, chosen: Chosen) -> None:
    """Show the oldest records, which are sent next.  Tokens are masked."""
    with opened(where) as access:
        found = records(access, destination, period=chosen.period, history=chosen.history)
        _show_some(where, islice(found, count), as_json)


@queue.command()
@where_options
@click.argument("destination", shell_complete=completing("destinations", "orphans"))
@click.option("-n", "count", default=10, show_default=True, help="Number of records.")
@click.option("-f", "--follow", is_flag=True, help="Also new records, until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--history", is_flag=True, help="Delivered records instead of queued ones.")
def tail(
    where: Where, destination: str, count: int, follow: bool, as_json: bool, history: bool
) -> None:
    """Show the newest records.  Tokens are masked.

    With -f the queue is read every half second: records that are delivered in between
    are not shown.  With --history, all delivered records are.
    """
    with opened(where) as access:
        if follow and not access.live:
            give_up("no relay is running, so there are no new records; omit -f")
        read = partial(records, access, destination, history=history)
        end = _end_of(access, destination, history)
        _show_some(where, read(start=max(1, end - count)), as_json)
        while follow:
            wait_while_read(_POLL_SECONDS)
            start, end = end, _end_of(access, destination, history)
            if end > start:
                _show_some(where, read(start=start, stop=end), as_json)


@queue.command()
@where_options
@click.argument("destination", shell_complete=completing("destinations", "orphans"))
@click.argument("pattern")
@click.option("-i", "--ignore-case", is_flag=True)
@click.option(
    "-F", "--fixed", is_flag=True, help="PATTERN is literal text, not a regular expression."
)
@period_options
@click.option("--hostname", metavar="GLOB", help="Only with this HOSTNAME; * and ? are wildcards.")
@click.option("--severity", metavar="RANGE", help="Such as err, ..err or warning..; 0 is emerg.")
@click.option("--count", "counts", is_flag=True, help="Print only their number.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def grep(
    where: Where,
    destination: str,
    pattern: str,
    counts: bool,
    as_json: bool,
    chosen: Chosen,
    **options: Any,
) -> None:
    """Show the records that match PATTERN.  Tokens are masked.

    The relay only reads the records; this command searches them.
    """
    try:
        fits = message_test(pattern, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    found = 0

    def fitting(all_records: Iterator[Record]) -> Iterator[Record]:
        nonlocal found
        for record in all_records:
            if record.damaged or fits(split_key(record.payload)[1]):
                found += not record.damaged
                yield record

    with opened(where) as access:
        all_records = records(access, destination, period=chosen.period, history=chosen.history)
        selected = fitting(all_records)
        if counts:
            selected = iter([record for record in selected if record.damaged])
        _show_some(where, selected, as_json)
    if counts:
        click.echo(found)
    raise SystemExit(0 if found else 1)


@queue.command()
@where_options
@click.argument("destination", shell_complete=completing("destinations", "orphans"))
@click.option(
    "--lines",
    is_flag=True,
    help="End each with a line feed instead of putting its length before it.",
)
@click.option("--orphan", is_flag=True, help="Fail unless ID is an orphan.")
@period_options
def export(where: Where, destination: str, lines: bool, orphan: bool, chosen: Chosen) -> None:
    """Write the records to standard output unchanged, tokens included.

    Records are framed by octet counting (RFC 6587), as `queue replay` reads them, and begin
    with their keys if they have some; with --lines they are left out.
    They stay in the queue.
    """
    output = binary_output()
    count = damaged = with_line_feeds = 0
    with opened(where) as access:
        if orphan:
            _check_orphan(where, access, destination)
        for record in records(access, destination, period=chosen.period, history=chosen.history):
            if record.damaged:
                damaged += 1
                click.echo(f"from record {record.seq} on: {record.damaged}", err=True)
                continue
            count += 1
            # `queue replay` needs the keys, and knows no lines with them.
            payload = split_key(record.payload)[1] if lines else record.payload
            with_line_feeds += lines and b"\n" in payload
            output.write(payload + b"\n" if lines else b"%d %s" % (len(payload), payload))
    output.flush()
    click.echo(counted(count, "record"), err=True)
    if with_line_feeds:
        click.echo(
            f"{with_line_feeds:,} of them with line feeds became several lines; "
            "without --lines they stay whole",
            err=True,
        )
    if damaged:
        raise SystemExit(1)


def _check_orphan(where: Where, access: Access, id: str) -> None:
    rows = {row["id"]: row["state"] for row in _queues(where, access)}
    if not rows.get(id, "orphan").startswith("orphan"):
        raise click.UsageError(f"{id} is no orphan, or that cannot be told; leave --orphan out")


def _end_of(access: Access, id: str, history: bool) -> int:
    return page_of(access, id, history=history, records_max=1).end_seq


def _show_some(where: Where, found: Iterator[Record], as_json: bool) -> None:
    secrets = where.secrets
    for record in found:
        if record.damaged:
            click.echo(f"from record {record.seq} on: {record.damaged}", err=True)
            continue
        key, text = key_and_text(record.payload, secrets)
        if as_json:
            line = {"seq": record.seq, "at": stamp(record.at), **key, "payload": text}
            if record.acknowledged_at:
                line["delivered_at"] = stamp(record.acknowledged_at)
            click.echo(msgspec.json.encode(line))
        else:
            delivered = f"  {stamp(record.acknowledged_at)}" if record.acknowledged_at else ""
            click.echo(f"{record.seq}  {stamp(record.at)}{delivered}  {_bracketed(key)}{text}")


def _bracketed(key: dict[str, str]) -> str:
    return "".join(f"[{text}] " for text in key.values())


for each in (adopt, backup, compact, purge, replay, requeue, restore, verify):
    queue.add_command(each)
