"""`syslogrelay upgrade`: the running relay becomes the version that is installed now."""

from __future__ import annotations

import time
from urllib.parse import unquote

import click

from relay.cli.control_client import AskFailed, NoRelay, ask, process_state
from relay.cli.output import give_up
from relay.cli.where import Where, where_options
from relay.model.text import Document, counted

_TRIAL_SECONDS_MAX = 32.0  # the relay itself gives the trial 25
_POLL_SECONDS = 0.1
_FAILED = 1
_ENDED = ("", "Z")  # not there, or its parent has not noticed


@click.command()
@click.option(
    "--timeout",
    metavar="SECONDS",
    default=300.0,
    show_default=True,
    type=click.FloatRange(1.0),
    help="Longest wait for the new version; a long queue is verified at its start.",
)
@where_options
def upgrade(where: Where, timeout: float) -> None:
    """Have the running relay become the version that is installed now, without a loss.

    A child of the relay tries first whether the new version can start, with the configuration as it
    is now, this state directory and all addresses.  If it cannot, the relay goes on as it is.

    Then the relay stops, and starts again in the same process: sockets stay open and messages wait
    in them, connections of plain syslog over TCP and unix sockets stay open, RELP and TLS
    connections end in order and are made again by their senders.

    The exit status is 1 if the new version is refused, or does not answer.
    """
    try:
        begun = ask(where.state_dir, "upgrade", seconds_max=_TRIAL_SECONDS_MAX)
    except NoRelay:
        raise
    except AskFailed as error:
        give_up(str(error), _FAILED)
    report = _wait(where.state_dir, begun, timeout)
    before, version = report["version_before"], report["version"]
    connections = int(report["connections"])
    click.echo(
        f"upgraded from version {before} to {version} in {report['seconds']:.2f} s: "
        f"{counted(int(report['sockets']), 'socket')} and "
        f"{counted(connections, 'open connection')} handed over"
    )
    for name in report["sockets_closed"]:
        click.echo(f"closed, as no source uses it any more: {_address(name)}")
    if closed := report["connections_closed"]:
        click.echo(f"{counted(closed, 'connection')} could not be kept; the log says why")


def _address(name: str) -> str:
    return unquote(name.removeprefix("held "))


def _wait(state_dir: str, begun: Document, seconds_max: float) -> Document:
    """Wait for the report of the new process."""
    deadline = time.monotonic() + seconds_max
    said = ""
    while True:
        time.sleep(_POLL_SECONDS)
        try:
            report: Document = ask(state_dir, "handover")
        except AskFailed as error:
            said = str(error)
        else:
            if report.get("id") == begun["id"]:
                return report
        if process_state(begun["pid"]) in _ENDED:
            give_up(
                f"the new version {begun['version']} has ended at its start; its log says why; "
                "systemd starts it again with the sockets that it keeps, and without a service "
                "manager it has to be started by hand",
                _FAILED,
            )
        if time.monotonic() > deadline:
            give_up(
                f"the new version {begun['version']} does not answer after {seconds_max:g} s: "
                f"{said}; see the relay's log",
                _FAILED,
            )
