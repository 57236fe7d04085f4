from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from relay.cli.main import main

HEAVY = ("twisted", "OpenSSL", "cryptography", "lmdb", "msgspec")


def help_of(*arguments: str) -> str:
    done = CliRunner().invoke(main, [*arguments, "--help"], terminal_width=80)
    assert done.exit_code == 0
    return " ".join(done.output.split())


@pytest.mark.parametrize("group", ["certs", "quarantine", "queue"])
def test_help_of_a_group_has_whole_sentences(group: str) -> None:
    text = help_of(group)
    assert "..." not in text.partition("Commands:")[2].replace("[SEQ]...", "")
    context = click.Context(main)
    command = main.get_command(context, group)
    assert isinstance(command, click.Group)
    for name in command.list_commands(context):
        message = " ".join((command.commands[name].help or "").split())
        assert f"{name} {message.partition('.')[0]}" in text


def test_summaries_of_all_commands_are_whole() -> None:
    summary = "certs Make, show, renew and revoke certificates for TLS between relays."
    assert summary in help_of()


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_each_command_is_where_it_is_looked_for(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name


def test_only_the_command_that_is_used_is_imported() -> None:
    code = (
        "import sys; from relay.cli.main import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
