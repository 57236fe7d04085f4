"""Look at what sources of this host read: systemd's sockets, the journal, named pipes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from glob import glob
from pathlib import Path

from relay.model.text import printable
from relay.service.probes.files import probe_directory, probe_pipe
from relay.service.probes.probe import Probe
from relay.service.process.systemd import Systemd, initial_environment, take_systemd
from relay.transport.journal.journalctl import ENVIRONMENT, Selection, find_journalctl

UNIT_FOLDERS = (
    *("/etc/systemd/system", "/run/systemd/system"),
    *("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"),
)
"""Where systemd reads units (systemd.unit(5))."""
_HINT = "not seeing messages from other users"  # journalctl's, with LC_ALL=C


def probe_inherited(probe: Probe, name: str) -> None:
    """A socket that systemd binds: passed to the relay that runs, or else named by a unit."""
    sockets = _sockets_of(probe.relay_pid)
    if sockets is None:
        _probe_unit(probe, name)
        return
    try:
        number = sockets.descriptor_of(name)
    except ValueError as error:
        probe.fail(
            "socket",
            "socket-not-passed",
            f"systemd://{name}: {error}",
            "compare it with FileDescriptorName= of the socket unit, which has to start the relay",
        )
    else:
        probe.passed("socket", f"the relay that runs has {name} (number {number}) from systemd")


def _sockets_of(pid: int) -> Systemd | None:
    """What systemd has passed to the relay, or to us; None = neither is known."""
    environment = initial_environment(pid) if pid else {}
    if environment:
        return take_systemd({}, initial=environment, pid=pid)
    own = take_systemd({}, initial=initial_environment(), pid=os.getpid())
    return own if own.sockets else None


def _probe_unit(probe: Probe, name: str) -> None:
    if unit := next((unit for unit, given in _units() if given == name), ""):
        probe.passed("socket", f"{unit} gives {name}; whether systemd passes it is not tried")
        return
    probe.warn(
        "socket",
        "socket-unit-missing",
        f"no socket unit of this host gives the name {name}",
        f"write FileDescriptorName={name} into the unit, or its name into `listen`",
    )


def _units() -> Iterator[tuple[str, str]]:
    """Socket units and drop-ins, and the name that each gives."""
    for folder in UNIT_FOLDERS:
        for path in [*glob(f"{folder}/*.socket"), *glob(f"{folder}/*.socket.d/*.conf")]:
            unit = path.removeprefix(f"{folder}/").partition(".d/")[0]
            try:
                lines = Path(path).read_text(errors="replace").splitlines()
            except OSError:
                continue
            values = dict(line.split("=", 1) for line in lines if "=" in line)
            given = {key.strip(): value.strip() for key, value in values.items()}
            yield path, given.get("FileDescriptorName", unit)


def probe_journal(probe: Probe, directory: str) -> None:
    """The journal: one entry is read by journalctl."""
    program = find_journalctl()
    if program is None:
        words = "there is no journalctl, with which the journal is read"
        probe.fail("journal", "journalctl-missing", words, "install systemd, or remove the source")
        return
    command = [program, *Selection(directory, fields=("PRIORITY",)).arguments("last", b"")]
    place = directory or "the system's journal"
    try:
        done = subprocess.run(
            command,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=probe.seconds_max,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        text = f"{place} cannot be read: {printable(str(error))}"
        probe.fail("journal", "journal-unreadable", text, f"try {' '.join(command)}")
        return
    _judge_journal(probe, place, done)


def _judge_journal(probe: Probe, place: str, done: subprocess.CompletedProcess[bytes]) -> None:
    said = printable(done.stderr.strip()).rstrip(".")
    group = "have the relay's user in the group systemd-journal"
    if done.returncode or (not done.stdout and said):
        text = f"{place} cannot be read: {said or f'journalctl ends with {done.returncode}'}"
        probe.fail("journal", "journal-unreadable", text, f"compare the path, and {group}")
    elif _HINT in said:
        text = f"only a part of {place} can be read by user {os.geteuid()}"
        probe.warn("journal", "journal-partly-readable", text, group)
    elif not done.stdout:
        text = f"{place} has no entry that user {os.geteuid()} can read"
        probe.warn("journal", "journal-empty", text, f"is journald running? else {group}")
    else:
        probe.passed("journal", f"{place} can be read")


def probe_pipe_to_read(probe: Probe, path: str) -> None:
    """A named pipe, which the relay makes if there is none."""
    if os.path.lexists(path):
        probe_pipe(probe, path, reads=True)
    else:
        probe_directory(probe, os.path.dirname(path))
