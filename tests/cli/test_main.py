from __future__ import annotations

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
    assert "No such command 'chekc'" in result.output
