"""`syslogrelay alerts`: alerts that run, and those that have ended."""

from __future__ import annotations

import time

import click

from relay.cli.control_client import AskFailed, ask
from relay.cli.output import print_document
from relay.cli.queue.access import stamp
from relay.cli.screen import SEVERE, WARNING, Screen
from relay.cli.where import Where, where_options
from relay.model.text import Document, counted, duration, printable


@click.command()
@where_options
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.option("--all", "shows_all", is_flag=True, help="Show the last 100 that have ended, too.")
def alerts(where: Where, as_json: bool, shows_all: bool) -> None:
    """Show the alerts of a running relay, the worst first.

    Who is told of them is shown if that fails.
    """
    report = ask(where.state_dir, "alerts")
    if report is None:
        raise AskFailed(
            "the relay raises no alerts: its configuration has no table [alerts], which may be "
            "empty"
        )
    if not shows_all:
        del report["ended"]
    if as_json:
        print_document(report)
    else:
        _show(report, Screen.of_output())


def _show(report: Document, screen: Screen) -> None:
    for alert in report["running"]:
        style = SEVERE if alert["severity"] == "error" else WARNING
        lasts = duration(time.time() - alert["since"])
        screen.say(f"{stamp(alert['since'])}, for {lasts}: {_about(alert)}", style)
    if not report["running"]:
        screen.say("no alert")
    for rule, count in report["left_out"].items():
        screen.say(f"{counted(count, 'more alert')} of {printable(rule)} are not told", WARNING)
    for outlet in report["outlets"]:
        if text := _trouble(outlet):
            screen.say(text, WARNING)
    for alert in report.get("ended", ()):
        lasted = duration(alert["ended"] - alert["since"])
        screen.say(f"{stamp(alert['since'])}, ended after {lasted}: {_about(alert)}")


def _about(alert: Document) -> str:
    subject, text = printable(alert["subject"]), printable(alert["text"], length_max=None)
    return f"{subject}: {text} ({printable(alert['rule'])})"


def _trouble(outlet: Document) -> str:
    """What goes wrong with one receiver; empty if nothing does."""
    counts = ("waiting", "given_up", "dropped")
    words = [f"{name.replace('_', ' ')} {outlet[name]:,}" for name in counts if outlet[name]]
    error = outlet["last_error"]
    if not words and not error:
        return ""
    listed = [printable(error, length_max=None)] if error else []
    return f"{printable(outlet['name'])}: {', '.join([*listed, *words])}"
