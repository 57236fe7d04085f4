from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cli.main import main
from relay.cli.support.completion import SHELLS, script

BIN = Path(sys.executable).parent
CONFIGURATION = """
[sources.network]
listen = "udp://:514"
[destinations.central]
connect = "tcp://far:514"
"""


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_ask_this_program(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert (done.exit_code, done.stdout) == (0, script(shell))
    assert f"_SYSLOGRELAY_COMPLETE={shell}_complete" in done.stdout


def test_other_shells_are_refused() -> None:
    done = CliRunner().invoke(main, ["completion", "tcsh"])
    assert done.exit_code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.stderr


def test_no_shell_is_started_to_make_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert script("bash").startswith("_syslogrelay_completion()")


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_take_their_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(script(shell))
    done = subprocess.run([shell, "-n", path], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


class _Bash:
    """An interactive bash, in a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "script").write_text(script("bash"))
        (folder / "rc").write_text("PS1='$ '\nbind 'set bell-style none'\nsource ./script\n")
        environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb", "HISTFILE": ""}
        self._terminal, inner = pty.openpty()
        self._process = subprocess.Popen(
            ["bash", "--rcfile", "rc", "-i"],
            cwd=folder,
            env=environment,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)
        self.shown("", r"\$ ")

    def shown(self, typed: str, expected: str) -> str:
        """Type, and return what the terminal shows then, once `expected` is there."""
        os.write(self._terminal, typed.encode())
        text, until = "", time.monotonic() + 30
        while not re.search(expected, text):
            readable, _, _ = select.select([self._terminal], [], [], until - time.monotonic())
            assert readable, f"{expected} is not in {text!r}"
            text += os.read(self._terminal, 4096).decode()
        return text

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)


@pytest.mark.slow
def test_bash_completes_commands_ids_and_files(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text(CONFIGURATION)
    bash = _Bash(tmp_path)
    try:
        bash.shown("syslogrelay pau\t", "syslogrelay pause ")
        bash.shown("-c rel\t", r"-c relay\.toml ")
        bash.shown("ce\t", "central ")
    finally:
        bash.close()
