"""`syslogrelay config show`: what a configuration comes to, and where each value comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import click
import msgspec

from relay.cli.control_client import AskFailed, ask
from relay.cli.groups import Commands
from relay.cli.output import give_up, print_document
from relay.cli.toml_writing import Octal, TomlValue, key_text, value_text
from relay.cli.where import STATE_DIR_VARIABLE, located
from relay.model.text import counted
from relay.service.configuration.effective import (
    Effective,
    Entry,
    Section,
    changed_of,
    effective,
)
from relay.service.configuration.file import DEFAULT_PATH, examine_file
from relay.service.kinds import KINDS

_COLUMN_MAX = 48


@click.group(cls=Commands)
def config() -> None:
    """Show the configuration of a relay."""


@config.command()
@click.option(
    *("-c", "--config", "path"),
    metavar="FILE",
    type=click.Path(),
    help=f"The configuration; default: {DEFAULT_PATH}.",
)
@click.option("--running", is_flag=True, help="What the running relay has read, not the file.")
@click.option(
    *("-d", "--state-dir"),
    metavar="DIR",
    type=click.Path(file_okay=False),
    help=f"With --running: state directory of the relay; default: {STATE_DIR_VARIABLE} in the "
    "environment.",
)
@click.option("--changed-only", is_flag=True, help="Leave out what has its default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(
    path: str | None, running: bool, state_dir: str | None, changed_only: bool, as_json: bool
) -> None:
    """Print the effective configuration as TOML, included files put together.

    Each value has the file and line that says so; defaults are comments.  Secrets are MASKED,
    and relative paths have become absolute, so the output is a configuration as well.

    Status 1 if the file has problems, which are printed on standard error; the rest is shown all
    the same.
    """
    if state_dir and not running:
        raise click.UsageError("--state-dir is for --running; add it, or name a file with -c")
    problems: Sequence[str] = ()
    if running:
        found = running_configuration(located(state_dir, path, os.environ).state_dir)
    else:
        found, problems = configuration_in(path or DEFAULT_PATH)
    if changed_only:
        found = changed_of(found)
    if as_json:
        print_document(found)
    else:
        click.echo(toml_of(found), nl=False)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise SystemExit(1)


def configuration_in(path: str) -> tuple[Effective, list[str]]:
    """The values of a file, and its problems.  One that cannot be read ends the command."""
    examined = examine_file(path, KINDS)
    if examined.configuration is None:
        give_up("\n".join(examined.problems))
    return effective(examined.configuration, KINDS), examined.problems


def running_configuration(state_dir: str) -> Effective:
    """The configuration of the running relay; if none answers, that ends the command."""
    try:
        return running_document(state_dir)
    except AskFailed as error:
        give_up(str(error))


def running_document(state_dir: str) -> Effective:
    """What the running relay has read.

    Raises:
        AskFailed: None answers, or one of another version.
    """
    try:
        return msgspec.convert(ask(state_dir, "configuration"), type=Effective)
    except msgspec.ValidationError as error:
        raise AskFailed(f"the relay is of another version: {error}") from error


def toml_of(found: Effective, *, without: Sequence[str] = ()) -> str:
    """The text of a file that says the same.

    Args:
        without: Tables to leave out.
    """
    lines = [_head(found.files)]
    lines += [f"# [[{name}]] is left out" for name in without]
    for section in sorted(found.sections, key=lambda each: each.path != ()):
        if section.path[:1] and section.path[0] in without:
            continue
        lines += ["", *_lines(section)]
    return "\n".join(lines) + "\n"


def _head(files: Sequence[str]) -> str:
    if not files:
        return "# started with flags, without a configuration file"
    first, *others = files
    more = f" with {counted(len(others), 'included file')}" if others else ""
    return f"# {first}{more}; defaults are comments, secrets are masked"


def _lines(section: Section) -> Iterator[str]:
    if section.path:
        name = ".".join(map(key_text, section.path))
        yield f"[[{name}]]" if section.is_entry else f"[{name}]"
    written = [(_written(each), _remark(each)) for each in section.entries]
    widths = [len(text) for text, _ in written if len(text) <= _COLUMN_MAX and "\n" not in text]
    column = max(widths, default=0)
    for text, remark in written:
        yield f"{text:<{column}}  # {remark}"


def _written(entry: Entry) -> str:
    value = "" if entry.value is None else f" = {_value(entry)}"
    return f"{'' if entry.where else '#'}{key_text(entry.key)}{value}"


def _value(entry: Entry) -> str:
    if entry.form == "permissions" and isinstance(entry.value, int):
        return value_text(Octal(entry.value))
    text = value_text(_plain(entry.value))
    return text if entry.where else text.replace("\n", "\n#")


def _plain(value: object) -> TomlValue:
    """`value`, in which what no key takes (a date) has become a text."""
    match value:
        case str() | bool() | int() | float():
            return value
        case Mapping():
            return {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return str(value)


def _remark(entry: Entry) -> str:
    if entry.where:
        return entry.where
    return f"default: {entry.note}" if entry.note else "default"
