"""`syslogrelay log-level`: what the running relay logs."""

from __future__ import annotations

import click

from relay.cli.control_client import ask
from relay.cli.where import Where, where_options
from relay.model.debug import LEVELS, TOPICS
from relay.model.text import Document

_NAMESPACES = ", ".join(topic.namespace for topic in TOPICS)


@click.command()
@where_options
@click.argument("level", type=click.Choice(LEVELS), required=False)
@click.option(
    "--namespace",
    default="",
    metavar="NAME",
    help=f"Only for one part of the log: relay, {_NAMESPACES}, or one of Twisted's.",
)
def log_level(where: Where, level: str | None, namespace: str) -> None:
    """Show or set what the running relay logs: LEVEL and all that is worse.

    It holds until the relay restarts; `relay.log_level` in the configuration is for good.  At
    debug there is a line for each connection of a sender, each session with an upstream and each
    commit.  Without --namespace, levels of single namespaces are forgotten.
    """
    if namespace and level is None:
        raise click.UsageError("--namespace is for a LEVEL; give one, or leave both out")
    wanted = {"level": level, "namespace": namespace} if level else {}
    report: Document = ask(where.state_dir, "log-level", wanted)
    remark = "" if report["level"] == report["configured"] else ", until the relay restarts"
    click.echo(f"{report['level']}{remark}")
    for name, of_name in report["namespaces"].items():
        click.echo(f"{name}: {of_name}, until the relay restarts")
