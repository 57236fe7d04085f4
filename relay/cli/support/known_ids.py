"""Ids for the completion of arguments, as far as they can be told quickly.

A shell waits for the answer, so nothing is examined: the configuration is read as TOML, and
without one the running relay is asked for half a second.  Errors complete nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import click
from click.shell_completion import CompletionItem

from relay.cli.control_client import AskFailed, ask
from relay.cli.where import named_state_dir
from relay.model.errors import ConfigurationError
from relay.model.text import Document
from relay.service.configuration.file import DEFAULT_PATH
from relay.service.configuration.including import read_files
from relay.service.configuration.model import DEFAULT_STATE_DIR

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_ANSWER_SECONDS_MAX = 0.5


def completing(*tables: str) -> Complete:
    """Complete an argument by the ids in `tables`: ``sources``, ``destinations`` or ``orphans``."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        ids = known_ids(ctx.params.get("config"), ctx.params.get("state_dir"), tables)
        return [CompletionItem(id) for id in ids if id.startswith(incomplete)]

    return complete


def known_ids(config: str | None, state_dir: str | None, tables: Sequence[str]) -> list[str]:
    """The ids in `tables`, in their order, for the options that were given."""
    state_dir = named_state_dir(state_dir, config, os.environ)
    if config is None and (state_dir or "orphans" in tables):
        running = _of_relay(state_dir or DEFAULT_STATE_DIR, tables)
        if running or state_dir:
            return running
    return _of_file(config or DEFAULT_PATH, tables)


def _of_file(path: str, tables: Sequence[str]) -> list[str]:
    try:
        values = read_files(path).values
    except ConfigurationError:
        return []
    found = [values.get(table) for table in tables]
    return [id for table in found if isinstance(table, dict) for id in table]


def _of_relay(state_dir: str, tables: Sequence[str]) -> list[str]:
    try:
        status: Document = ask(state_dir, "status", seconds_max=_ANSWER_SECONDS_MAX)
    except AskFailed:
        return []
    entries = (each for table in tables for each in status.get(table, ()))
    return [str(each["id"] if isinstance(each, dict) else each) for each in entries]
