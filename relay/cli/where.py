"""The relay that a command addresses, by its options, the environment and files.

Of a configuration a command needs only the state directory (and the tokens, to redact
them), so a file with errors is good enough as long as it has these.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import click
import msgspec

from relay.cli.control_client import AskFailed
from relay.cli.output import give_up
from relay.model.errors import QueueError
from relay.service.configuration.file import DEFAULT_PATH, examine_file
from relay.service.configuration.model import DEFAULT_STATE_DIR, Configuration
from relay.service.kinds import KINDS

STATE_DIR_VARIABLE = "SYSLOGRELAY_STATE_DIR"


class Where(msgspec.Struct):
    """The relay that a command addresses."""

    state_dir: str
    configuration: Configuration | None = None
    """The valid part of its configuration file; None if unknown."""
    is_whole: bool = True
    """The file is valid, except perhaps the certificates, keys and tokens that it names."""

    @property
    def queue_path(self) -> str:
        return os.path.join(self.state_dir, "queue")

    @property
    def destinations(self) -> list[str] | None:
        """Ids of the destinations; None if they are not known."""
        if self.configuration is None or not self.is_whole:
            return None
        return [destination.id for destination in self.configuration.destinations]

    @property
    def secrets(self) -> list[bytes]:
        """The tokens of the configuration, to redact them."""
        return [] if self.configuration is None else self.configuration.secrets


def where_options(command: Callable[..., object], *, warns: bool = True) -> Callable[..., object]:
    """Give `command` the options --state-dir and --config, as the argument `where`.

    A failure of the relay or the queue ends it with status 2.

    Args:
        warns: A file with errors is worth a warning.
    """

    def with_where(*, state_dir: str | None, config: str | None, **arguments: object) -> object:
        where = located(state_dir, config, os.environ, warns=warns)
        try:
            return command(where=where, **arguments)
        except (AskFailed, QueueError) as error:
            give_up(str(error))

    with_where.__name__, with_where.__doc__ = command.__name__, command.__doc__
    with_where.__dict__.update(command.__dict__)  # click keeps options there
    for short, option, metavar, kind, help_text in (
        (
            *("-c", "--config", "FILE", click.Path()),
            f"The relay's configuration, which names that directory; default: {DEFAULT_PATH}.",
        ),
        (
            *("-d", "--state-dir", "DIR", click.Path(file_okay=False)),
            f"State directory of the relay; default: {STATE_DIR_VARIABLE} in the environment.",
        ),
    ):
        with_where = click.option(short, option, metavar=metavar, type=kind, help=help_text)(
            with_where
        )
    return with_where


def named_state_dir(
    state_dir: str | None, config: str | None, environment: Mapping[str, str]
) -> str | None:
    """The state directory of the option, else of the environment unless a file is named."""
    if state_dir is None and config is None:
        return environment.get(STATE_DIR_VARIABLE) or None
    return state_dir


def located(
    state_dir: str | None,
    config: str | None,
    environment: Mapping[str, str],
    *,
    warns: bool = True,
) -> Where:
    """Locate the relay: the option takes precedence over the file, both over the defaults.

    Warns on standard error of a file with errors, unless that is not wanted, and ends the command
    if nothing says where the state directory is.
    """
    state_dir = named_state_dir(state_dir, config, environment)
    if config is None:
        if state_dir is not None:
            return Where(state_dir)
        if not os.path.exists(DEFAULT_PATH):
            return Where(DEFAULT_STATE_DIR)
    return _said_by_file(config or DEFAULT_PATH, state_dir, warns=warns)


def _said_by_file(path: str, state_dir: str | None, *, warns: bool) -> Where:
    found = examine_file(path, KINDS)
    if not found.problems:
        assert found.configuration is not None
        return Where(state_dir or found.state_dir, found.configuration)
    more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
    first = f"{found.problems[0]}{more}"
    if not (state_dir or found.state_dir):
        give_up(f"{first}; name the state directory of the relay with --state-dir")
    where = Where(state_dir or found.state_dir, found.configuration, is_whole=found.is_whole)
    if warns:
        source = "" if state_dir else f" {found.state_dir_from}"
        going_on = f"continuing with state directory {where.state_dir}{source}"
        click.echo(f"syslogrelay: warning: {first}; {going_on}", err=True)
    return where
