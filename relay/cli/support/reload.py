"""`syslogrelay reload`: have a running relay use its configuration file as it is now."""

from __future__ import annotations

from functools import partial

import click
import msgspec

from relay.cli.control_client import ask
from relay.cli.output import print_document
from relay.cli.where import Where, where_options
from relay.model.text import counted, printable

_ANSWER_SECONDS_MAX = 35.0  # the relay gives up after 30


class _Change(msgspec.Struct):
    what: str
    table: str
    keys: list[str]


class _Answer(msgspec.Struct):
    """The relay's answer."""

    path: str
    dry_run: bool
    problems: list[str]
    changes: list[_Change]
    restart: list[str]
    failures: list[str]
    warnings: list[str]


@click.command()
@partial(where_options, warns=False)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def reload(where: Where, dry_run: bool, as_json: bool) -> None:
    """Have the running relay use its configuration file as it is now.

    The relay reads the file that it was started with, and all that it includes, runs its tests, and
    applies the difference: sources, destinations and connections that have not changed go on as
    they are.  The queue of a destination that is gone stays, and a new destination with its id
    takes it.  Some keys of [relay] need a restart; they are named, and the rest is applied.

    If anything is wrong with the file, nothing is changed, each problem is one line on standard
    error, and the status is 1.  It is 1 as well if a source could not change, which is named; all
    else has changed then.  SIGHUP and `systemctl reload` do the same, with the answer in the log.
    """
    arguments = {"dry_run": dry_run}
    found = ask(where.state_dir, "reload", arguments, seconds_max=_ANSWER_SECONDS_MAX)
    answer = msgspec.convert(found, type=_Answer)
    given = where.configuration
    if given is not None and given.path != answer.path:
        _say(f"the relay has read {answer.path}, with which it was started", err=True)
    if as_json:
        print_document(found)
    else:
        _show(answer)
    if answer.problems or answer.failures:
        raise SystemExit(1)


def _show(answer: _Answer) -> None:
    """Print what has changed; what is wrong goes to standard error."""
    say = partial(_say, err=False)
    warn = partial(_say, err=True)
    for warning in answer.warnings:
        warn(f"warning: {warning}")
    for problem in answer.problems:
        warn(problem)
    if answer.problems:
        what = "would be refused" if answer.dry_run else "nothing is changed"
        warn(f"{answer.path}: {what}: {counted(len(answer.problems), 'problem')}")
        return
    if not answer.changes:
        say(f"{answer.path}: nothing has changed")
        return
    waiting = [each for each in answer.changes if _waits(each, answer.restart)]
    # A failure is of one table, which goes on as it was, or without what has failed.
    applied = len(answer.changes) - len(waiting) - len(answer.failures)
    done = "would be applied" if answer.dry_run else "applied"
    text = f"{answer.path}: {counted(max(applied, 0), 'change')} {done}"
    text += f", {len(waiting)} after a restart" if waiting else ""
    say(text + (f", {len(answer.failures)} failed" if answer.failures else ""))
    width = max(len(change.table) for change in answer.changes)
    for change in answer.changes:
        keys = f": {', '.join(change.keys)}" if change.keys else ""
        say(f"  {change.table:{width}}  {change.what}{keys}")
    if answer.restart:
        warn(f"used after a restart, until then the old value holds: {', '.join(answer.restart)}")
    for failure in answer.failures:
        warn(f"failed: {failure}")


def _waits(change: _Change, restart: list[str]) -> bool:
    """Whether nothing of a change is in use before a restart."""
    return bool(change.keys) and all(f"{change.table}.{key}" in restart for key in change.keys)


def _say(text: str, *, err: bool) -> None:
    click.echo(printable(text, length_max=None), err=err)
