"""What an administrator sees when a relay refuses to start, by running twistd."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from relay.service.refusal import StartRefused

ROOT = Path(__file__).parents[2]

APPLICATION = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from twisted.application.service import Application, Service
from relay.service.refusal import StartRefused

class Refusing(Service):
    def startService(self):
        raise StartRefused("the queue is in use\\nby process 17")

application = Application("refusing")
Refusing().setServiceParent(application)
"""


def twistd(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end, and to that of the daemon if it becomes one."""
    command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *arguments]
    reading, writing = os.pipe()
    with open(reading, "rb") as held:
        with open(writing, "wb"):  # a daemon closes its copy when it ends
            result = subprocess.run(
                command, cwd=cwd, capture_output=True, text=True, timeout=30, pass_fds=[writing]
            )
        assert select.select([held], [], [], 30)[0], "the daemon goes on"
    return result


def test_it_is_an_exit_and_an_exception() -> None:
    with pytest.raises(Exception) as caught:
        raise StartRefused("why")
    assert isinstance(caught.value, SystemExit)
    assert caught.value.code == caught.value.text == "why"


def test_of_the_interpreter_only_the_text_is_seen() -> None:
    code = "from relay.service.refusal import StartRefused\nraise StartRefused('one\\ntwo')"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "one\ntwo\n")


@pytest.mark.slow
def test_in_the_foreground(tmp_path: Path) -> None:
    (tmp_path / "refusing.tac").write_text(APPLICATION)
    result = twistd("--nodaemon", "--no_save", "-y", "refusing.tac", cwd=tmp_path)
    assert result.returncode == 1
    assert "the queue is in use" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert not (tmp_path / "twistd.pid").exists()


@pytest.mark.slow
def test_as_a_daemon(tmp_path: Path) -> None:
    (tmp_path / "refusing.tac").write_text(APPLICATION)
    result = twistd("--logfile=log", "--no_save", "-y", "refusing.tac", cwd=tmp_path)
    assert result.returncode == 1
    assert "StartRefused: the queue is in use" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    log = (tmp_path / "log").read_text()
    assert "the queue is in use" in log and "by process 17" in log
    assert "Traceback" not in log
    assert not (tmp_path / "twistd.pid").exists()
