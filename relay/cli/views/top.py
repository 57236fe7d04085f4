"""`syslogrelay top`: the running relay on a full screen."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import click

from relay.cli.output import give_up
from relay.cli.where import Where, where_options


@click.command()
@where_options
@click.option(
    "--interval",
    type=click.FloatRange(0.5, 60.0),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
def top(where: Where, interval: float) -> None:
    """Show sources, peers, destinations and programs of the running relay on a full screen.

    Keys: 1 to 5 choose the pane, s and r sort, / filters, p pauses, ? explains, q quits.

    The pane of programs looks at 200 messages a second, as `tap` does; the others ask for
    counters.  NO_COLOR is followed.  Needs textual: `pip install 'syslogrelay[top]'`.
    """
    if find_spec("textual") is None:
        give_up(
            "top needs textual, which is not installed: pip install 'syslogrelay[top]'; "
            "without it, `syslogrelay status --watch` shows the status again and again"
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        give_up("top needs a terminal; `syslogrelay status --watch` works without one")
    from relay.cli.views.top_app import TopApp  # it takes a quarter of a second

    TopApp(where.state_dir, interval).run()
