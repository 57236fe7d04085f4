"""`syslogrelay status`: what goes in, what waits, what went out, and why not."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from relay.cli.control_client import AskFailed, ask
from relay.cli.queue_access import stamp
from relay.model.errors import ConfigurationError
from relay.model.printable import printable
from relay.service.configuration_file import read_configuration

__all__ = ["status"]

DEFAULT_STATE_DIR = "/var/lib/syslogrelay"


@click.command()
@click.option("--state-dir", metavar="DIR", help="State directory of the relay to ask.")
@click.option("--config", metavar="FILE", help="Its configuration, to find that directory in.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole document as JSON.")
def status(state_dir: str | None, config: str | None, as_json: bool) -> None:
    """Show sources, destinations and the queue of a running relay."""
    try:
        if config is not None:
            state_dir = read_configuration(config).state_dir
        document = _printable(ask(state_dir or DEFAULT_STATE_DIR, "status"))
    except ConfigurationError as error:
        _give_up("\n".join(error.problems))
    except AskFailed as error:
        _give_up(str(error))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(document)))
    else:
        # Whoever reads a pipe wants whole lines.
        width = None if sys.stdout.isatty() else 200
        show(document, Console(highlight=False, width=width))


def show(document: dict[str, Any], console: Console) -> None:
    """Print a status document for people."""
    admission = document["admission"]
    if not admission["open"]:
        console.print(_closed(admission))
    uptime = duration(document["uptime_seconds"])
    pure = "" if document.get("compiled", True) else " in pure Python"  # older relays do not say
    console.print(
        f"relay {document['name']}, syslogrelay {document['version']}{pure}, up {uptime}",
        markup=False,
    )
    if admission.get("allocated_bytes"):  # older relays do not say
        console.print(_file(admission), markup=False)
    console.print()
    console.print(_sources(document["sources"]))
    console.print()
    console.print(_destinations(document["destinations"]))
    console.print()
    with_state = [report for report in document["sources"] if "state" in report]
    for report in (*with_state, *document["destinations"]):
        style = "green" if report["ready"] else "bold yellow"
        console.print(Text.assemble((f"{report['id']}: ", "bold"), (report["state"], style)))
    for report in document["destinations"]:
        if (seconds := report.get("stalled_seconds")) is not None:  # older relays do not say
            words = f"unhealthy: nothing acknowledged in {duration(seconds)} of being connected"
            console.print(Text.assemble((f"{report['id']}: ", "bold"), (words, "bold red")))
        if (queue := _queue(report)) is not None:
            console.print(Text.assemble((f"{report['id']}: ", "bold"), queue))
        if (lanes := _lanes(report.get("lanes"))) is not None:
            console.print(Text.assemble((f"{report['id']}: ", "bold"), lanes))
    for report in document["sources"]:
        if report.get("behind_bytes"):
            words = ", ".join(_behind(file) for file in report["files_behind"][:3])
            text = f"{size(report['behind_bytes'])} of its files not yet read: {words}"
            console.print(Text.assemble((f"{report['id']}: ", "bold"), text))
        if report.get("files_refused"):
            text = f"{report['files_refused']:,} files not read (files_max)"
            console.print(Text.assemble((f"{report['id']}: ", "bold"), (text, "bold red")))
    for report in (*document["sources"], *document["destinations"]):
        if losses := _losses(report):
            words = ", ".join(losses)
            console.print(Text.assemble((f"{report['id']}: ", "bold"), (words, "bold red")))
    for report in document.get("certificates", ()):  # older relays do not say
        if (expiry := _expiry(report)) is not None:
            console.print(expiry)
    for orphan in document["orphans"]:
        console.print(
            Text(f"{orphan}: has records but no destination in the configuration", style="yellow")
        )
    for path in document.get("damaged_files", ()):  # older relays do not say
        console.print(Text(f"the queue was damaged, its file is kept as {path}", style="bold red"))


def _printable(value: Any) -> Any:
    """`value` with every text in it fit for a terminal: upstreams and peers have a say in some."""
    if isinstance(value, str):
        return printable(value, length_max=None)
    if isinstance(value, dict):
        return {_printable(key): _printable(member) for key, member in value.items()}
    return [_printable(member) for member in value] if isinstance(value, list) else value


def duration(seconds: float) -> str:
    """A length of time in at most two units, as in ``3 m 20 s``."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def size(octets: int) -> str:
    """A number of octets in the largest unit that it fills."""
    amount = float(octets)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _table(*columns: str, texts: int = 1) -> Table:
    """A table whose first `texts` columns are text and the others numbers."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), show_edge=False)
    for index, column in enumerate(columns):
        table.add_column(
            column,
            justify="left" if index < texts else "right",
            overflow="fold",
            no_wrap=index != 1 or texts == 1,
        )
    return table


def _closed(admission: dict[str, Any]) -> Text:
    """Why nothing comes in, and since when if that is known."""
    since = admission.get("since")  # older relays do not say
    ago = "" if since is None else f" since {stamp(since)}"
    return Text(f"not taking more{ago}: {admission['reason']}", style="bold red")


def _file(admission: dict[str, Any]) -> str:
    """What the queue's file takes, and what of that is in use."""
    on_disk, used = size(admission["allocated_bytes"]), size(admission["queue_bytes"])
    history = admission.get("history_bytes", 0)
    kept = f", {size(history)} of history" if history else ""
    return f"queue file: {on_disk} on disk, {used} in use{kept}"


def _sources(reports: list[dict[str, Any]]) -> Table:
    table = _table("source", "listens on", "received", "stored", "open", "errors", texts=2)
    for report in reports:
        table.add_row(
            report["id"],
            report["address"],
            f"{report['received_records']:,}",
            f"{report['stored_records']:,}",
            str(report["connections_open"]),
            str(report["protocol_errors"] + report["connections_refused"]),
        )
    return table


def _destinations(reports: list[dict[str, Any]]) -> Table:
    table = _table(
        *("destination", "received", "delivered", "queued", "bytes"),
        *("oldest", "in flight", "resent"),
    )
    for report in reports:
        oldest = report["oldest_seconds"]
        table.add_row(
            report["id"],
            f"{report['received_records']:,}",
            f"{report['delivered_records']:,}",
            f"{report['queued_records']:,}",
            size(report["queued_bytes"]),
            "-" if oldest is None else duration(oldest),
            f"{report['in_flight_records']:,}",
            f"{report['resent_records']:,}",
        )
    return table


def _queue(report: dict[str, Any]) -> Text | None:
    """How full the queue of a destination is and when it will be empty; None while neither
    is news."""
    limit = report.get("limit")
    if limit is None:
        return None
    if limit["fill_percent"] is None or limit["fill_percent"] < 50:
        if limit["seconds_to_empty"] is None:
            return None
        left = f"{report['queued_records']:,} queued"
        return Text(f"{left}, empty in {duration(limit['seconds_to_empty'])}", style="yellow")
    words = f"queue {limit['fill_percent']} % full"
    words += f" (queue_bytes_max is {size(limit['queue_bytes_max'])}, {limit['when_full']})"
    for key, what in (("seconds_to_full", "full"), ("seconds_to_empty", "empty")):
        if limit[key] is not None:
            words += f", {what} in {duration(limit[key])}"
    if limit["blocks_sources"]:
        words += "; sources that feed it wait"
    return Text(words, style="bold red" if limit["fill_percent"] >= 95 else "bold yellow")


def _lanes(lanes: dict[str, Any] | None) -> Text | None:
    """What is in two lanes, and how fast each is; None while there is one."""
    if lanes is None or not lanes["backlog"]["queued_records"]:
        return None
    words = [
        f"{name} {lane['queued_records']:,} queued, {lane['delivered_per_second']:,.0f} a second"
        for name, lane in lanes.items()
    ]
    return Text("two lanes: " + "; ".join(words), style="bold yellow")


def _behind(file: dict[str, Any]) -> str:
    return f"{file['path']} {size(file['behind_bytes'])}"


def _losses(report: dict[str, Any]) -> list[str]:
    """What did not go the normal way at a source or destination."""
    quarantine = report.get("quarantine") or {"dropped_records": {}}
    losses = [
        f"dropped {count:,} ({reason})"
        for dropped in (report["dropped_records"], quarantine["dropped_records"])
        for reason, count in sorted(dropped.items())
    ]
    if report.get("missing_records"):
        losses.append(f"never came {report['missing_records']:,}")
    if report.get("parse_failures"):
        losses.append(f"not parsed {report['parse_failures']:,}")
    if report.get("truncated_records"):
        losses.append(f"cut to the size limit {report['truncated_records']:,}")
    if report.get("gaps"):
        losses.append(f"gaps in the journal {report['gaps']:,}")
    if report.get("split_records"):
        losses.append(f"split {report['split_records']:,}")
    if report.get("quarantined_records"):
        losses.append(f"quarantined {report['quarantined_records']:,}")
    return losses


def _expiry(report: dict[str, Any]) -> Text | None:
    """What is to be said of a certificate or revocation list; None while it has time."""
    if report.get("kind") == "crl":
        if not report["is_due"]:
            return None
        days = report["days_left"]
        words = f"should have been replaced by {report['next_update']}"
        if days > 0:
            words = f"expires at {report['next_update']}"
        what = f"the revocation list of {report['issuer']!r} in {report['crl']}"
    else:
        if (days := report["expires_days"]) > 30:
            return None
        words = f"expires in {days:g} days" if days > 0 else "has expired"
        what = f"the certificate in {report['certificate']}"
    style = "bold yellow" if days > (0 if "issuer" in report else 7) else "bold red"
    return Text(f"{report['subject']}: {what} {words}", style=style)


def _give_up(text: str) -> None:
    click.echo(f"syslogrelay status: {text}", err=True)
    raise SystemExit(1)
