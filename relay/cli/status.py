"""`syslogrelay status`: received, queued and delivered records, and current trouble."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from relay.cli.control_client import AskFailed, ask
from relay.cli.output import print_document
from relay.cli.queue.access import stamp
from relay.cli.screen import GOOD, SEVERE, WARNING, Screen, Style, Table
from relay.cli.where import Where, where_options
from relay.model.text import Document, counted, duration, printable, size

_ERRORS_MAX = 5  # of one source or destination
_ALERTS_MAX = 5
_ERRORS_SECONDS = 3600.0
_EXPIRES_DAYS = 30  # of remaining validity below which a certificate is a warning
_LATE_DAYS = 7
_ERRORS = ("protocol_errors", "framing_errors", "connections_refused")
_LOSSES = (
    ("missing_records", "never came"),
    ("parse_failures", "not parsed"),
    ("truncated_records", "cut to the size limit"),
    ("gaps", "gaps in the journal"),
    ("split_records", "split"),
    ("quarantined_records", "quarantined"),
)


@click.command()
@where_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole document as JSON.")
@click.option(
    *("--schema", "is_schema"),
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, is_schema: _show_schema(context) if is_schema else None,
    help="Print the JSON Schema of what --json prints, and ask no relay.",
)
@click.option("--check", "is_check", is_flag=True, help="Print the health in one line.")
@click.option(
    *("--samples", "is_samples"),
    is_flag=True,
    help="Print the last messages that were dropped or could not be parsed.",
)
@click.option(
    *("--watch", "watch_seconds"),
    type=click.FloatRange(0.2, 3600.0),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Print it again every 2 s, or as often as this, until Ctrl-C.",
)
def status(
    where: Where, as_json: bool, is_check: bool, is_samples: bool, watch_seconds: float | None
) -> None:
    """Show sources, destinations and the queue of a running relay.

    With --check: one line for a monitoring system such as Nagios, and status 0 if the
    relay is healthy, 1 if it is degraded, 2 if it does not answer.

    With --watch and --json: one document a line.

    With --samples: of each source and reason the last 20, tokens masked, until the relay restarts.
    """
    if is_samples:
        if is_check or watch_seconds is not None:
            raise click.UsageError("--samples goes with neither --check nor --watch")
        samples = _printable(ask(where.state_dir, "samples"))
        if as_json:
            print_document(samples)
        else:
            _show_samples(samples, Screen.of_output())
        return
    if watch_seconds is not None:
        if is_check:
            raise click.UsageError("--check prints one line and ends, so --watch has no meaning")
        _watch(where.state_dir, watch_seconds, as_json=as_json)
        return
    try:
        document = _printable(ask(where.state_dir, "status"))
    except AskFailed as error:
        if not is_check:
            raise
        click.echo(_checked("no answer", [str(error)]))
        raise SystemExit(2) from None
    if as_json:
        print_document(document)
    elif is_check:
        if "degraded" not in document:
            raise AskFailed("the relay is of an older version, which cannot say whether it is well")
        click.echo(_verdict(document))
    else:
        show(document, Screen.of_output())
    raise SystemExit(1 if is_check and document["degraded"] else 0)


def _show_schema(context: click.Context) -> None:
    from relay.observe.status_schema import status_schema  # which nothing else needs

    print_document(status_schema())
    context.exit()


def _show_samples(samples: Document, screen: Screen) -> None:
    """Print the samples of each source by reason, the oldest first."""
    for source, reasons in samples.items():
        for reason, kept in reasons.items():
            screen.say(f"{reason}, the last {len(kept)}", WARNING, about=source)
            for sample in kept:
                peer = f" {sample['peer']}" if sample["peer"] else ""
                length = f"{sample['size']:,} B"
                screen.say(f"  {stamp(sample['at'])}{peer}, {length}: {sample['text']}")
    if not any(samples.values()):
        screen.say("nothing was dropped on the way to a queue, and everything could be parsed")


def _watch(state_dir: str, seconds: float, *, as_json: bool) -> None:
    """Print the status every `seconds` until somebody stops it; a relay may restart meanwhile."""
    try:
        while True:
            try:
                document = _printable(ask(state_dir, "status"))
            except AskFailed as error:
                document = None
                text = f"no answer: {error}"
            if as_json and document is not None:
                click.echo(msgspec.json.encode(document))
            elif as_json:
                click.echo(text, err=True)
            else:
                screen = Screen.of_output()
                click.clear()  # nothing happens where there is no terminal
                if document is None:
                    screen.say(text, SEVERE)
                else:
                    show(document, screen)
                    screen.say()
            sys.stdout.flush()
            time.sleep(seconds)
    except KeyboardInterrupt:
        return


def _verdict(document: Document) -> str:
    """The relay's health in one line."""
    if document["degraded"]:
        return _checked("degraded", document["degraded"])
    queued = sum(report["queued_records"] for report in document["destinations"])
    return _checked(
        "ok",
        [
            f"relay {document['name']}",
            counted(len(document["sources"]), "source"),
            counted(len(document["destinations"]), "destination"),
            f"{counted(queued, 'record')} queued",
        ],
    )


def _checked(verdict: str, findings: list[str]) -> str:
    # Nagios parses the text after a bar as performance data.
    return f"{verdict}: {'; '.join(findings)}".replace("|", "/")


def show(document: Document, screen: Screen) -> None:
    """Print a status document for people."""
    admission = document["admission"]
    if "degraded" in document:  # older relays do not say
        screen.say(*_health(document["degraded"]))
    if not admission["open"]:
        screen.say(_closed(admission), SEVERE)
    uptime = duration(document["uptime_seconds"])
    pure = "" if document.get("compiled", True) else " in pure Python"  # older relays do not say
    screen.say(f"relay {document['name']}, syslogrelay {document['version']}{pure}, up {uptime}")
    if admission.get("allocated_bytes"):  # older relays do not say
        screen.say(_file(admission))
    if "rates" in document:
        screen.say(f"a second: {_rates(document['rates'])}")
    if rules := document.get("watch", {}).get("rules"):  # older relays do not say
        screen.say(f"watched: {', '.join(map(_watched, rules))}")
    screen.say()
    screen.show(_sources(document["sources"]))
    screen.say()
    screen.show(_destinations(document["destinations"]))
    screen.say()
    for about, text, style in _notes(document):
        screen.say(text, style, about=about)


def _health(degraded: list[str]) -> tuple[str, Style]:
    """The first line: whether all is well, and the worst of what is not."""
    if not degraded:
        return "healthy", GOOD
    worst, *others = degraded
    more = f", and {counted(len(others), 'more problem')}" if others else ""
    return f"degraded: {worst}{more}", SEVERE


def _notes(document: Document) -> Iterator[tuple[str, str, Style | None]]:
    """What is worth a line below the tables: its subject, the text and how it is shown."""
    sources, destinations = document["sources"], document["destinations"]
    for notes_of, reports in ((_of_source, sources), (_of_destination, destinations)):
        for report in reports:
            yield from ((report["id"], *note) for note in notes_of(report))
    for report in (*sources, *destinations):
        if losses := _losses(report):
            yield report["id"], ", ".join(losses), SEVERE
        yield from ((report["id"], text, WARNING) for text in _errors(report))
    for alert in document.get("alerts", ())[:_ALERTS_MAX]:  # likewise; the worst come first
        text = f"alert {alert['rule']} since {stamp(alert['since'])}: {alert['text']}"
        yield alert["subject"], text, SEVERE if alert["severity"] == "error" else WARNING
    for report in document.get("certificates", ()):  # older relays do not say, as below
        if "problem" in report:
            yield report["subject"], report["problem"], _style_of_expiry(report)
    for table in document.get("tables", ()):
        yield f"table {table['path']}", table["problem"], SEVERE
    for orphan in document["orphans"]:
        yield orphan, "has records but no destination in the configuration", WARNING
    for source in document.get("sources_gone", ()):
        yield source, "source is gone; how far it has read is kept under that name", WARNING
    if text := _log_levels(document.get("log", {})):
        yield "log", text, WARNING
    yield from _of_reload(document.get("reload"))
    for path in document.get("damaged_files", ()):
        yield "", f"the queue was damaged, its file is kept as {path}", SEVERE


def _log_levels(report: Document) -> str:
    """Levels of the log that are not those of the configuration; empty = all are."""
    levels = [f"{name} {level}" for name, level in report.get("namespaces", {}).items()]
    if report.get("level") != report.get("configured"):
        levels.insert(0, f"{report['level']} instead of {report['configured']}")
    return f"level {', '.join(levels)}, until the relay restarts" if levels else ""


def _of_reload(reload: Document | None) -> Iterator[tuple[str, str, Style | None]]:
    if reload is None:
        return
    for key in reload["restart"]:
        yield key, "has changed in the file, and is used after a restart", WARNING
    for failure in reload["failures"]:
        yield "reload", failure, SEVERE
    for problem in reload["refused"]:
        yield "reload refused", problem, SEVERE


def _printable(value: Any) -> Any:
    """`value` with all text made safe for a terminal: upstreams and peers wrote some of it."""
    if isinstance(value, str):
        return printable(value, length_max=None)
    if isinstance(value, dict):
        return {_printable(key): _printable(member) for key, member in value.items()}
    return [_printable(member) for member in value] if isinstance(value, list) else value


def _of_source(report: Document) -> Iterator[tuple[str, Style | None]]:
    if "state" in report:
        yield report["state"], _style(report)
    if report.get("behind_bytes"):
        files = ", ".join(
            f"{file['path']} {size(file['behind_bytes'])}" for file in report["files_behind"][:3]
        )
        yield f"{size(report['behind_bytes'])} of its files not yet read: {files}", None
    if count := report.get("files_refused"):
        yield f"{counted(count, 'file')} not read (files_max or descriptors)", SEVERE
    if count := report.get("files_unreadable"):
        yield f"{counted(count, 'file')} cannot be read", SEVERE

    if any(text := _rare(report)):
        yield f"{', '.join(text)} a second", WARNING


def _of_destination(report: Document) -> Iterator[tuple[str, Style | None]]:
    yield report["state"], _style(report)
    if (seconds := report.get("stalled_seconds")) is not None:  # older relays do not say
        text = f"unhealthy: nothing acknowledged in {duration(seconds)} of being connected"
        yield text, SEVERE
    yield from ((line, None) for line in report.get("details", ()))  # older relays do not say
    if report.get("limit") is not None:
        yield from _of_queue(report["limit"], report["queued_records"])
    lanes = report.get("lanes")
    if lanes is not None and lanes["backlog"]["queued_records"]:
        rates = "; ".join(
            f"{name} {lane['queued_records']:,} queued, "
            f"{lane['delivered_per_second']:,.0f} a second"
            for name, lane in lanes.items()
        )
        yield f"two lanes: {rates}", WARNING


def _of_queue(limit: Document, queued: int) -> Iterator[tuple[str, Style | None]]:
    """Fill level and forecast of a destination's queue, if they are worth a line."""
    fill = limit["fill_percent"]
    ends = [
        f"{what} in {duration(limit[key])}"
        for key, what in (("seconds_to_full", "full"), ("seconds_to_empty", "empty"))
        if limit[key] is not None
    ]
    if fill is None or fill < 50:
        if ends:
            yield f"{queued:,} queued, {', '.join(ends)}", WARNING
        return
    text = f"queue {fill} % full"
    text += f" (queue_bytes_max is {size(limit['queue_bytes_max'])}, {limit['when_full']})"
    text += "".join(f", {end}" for end in ends)
    if limit["blocks_sources"]:
        text += "; sources that feed it wait"
    yield text, SEVERE if fill >= 95 else WARNING


def _errors(report: Document) -> Iterator[str]:
    """The last errors of a source or destination, of the last hour."""
    errors = [
        error
        for error in report.get("last_errors", ())  # older relays do not say
        if error["seconds_ago"] < _ERRORS_SECONDS
        and error["kind"] != "expiry"  # which has a line of its own
        and error["text"] not in report.get("state", "")
    ]
    for error in errors[:_ERRORS_MAX]:
        peer = f"{error['peer']}: " if error["peer"] else ""
        times = f", {error['count']:,} times" if error["count"] > 1 else ""
        yield f"last error: {peer}{error['text']} ({duration(error['seconds_ago'])} ago{times})"


def _rates(rates: Document) -> str:
    """The rates of the whole relay over both periods."""
    now, minute = rates["10s"], rates["60s"]
    return ", ".join(f"{rate(now[name])} {name} ({rate(minute[name])})" for name in now) + (
        " in the last 10 s (60 s)"
    )


def _watched(rule: Document) -> str:
    """What one rule of `[[watch]]` has decided, over both periods."""
    kind = "ignored" if rule["counts_as"] == "ignore" else f"as {rule['counts_as']}"
    return f"{rule['id']} {rate(rule['10s'])} ({rate(rule['60s'])}) {kind}"


def _rare(report: Document) -> list[str]:
    """The rates of a source that are no good sign, if there are any."""
    rates = report.get("rates", {"10s": {}})["10s"]  # older relays do not say
    names = ("warnings", "errors", "drops")
    return [f"{rate(rates[name])} {name}" for name in names if rates.get(name)]


def rate(per_second: float) -> str:
    """With as many digits as matter; a rate that is not 0 is never shown as 0."""
    if per_second >= 10 or not per_second:
        return f"{per_second:,.0f}"
    return f"{per_second:.1f}" if per_second >= 0.1 else f"{per_second:.3f}"


def _style(report: Document) -> Style:
    return GOOD if report["ready"] else WARNING


def _closed(admission: Document) -> str:
    """Why admission is closed, and since when if that is known."""
    since = admission.get("since")  # older relays do not say
    ago = "" if since is None else f" since {stamp(since)}"
    return f"not accepting messages{ago}: {admission['reason']}"


def _file(admission: Document) -> str:
    """The size of the queue's file on disk, and how much of it is in use."""
    on_disk, used = size(admission["allocated_bytes"]), size(admission["queue_bytes"])
    history = admission.get("history_bytes", 0)
    kept = f", {size(history)} of history" if history else ""
    return f"queue file: {on_disk} on disk, {used} in use{kept}"


def _sources(reports: list[Document]) -> Table:
    table = Table("source", "address", "received", "stored", "msg/s", "open", "errors", texts=2)
    for report in reports:
        table.add(
            report["id"],
            report["address"],
            f"{report['received_records']:,}",
            f"{report['stored_records']:,}",
            _rate_of(report, "messages"),
            str(report["connections_open"]),
            str(sum(report.get(key, 0) for key in _ERRORS)),
        )
    return table


def _rate_of(report: Document, name: str) -> str:
    """One rate of a source or destination over the last 10 s."""
    return rate(report["rates"]["10s"][name]) if "rates" in report else "-"  # older relays


def _destinations(reports: list[Document]) -> Table:
    table = Table(
        *("destination", "received", "delivered", "queued", "bytes"),
        *("oldest", "in-flight", "resent"),
    )
    for report in reports:
        oldest = report["oldest_seconds"]
        table.add(
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


def _losses(report: Document) -> list[str]:
    """Dropped, cut, split and quarantined records of a source or destination."""
    quarantine = report.get("quarantine") or {"dropped_records": {}}
    losses = [
        f"dropped {count:,} ({reason})"
        for dropped in (report["dropped_records"], quarantine["dropped_records"])
        for reason, count in sorted(dropped.items())
    ]
    return losses + [f"{text} {report[key]:,}" for key, text in _LOSSES if report.get(key)]


def _style_of_expiry(report: Document) -> Style | None:
    """None if a certificate or revocation list is valid and expires later."""
    days = report.get("expires_days")  # of certificates alone
    if not report.get("is_due", True) or (days is not None and days > _EXPIRES_DAYS):
        return None
    is_late = (days is not None and days <= _LATE_DAYS) or report.get("days_left", 1) <= 0
    return SEVERE if is_late else WARNING
