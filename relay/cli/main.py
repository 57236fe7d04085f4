"""The `syslogrelay` command: everything around a relay but running one."""

from __future__ import annotations

import click

from relay import __version__
from relay.cli.groups import Program

__all__ = ["main"]

_MODULES = {
    "audit": "queue.audit",
    "certs": "certificates",
    "check": "check",
    "connect": "queue.changes",
    "explain": "explain",
    "pause": "queue.changes",
    "quarantine": "queue.quarantine",
    "queue": "queue.commands",
    "resume": "queue.changes",
    "send": "send",
    "status": "status",
}


@click.group(
    cls=Program,
    modules=_MODULES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="syslogrelay", message="%(prog)s %(version)s")
def main() -> None:
    """A syslog relay with a disk queue: an answer means on disk.

    Start a relay with `twistd --nodaemon syslogrelay --config FILE`; these
    commands do what there is to do around it.

    Exit status: 0 done, and the answer is yes; 1 the answer is no; 2 it could not be
    done, and standard error says why.
    """
