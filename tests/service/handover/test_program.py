from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from relay.service.handover import program as module
from relay.service.handover.program import OwnProgram, Trial, TrialFailed, own_program


class Twistd(dict[str, Any]):
    shortOpt = "nl:u:"
    longOpt: Sequence[str] = ["nodaemon", "logfile=", "uid=", "pidfile="]


def twistd(**given: Any) -> Any:
    defaults = {"chroot": None, "nodaemon": True, "logfile": None, "syslog": False, "pidfile": ""}
    return Twistd(**{**defaults, **given})


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["/v/twistd", *arguments])
    monkeypatch.setattr(sys, "orig_argv", ["/v/python", "-I", "/v/twistd", *arguments])


def test_the_word_may_be_a_value_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, "-n", "--uid", "syslogrelay", "syslogrelay", "--name", "syslogrelay")
    found = own_program(twistd())
    assert found is not None
    assert found.before == ("/v/python", "-I", "/v/twistd", "-n", "--uid", "syslogrelay")
    assert found.own == ("--name", "syslogrelay")
    assert found.flags == ("-I",)


def test_a_module_is_no_option_of_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/v/twisted/__main__.py", "syslogrelay"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-E", "-m", "twisted", "syslogrelay"])
    found = own_program(twistd())
    assert found is not None
    assert (found.flags, found.before) == (("-E",), ("python", "-E", "-m", "twisted"))


def test_a_daemon_does_not_become_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, "syslogrelay", "-c", "f")
    found = own_program(twistd(nodaemon=False, pidfile="p"))
    assert found is not None
    assert found.before[-3:] == ("--nodaemon", "--logfile", "twistd.log")
    assert found.pid_file == os.path.join(os.getcwd(), "p")
    found = own_program(twistd(nodaemon=False, logfile="l"))
    assert found is not None and found.before[-1] == "--nodaemon"


def test_what_cannot_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, "syslogrelay")
    assert own_program(None) is None
    assert own_program(twistd(chroot="/jail")) is None
    started(monkeypatch, "web")
    assert own_program(twistd()) is None
    started(monkeypatch, "--unknown", "syslogrelay")
    assert own_program(twistd()) is None


class Ended(Exception):
    pass


def become(monkeypatch: pytest.MonkeyPatch, program: OwnProgram) -> tuple[list[str], str]:
    called: list[Any] = []

    def execve(path: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        called.append((path, arguments, environment, os.getcwd()))
        raise Ended

    monkeypatch.setattr(os, "execve", execve)
    here, before = os.getcwd(), signal.getsignal(signal.SIGHUP)
    term = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Ended):
        program.become({"A": "1"})
    assert signal.signal(signal.SIGHUP, before) is signal.SIG_IGN
    assert signal.signal(signal.SIGTERM, term) is signal.SIG_DFL
    os.chdir(here)
    ((path, arguments, environment, directory),) = called
    assert (path, environment) == ("/p", {"A": "1"})
    return arguments, directory


def test_it_becomes_the_same_command_where_it_was_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = OwnProgram("/p", ("/p", "t"), ("-c", "f"), str(tmp_path), str(tmp_path / "pid"))
    expected = ["/p", "t", "syslogrelay", "-c", "f"]
    assert become(monkeypatch, program) == (expected, str(tmp_path))


def test_a_pid_file_that_it_may_not_remove_stays_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pid").touch()
    program = OwnProgram("/p", ("/p", "t"), (), str(tmp_path), str(tmp_path / "pid"))
    assert become(monkeypatch, program)[0] == ["/p", "t", "--pidfile=", "syslogrelay"]


def tried(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.setattr(module, "_TRIAL", ("-c", script))
    program = OwnProgram(sys.executable, (), ("own",), str(tmp_path))
    return program.try_out({"A": "1"}, [])


def test_a_trial_says_which_version_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import os, sys; print('noise')\n"
        "assert sys.argv[1:] == ['own'] and os.environ['A'] == '1'\n"
        'print(\'{"version": "2", "state_dir": "%s"}\' % os.getcwd())'
    )
    assert tried(tmp_path, script, monkeypatch) == Trial("2", str(tmp_path))


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ('print(\'{"problems": ["a", "b"]}\'); raise SystemExit(1)', "a\nb"),
        ("import no_such_module", "cannot be tried: ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)", "it ended with status 3 and said nothing"),
        ("print('[]')", "cannot be tried"),
    ],
)
def test_a_trial_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    with pytest.raises(TrialFailed) as failed:
        tried(tmp_path, script, monkeypatch)
    assert problem in str(failed.value)


def test_a_trial_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIAL_SECONDS_MAX", 0.05)
    with pytest.raises(TrialFailed, match="does not answer within"):
        tried(tmp_path, "import time; time.sleep(60)", monkeypatch)


def test_a_program_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(TrialFailed, match="cannot run /no/python: No such file"):
        OwnProgram("/no/python", (), (), str(tmp_path)).try_out({}, [])
