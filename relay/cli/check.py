"""`syslogrelay check`: look for errors in a configuration file."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import click

from relay.cli.connecting import check_connections
from relay.cli.output import give_up
from relay.model.errors import ConfigurationError, ConfigurationUnreadable, QueueError
from relay.model.text import counted
from relay.queue.repair.compatibility import Compatibility, examine
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import Configuration
from relay.service.kinds import KINDS
from relay.service.queue.state_dir import obstacles_in
from relay.service.relay_service import local_zone
from relay.service.routes.explanation import failures_of


@click.command()
@click.argument("file", type=click.Path())
@click.option(
    "--connect",
    "connects",
    is_flag=True,
    help="Also try what FILE names: names, ports, TLS, sessions, files, disk and limits.",
)
@click.option(
    "--timeout",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.1, 600),
    metavar="SECONDS",
    help="With --connect: longest wait of each step.",
)
@click.option("--json", "as_json", is_flag=True, help="With --connect: one JSON document.")
@click.option(
    "--state",
    "looks_at_state",
    is_flag=True,
    help="Also tell whether this version can work with the queue that is there.",
)
def check(file: str, connects: bool, timeout: float, as_json: bool, looks_at_state: bool) -> None:
    """Check the configuration FILE without starting anything.

    Reads FILE and the certificates, keys and tokens that it names; opens no
    queue and binds no socket.  Ends with status 0 if a relay could start with
    it, with 1 after one line on standard error for each problem, and with 2 if FILE
    cannot be read.  Tests in the configuration ([[tests]]) are run, and a failed one
    is a problem.  A warning is printed as well and does not change the status.
    Not checked: whether the relay's user may write to the state directory, and whether
    another relay is using it.  Root may read every file, so check as the relay's user.

    With --state it reads the format of the queue in the state directory, also while a relay works
    with it: a queue of a newer version is a problem, and of an older one the line says that a
    start migrates it.

    With --connect it tries all destinations and sources at the same time, and no message is
    sent: a RELP session is opened and closed, plain syslog gets five blank lines, which no
    receiver takes for messages.  Each finding is a line with the cause and the remedy, and the
    status is 0 if all is well, 1 if there are warnings, and 2 if there are errors.
    """
    if as_json and not connects:
        raise click.UsageError("--json is for check --connect; add --connect")
    if connects and looks_at_state:
        raise click.UsageError("--state and --connect are two checks; give one at a time")
    if connects:
        _warn_root(file)
        check_connections(file, seconds_max=timeout, as_json=as_json)
    try:
        configuration, state = _examined(file, looks_at_state=looks_at_state)
    except ConfigurationUnreadable as error:
        give_up(str(error))
    except ConfigurationError as error:
        _warn_root(file)
        for problem in error.problems:
            click.echo(problem, err=True)
        _print_warnings(error.warnings)
        raise SystemExit(1) from None
    _warn_root(file)
    _print_warnings(configuration.placed_warnings)
    sources = counted(len(configuration.sources), "source")
    destinations = counted(len(configuration.destinations), "destination")
    tests = ", " + counted(len(configuration.tests), "test") if configuration.tests else ""
    click.echo(f"{file}: ok: {sources}, {destinations}{tests}")
    for source in configuration.sources:
        if takes := source.takes():
            click.echo(f"{file}: sources.{source.id}: on this host {source.listen} takes {takes}")
    if state is not None:
        click.echo(f"{file}: {state.text}")


def _examined(file: str, *, looks_at_state: bool) -> tuple[Configuration, Compatibility | None]:
    """The configuration, if a relay could start with it, and how the queue's format suits us.

    Raises:
        ConfigurationUnreadable: There is no such file, or it may not be read.
        ConfigurationError: Everything that is wrong, with its place.
    """
    configuration = read_configuration(file, KINDS)
    failures = failures_of(configuration, now=time.time(), zone=local_zone())
    failures += obstacles_in(configuration.state_dir, may_forget=configuration.allow_volatile_state)
    state = _state_of(configuration.state_dir) if looks_at_state else None
    if state is not None and not state.can_open:
        failures.append(state.text)
    failures += [
        f"sources.{source.id}: {source.listen}: {obstacle}"
        for source in configuration.sources
        if (obstacle := source.obstacle())
    ]
    if failures:
        origin = configuration.origin
        placed = [f"{origin.where(each) if origin else file}: {each}" for each in failures]
        raise ConfigurationError(placed, configuration.placed_warnings)
    return configuration, state


def _warn_root(file: str) -> None:
    if os.geteuid() == 0:
        click.echo(
            f"{file}: warning: checked as root, who may read every file; as the relay's user: "
            f"runuser -u syslogrelay -- syslogrelay check {file}",
            err=True,
        )


def _state_of(state_dir: str) -> Compatibility:
    try:
        return examine(os.path.join(state_dir, "queue"))
    except QueueError as error:
        give_up(str(error))


def _print_warnings(placed: Sequence[str]) -> None:
    for warning in placed:
        place, _, text = warning.partition(": ")
        click.echo(f"{place}: warning: {text}", err=True)
