"""Messages on real terminals of users whom the relay finds in utmp or through logind."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from relay.service.destinations.commands import SomeDestination
from tests.end_to_end.users import USER
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.transport.local.test_logins import SESSION, entry
from tests.transport.local.test_terminals import Pty

IN_NAMESPACE = """#!/bin/sh
# Runs Python with a /run of its own, which is a copy of the folder.
exec unshare --mount --propagation private sh -c \\
    'mount -t tmpfs tmpfs /run && cp -r "$0/." /run/ && exec "$@"' '{run}' '{python}' "$@"
"""


class Host:
    """A relay with a ``/run`` of its own, and two terminals: of root and of another user."""

    def __init__(self, programs: Programs, folder: Path, **destination: Any) -> None:
        self.root, self.other = Pty(), Pty()
        os.chown(self.other.path, pwd.getpwnam(USER).pw_uid, -1)
        self._programs, self._folder = programs, folder
        self._destination = destination
        self.port = free_port()
        (folder / "run").mkdir()

    def start(self) -> None:
        interpreter = self._folder / "python"
        interpreter.write_text(IN_NAMESPACE.format(run=self._folder / "run", python=sys.executable))
        interpreter.chmod(0o755)
        self.relay = RelayProcess.started(
            self._programs,
            self._folder,
            sources={"feed": {"listen": f"tcp://127.0.0.1:{self.port}"}},
            destinations={"users": {"connect": "usertty://", **self._destination}},
            interpreter=str(interpreter),
        )

    def log_in_by_utmp(self, *terminals: Pty) -> None:
        entries = [entry(SESSION, terminal.line.encode()) for terminal in terminals]
        (self._folder / "run" / "utmp").write_bytes(b"".join(entries))

    def log_in_by_logind(self, terminal: Pty) -> None:
        """What systemd-logind writes; libsystemd reads it."""
        sessions = self._folder / "run" / "systemd" / "sessions"
        sessions.mkdir(parents=True)
        (sessions / "7").write_text(
            "UID=0\nUSER=root\nACTIVE=1\nSTATE=active\nREMOTE=1\nTYPE=tty\nCLASS=user\n"
            f"TTY={terminal.line}\n"
        )

    def feed(self, *lines: bytes) -> None:
        feed_lines(self.port, lines)

    def report(self) -> dict[str, Any]:
        (report,) = ask(str(self.relay.state_dir), "status")["destinations"]
        return dict(report)

    def wait_delivered(self, count: int) -> None:
        wait_until(lambda: self.report()["delivered_records"] == count, f"{count} delivered")


@pytest.fixture(autouse=True)
def _namespaces() -> Iterator[None]:
    command = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /run"]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can give the relay a /run of its own")
    yield


def texts(seen: bytes) -> list[bytes]:
    return [line.strip(b"\r\a") for line in seen.split(b"\n") if b"\a" in line]


def test_users_see_messages_and_one_whose_terminal_is_stopped_delays_nobody(
    programs: Programs, tmp_path: Path
) -> None:
    host = Host(programs, tmp_path, match={"severity": "..crit"})
    host.log_in_by_utmp(host.other)
    host.log_in_by_logind(host.root)
    host.start()
    host.feed(
        b"<10>Nov 30 13:05:00 web su[7]: \x1b[2Jone", b"<13>Nov 30 13:05:00 web su[7]: notice"
    )
    host.wait_delivered(1)
    line = rb"Message from web at Nov 30 13:05:00: su[7]: \x1b[2Jone"
    assert texts(host.root.read()) == texts(host.other.read()) == [line]
    # Root's terminal is stopped, and the other user wants emergencies only.
    host.root.stop()
    host.other.set_mode(0o600)
    host.feed(b"<10>Nov 30 13:05:01 web su: two", b"<8>Nov 30 13:05:02 web su: three")
    host.wait_delivered(3)
    assert texts(host.other.read()) == [b"Message from web at Nov 30 13:05:02: su: three"]
    assert host.report()["queued_records"] == 0
    (details,) = host.report()["details"]
    assert details == (
        "3 written, 2 missed by terminals that took nothing, 1 not wanted (mesg n); 1 message came "
        "to no terminal"
    )
    words = f"{host.root.path}: 2 messages not shown: takes nothing: it is stopped"
    wait_until(lambda: words in host.relay.log(), "a line in the log")
    host.relay.stop()


def test_messages_for_one_user_and_a_relay_that_is_killed(
    programs: Programs, tmp_path: Path
) -> None:
    host = Host(programs, tmp_path, users=[USER], template="$MSG")
    host.log_in_by_utmp(host.root, host.other)
    host.start()
    host.feed(b"<13>Nov 30 13:05:00 web su: one")
    host.wait_delivered(1)
    ask(str(host.relay.state_dir), "pause", SomeDestination("users"))
    host.feed(b"<13>Nov 30 13:05:00 web su: two")
    wait_until(lambda: host.report()["queued_records"] == 1, "one waits")
    host.relay.kill()
    host.relay.start()
    ask(str(host.relay.state_dir), "resume", SomeDestination("users"))
    wait_until(lambda: host.report()["queued_records"] == 0, "none waits")
    assert texts(host.other.read()) == [b"one", b"two"]
    assert host.root.read() == b""
    host.relay.stop()


def test_nobody_is_logged_in(programs: Programs, tmp_path: Path) -> None:
    host = Host(programs, tmp_path)
    host.start()
    host.feed(b"<13>Nov 30 13:05:00 web su: one")
    host.wait_delivered(1)
    assert "1 message came to no terminal" in host.report()["details"][0]
    assert "destinations.users.match: is missing, so users see every message" in host.relay.log()
    host.relay.stop()
