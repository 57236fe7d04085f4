"""The `syslogrelay` command: everything except running a relay."""

from __future__ import annotations

import click

from relay import __version__
from relay.cli.groups import Program

_MODULES = {
    "alerts": "views.alerts",
    "audit": "queue.audit",
    "bundle": "support.bundle",
    "certs": "certificates.commands",
    "check": "check",
    "completion": "support.completion",
    "config": "support.config_show",
    "connect": "queue.changes",
    "explain": "explain",
    "fleet": "views.fleet",
    "import": "moving.command:import_command",
    "log-level": "support.log_level:log_level",
    "pause": "queue.changes",
    "quarantine": "queue.quarantine",
    "queue": "queue.commands",
    "reload": "support.reload",
    "resume": "queue.changes",
    "send": "send",
    "status": "status",
    "tap": "views.tap",
    "top": "views.top",
    "upgrade": "support.upgrade",
}


@click.group(
    cls=Program, modules=_MODULES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="syslogrelay", message="%(prog)s %(version)s")
def main() -> None:
    """A syslog relay with a disk queue: an answer means on disk.

    Start a relay with `twistd --nodaemon syslogrelay --config FILE`; these
    commands inspect and operate it.

    Exit status: 0 success; 1 a check found problems, or a search nothing; 2 failure, with
    the reason on standard error.
    """
