"""How this process was started, to start it again in place or to try whether it can be."""

from __future__ import annotations

import getopt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn, Protocol

SUB_COMMAND = "syslogrelay"
# -P: the directory where the relay was started holds no modules of it.
_TRIAL = ("-P", "-m", "relay.service.handover.trial")
TRIAL_SECONDS_MAX = 25.0


class TwistdOptions(Protocol):
    """The options of twistd itself."""

    shortOpt: str
    longOpt: list[str]

    def __getitem__(self, name: str) -> object: ...


class TrialFailed(Exception):
    """The new program could not start; the text says why, a problem a line."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The answer of the new program about itself."""

    version: str
    state_dir: str


@dataclass(frozen=True, slots=True)
class OwnProgram:
    """The command line of this process."""

    executable: str
    before: tuple[str, ...]
    """Interpreter, script, and options of twistd."""
    own: tuple[str, ...]
    """The options of the relay."""
    directory: str
    """Where it was started."""
    pid_file: str = ""
    flags: tuple[str, ...] = ()
    """Options of the interpreter."""

    def try_out(self, environment: Mapping[str, str], descriptors: Sequence[int]) -> Trial:
        """Have the new program look at configuration and state, in a child.  It blocks.

        Raises:
            TrialFailed: It cannot start, or does not say so in time.
        """
        command = [self.executable, *self.flags, *_TRIAL, *self.own]
        try:
            done = subprocess.run(
                command,
                cwd=self.directory,
                env=dict(environment),
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TRIAL_SECONDS_MAX,
            )
        except subprocess.TimeoutExpired:
            text = f"the new version does not answer within {TRIAL_SECONDS_MAX:g} s"
            raise TrialFailed(f"{text}: {' '.join(command)}") from None
        except OSError as error:
            text = error.strerror or str(error)
            raise TrialFailed(f"cannot run {self.executable}: {text}") from None
        return _answer(done)

    def become(self, environment: Mapping[str, str]) -> NoReturn:
        """Replace this process by a new one of the same number.

        Raises:
            OSError: The program cannot be run.
        """
        before = self.before
        if self.pid_file and os.path.lexists(self.pid_file):
            # We may not remove it, and the new process would take us for another one.
            before = (*before, "--pidfile=")
        os.chdir(self.directory)
        # Until the new process has its handlers, SIGTERM ends it, and a SIGHUP would as well.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        arguments = [*before, SUB_COMMAND, *self.own]
        os.execve(self.executable, arguments, dict(environment))


def own_program(options: TwistdOptions | None) -> OwnProgram | None:
    """The program of this process; None = twistd has not started it, or it cannot be repeated.

    Args:
        options: twistd's; None = it has not started us.
    """
    if not options or options["chroot"] is not None:
        return None
    with suppress(getopt.GetoptError):
        _, rest = getopt.getopt(sys.argv[1:], options.shortOpt, options.longOpt)
        if rest[:1] == [SUB_COMMAND]:
            return _program(options, sys.orig_argv[: -len(rest)], rest[1:])
    return None


def _program(options: TwistdOptions, before: list[str], own: list[str]) -> OwnProgram:
    if not options["nodaemon"]:  # it is a daemon already
        before = [*before, "--nodaemon"]
        if not options["logfile"] and not options["syslog"]:
            before += ["--logfile", "twistd.log"]
    directory, pid_file = os.getcwd(), options["pidfile"]
    path = os.path.join(directory, str(pid_file)) if pid_file else ""
    return OwnProgram(sys.executable, tuple(before), tuple(own), directory, path, _flags())


def _flags() -> tuple[str, ...]:
    """The interpreter's options: they stand before the script, or the -m that names it."""
    found = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    return tuple(found[: found.index("-m")] if "-m" in found else found)


def _answer(done: subprocess.CompletedProcess[bytes]) -> Trial:
    lines = done.stdout.decode(errors="replace").splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else {}
        if done.returncode == 0:
            return Trial(str(answer["version"]), str(answer["state_dir"]))
        problems = [str(each) for each in answer["problems"]]
    except (ValueError, KeyError, TypeError):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"it ended with status {done.returncode} and said nothing"
        problems = [f"the new version cannot be tried: {reason}"]
    raise TrialFailed("\n".join(problems))
