"""The `syslogrelay` command: everything around a relay but running one."""

from __future__ import annotations

import click

from relay import __version__
from relay.cli.audit import audit
from relay.cli.certificates import certs
from relay.cli.check import check
from relay.cli.explain import explain
from relay.cli.quarantine_commands import quarantine
from relay.cli.queue_changes import connect, pause, resume
from relay.cli.queue_commands import queue
from relay.cli.send import send
from relay.cli.status import status

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="syslogrelay", message="%(prog)s %(version)s")
def main() -> None:
    """A syslog relay with a disk queue: an answer means on disk.

    Start a relay with `twistd --nodaemon syslogrelay --config FILE`; these
    commands do what there is to do around it.
    """


main.add_command(audit)
main.add_command(check)
main.add_command(certs)
main.add_command(connect)
main.add_command(explain)
main.add_command(pause)
main.add_command(quarantine)
main.add_command(queue)
main.add_command(resume)
main.add_command(send)
main.add_command(status)
