"""`syslogrelay audit`: check that every message is accounted for."""

from __future__ import annotations

import click

from relay.cli.output import print_document
from relay.cli.queue.access import Access, accounts, opened
from relay.cli.queue.changes import check_all
from relay.cli.screen import SEVERE, WARNING, Screen, Table
from relay.cli.where import Where, where_options
from relay.model.text import Document, counted, printable
from relay.queue.inspect.queries import Account, ReadEntries, Tally
from relay.queue.transaction import is_of_source

_NUMBERS = ("received", "delivered", "queued", "quarantined", "gap")
_QUEUE_ROW: Document = {"id": "(queue file)", "dropped": {}}
"""Stands for no account: destinations cannot have this id."""


@click.command()
@where_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def audit(where: Where, as_json: bool) -> None:
    """Check that received = delivered + queued + quarantined + dropped.

    Checks every destination, every orphan and every source with a quarantine; that queue and
    quarantine hold as many records as their ledger counts; and that the relay can store
    messages.

    Status 0: everything adds up.  1: something does not.  2: the check failed.
    """
    with opened(where) as access:
        failure = access.failure
        rows = [_row(access, each) for each in accounts(access, sources=True).values()]
        refusing = access.refusing
    for row in rows:
        if row["id"] in refusing:
            row["state"] = printable(refusing[row["id"]], length_max=None)
    if failure:
        rows.insert(0, {**dict.fromkeys(_NUMBERS, 0), **_QUEUE_ROW, "problems": [failure]})
    if as_json:
        print_document(rows)
    else:
        _show(rows)
    raise SystemExit(1 if any(row["problems"] for row in rows) else 0)


def _row(access: Access, account: Account) -> Document:
    problems = []
    if account.gap:
        more = "less" if account.gap > 0 else "more"
        problems.append(
            f"its ledger has {counted(abs(account.gap), 'record')} {more} than were received"
        )
    if account.queued < 0:
        problems.append(f"the ledger counts {counted(account.queued, 'record')} as queued")
    elif not is_of_source(account.id):
        problems += check_all(access, account.id, checksums=False).problems
    found = access.ask("quarantine-tally", Tally, ReadEntries(account.id))
    if found.records != found.accounted_records:
        problems.append(
            f"its quarantine holds {counted(found.records, 'record')}, "
            f"the ledger counts {found.accounted_records:,}"
        )
    numbers = {name: getattr(account, name) for name in ("id", *_NUMBERS, "dropped")}
    return {**numbers, "problems": problems}


def _show(rows: list[Document]) -> None:
    screen = Screen.of_output()
    table = Table(
        *("account", "received", "=delivered", "+queued", "+quarantined", "+dropped", "adds-up")
    )
    for row in rows:
        table.add(
            row["id"],
            *(f"{row[name]:,}" for name in ("received", "delivered", "queued", "quarantined")),
            f"{sum(row['dropped'].values()):,}",
            "no" if row["problems"] else "yes",
        )
    screen.show(table)
    for row in rows:
        for reason, count in sorted(row["dropped"].items()):
            screen.say(f"dropped {count:,} ({reason})", about=row["id"])
    for row in (row for row in rows if "state" in row):
        screen.say(row["state"], WARNING, about=row["id"])
    for row in rows:
        for problem in row["problems"]:
            screen.say(problem, SEVERE, about=row["id"])
