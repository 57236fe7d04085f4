"""The parts of a bundle, collected side by side, each within a time limit.

Whatever touches the disk of the relay is done by other commands of this program, as processes of
their own: one that hangs takes nothing else with it, and what it has said is in the bundle.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import msgspec

from relay.cli.control_client import AskFailed, ask, process_state
from relay.cli.support import host_facts
from relay.cli.support.config_show import running_document, toml_of
from relay.cli.support.scrubbing import Scrubber
from relay.model.errors import RelayError
from relay.queue.files.ownership import owner_of
from relay.service.configuration.effective import effective
from relay.service.configuration.file import Examined
from relay.service.kinds import KINDS

PART_BYTES_MAX = 4 * 2**20
"""Of one part; the rest of it is left out."""

_COMMAND_SECONDS_MAX = 60.0
_AT_A_TIME = 4
_LINES_MAX = 1000
_UNIT = "syslogrelay.service"
_CODE = "from relay.cli.main import main; main(prog_name='syslogrelay')"


class PartFailed(Exception):
    """A part cannot be had.  Its text says why."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The relay that a bundle is about."""

    state_dir: str
    config: str
    """The path of its configuration; empty = there is none."""
    examined: Examined | None
    pid: int
    """Of its process; 0 = none runs."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the bundle."""

    name: str
    content: bytes
    failure: str = ""
    """Why it is not what it should be."""


def collected(subject: Subject, scrubber: Scrubber) -> list[Part]:
    """All parts, in the order of their names in the bundle."""
    tasks = _tasks(subject, scrubber)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(lambda name: _part(name, tasks[name]), tasks))


def _part(name: str, collect: Callable[[], str]) -> Part:
    try:
        content = collect().encode("utf-8", "backslashreplace")
    except (PartFailed, AskFailed, RelayError) as error:
        failure = str(error)
    except (OSError, ValueError, LookupError, msgspec.MsgspecError) as error:
        failure = f"{type(error).__name__}: {error}"  # the other parts are wanted all the more
    else:
        if len(content) > PART_BYTES_MAX:
            return Part(name, content[:PART_BYTES_MAX], f"cut: it has {len(content):,} bytes")
        return Part(name, content)
    return Part(f"{name}.failed", f"{failure}\n".encode("utf-8", "backslashreplace"), failure)


def _tasks(subject: Subject, scrubber: Scrubber) -> dict[str, Callable[[], str]]:
    where = ["--state-dir", subject.state_dir]
    run = partial(_said_by, scrubber)
    commands: dict[str, Sequence[str]] = {
        "audit.json": ["audit", "--json", *where],
        "queues.json": ["queue", "ls", "--json", *where],
    }
    tasks: dict[str, Callable[[], str]] = {
        "versions.txt": lambda: scrubber.without_secrets(host_facts.versions()),
        "system.txt": lambda: scrubber.without_secrets(host_facts.system(subject.state_dir)),
        "files.txt": lambda: scrubber.without_secrets(host_facts.files(subject.state_dir)),
        "process.txt": lambda: scrubber.without_secrets(_process(subject)),
        "config.toml": partial(_configuration, subject, scrubber),
        "config-running.toml": partial(_running, subject, scrubber),
        "log.txt": partial(_log, subject, scrubber),
        "status.json": lambda: _document(scrubber, ask(subject.state_dir, "status")),
        "alerts.json": lambda: _document(scrubber, ask(subject.state_dir, "alerts")),
        "fleet.json": lambda: _document(scrubber, ask(subject.state_dir, "status")["fleet"]),
        "journal.txt": partial(_journal, subject, scrubber),
    }
    if subject.config:
        commands["check.txt"] = ["check", subject.config]
        commands["certificates.json"] = ["certs", "show", "--json", "--config", subject.config]
    for name, arguments in commands.items():
        tasks[name] = partial(run, arguments, is_json=name.endswith(".json"))
    return dict(sorted(tasks.items()))


def _said_by(scrubber: Scrubber, arguments: Sequence[str], *, is_json: bool) -> str:
    """The output of a command of this program; its errors, if it prints nothing else."""
    done = _run([sys.executable, "-c", _CODE, *arguments])
    output, errors = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    if not is_json:
        return scrubber.text(f"{errors}{output}status {done.returncode}\n")
    if not output.strip():
        raise PartFailed(scrubber.text(errors.strip() or f"status {done.returncode}"))
    return _document(scrubber, msgspec.json.decode(output))


def _document(scrubber: Scrubber, answer: object) -> str:
    document = msgspec.json.encode(scrubber.document(answer))
    return msgspec.json.format(document).decode() + "\n"


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PartFailed(f"{command[0]} has not ended after {_COMMAND_SECONDS_MAX:g} s") from None
    except OSError as error:
        raise PartFailed(f"{command[0]}: {error.strerror}") from None


def _process(subject: Subject) -> str:
    if not subject.pid:
        raise PartFailed(f"no relay runs with state directory {subject.state_dir}")
    return host_facts.process(subject.pid)


def _configuration(subject: Subject, scrubber: Scrubber) -> str:
    if subject.examined is None:
        raise PartFailed("there is no configuration file; name it with --config")
    if subject.examined.configuration is None:
        raise PartFailed(scrubber.text("\n".join(subject.examined.problems)))
    found = effective(subject.examined.configuration, KINDS)
    return scrubber.without_secrets(toml_of(found, without=("tests",)))


def _running(subject: Subject, scrubber: Scrubber) -> str:
    document = running_document(subject.state_dir)
    return scrubber.without_secrets(toml_of(document, without=("tests",)))


def _log(subject: Subject, scrubber: Scrubber) -> str:
    lines = ask(subject.state_dir, "log-lines")
    return scrubber.text("\n".join([*map(str, lines), ""]))


def _journal(subject: Subject, scrubber: Scrubber) -> str:
    """The last lines that a relay has left in the journal, which has those of earlier runs too."""
    if shutil.which("journalctl") is None:
        raise PartFailed("there is no journalctl")
    unit = (host_facts.unit_of(subject.pid) if subject.pid else "") or _UNIT
    arguments = ["--no-pager", "--quiet", "-o", "short-iso", "-n", str(_LINES_MAX), "-u", unit]
    done = _run(["journalctl", *arguments])
    if done.returncode or not done.stdout:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise PartFailed(said or f"the journal has nothing of {unit}")
    return scrubber.text(done.stdout.decode("utf-8", "replace"))


def pid_in(state_dir: str) -> int:
    """The process that has the queue, if it does not answer but is there; 0 = unknown."""
    pid = owner_of(os.path.join(state_dir, "queue"))
    return pid if process_state(pid) else 0
