"""Command groups: full summaries in their help, and clean exits for all commands."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from relay.cli.output import ending_quietly, flush

_SUMMARY_LENGTH_MAX = 1000


class Commands(click.Group):
    """A group whose help shows the first sentence of each command, however long it is."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(_SUMMARY_LENGTH_MAX)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Program(Commands):
    """The group of all commands.  Each is imported when it is used.

    Args:
        modules: The module of `relay.cli` that each command is in, by the command's name,
            which is also its name there, unless the module says another one behind a colon.
    """

    def __init__(self, *args: Any, modules: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._modules.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(f"relay.cli.{module}"), name or cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            # click looks for similar names among commands that are imported already: none.
            similar = get_close_matches(args[0], self._modules, n=1)
            if similar and args[0] not in self._modules:
                ctx.fail(f"No such command {args[0]!r}. Did you mean {similar[0]!r}?")
            raise

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with ending_quietly():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> object:
        with ending_quietly():
            result = super().invoke(ctx)
            flush()
            return result
