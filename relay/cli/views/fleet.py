"""`syslogrelay fleet`: the relays that report to a running relay."""

from __future__ import annotations

import click

from relay.cli.control_client import AskFailed, ask
from relay.cli.output import print_document
from relay.cli.screen import GOOD, WARNING, Screen, Table
from relay.cli.where import Where, where_options
from relay.model.text import Document, duration, printable


@click.command()
@where_options
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def fleet(where: Where, as_json: bool) -> None:
    """Show the relays that send to this one over RELP.

    NAME and version are what a relay says of itself; PEER is the verified name in its
    certificate, or its address.
    """
    document = ask(where.state_dir, "status")
    if "fleet" not in document:
        raise AskFailed("the relay is of an older version, which does not know its senders")
    members = [_printable(member) for member in document["fleet"]]
    if as_json:
        print_document(members)
    else:
        _show(members, Screen.of_output())


def _printable(member: Document) -> Document:
    """The report of a relay, made safe for a terminal: it wrote some of it."""
    return {
        name: printable(value, length_max=None) if isinstance(value, str) else value
        for name, value in member.items()
    }


def _show(members: list[Document], screen: Screen) -> None:
    if not members:
        screen.say("no relay has reported to this one since it was started")
        return
    table = Table("relay", "peer", "version", "queued", "oldest", "seen-ago", texts=3)
    for member in members:
        queued, oldest = member["queued_records"], member["oldest_seconds"]
        table.add(
            *(member["host"], member["peer"], member["version"]),
            "-" if queued is None else f"{queued:,}",
            "-" if oldest is None else duration(oldest),
            duration(member["last_seen_seconds"]),
        )
    screen.show(table)
    screen.say()
    for member in members:
        style = GOOD if member["state"] == "ok" else WARNING
        screen.say(member["state"], style, about=f"{member['host']} ({member['peer']})")
