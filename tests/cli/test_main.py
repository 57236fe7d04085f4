from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from relay import __version__
from relay.cli.main import main


def test_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.output) == (0, f"syslogrelay {__version__}\n")


def test_help_names_the_commands() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for command in ("check", "certs", "send"):
        assert f"\n  {command} " in result.output


def test_an_unknown_command() -> None:
    result = CliRunner().invoke(main, ["chekc"])
    assert result.exit_code == 2
    assert "No such command 'chekc'. Did you mean 'check'?" in result.output


OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def documented() -> set[str]:
    """The commands that docs/operations.md says can end with status 1."""
    table = OPERATIONS.read_text().partition("| Command | Status 1 |\n| --- | --- |\n")[2]
    rows = table.partition("\n\n")[0].splitlines()
    assert rows.pop() == "| all others | never |"
    return {row.split("`")[1].partition(" --")[0] for row in rows}


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name, command


def can_end_with_one(command: click.Command) -> bool:
    """Whether its function, or one that it calls in its module, ends with status 1."""
    callback: Any = command.callback
    while "command" in inspect.getclosurevars(callback).nonlocals:  # below its options
        callback = inspect.getclosurevars(callback).nonlocals["command"]
    values = vars(inspect.getmodule(callback))
    module = ast.parse(inspect.getsource(inspect.getmodule(callback)))
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    wanted, seen = [callback.__name__], set()
    while wanted:
        name = wanted.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                wanted.append(node.func.id)
                if node.func.id == "SystemExit" and "1" in ast.unparse(node.args[0]):
                    return True
                if node.func.id == "give_up" and len(node.args) > 1:
                    status = ast.unparse(node.args[1])
                    if values.get(status, status) in (1, "1"):
                        return True
    return False


def test_the_documents_have_every_command_that_can_say_no() -> None:
    assert documented() == {path for path, command in commands(main) if can_end_with_one(command)}
