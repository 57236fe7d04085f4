from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from relay import __version__
from tests.command_server import Commands
from tests.processes import Programs, running_programs


@pytest.mark.slow
def test_output_status_and_folder_are_those_of_the_command(tmp_path: Path) -> None:
    with running_programs() as programs:
        program = started(programs, tmp_path)
        assert run(program, "--version", cwd=tmp_path) == (0, f"syslogrelay {__version__}\n", "")
        status, _, error = run(program, "chekc", cwd=tmp_path)
        assert (status, "No such command 'chekc'" in error) == (2, True)
        (tmp_path / "empty.toml").write_text("")
        status, _, error = run(program, "check", "empty.toml", cwd=tmp_path)
        assert (status, "sources" in error) == (1, True)


def started(programs: Programs, folder: Path) -> Path:
    commands = Commands(folder / "commands")
    programs.add(commands)
    commands.start()
    return commands.path / "syslogrelay"


def run(program: Path, *arguments: str, cwd: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [program, *arguments], cwd=cwd, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout, done.stderr
